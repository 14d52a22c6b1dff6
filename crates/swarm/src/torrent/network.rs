//! Our own network: what silence says about it, and how a torrent finds back when it was gone.
//!
//! When nobody answers, it is rather our network than all of the peers. So connections that are dead are not waited
//! for, peers that were once connected are tried in turn, and their failures are forgotten with the first that
//! answers.

use super::Torrent;
use crate::event::{Event, Farewell, Output};
use core::time::Duration;
use quelea_time::Time;

/// While nobody at all is heard for this long, though somebody owes us blocks, connections are made anew.
const DEAF: Duration = Duration::from_secs(45);
/// How often a torrent without peers looks whether one of them can be tried.
const PROBE: Duration = Duration::from_secs(15);
/// Without a peer for this long, the first that answers shows that the network is back.
const GONE: Duration = Duration::from_secs(30);
/// A tick that comes this much too late: the machine slept, or our process was stopped.
const ASLEEP: Duration = Duration::from_secs(10);

/// Since when a torrent has nobody, though it had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lonely {
    since: Time,
    /// When one of those whom we knew is tried.
    pub(super) probe: Time,
}

impl<B> Torrent<B> {
    /// What peers said while we slept has not been read yet, so none of them was silent.
    pub(super) fn excuse_sleep(&mut self, now: Time) {
        if now.since(self.next_tick) >= ASLEEP {
            for key in self.peers.keys() {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.heard = now;
                }
            }
        }
    }

    /// Ends connections that seem dead, and tries a peer that was once connected when nobody is.
    pub(super) fn look_after_network(&mut self, now: Time) {
        if self.completed {
            return;
        }
        let deaf = |heard: Time| now.since(heard) >= DEAF;
        if !self.download_limited && self.peers.iter().all(|(_, peer)| deaf(peer.heard)) {
            for key in self.peers.keys() {
                let owes = |peer: &super::Peer| peer.we_are_interested && !peer.it_chokes_us;
                if self.peers.get(key).is_some_and(owes) {
                    self.disconnect(now, key, Farewell::Silent);
                }
            }
        }
        let Some(lonely) = self.lonely.as_mut().filter(|lonely| lonely.probe <= now) else { return };
        lonely.probe = now + PROBE;
        self.outputs.extend(self.door.probe(now).map(Output::Connect));
    }

    /// A peer has left, or something is wanted again.
    pub(super) fn note_loss(&mut self, now: Time) {
        if self.peers.is_empty() && !self.completed && !self.stopped {
            self.lonely.get_or_insert(Lonely { since: now, probe: now + PROBE });
        }
    }

    /// A peer is connected.
    pub(super) fn note_company(&mut self, now: Time) {
        if self.lonely.take().is_some_and(|lonely| now.since(lonely.since) >= GONE) {
            self.door.list.forgive(now);
            self.tell(Event::FoundBack);
        }
    }
}
