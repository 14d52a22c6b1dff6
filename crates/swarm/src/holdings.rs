//! Memory that peers make us hold beside the payload that we asked for: messages that are not whole, messages that wait
//! for a peer to read them or for the torrent to take them.
//!
//! All of it counts against one bound, that of a session. When it is exceeded, a peer gives way that has given us
//! nothing: the one that holds most for longest. A peer that delivers never does.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use quelea_time::Time;

/// Bytes that any connection may hold.
const LITTLE: usize = 4 << 10;

/// Names a connection that something is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderKey(u64);

/// The bytes held for the peers of a session.
#[derive(Debug)]
pub struct Holdings {
    /// Bytes that are held at most.
    most: usize,
    held: usize,
    next: u64,
    holders: BTreeMap<HolderKey, Holder>,
}

#[derive(Debug)]
struct Holder {
    bytes: usize,
    /// Since when it has held more than a little.
    since: Time,
    delivers: bool,
}

impl Holdings {
    /// Nothing, of at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, held: 0, next: 0, holders: BTreeMap::new() }
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// A connection is made, for which nothing is held yet.
    pub fn enter(&mut self, now: Time) -> HolderKey {
        let key = HolderKey(self.next);
        self.next += 1;
        self.holders.insert(key, Holder { bytes: 0, since: now, delivers: false });
        key
    }

    /// A connection has ended, and what was held for it is free.
    pub fn leave(&mut self, key: HolderKey) {
        if let Some(holder) = self.holders.remove(&key) {
            self.held -= holder.bytes;
        }
    }

    /// A peer gave something that we wanted.
    pub fn delivers(&mut self, key: HolderKey) {
        if let Some(holder) = self.holders.get_mut(&key) {
            holder.delivers = true;
        }
    }

    /// So many bytes are held for a connection from here on. Those that must end for it; they have left.
    pub fn holds(&mut self, now: Time, key: HolderKey, bytes: usize) -> Vec<HolderKey> {
        let mut ended = Vec::new();
        let Some(holder) = self.holders.get_mut(&key) else { return ended };
        if holder.bytes <= LITTLE {
            holder.since = now;
        }
        self.held = self.held - holder.bytes + bytes;
        holder.bytes = bytes;
        while self.held > self.most {
            let burden = |holder: &Holder| holder.bytes as u128 * (now.since(holder.since).as_millis() + 1);
            let strangers =
                self.holders.iter().filter(|(_, holder)| !holder.delivers && holder.bytes > LITTLE);
            let Some(key) = strangers.max_by_key(|(_, holder)| burden(holder)).map(|(key, _)| *key) else {
                break;
            };
            self.leave(key);
            ended.push(key);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::time::Duration;

    const MOST: usize = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn strangers_together_hold_no_more_than_the_bound() {
        let mut holdings = Holdings::new(MOST);
        let mut now = Time::ZERO;
        let mut kept = 0_usize;
        for _ in 0..210 {
            now += SECOND;
            let key = holdings.enter(now);
            kept = kept + 1 - holdings.holds(now, key, MOST / 10).len();
            assert!(holdings.held() <= MOST);
        }
        assert_eq!(kept, 10);
    }

    #[test]
    fn the_one_that_holds_most_for_longest_gives_way_and_never_one_that_delivers() {
        let mut holdings = Holdings::new(MOST);
        let keys: Vec<_> = (0..4).map(|_| holdings.enter(Time::ZERO)).collect();
        holdings.delivers(keys[0]);
        assert_eq!(holdings.holds(Time::ZERO, keys[0], MOST / 2), vec![]);
        assert_eq!(holdings.holds(Time::ZERO, keys[1], MOST / 4), vec![]);
        // A newcomer whose long message comes fast stays, who has held less for long goes.
        let now = Time::ZERO + SECOND;
        assert_eq!(holdings.holds(now, keys[2], MOST / 2), vec![keys[1]]);
        let now = now + SECOND;
        assert_eq!(holdings.holds(now, keys[2], 0), vec![]);
        assert_eq!(holdings.holds(now + SECOND, keys[3], MOST), vec![keys[3]]);
        assert_eq!(holdings.held(), MOST / 2);
        holdings.leave(keys[0]);
        assert_eq!(holdings.held(), 0);
    }

    #[test]
    fn a_little_is_held_for_everybody_and_what_those_hold_who_deliver_may_be_more() {
        let mut holdings = Holdings::new(MOST);
        for _ in 0..1_000 {
            let key = holdings.enter(Time::ZERO);
            assert_eq!(holdings.holds(Time::ZERO, key, LITTLE), vec![]);
        }
        let key = holdings.enter(Time::ZERO);
        holdings.delivers(key);
        assert_eq!(holdings.holds(Time::ZERO, key, MOST), vec![]);
    }
}
