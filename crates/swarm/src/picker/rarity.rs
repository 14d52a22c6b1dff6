//! Which missing pieces are rarest, kept in order at constant cost (8 bytes a piece and its place).
//!
//! Pieces stand in one list a level, the level being how many connected peers have the piece. Peers that have
//! everything are not counted: they add the same to every piece. Within a level the order is random, made by
//! swapping each arrival with a random member, so taking the first is taking a random one.

use alloc::vec;
use alloc::vec::Vec;
use fastrand::Rng;
use quelea_metainfo::geometry::PieceIndex;

/// The place of a piece that is not in any list.
const ABSENT: u32 = u32::MAX;

/// Missing pieces by how many peers have them.
#[derive(Debug)]
pub(super) struct Rarity {
    levels: Vec<Vec<PieceIndex>>,
    count: Vec<u32>,
    place: Vec<u32>,
    listed: usize,
    rng: Rng,
}

impl Rarity {
    /// `pieces` pieces that nobody has, none of them listed.
    pub(super) fn new(pieces: u32, seed: u64) -> Self {
        Self {
            levels: Vec::new(),
            count: vec![0; pieces as usize],
            place: vec![ABSENT; pieces as usize],
            listed: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// How many pieces are listed.
    pub(super) fn len(&self) -> usize {
        self.listed
    }

    /// How many peers have this piece, peers with everything left out.
    pub(super) fn count(&self, piece: PieceIndex) -> u32 {
        self.count[piece.at()]
    }

    /// Lists a piece as missing.
    pub(super) fn insert(&mut self, piece: PieceIndex) {
        if self.place[piece.at()] == ABSENT {
            self.push(piece);
            self.listed += 1;
        }
    }

    /// Takes a piece off the list.
    pub(super) fn remove(&mut self, piece: PieceIndex) {
        if self.place[piece.at()] != ABSENT {
            self.take(piece);
            self.listed -= 1;
        }
    }

    /// One more peer has this piece.
    pub(super) fn increment(&mut self, piece: PieceIndex) {
        self.change(piece, |count| count.saturating_add(1));
    }

    /// One peer fewer has this piece.
    pub(super) fn decrement(&mut self, piece: PieceIndex) {
        self.change(piece, |count| count.saturating_sub(1));
    }

    /// The rarest listed piece that `suits`, ties broken at random.
    pub(super) fn rarest(&self, mut suits: impl FnMut(PieceIndex) -> bool) -> Option<PieceIndex> {
        self.levels.iter().flatten().copied().find(|&piece| suits(piece))
    }

    /// The commonest listed piece that `suits`.
    pub(super) fn commonest(&self, mut suits: impl FnMut(PieceIndex) -> bool) -> Option<PieceIndex> {
        self.levels.iter().rev().flatten().copied().find(|&piece| suits(piece))
    }

    fn change(&mut self, piece: PieceIndex, to: impl Fn(u32) -> u32) {
        let listed = self.place[piece.at()] != ABSENT;
        if listed {
            self.take(piece);
        }
        let count = &mut self.count[piece.at()];
        *count = to(*count);
        if listed {
            self.push(piece);
        }
    }

    fn push(&mut self, piece: PieceIndex) {
        let level = self.count[piece.at()] as usize;
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        let list = &mut self.levels[level];
        let chosen = self.rng.usize(..=list.len());
        if chosen == list.len() {
            list.push(piece);
        } else {
            let moved = core::mem::replace(&mut list[chosen], piece);
            self.place[moved.at()] = list.len() as u32;
            list.push(moved);
        }
        self.place[piece.at()] = chosen as u32;
    }

    fn take(&mut self, piece: PieceIndex) {
        let place = core::mem::replace(&mut self.place[piece.at()], ABSENT) as usize;
        let list = &mut self.levels[self.count[piece.at()] as usize];
        list.swap_remove(place);
        if let Some(&moved) = list.get(place) {
            self.place[moved.at()] = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use proptest::prelude::*;
    use quelea_metainfo::geometry::Geometry;

    fn geometry() -> Geometry {
        Geometry::new(20, 1).unwrap()
    }

    #[test]
    fn ties_are_broken_differently_by_different_seeds() {
        let firsts: BTreeSet<_> = (0..50)
            .map(|seed| {
                let mut rarity = Rarity::new(20, seed);
                geometry().iter().for_each(|piece| rarity.insert(piece));
                rarity.rarest(|_| true)
            })
            .collect();
        assert!(firsts.len() > 5, "{firsts:?}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(steps in prop::collection::vec((0u8..4, 0u32..20), 0..300), seed: u64) {
            let mut rarity = Rarity::new(20, seed);
            let mut counts: BTreeMap<u32, u32> = (0..20).map(|piece| (piece, 0)).collect();
            let mut listed = BTreeSet::new();
            for (step, number) in steps {
                let piece = geometry().piece(number).unwrap();
                let count = counts.get_mut(&number).unwrap();
                match step {
                    0 => { rarity.insert(piece); listed.insert(number); }
                    1 => { rarity.remove(piece); listed.remove(&number); }
                    2 => { rarity.increment(piece); *count += 1; }
                    _ => { rarity.decrement(piece); *count = count.saturating_sub(1); }
                }
                prop_assert_eq!(rarity.len(), listed.len());
                prop_assert_eq!(rarity.count(piece), counts[&number]);
                let fewest = listed.iter().map(|number| counts[number]).min();
                prop_assert_eq!(rarity.rarest(|_| true).map(|found| counts[&found.get()]), fewest);
                let most = listed.iter().map(|number| counts[number]).max();
                prop_assert_eq!(rarity.commonest(|_| true).map(|found| counts[&found.get()]), most);
                let odd = listed.iter().filter(|&&number| number % 2 == 1).map(|number| counts[number]).min();
                prop_assert_eq!(rarity.rarest(|piece| piece.get() % 2 == 1).map(|found| counts[&found.get()]), odd);
            }
        }
    }
}
