//! Addresses that have shown that they receive what is sent to them, and questions that wait for that.
//!
//! A datagram's sender can be forged. Whoever answered a query of ours lately, which carried a transaction that cannot be
//! guessed, is where it says. A question whose answer is long waits until its asker has answered a ping.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_time::Time;

/// How long a proof is good.
const LIFE: Duration = Duration::from_secs(600);
/// Addresses remembered.
const MEMORY: usize = 2_048;
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
    addresses: BTreeMap<SocketAddr, Time>,
    waiting: VecDeque<Waiting>,
}

impl Proven {
    /// Whether this address has shown it lately.
    pub(super) fn has(&self, now: Time, address: SocketAddr) -> bool {
        self.addresses.get(&address).is_some_and(|&at| now.since(at) < LIFE)
    }

    /// An address answered a query of ours. The questions of it that waited.
    pub(super) fn note(&mut self, now: Time, address: SocketAddr) -> Vec<Vec<u8>> {
        if self.addresses.len() >= MEMORY && !self.addresses.contains_key(&address) {
            self.addresses.retain(|_, at| now.since(*at) < LIFE / 4);
        }
        if self.addresses.len() < MEMORY || self.addresses.contains_key(&address) {
            self.addresses.insert(address, now);
        }
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

    /// Has a question wait. Whether it is the first one from its address, which is then to be pinged.
    pub(super) fn wait(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> bool {
        self.waiting.retain(|waiting| now.since(waiting.since) < PATIENCE);
        let first = !self.waiting.iter().any(|waiting| waiting.from == from);
        if self.waiting.len() >= WAITING {
            return false;
        }
        self.waiting.push_back(Waiting { from, datagram: datagram.to_vec(), since: now });
        first
    }
}
