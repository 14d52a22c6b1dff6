//! Which pieces someone has, one bit each (BEP 3, "bitfield": the first piece is the highest bit of the first
//! byte, spare bits at the end are zero).

use crate::{Fault, limits};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use quelea_metainfo::geometry::{Geometry, PieceIndex};

/// A set of the pieces of one torrent, kept as it goes over the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    pieces: u32,
    count: u32,
}

impl Bitfield {
    /// No piece of `pieces`.
    pub fn none(pieces: u32) -> Self {
        Self { bytes: vec![0; Self::wire_length(pieces)], pieces, count: 0 }
    }

    /// Every piece of `pieces`.
    pub fn all(pieces: u32) -> Self {
        let mut bytes = vec![0xff; Self::wire_length(pieces)];
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_bits(pieces);
        }
        Self { bytes, pieces, count: pieces }
    }

    /// The set that a peer sent, for a torrent of `pieces` pieces. Spare bits that are set, and up to
    /// [`limits::BITFIELD_SPARE`] bytes too many, say nothing about any piece and are ignored.
    ///
    /// # Errors
    /// [`Fault::BitfieldLength`] when there are too few bytes, or more than that too many.
    pub fn from_peer(bytes: &[u8], pieces: u32) -> Result<Self, Fault> {
        let expected = Self::wire_length(pieces);
        let Some(bytes) = bytes.get(..expected).filter(|_| bytes.len() <= Self::longest(pieces)) else {
            return Err(Fault::BitfieldLength { found: bytes.len(), expected, pieces });
        };
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_bits(pieces);
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { bytes, pieces, count })
    }

    /// The set that [`Bitfield::as_wire`] gave, for a torrent of `pieces` pieces.
    ///
    /// # Errors
    /// [`Fault::BitfieldLength`] when there are too few or too many bytes, [`Fault::SpareBits`] when a bit is set
    /// for a piece that does not exist.
    pub fn from_wire(bytes: &[u8], pieces: u32) -> Result<Self, Fault> {
        let expected = Self::wire_length(pieces);
        if bytes.len() != expected {
            return Err(Fault::BitfieldLength { found: bytes.len(), expected, pieces });
        }
        if bytes.last().is_some_and(|last| last & spare_bits(pieces) != 0) {
            return Err(Fault::SpareBits { pieces });
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { bytes: bytes.to_vec(), pieces, count })
    }

    /// Bytes that a set of this many pieces takes on the wire.
    pub const fn wire_length(pieces: u32) -> usize {
        pieces.div_ceil(8) as usize
    }

    /// Bytes of the longest bitfield message that [`Bitfield::from_peer`] reads.
    pub const fn longest(pieces: u32) -> usize {
        Self::wire_length(pieces) + limits::BITFIELD_SPARE
    }

    /// The set as the payload of a bitfield message.
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes
    }

    /// How many pieces the torrent has.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// How many pieces are in the set.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether every piece is in the set. The set of a torrent without pieces is both all and none.
    pub const fn is_all(&self) -> bool {
        self.count == self.pieces
    }

    /// Whether no piece is in the set.
    pub const fn is_none(&self) -> bool {
        self.count == 0
    }

    /// Whether this piece is in the set. A piece of a larger torrent is not.
    pub fn has(&self, piece: PieceIndex) -> bool {
        let (at, bit) = place(piece.get());
        self.bytes.get(at).is_some_and(|byte| byte & bit != 0)
    }

    /// Puts a piece into the set; true when it was not in it. A piece of a larger torrent stays out.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        if piece.get() >= self.pieces {
            return false;
        }
        let (at, bit) = place(piece.get());
        match self.bytes.get_mut(at) {
            Some(byte) if *byte & bit == 0 => {
                *byte |= bit;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Takes a piece out of the set; true when it was in it.
    pub fn unset(&mut self, piece: PieceIndex) -> bool {
        let (at, bit) = place(piece.get());
        match self.bytes.get_mut(at) {
            Some(byte) if *byte & bit != 0 => {
                *byte &= !bit;
                self.count -= 1;
                true
            }
            _ => false,
        }
    }

    /// The pieces in the set, in order, as pieces of this geometry; those beyond it are left out.
    pub fn iter(&self, geometry: &Geometry) -> impl Iterator<Item = PieceIndex> {
        self.numbers().map_while(|number| geometry.piece(number))
    }

    /// The numbers of the pieces in the set, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        (0u32..).step_by(8).zip(&self.bytes).filter(|(_, byte)| **byte != 0).flat_map(|(first, byte)| {
            let byte = *byte;
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| first + bit)
        })
    }

    /// The pieces `64 * word .. 64 * word + 64` as bits, the first of them the highest; 0 beyond the end.
    pub fn word(&self, word: usize) -> u64 {
        let rest = self.bytes.get(word.saturating_mul(8)..).unwrap_or_default();
        if let Some(whole) = rest.first_chunk() {
            return u64::from_be_bytes(*whole);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(last)
    }

    /// How many words [`Bitfield::word`] has.
    pub const fn words(&self) -> usize {
        self.bytes.len().div_ceil(8)
    }

    /// How many pieces are in both sets.
    pub fn count_shared(&self, other: &Self) -> u32 {
        let words = self.words().min(other.words());
        (0..words).map(|word| (self.word(word) & other.word(word)).count_ones()).sum()
    }

    /// Whether this set has a piece that the other lacks: the question that interest asks.
    pub fn has_any_not_in(&self, other: &Self) -> bool {
        let shared = self.bytes.len().min(other.bytes.len());
        let (ours, beyond) = self.bytes.split_at(shared);
        ours.iter().zip(&other.bytes).any(|(ours, theirs)| ours & !theirs != 0)
            || beyond.iter().any(|byte| *byte != 0)
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({} of {})", self.count, self.pieces)
    }
}

