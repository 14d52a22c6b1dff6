//! How fast a session may begin connections: routers and peers' networks take many at once for an attack.

use core::time::Duration;
use quelea_time::Time;

/// Connections begun at once after a pause.
const BURST: u32 = 30;

/// How fast a session may begin connections.
#[derive(Debug)]
pub struct Pace {
    /// Between two connections in the long run; zero for no bound.
    interval: Duration,
    /// When the pace would have it that the next one begins; up to a burst before now.
    next: Time,
}

impl Pace {
    /// At most this many connections a second in the long run; 0 for no bound.
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, next: Time::ZERO }
    }

    /// When the next connection may begin: the caller waits until then and begins it.
    pub fn begin(&mut self, now: Time) -> Time {
        let earliest = Time::ZERO + now.since(Time::ZERO).saturating_sub(self.interval * BURST);
        let due = self.next.max(earliest);
        self.next = due + self.interval;
        due.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_begins_at_once_and_the_rest_at_the_pace() {
        let mut pace = Pace::new(10);
        let now = Time::from_secs(100);
        let begins: alloc::vec::Vec<Time> = (0..50).map(|_| pace.begin(now)).collect();
        let at_once = begins.iter().filter(|begin| **begin == now).count() as u32;
        assert!((BURST..=BURST + 1).contains(&at_once), "{at_once}");
        assert_eq!(begins[49].since(begins[39]), Duration::from_secs(1));
    }

    #[test]
    fn a_pause_earns_no_more_than_a_burst() {
        let mut pace = Pace::new(10);
        pace.begin(Time::from_secs(1));
        let now = Time::from_secs(1_000);
        let last = (0..=BURST + 10).map(|_| pace.begin(now)).max();
        assert!(last > Some(now));
    }

    #[test]
    fn zero_is_no_bound() {
        let mut pace = Pace::new(0);
        let now = Time::from_secs(1);
        assert!((0..1_000).all(|_| pace.begin(now) == now));
    }
}
