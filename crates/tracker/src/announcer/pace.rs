//! How fast requests of one torrent may begin.

use core::time::Duration;

use quelea_time::Time;

/// The distance of requests in a long row of them.
const STEP: Duration = Duration::from_millis(100);
/// How many may begin at once after a rest.
const BURST: u32 = 10;

/// A bucket that holds [`BURST`] requests and gains one each [`STEP`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the bucket will be full again.
    full: Time,
}

impl Pace {
    pub(super) fn allows(&self, now: Time) -> bool {
        self.opens() <= now
    }

    pub(super) fn take(&mut self, now: Time) {
        self.full = self.full.max(now) + STEP;
    }

    /// When the next request may begin.
    pub(super) fn opens(&self) -> Time {
        self.full - STEP * (BURST - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_may_begin_at_once_and_then_one_each_step() {
        let mut pace = Pace::default();
        let mut begun = [0; 5];
        for tenth in 0..50u64 {
            let now = Time::from_secs(60) + STEP * u32::try_from(tenth).unwrap();
            while pace.allows(now) {
                pace.take(now);
                begun[usize::try_from(tenth / 10).unwrap()] += 1;
            }
        }
        assert_eq!(begun, [19, 10, 10, 10, 10]);
    }
}
