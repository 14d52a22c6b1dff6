//! How fast datagrams come, and whether they are read one by one or left to gather: to be woken costs as much as to
//! answer several.

use quelea_time::Time;
use std::time::Duration;

/// Datagrams of a family that are read at a time.
pub(super) const BATCH: usize = 64;
/// Datagrams are left to gather until there are about so many, for so long at most.
const GATHERED: u32 = 32;
const GATHER: Duration = Duration::from_millis(8);
/// They begin to gather when so many come at a time.
const SEVERAL: u32 = 2;
/// Timers are no finer than this, and the pace is measured over no less. Where [`GATHERED`] come in less, there are
/// always some.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How fast datagrams come.
#[derive(Debug)]
pub(super) struct Pace {
    /// What has come since when.
    count: u32,
    since: Time,
    /// From one to the next, when it was last measured.
    each: Duration,
    gathering: bool,
}

impl Pace {
    pub(super) fn new(now: Time) -> Self {
        Self { count: 0, since: now, each: Duration::MAX, gathering: false }
    }

    /// So many were read. For how long to let the next ones gather; `None` where each is to be told of.
    pub(super) fn pause(&mut self, now: Time, count: usize) -> Option<Duration> {
        let full = count >= BATCH;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.count = self.count.saturating_add(count);
        let passed = now.since(self.since);
        if passed >= TICK {
            self.each = passed / self.count.max(1);
            (self.count, self.since) = (0, now);
        }
        let pause = self.each.saturating_mul(GATHERED);
        let many = count >= SEVERAL || (count > 0 && self.gathering);
        // Where there may be more already, there is no use in waiting for it.
        self.gathering = many && !full && pause >= TICK;
        self.gathering.then(|| pause.min(GATHER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses while so many come in each second, read whenever they are told of.
    fn pauses(rate: u64) -> Vec<Option<Duration>> {
        let mut pace = Pace::new(Time::ZERO);
        let (mut now, mut come) = (Time::ZERO, 0);
        let mut found = Vec::new();
        for _ in 0..1_000 {
            // What comes at once comes in pairs.
            let all = now.as_nanos() * rate / 1_000_000_000 / 2 * 2;
            let pause = pace.pause(now, usize::try_from(all - come).unwrap());
            come = all;
            now += pause.unwrap_or(Duration::from_nanos(2_000_000_000 / rate));
            found.push(pause);
        }
        found.split_off(500)
    }

    #[test]
    fn datagrams_gather_unless_they_are_many() {
        assert!(pauses(500).iter().flatten().all(|pause| *pause == GATHER), "never longer");
        for pause in pauses(8_000) {
            let pause = pause.expect("they gather");
            assert!((GATHER / 4..=GATHER * 3 / 4).contains(&pause), "{pause:?}");
        }
        assert!(pauses(50_000).iter().all(Option::is_none));
    }

    #[test]
    fn what_waits_already_is_never_waited_for() {
        let mut pace = Pace::new(Time::ZERO);
        let (mut now, mut read) = (Time::ZERO, 0);
        for _ in 0..1_000 {
            // Others keep the thread for two milliseconds each time.
            now += Duration::from_millis(2);
            let come = usize::try_from(now.as_nanos() / 20_000).unwrap();
            let count = (come - read).min(BATCH);
            read += count;
            now += pace.pause(now, count).unwrap_or_default();
        }
        assert!(read >= 1_000 * BATCH - BATCH, "{read}");
    }

    #[test]
    fn a_datagram_now_and_then_is_read_when_it_comes() {
        let mut pace = Pace::new(Time::ZERO);
        for second in 1..100 {
            assert_eq!(pace.pause(Time::from_secs(second), 1), None);
        }
        assert_eq!(pace.pause(Time::from_secs(100), 2), Some(GATHER));
        assert_eq!(pace.pause(Time::from_secs(101), 0), None, "nothing gathers any more");
        assert_eq!(pace.pause(Time::from_secs(102), 1), None);
    }
}
