//! What the torrent of a world contains.

use crate::memory::{Held, Memory};
use crate::scenario::Payload;
use fastrand::Rng;
use quelea_digest::sha1;
use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};

/// A block of payload as it lies in a node's memory.
#[derive(Debug)]
pub(crate) struct Block {
    body: Body,
    held: Option<Held>,
}

#[derive(Debug)]
enum Body {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Which one it is, in a world too large for its bytes.
    Handle {
        span: Span,
        /// Whether its bytes would be those of the torrent.
        is_good: bool,
    },
}

impl Block {
    /// A block of `length` bytes to be filled.
    pub(crate) fn empty(length: usize) -> Self {
        Self { body: Body::Bytes(vec![0; length]), held: None }
    }

    /// A block without its bytes.
    pub(crate) fn handle(span: Span, is_good: bool) -> Self {
        Self { body: Body::Handle { span, is_good }, held: None }
    }

    /// A node holds it from here on.
    pub(crate) fn hold(&mut self, memory: &Memory) {
        let bytes = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Handle { span, .. } => u64::from(span.length),
        };
        self.held = Some(memory.hold(bytes));
    }

    /// Its digest. That of a spoilt handle differs from that of a good one.
    pub(crate) fn digest(&self) -> [u8; 20] {
        match &self.body {
            Body::Bytes(bytes) => sha1(bytes),
            Body::Handle { is_good, .. } => [u8::from(*is_good); 20],
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        match &self.body {
            Body::Bytes(bytes) => bytes,
            Body::Handle { .. } => &[],
        }
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.body {
            Body::Bytes(bytes) => bytes,
            Body::Handle { .. } => &mut [],
        }
    }
}

/// The bytes of the torrent: random ones, made from the world's seed; none where blocks are handles.
#[derive(Debug)]
pub(crate) struct Content {
    geometry: Geometry,
    bytes: Vec<u8>,
}

impl Content {
    pub(crate) fn new(geometry: Geometry, payload: Payload, seed: u64) -> Self {
        let length = match payload {
            Payload::Bytes => geometry.total_length() as usize,
            Payload::Handles => 0,
        };
        let mut bytes = vec![0; length];
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
        let length = self.geometry.length_of(piece);
        let mut rest = self.bytes.get(from..from + length as usize).unwrap_or_default();
        let mut taken = 0;
        for block in blocks {
            match &block.body {
                Body::Bytes(bytes) => {
                    let Some(after) = rest.strip_prefix(bytes.as_slice()) else { return false };
                    rest = after;
                    taken += bytes.len() as u32;
                }
                Body::Handle { span, is_good } => {
                    if !is_good || span.piece != piece || span.begin != taken {
                        return false;
                    }
                    taken += span.length;
                }
            }
        }
        taken == length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_its_blocks_in_order_and_nothing_else() {
        let geometry = Geometry::new(70_000, 40_000).unwrap();
        let content = Content::new(geometry, Payload::Bytes, 1);
        let piece = geometry.piece(1).unwrap();
        let block = |number| {
            let bytes = content.span(geometry.block(piece, number).unwrap());
            let mut block = Block::empty(bytes.len());
            block.as_mut().copy_from_slice(bytes);
            block
        };
        assert!(content.is_piece(piece, &[block(0), block(1)]));
        assert!(!content.is_piece(piece, &[block(1), block(0)]));
        assert!(!content.is_piece(piece, &[block(0)]));
        assert!(!content.is_piece(geometry.piece(0).unwrap(), &[block(0), block(1)]));
        let handle = |number, is_good| Block::handle(geometry.block(piece, number).unwrap(), is_good);
        assert!(content.is_piece(piece, &[handle(0, true), handle(1, true)]));
        assert!(!content.is_piece(piece, &[handle(1, true), handle(0, true)]));
        assert!(!content.is_piece(piece, &[handle(0, true), handle(1, false)]));
        assert!(!content.is_piece(piece, &[handle(0, true)]));
    }
}
