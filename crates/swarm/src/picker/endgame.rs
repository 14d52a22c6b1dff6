//! Asking several peers for one block, when there is nothing else to ask for.
//!
//! Each doubled request may be wasted, so it is a last resort: only a peer that has nothing else outstanding makes
//! one, one at a time, and a block is asked of [`REQUESTERS`] peers at most, or of [`REQUESTERS_WHEN_LATE`] when a
//! peer that was asked for blocks of its piece is silent. One place is kept for a peer that is known to send.

use super::{Picker, REQUESTERS, REQUESTERS_WHEN_LATE, Wish};
use crate::peers::PeerKey;
use alloc::vec::Vec;
use quelea_metainfo::geometry::{PieceIndex, Span};

/// Open pieces whose blocks are looked at for one doubled request.
const LOOKS: usize = 64;

impl<B> Picker<B> {
    /// Whether every missing piece that somebody has is open, so that blocks may be asked for twice.
    pub fn is_endgame(&self) -> bool {
        self.order.len() == self.order.at_level(self.nobody())
    }

    /// Blocks of this piece are long in coming: in the endgame, or if memory allows no other piece, they may be
    /// asked for once more, or fast peers would wait for slow ones at the end of each piece.
    pub fn note_late(&mut self, piece: PieceIndex) {
        if let Some(open) = self.open.get_mut(&piece) {
            open.is_late = true;
        }
    }

    /// Whether `peer` is asked for this block as far as the picker knows.
    pub fn is_leased(&self, span: Span, peer: PeerKey) -> bool {
        let open = self.open.get(&span.piece);
        self.geometry
            .block_number(span)
            .is_some_and(|block| open.is_some_and(|open| open.is_leased(block, peer)))
    }

    /// Whether blocks of this piece may be asked for from several peers: some were, in an endgame
    /// or because they were late.
    pub fn has_twins(&self, piece: PieceIndex) -> bool {
        self.open.get(&piece).is_some_and(|open| open.has_twins)
    }

    /// Leases one block that another peer was asked for, of a piece chosen at random.
    pub(super) fn pick_twins(&mut self, wish: &Wish<'_>, target: usize, picked: &mut Vec<Span>) {
        let endgame = self.is_endgame();
        let pieces = self.geometry.pieces();
        let Some(from) = self.geometry.piece(self.rng.u32(..pieces.max(1))) else { return };
        let around = self.open.range(from..).chain(self.open.range(..from));
        let doubled = around.filter(|(piece, open)| {
            !open.on_parole && (endgame || open.is_late) && open.is_awaited() && wish.can_give(**piece)
        });
        let doubled: Vec<PieceIndex> = doubled.take(LOOKS).map(|(&piece, _)| piece).collect();
        for piece in doubled {
            if picked.len() < target && self.lease_twin(wish, piece, picked) {
                return;
            }
        }
    }

    /// Leases a block of this piece to a peer though others were asked for it. Whether there was one.
    pub(super) fn lease_twin(&mut self, wish: &Wish<'_>, piece: PieceIndex, picked: &mut Vec<Span>) -> bool {
        let Some(open) = self.open.get_mut(&piece) else { return false };
        let most = if open.is_late { REQUESTERS_WHEN_LATE } else { REQUESTERS };
        let places = if wish.proven { most } else { most - 1 };
        let Some(block) = open.lease_twin(wish.peer, places) else { return false };
        picked.extend(self.geometry.block(piece, block));
        true
    }
}
