//! Finding what a peer that has little can give, without looking at every piece each time.
//!
//! The walk in order of rarity finds a piece for a peer that has much of what is missing. For one that has other
//! pieces than the rarest it would look at all of them in vain. So after a bounded number of looks, the peer's set
//! is compared with the missing pieces, 64 at a time, from where the last comparison ended until [`FOUND`] pieces
//! are found or all words were seen; the rarest of what was found is taken. What is found is kept: a peer whose
//! whole use is known needs no further comparison, however often it is asked.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use quelea_metainfo::geometry::{Geometry, PieceIndex};
use quelea_wire::Bitfield;

/// Pieces that one comparison finds at most.
pub(super) const FOUND: usize = 64;
/// Pieces and news that are kept for one peer at most.
const KEPT: usize = 2 * FOUND;

/// Pieces that are missing anew, the last few of them, for scouts to catch up with.
#[derive(Debug, Default)]
pub(super) struct News {
    /// How many were dropped.
    before: u64,
    pieces: VecDeque<PieceIndex>,
}

impl News {
    /// A piece is missing that was not before.
    pub(super) fn add(&mut self, piece: PieceIndex) {
        if self.pieces.len() >= KEPT {
            self.pieces.pop_front();
            self.before += 1;
        }
        self.pieces.push_back(piece);
    }

    fn end(&self) -> u64 {
        self.before + self.pieces.len() as u64
    }
}

/// What is known of the missing pieces that one peer has.
#[derive(Debug)]
pub(super) struct Scout {
    /// Pieces that it had and that were missing when they were found.
    found: Vec<PieceIndex>,
    /// The word with which the next comparison begins.
    word: usize,
    /// Whether no other missing piece is at the peer than those that were found.
    complete: bool,
    /// The news that were read.
    read: u64,
}

impl Scout {
    /// One that knows nothing but that all news until this moment are in what it will compare.
    pub(super) fn new(news: &News) -> Self {
        Self { found: Vec::new(), word: 0, complete: false, read: news.end() }
    }

    /// Whether all that the peer can give is known, but for news.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The peer has a piece that it had not before.
    pub(super) fn learn(&mut self, piece: PieceIndex) {
        if self.found.len() >= KEPT {
            self.complete = false;
        } else if !self.found.contains(&piece) {
            self.found.push(piece);
        }
    }

    /// Pieces that the peer has and that are missing: all of them, or some.
    pub(super) fn pieces(
        &mut self,
        geometry: &Geometry,
        has: &Bitfield,
        missing: &Bitfield,
        news: &News,
    ) -> &[PieceIndex] {
        let fits = |piece: &PieceIndex| has.has(*piece) && missing.has(*piece);
        self.found.retain(fits);
        if self.read < news.before {
            self.complete = false;
            self.read = news.before;
        }
        let unread = news.pieces.iter().skip((self.read - news.before) as usize);
        unread.copied().filter(fits).for_each(|piece| self.learn(piece));
        self.read = news.end();
        if self.found.is_empty() && !self.complete {
            self.compare(geometry, has, missing);
        }
        &self.found
    }

    fn compare(&mut self, geometry: &Geometry, has: &Bitfield, missing: &Bitfield) {
        let words = has.words().max(1);
        for _ in 0..words {
            self.word %= words;
            let mut both = has.word(self.word) & missing.word(self.word);
            while both != 0 {
                let bit = both.leading_zeros();
                both &= !(1 << (63 - bit));
                self.found.extend(geometry.piece(self.word as u32 * 64 + bit));
            }
            self.word += 1;
            if self.found.len() >= FOUND {
                return;
            }
        }
        self.complete = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(pieces: u32, numbers: impl IntoIterator<Item = u32>) -> (Geometry, Bitfield) {
        let geometry = Geometry::new(u64::from(pieces), 1).unwrap();
        let mut bits = Bitfield::none(pieces);
        numbers.into_iter().for_each(|number| assert!(bits.set(geometry.piece(number).unwrap())));
        (geometry, bits)
    }

    #[test]
    fn all_that_a_peer_with_little_can_give_is_known_after_one_comparison() {
        let (geometry, has) = bits(10_000, [3, 700, 9_999]);
        let (_, mut missing) = bits(10_000, (0..10_000).filter(|number| *number != 700));
        let mut news = News::default();
        let mut scout = Scout::new(&news);
        let found: Vec<_> =
            scout.pieces(&geometry, &has, &missing, &news).iter().map(|piece| piece.get()).collect();
        assert_eq!(found, [3, 9_999]);
        assert!(scout.is_complete());
        let back = geometry.piece(700).unwrap();
        missing.set(back);
        news.add(back);
        news.add(geometry.piece(4).unwrap());
        let found = scout.pieces(&geometry, &has, &missing, &news);
        assert_eq!(found.len(), 3, "what is missing again is not forgotten");
    }

    #[test]
    fn each_comparison_goes_on_where_the_last_one_ended() {
        let (geometry, all) = bits(10_000, 0..10_000);
        let mut missing = all.clone();
        let news = News::default();
        let mut scout = Scout::new(&news);
        let mut seen = 0;
        while !missing.is_none() {
            let found = scout.pieces(&geometry, &all, &missing, &news).to_vec();
            assert!(found.len() <= FOUND + 63 && !found.is_empty());
            seen += found.len();
            found.into_iter().for_each(|piece| assert!(missing.unset(piece)));
        }
        assert_eq!(seen, 10_000);
    }

    #[test]
    fn more_than_can_be_kept_is_looked_for_again() {
        let (geometry, all) = bits(1_000, 0..1_000);
        let (_, none) = bits(1_000, []);
        let mut news = News::default();
        let mut scout = Scout::new(&news);
        assert_eq!(scout.pieces(&geometry, &all, &none, &news), []);
        assert!(scout.is_complete());
        geometry.iter().for_each(|piece| news.add(piece));
        // News of the first pieces are gone.
        let (_, first) = bits(1_000, [1]);
        assert_eq!(scout.pieces(&geometry, &all, &first, &news).len(), 1);
        geometry.iter().for_each(|piece| scout.learn(piece));
        assert!(!scout.is_complete());
    }
}
