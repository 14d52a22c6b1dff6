//! What the torrent of a world contains.

use fastrand::Rng;
use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};

/// A block of payload as it lies in a node's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) Vec<u8>);

impl Block {
    /// A block of `length` bytes to be filled.
    pub(crate) fn empty(length: usize) -> Self {
        Self(vec![0; length])
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The bytes of the torrent: random ones, made from the world's seed.
#[derive(Debug)]
pub(crate) struct Content {
    geometry: Geometry,
    bytes: Vec<u8>,
}

impl Content {
    pub(crate) fn new(geometry: Geometry, seed: u64) -> Self {
        let mut bytes = vec![0; geometry.total_length() as usize];
        Rng::with_seed(seed).fill(&mut bytes);
        Self { geometry, bytes }
    }

    pub(crate) fn span(&self, span: Span) -> &[u8] {
        let from = self.geometry.offset_of(span.piece) as usize + span.begin as usize;
        self.bytes.get(from..from + span.length as usize).unwrap_or_default()
    }

    /// Whether these blocks, one after the other, are the piece.
    pub(crate) fn is_piece(&self, piece: PieceIndex, blocks: &[Block]) -> bool {
        let from = self.geometry.offset_of(piece) as usize;
        let mut rest =
            self.bytes.get(from..from + self.geometry.length_of(piece) as usize).unwrap_or_default();
        for block in blocks {
            let Some(after) = rest.strip_prefix(block.as_ref()) else { return false };
            rest = after;
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_its_blocks_in_order_and_nothing_else() {
        let geometry = Geometry::new(70_000, 40_000).unwrap();
        let content = Content::new(geometry, 1);
        let piece = geometry.piece(1).unwrap();
        let block = |number| Block(content.span(geometry.block(piece, number).unwrap()).to_vec());
        assert!(content.is_piece(piece, &[block(0), block(1)]));
        assert!(!content.is_piece(piece, &[block(1), block(0)]));
        assert!(!content.is_piece(piece, &[block(0)]));
        assert!(!content.is_piece(geometry.piece(0).unwrap(), &[block(0), block(1)]));
    }
}