/// The byte and the bit in it that stand for a piece.
const fn place(piece: u32) -> (usize, u8) {
    ((piece / 8) as usize, 0x80 >> (piece % 8))
}

/// The bits of the last byte that stand for no piece.
const fn spare_bits(pieces: u32) -> u8 {
    match pieces % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry(pieces: u32) -> Geometry {
        Geometry::new(u64::from(pieces), 1).unwrap()
    }

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let field = Bitfield::from_wire(&[0x21, 0, 0, 0, 0x80], 37).unwrap();
        assert_eq!(field.numbers().collect::<Vec<_>>(), [2, 7, 32]);
        assert_eq!(field.count(), 3);
    }

    #[test]
    fn refuses_spare_bits_and_wrong_lengths() {
        assert_eq!(Bitfield::from_wire(&[0, 0, 0, 0, 0x04], 37), Err(Fault::SpareBits { pieces: 37 }));
        assert!(Bitfield::from_wire(&[0, 0, 0, 0, 0x08], 37).is_ok());
        for length in [0, 4, 6] {
            let fault = Bitfield::from_wire(&vec![0; length], 37).unwrap_err();
            assert_eq!(fault, Fault::BitfieldLength { found: length, expected: 5, pieces: 37 });
        }
    }

    #[test]
    fn what_a_peer_sets_beyond_the_last_piece_is_ignored() {
        let exact = Bitfield::from_wire(&[0xff, 0xff, 0xff, 0xff, 0xf8], 37).unwrap();
        for sent in [&[0xff; 5][..], &[0xff; 6], &[0xff, 0xff, 0xff, 0xff, 0xf8, 0]] {
            assert_eq!(Bitfield::from_peer(sent, 37).as_ref(), Ok(&exact), "{sent:?}");
        }
        assert!(Bitfield::from_peer(&vec![0xff; Bitfield::longest(37)], 37).is_ok());
        for length in [0, 4, Bitfield::longest(37) + 1] {
            let fault = Fault::BitfieldLength { found: length, expected: 5, pieces: 37 };
            assert_eq!(Bitfield::from_peer(&vec![0; length], 37), Err(fault));
        }
    }

    #[test]
    fn a_piece_of_a_larger_torrent_is_never_in() {
        let mut field = Bitfield::all(3);
        let beyond = geometry(9).piece(4).unwrap();
        assert!(!field.has(beyond) && !field.set(beyond) && !field.unset(beyond));
        assert_eq!(field, Bitfield::all(3));
    }

    #[test]
    fn a_torrent_without_pieces_is_all_and_none() {
        let field = Bitfield::none(0);
        assert!(field.is_all() && field.is_none());
        assert_eq!(field, Bitfield::all(0));
        assert_eq!(field, Bitfield::from_wire(&[], 0).unwrap());
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(
            pieces in 1u32..200, actions in prop::collection::vec((any::<bool>(), 0u32..200), 0..400)
        ) {
            let geometry = geometry(pieces);
            let mut field = Bitfield::none(pieces);
            let mut plain = std::collections::BTreeSet::new();
            for (add, number) in actions {
                let Some(piece) = geometry.piece(number) else { continue };
                if add {
                    prop_assert_eq!(field.set(piece), plain.insert(number));
                } else {
                    prop_assert_eq!(field.unset(piece), plain.remove(&number));
                }
            }
            prop_assert_eq!(field.count() as usize, plain.len());
            prop_assert!(field.numbers().eq(plain.iter().copied()));
            prop_assert!(field.iter(&geometry).map(PieceIndex::get).eq(plain.iter().copied()));
            prop_assert!(geometry.iter().all(|piece| field.has(piece) == plain.contains(&piece.get())));
            prop_assert_eq!(Bitfield::from_wire(field.as_wire(), pieces).unwrap(), field.clone());
            prop_assert_eq!(Bitfield::all(pieces).has_any_not_in(&field), !field.is_all());
            prop_assert!(!field.has_any_not_in(&field));
            let words = (0..field.words()).flat_map(|word| (0..64).map(move |bit| (word, bit)));
            let set = words.filter(|&(word, bit)| field.word(word) & (1 << (63 - bit)) != 0);
            prop_assert!(set.map(|(word, bit)| word as u32 * 64 + bit).eq(plain.iter().copied()));
            prop_assert_eq!(field.word(field.words()), 0);
            prop_assert_eq!(field.count_shared(&Bitfield::all(pieces)), field.count());
            prop_assert_eq!(field.count_shared(&Bitfield::none(pieces)), 0);
        }
    }
}
