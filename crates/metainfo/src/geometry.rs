//! How a torrent's bytes divide into pieces and blocks (BEP 3, "piece length" and "request").
//!
//! All arithmetic on offsets lives here. A [`PieceIndex`] can only be made by the [`Geometry`] it belongs to,
//! so code that holds one need not ask again whether it is in range.

use core::fmt;

/// The size of a whole block, the unit of requests, in bytes: 16 KiB (BEP 3, "request").
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// The number of a piece that exists in its torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number as it goes over the wire.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index into an array of pieces.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of bytes inside one piece, as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The piece.
    pub piece: PieceIndex,
    /// Where the run begins, in bytes from the piece's beginning.
    pub begin: u32,
    /// How long it is, in bytes; never 0.
    pub length: u32,
}

/// Total length and piece length, and everything that follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    total_length: u64,
    piece_length: u32,
    pieces: u32,
}

impl Geometry {
    /// The geometry of `total_length` bytes in pieces of `piece_length` bytes.
    ///
    /// `None` when the piece length is 0 or there would be more than `u32::MAX` pieces.
    pub const fn new(total_length: u64, piece_length: u32) -> Option<Self> {
        if piece_length == 0 {
            return None;
        }
        let pieces = total_length.div_ceil(piece_length as u64);
        if pieces > u32::MAX as u64 {
            return None;
        }
        Some(Self { total_length, piece_length, pieces: pieces as u32 })
    }

    /// Bytes in all.
    pub const fn total_length(&self) -> u64 {
        self.total_length
    }

    /// Bytes in every piece but the last.
    pub const fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces there are.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The piece with this number, if there is one.
    pub const fn piece(&self, number: u32) -> Option<PieceIndex> {
        if number < self.pieces { Some(PieceIndex(number)) } else { None }
    }

    /// All pieces in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// Where a piece begins, in bytes from the torrent's beginning.
    pub const fn offset_of(&self, piece: PieceIndex) -> u64 {
        piece.0 as u64 * self.piece_length as u64
    }

    /// Bytes in this piece: less than the piece length for the last one where it does not divide evenly.
    pub const fn length_of(&self, piece: PieceIndex) -> u32 {
        let left = self.total_length.saturating_sub(self.offset_of(piece));
        if left < self.piece_length as u64 { left as u32 } else { self.piece_length }
    }

    /// How many blocks this piece has.
    pub const fn blocks_of(&self, piece: PieceIndex) -> u32 {
        self.length_of(piece).div_ceil(BLOCK_LENGTH)
    }

    /// The span of block number `block` of `piece`, if there is such a block.
    pub const fn block(&self, piece: PieceIndex, block: u32) -> Option<Span> {
        if block >= self.blocks_of(piece) {
            return None;
        }
        let begin = block * BLOCK_LENGTH;
        let left = self.length_of(piece) - begin;
        Some(Span { piece, begin, length: if left < BLOCK_LENGTH { left } else { BLOCK_LENGTH } })
    }

    /// The span of these wire numbers, if it lies inside a piece and is not empty. It need not be one block.
    pub const fn span(&self, piece: u32, begin: u32, length: u32) -> Option<Span> {
        let Some(piece) = self.piece(piece) else { return None };
        if length == 0 || begin as u64 + length as u64 > self.length_of(piece) as u64 {
            return None;
        }
        Some(Span { piece, begin, length })
    }

    /// The number of the block that this span is, if it is exactly one whole block.
    pub const fn block_number(&self, span: Span) -> Option<u32> {
        let number = span.begin / BLOCK_LENGTH;
        match self.block(span.piece, number) {
            Some(block) if block.begin == span.begin && block.length == span.length => Some(number),
            _ => None,
        }
    }

    /// The pieces that the bytes `offset .. offset + length` touch, as a half-open range of numbers.
    pub const fn pieces_touching(&self, offset: u64, length: u64) -> core::ops::Range<u32> {
        if length == 0 || offset >= self.total_length {
            return 0..0;
        }
        let end = offset.saturating_add(length);
        let end = if end < self.total_length { end } else { self.total_length };
        let first = offset / self.piece_length as u64;
        let last = end.div_ceil(self.piece_length as u64);
        first as u32..last as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_piece_and_its_last_block_are_short() {
        let geometry = Geometry::new(100_000, 32_768).unwrap();
        assert_eq!(geometry.pieces(), 4);
        let last = geometry.piece(3).unwrap();
        assert_eq!(geometry.length_of(last), 100_000 - 3 * 32_768);
        assert_eq!(geometry.blocks_of(last), 1);
        assert_eq!(geometry.block(last, 0).unwrap().length, 1_696);
        assert!(geometry.block(last, 1).is_none());
        assert!(geometry.piece(4).is_none());
    }

    #[test]
    fn refuses_what_has_no_geometry() {
        assert!(Geometry::new(1, 0).is_none());
        assert!(Geometry::new(u64::MAX, 1).is_none());
        assert_eq!(Geometry::new(0, 16_384).unwrap().pieces(), 0);
    }

    #[test]
    fn spans_outside_a_piece_do_not_exist() {
        let geometry = Geometry::new(100_000, 32_768).unwrap();
        assert!(geometry.span(0, 0, 0).is_none());
        assert!(geometry.span(0, 32_767, 1).is_some());
        assert!(geometry.span(0, 32_767, 2).is_none());
        assert!(geometry.span(3, 1_695, 2).is_none());
        assert!(geometry.span(0, u32::MAX, u32::MAX).is_none());
        assert!(geometry.span(4, 0, 1).is_none());
    }

    proptest! {
        #[test]
        fn blocks_tile_the_torrent(total in 0u64..3_000_000, piece_length in 1u32..400_000) {
            let geometry = Geometry::new(total, piece_length).unwrap();
            let mut at = 0u64;
            for piece in geometry.iter() {
                for number in 0..geometry.blocks_of(piece) {
                    let block = geometry.block(piece, number).unwrap();
                    prop_assert_eq!(geometry.offset_of(piece) + u64::from(block.begin), at);
                    prop_assert_eq!(geometry.block_number(block), Some(number));
                    prop_assert_eq!(geometry.span(piece.get(), block.begin, block.length), Some(block));
                    at += u64::from(block.length);
                }
            }
            prop_assert_eq!(at, total);
        }

        #[test]
        fn pieces_touching_agrees_with_a_search(
            total in 1u64..100_000, piece_length in 1u32..5_000, offset in 0u64..110_000, length in 0u64..50_000
        ) {
            let geometry = Geometry::new(total, piece_length).unwrap();
            let found = geometry.pieces_touching(offset, length);
            for piece in geometry.iter() {
                let start = geometry.offset_of(piece);
                let end = start + u64::from(geometry.length_of(piece));
                let touches = length > 0 && start < offset + length && offset < end;
                prop_assert_eq!(found.contains(&piece.get()), touches);
            }
        }
    }
}
