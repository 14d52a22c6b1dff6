//! Blocks of pieces that are not whole, from one run to the next.

use super::open::OpenPiece;
use super::{Picker, PieceState, Receipt, Source};
use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use quelea_metainfo::geometry::Span;

/// Where a block comes from that was saved: who sent it is no longer known, so nobody is to blame.
pub(crate) const SAVED: Source = Source { peer: PeerKey::NOBODY, ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };

impl<B> Picker<B> {
    /// Takes all blocks of open pieces out; the pieces are missing again. No peer may be asked for any of them.
    pub fn take_blocks(&mut self) -> Vec<(Span, B)> {
        let mut blocks = Vec::new();
        for (piece, open) in core::mem::take(&mut self.open) {
            self.states[piece.at()] = PieceState::Missing;
            self.rarity.insert(piece);
            for (number, block) in open.into_received() {
                blocks.extend(self.geometry.block(piece, number).map(|span| (span, block)));
            }
        }
        self.with_free.clear();
        blocks
    }

    /// Puts a block in that an earlier run received, if its piece is missing or open and there is room for it.
    pub fn restore(&mut self, span: Span, block: B) -> Receipt<B> {
        let piece = span.piece;
        if self.state(piece) == PieceState::Missing
            && !self.is_full()
            && self.geometry.block_number(span).is_some()
        {
            self.rarity.remove(piece);
            self.states[piece.at()] = PieceState::Open;
            let on_parole = self.on_parole.contains(&piece);
            let mut open = OpenPiece::new(self.geometry.blocks_of(piece), PeerKey::NOBODY, on_parole);
            open.owner = None;
            self.open.insert(piece, open);
            self.with_free.insert(piece);
        }
        self.receive(span, SAVED, block)
    }
}
