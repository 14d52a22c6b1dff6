//! How often somebody may do something: so many times at once, and then at a pace.

use core::time::Duration;
use quelea_time::Time;

/// How often somebody may do something.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// When all that was done would be forgiven.
    forgiven: Time,
}

impl Allowance {
    /// Of somebody who has done nothing yet.
    pub const FULL: Self = Self { forgiven: Time::ZERO };

    /// Whether it may be done at this moment, as one of `burst` at once and one each `pace` in the long run; then it
    /// counts as done. The same two must be given every time.
    pub fn take(&mut self, now: Time, burst: u32, pace: Duration) -> bool {
        let debt = self.forgiven.since(now);
        if debt > pace * burst.saturating_sub(1) {
            return false;
        }
        self.forgiven = now + debt + pace;
        true
    }

    /// When it may be done next.
    pub fn due(&self, burst: u32, pace: Duration) -> Time {
        Time::ZERO + self.forgiven.since(Time::ZERO).saturating_sub(pace * burst.saturating_sub(1))
    }

    /// Whether it is as if nothing had been done.
    pub fn is_full(&self, now: Time) -> bool {
        self.forgiven <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_secs(30);

    #[test]
    fn a_burst_is_followed_by_the_pace() {
        let mut allowance = Allowance::FULL;
        let start = Time::from_secs(1_000);
        let taken = (0..10).filter(|_| allowance.take(start, 4, PACE)).count();
        assert_eq!(taken, 4);
        assert_eq!(allowance.due(4, PACE), start + PACE);
        let later = (1..=300).filter(|&second| allowance.take(start + Duration::from_secs(second), 4, PACE));
        assert_eq!(later.count(), 10);
        assert!(!allowance.is_full(start) && allowance.is_full(start + Duration::from_secs(1_000)));
    }
}
