//! Addresses that have shown that they receive what is sent to them, and questions that wait for that.
//!
//! A datagram's sender can be forged. Whoever answered a query of ours lately, which carried a transaction that cannot be
//! guessed, is where it says. A question whose answer is long waits until its asker has answered a ping.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_time::Time;

/// How long a proof is good at least, and twice that at most, while there are not too many.
const LIFE: Duration = Duration::from_secs(300);
/// Addresses of one generation.
const GENERATION: usize = 1_024;
/// Questions that wait.
const WAITING: usize = 128;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// A question that waits for the proof.
#[derive(Debug)]
struct Waiting {
    from: SocketAddr,
    datagram: Vec<u8>,
    since: Time,
}

/// Addresses that have shown that they receive what is sent to them, and questions that wait for that.
#[derive(Debug, Default)]
pub(super) struct Proven {
    /// Those of this generation, and those of the one before.
    young: BTreeSet<SocketAddr>,
    old: BTreeSet<SocketAddr>,
    born: Time,
    waiting: VecDeque<Waiting>,
}

impl Proven {
    /// Whether this address has shown it lately.
    pub(super) fn has(&mut self, now: Time, address: SocketAddr) -> bool {
        self.age(now);
        self.young.contains(&address) || self.old.contains(&address)
    }

    fn age(&mut self, now: Time) {
        let passed = now.since(self.born);
        if passed >= LIFE || self.young.len() >= GENERATION {
            self.old = core::mem::take(&mut self.young);
            if passed >= LIFE * 2 {
                self.old.clear();
            }
            self.born = now;
        }
    }

    /// An address answered a query of ours. The questions of it that waited.
    pub(super) fn note(&mut self, now: Time, address: SocketAddr) -> Vec<Vec<u8>> {
        self.age(now);
        self.young.insert(address);
        let mut ready = Vec::new();
        self.waiting.retain_mut(|waiting| {
            let is_ready = waiting.from == address && now.since(waiting.since) < PATIENCE;
            if is_ready {
                ready.push(core::mem::take(&mut waiting.datagram));
            }
            !is_ready && now.since(waiting.since) < PATIENCE
        });
        ready
    }

    /// Has a question wait until its asker has answered a ping.
    pub(super) fn wait(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> Wait {
        self.waiting.retain(|waiting| now.since(waiting.since) < PATIENCE);
        let first = !self.waiting.iter().any(|waiting| waiting.from == from);
        if self.waiting.len() >= WAITING {
            return Wait::Full;
        }
        self.waiting.push_back(Waiting { from, datagram: datagram.to_vec(), since: now });
        if first { Wait::First } else { Wait::Another }
    }
}

/// What became of a question that is to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is the first one from its address.
    First,
    /// Its address has been pinged already.
    Another,
    /// There is no place for it.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    fn address(number: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(number)), 1)
    }

    #[test]
    fn a_proof_lasts_a_while_and_many_others_do_not_keep_one_out() {
        let mut proven = Proven::default();
        proven.note(Time::ZERO, address(0));
        assert!(proven.has(Time::from_secs(299), address(0)));
        assert!(!proven.has(Time::from_secs(1_000), address(0)));
        for number in 0..10_000 {
            proven.note(Time::from_secs(1_000), address(number));
            assert!(proven.has(Time::from_secs(1_000), address(number)));
            assert!(proven.young.len() + proven.old.len() <= 2 * GENERATION);
        }
    }

    #[test]
    fn a_question_is_given_out_once_and_not_too_late() {
        let mut proven = Proven::default();
        assert_eq!(proven.wait(Time::ZERO, address(1), b"a"), Wait::First);
        assert_eq!(proven.wait(Time::ZERO, address(1), b"b"), Wait::Another);
        assert_eq!(proven.note(Time::from_secs(1), address(1)), [b"a".to_vec(), b"b".to_vec()]);
        assert!(proven.note(Time::from_secs(1), address(1)).is_empty());
        assert_eq!(proven.wait(Time::from_secs(2), address(2), b"c"), Wait::First);
        assert!(proven.note(Time::from_secs(6), address(2)).is_empty());
        for number in 0..WAITING as u32 {
            assert_eq!(proven.wait(Time::from_secs(9), address(10 + number), b"d"), Wait::First);
        }
        assert_eq!(proven.wait(Time::from_secs(9), address(1), b"e"), Wait::Full);
    }
}
