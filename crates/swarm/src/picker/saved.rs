//! Blocks of pieces that are not whole, from one run to the next.

use super::{Picker, Receipt, Source};
use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use quelea_metainfo::geometry::{PieceIndex, Span};

/// Where a block comes from that was saved: who sent it is no longer known, so nobody is to blame.
pub(crate) const SAVED: Source = Source { peer: PeerKey::NOBODY, ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };

impl<B> Picker<B> {
    /// Takes all blocks of open pieces out; the pieces are missing again. No peer may be asked for any of them.
    pub fn take_blocks(&mut self) -> Vec<(Span, B)> {
        let mut blocks = Vec::new();
        let open: Vec<PieceIndex> = self.open.keys().copied().collect();
        for piece in open {
            let Some(open) = self.close(piece) else { continue };
            self.list(piece);
            for (number, block) in open.into_received() {
                blocks.extend(self.geometry.block(piece, number).map(|span| (span, block)));
            }
        }
        blocks
    }

    /// Puts a block in that an earlier run received, if its piece is missing or open and there is room for it.
    pub fn restore(&mut self, span: Span, block: B) -> Receipt<B> {
        self.receive(span, SAVED, block)
    }
}
