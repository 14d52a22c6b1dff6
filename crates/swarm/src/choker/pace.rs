//! How fast one peer takes what it is sent.
//!
//! A socket takes bytes long before they have left, and the blocks of many slow peers leave in step. So a pace is no
//! count of bytes in a fixed time: it is what left between two blocks, over the time between them, and what left before
//! sockets were full does not count.

use alloc::collections::VecDeque;
use core::time::Duration;
use quelea_metainfo::geometry::BLOCK_LENGTH;
use quelea_time::Time;

/// Time looked back on, or that between the last two blocks if that is longer.
const LOOK: Duration = Duration::from_secs(3);
/// Moments that are remembered are at least this far apart.
const STEP: Duration = Duration::from_millis(500);

/// How fast one peer takes what it is sent.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// When a block had left, and the bytes that had left by then; oldest first.
    marks: VecDeque<(Time, u64)>,
}

impl Pace {
    /// Begins anew, after `total` bytes.
    pub fn begin(&mut self, now: Time, total: u64) {
        self.marks.clear();
        self.marks.push_back((now, total));
    }

    /// A block has left, `total` bytes in all.
    pub fn add(&mut self, now: Time, total: u64) {
        let kept = self.marks.iter().rev().nth(1);
        if kept.is_some_and(|&(at, _)| now.since(at) < STEP) {
            self.marks.pop_back();
        }
        self.marks.push_back((now, total));
        while self.marks.len() > 3 && self.marks.get(1).is_some_and(|&(at, _)| now.since(at) >= LOOK) {
            self.marks.pop_front();
        }
    }

    /// Bytes a second; `None` before two blocks have left. It is no more than if the next block had just left.
    pub fn per_second(&self, now: Time) -> Option<u64> {
        let (&(from, before), &(until, after)) = (self.marks.front()?, self.marks.back()?);
        let bytes = u128::from(after - before) * 1_000_000_000;
        let next = u128::from(after - before + u64::from(BLOCK_LENGTH)) * 1_000_000_000;
        let pace = bytes.checked_div(until.since(from).as_nanos())?;
        Some(next.checked_div(now.since(from).as_nanos()).map_or(pace, |next| pace.min(next)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_LENGTH as u64;

    #[test]
    fn blocks_that_take_seconds_are_an_even_flow() {
        let mut pace = Pace::default();
        pace.begin(Time::ZERO, 0);
        for block in 1..10 {
            pace.add(Time::from_secs(4 * block), block * BLOCK);
            for millis in 0..4_000 {
                let measured = pace.per_second(Time::from_millis(4_000 * block + millis));
                assert_eq!(measured, Some(BLOCK / 4), "{millis} ms after block {block}");
            }
        }
    }

    #[test]
    fn many_blocks_are_counted_over_seconds() {
        let mut pace = Pace::default();
        pace.begin(Time::ZERO, 0);
        for block in 1..1_000 {
            pace.add(Time::from_millis(10 * block), block * BLOCK);
            assert!(pace.marks.len() < 12);
        }
        assert_eq!(pace.per_second(Time::from_millis(9_990)), Some(100 * BLOCK));
    }

    #[test]
    fn it_falls_while_no_block_leaves() {
        let mut pace = Pace::default();
        pace.begin(Time::ZERO, 0);
        assert_eq!(pace.per_second(Time::from_secs(1)), None);
        pace.add(Time::from_secs(1), BLOCK);
        assert_eq!(pace.per_second(Time::from_secs(1)), Some(BLOCK));
        assert_eq!(pace.per_second(Time::from_secs(8)), Some(BLOCK / 4));
    }
}
