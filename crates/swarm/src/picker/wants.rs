//! What the user wants, and changes while the torrent runs: priorities, order, deadlines.

use super::{Picker, Priority, Wish};
use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::time::Duration;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_time::Time;

/// Pieces with a deadline that are looked at for one peer.
const LOOKS: usize = 32;
/// Blocks of a piece whose deadline is as near as this are asked for twice.
const NEAR: Duration = Duration::from_secs(1);

/// When a piece is to be here, and who may send it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Time,
    /// Bytes a second that a peer sends at least to be asked for it before everything else.
    floor: u64,
}

/// What was given up because its piece is not wanted any longer.
#[derive(Debug, Default)]
pub struct Dropped {
    /// Requests, and at whom they are outstanding.
    pub requests: Vec<(Span, PeerKey)>,
    /// Bytes that were here already.
    pub bytes: u64,
}

impl<B> Picker<B> {
    /// How much a piece is wanted.
    pub fn priority(&self, piece: PieceIndex) -> Priority {
        self.priorities[piece.at()]
    }

    /// Changes how much each piece is wanted. A piece that was received whole is verified and kept all the same; what
    /// is here of others that are not wanted any longer is dropped. Looks at every piece.
    pub fn set_priorities(&mut self, priority: impl Fn(PieceIndex) -> Priority) -> Dropped {
        let mut dropped = Dropped::default();
        for piece in self.geometry.iter() {
            let (before, after) = (self.priorities[piece.at()], priority(piece));
            if before == after {
                continue;
            }
            self.priorities[piece.at()] = after;
            let length = u64::from(self.geometry.length_of(piece));
            match (before.is_wanted(), after.is_wanted()) {
                (false, true) => self.wanted_bytes += length,
                (true, false) => self.wanted_bytes -= length,
                (true, true) | (false, false) => {}
            }
            if self.have.has(piece) {
                continue;
            }
            if after.is_wanted() {
                let is_new = self.needed.set(piece) && !self.verifying.contains_key(&piece);
                if is_new || self.missing.has(piece) {
                    self.list(piece);
                }
            } else {
                self.needed.unset(piece);
                self.unlist(piece);
                self.clear_deadline(piece);
                let Some(open) = self.close(piece) else { continue };
                let requests = open
                    .requests()
                    .filter_map(|(block, peer)| self.geometry.block(piece, block).map(|span| (span, peer)));
                dropped.requests.extend(requests);
                dropped.bytes += open.received() as u64 * super::BLOCK;
            }
        }
        dropped
    }

    /// With a window, pieces are taken in order as far as this many after the first one that is missing, and rarest
    /// first from peers that have none of these; without, rarest first.
    pub fn set_window(&mut self, pieces: Option<u32>) {
        self.window = pieces;
    }

    /// How many pieces ahead are taken in order, if they are.
    pub fn window(&self) -> Option<u32> {
        self.window
    }

    /// A piece is to be here at a moment: it goes before all without a deadline, those with an earlier one before
    /// it. Nothing comes of it where the piece is here or not wanted.
    pub fn set_deadline(&mut self, piece: PieceIndex, at: Time) {
        if self.needed.has(piece) {
            self.clear_deadline(piece);
            self.deadlines.insert(piece, Deadline { at, floor: 0 });
            self.by_deadline.insert((at, piece));
        }
    }

    /// A piece has no deadline any longer.
    pub fn clear_deadline(&mut self, piece: PieceIndex) {
        if let Some(deadline) = self.deadlines.remove(&piece) {
            self.by_deadline.remove(&(deadline.at, piece));
        }
    }

    /// No piece has a deadline any longer.
    pub fn clear_deadlines(&mut self) {
        self.deadlines.clear();
        self.by_deadline.clear();
    }

    /// The pieces with the nearest deadlines, the nearest first.
    pub fn urgent(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.by_deadline.iter().take(LOOKS).map(|&(_, piece)| piece)
    }

    /// Only peers that send at least so many bytes a second are asked for this piece before everything else.
    pub fn set_floor(&mut self, piece: PieceIndex, rate: u64) {
        if let Some(deadline) = self.deadlines.get_mut(&piece) {
            deadline.floor = rate;
        }
    }

    /// Leases blocks of pieces with a deadline, and doubles one whose piece is late.
    pub(super) fn pick_urgent(&mut self, wish: &Wish<'_>, target: usize, picked: &mut Vec<Span>) {
        let fast_enough = |piece: &PieceIndex| {
            self.deadlines.get(piece).is_some_and(|deadline| wish.rate >= deadline.floor)
        };
        let urgent: Vec<PieceIndex> = self
            .urgent()
            .filter(|piece| !wish.snubbed && wish.can_give(*piece) && fast_enough(piece))
            .collect();
        let mut doubled = false;
        for piece in urgent {
            if picked.len() >= target {
                return;
            }
            if self.missing.has(piece) && !self.is_full() {
                self.start(piece, Some(wish.peer));
            }
            let Some(open) = self.open.get(&piece) else { continue };
            if open.on_parole && open.owner.is_some_and(|owner| owner != wish.peer) {
                continue;
            }
            let is_near = self.deadlines.get(&piece).is_some_and(|deadline| wish.now + NEAR >= deadline.at);
            let may_double = !open.on_parole && !doubled && (open.is_late || is_near);
            if self.lease_from(piece, wish.peer, target, picked) == 0 && may_double {
                doubled = self.lease_twin(wish, piece, picked);
            }
        }
    }
}
