//! Going on with pieces that were not whole when the last run ended.

use super::Torrent;
use crate::event::Output;
use crate::picker::Receipt;
use alloc::vec::Vec;
use quelea_metainfo::geometry::Span;

impl<B> Torrent<B> {
    /// Takes out the blocks of pieces that are not whole, to be saved. After [`Torrent::stop`], for good.
    pub fn take_blocks(&mut self) -> Vec<(Span, B)> {
        self.picker.take_blocks()
    }

    /// Puts in a block that was saved; one that is of no use is dropped. Before any peer is connected.
    pub fn restore_block(&mut self, span: Span, block: B) {
        if let Receipt::Complete { blocks, .. } = self.picker.restore(span, block) {
            self.outputs.push_back(Output::Verify { piece: span.piece, blocks, digest_blocks: false });
        }
    }
}
