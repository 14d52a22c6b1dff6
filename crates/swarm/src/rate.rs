//! How many bytes a second pass, lately.

use core::time::Duration;
use quelea_time::Time;

/// The length of one bin.
const BIN: Duration = Duration::from_millis(200);
/// How many bins are looked back on: two seconds.
const BINS: usize = 10;

/// A sliding window of two seconds over counted bytes.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    bins: [u64; BINS],
    /// The number of the newest bin, counted from the beginning of time.
    newest: u64,
    /// When the first byte since the last silence was counted.
    began: Option<Time>,
}

impl Rate {
    /// Counts `bytes` that passed at `now`.
    pub fn add(&mut self, now: Time, bytes: u64) {
        self.advance(now);
        if self.began.is_none() {
            self.began = Some(now);
        }
        self.bins[(self.newest % BINS as u64) as usize] += bytes;
    }

    /// Bytes a second over the last two seconds, or since they began to flow if that is less.
    pub fn per_second(&mut self, now: Time) -> u64 {
        self.advance(now);
        let Some(began) = self.began else { return 0 };
        let total: u64 = self.bins.iter().sum();
        let into_bin = now.as_nanos() % BIN.as_nanos() as u64;
        let window = BIN.as_nanos() as u64 * (BINS as u64 - 1) + into_bin;
        let span = (now.since(began).as_nanos() as u64).clamp(BIN.as_nanos() as u64, window.max(1));
        (u128::from(total) * 1_000_000_000 / u128::from(span)) as u64
    }

    fn advance(&mut self, now: Time) {
        let bin = now.as_nanos() / BIN.as_nanos() as u64;
        if bin <= self.newest {
            return;
        }
        for passed in 1..=(bin - self.newest).min(BINS as u64) {
            self.bins[((self.newest + passed) % BINS as u64) as usize] = 0;
        }
        self.newest = bin;
        if self.bins.iter().all(|&bytes| bytes == 0) {
            self.began = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_its_rate() {
        let mut rate = Rate::default();
        for millis in 0..10_000 {
            rate.add(Time::from_millis(millis), 1_000);
        }
        let measured = rate.per_second(Time::from_millis(10_000));
        assert!((990_000..=1_010_000).contains(&measured), "{measured}");
    }

    #[test]
    fn a_young_flow_is_not_averaged_with_silence() {
        let mut rate = Rate::default();
        for millis in 60_000..60_500 {
            rate.add(Time::from_millis(millis), 1_000);
        }
        let measured = rate.per_second(Time::from_millis(60_500));
        assert!((900_000..=1_100_000).contains(&measured), "{measured}");
    }

    #[test]
    fn silence_ends_it() {
        let mut rate = Rate::default();
        rate.add(Time::from_secs(1), 1 << 30);
        assert_eq!(rate.per_second(Time::from_secs(4)), 0);
    }
}
