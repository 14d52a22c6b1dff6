//! In which order missing pieces are taken: by priority, then by rarity, ties at random.
//!
//! # Eight bytes a piece
//! A piece stands in one place of one list, and two arrays are all there is: which place a piece has, and which
//! piece stands at a place. The list says the rest: there is one for each class (a priority, or 0 for pieces that
//! are not to be taken) and each level (how many peers have the piece), so neither is kept with the piece. Lists
//! are made of runs of [`RUN`] places, which know whose they are; a list that shrinks gives its runs to those that
//! grow, so whatever happens the arrays keep their size.
//!
//! # Constant time
//! Moving a piece to another list moves the last piece of its list into the hole, and swaps it with a random member
//! of the new list; so each list is shuffled at any time, and taking its first piece is taking a random one.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use fastrand::Rng;
use quelea_metainfo::geometry::{Geometry, PieceIndex};

/// Places in a run.
const RUN: usize = 32;
/// Class 0, and one for each priority from 1 to 7.
pub(super) const CLASSES: usize = 8;
/// The class of pieces that are not to be taken.
const UNLISTED: usize = 0;

/// Whose a run is: the level, and the class in its lowest three bits.
#[derive(Debug, Clone, Copy)]
struct Home(i32);

impl Home {
    const fn new(class: u8, level: i32) -> Self {
        Self(level << 3 | class as i32)
    }

    const fn class(self) -> u8 {
        (self.0 & 7) as u8
    }

    const fn level(self) -> i32 {
        self.0 >> 3
    }
}

/// The pieces of one class and one level.
#[derive(Debug, Default)]
struct List {
    runs: Vec<u32>,
    len: usize,
}

impl List {
    /// Where the piece number `at` of the list stands.
    fn place(&self, at: usize) -> usize {
        self.runs[at / RUN] as usize * RUN + at % RUN
    }
}

/// The lists of one class.
#[derive(Debug, Default)]
struct Class {
    /// The level of the first list.
    lowest: i32,
    lists: VecDeque<List>,
    len: usize,
}

impl Class {
    fn list(&self, level: i32) -> Option<&List> {
        self.lists.get(usize::try_from(level - self.lowest).ok()?)
    }

    fn list_mut(&mut self, level: i32) -> &mut List {
        if self.lists.is_empty() {
            self.lowest = level;
        }
        while level < self.lowest {
            self.lists.push_front(List::default());
            self.lowest -= 1;
        }
        let at = (level - self.lowest) as usize;
        while self.lists.len() <= at {
            self.lists.push_back(List::default());
        }
        &mut self.lists[at]
    }

    /// Drops empty lists at both ends, so that a walk does not begin with them.
    fn trim(&mut self) {
        while self.lists.front().is_some_and(|list| list.len == 0) {
            self.lists.pop_front();
            self.lowest += 1;
        }
        while self.lists.back().is_some_and(|list| list.len == 0) {
            self.lists.pop_back();
        }
    }
}

/// Pieces by priority and rarity.
#[derive(Debug)]
pub(super) struct Order {
    geometry: Geometry,
    place: Vec<u32>,
    pieces: Vec<u32>,
    homes: Vec<Home>,
    free_runs: Vec<u32>,
    classes: [Class; CLASSES],
    rng: Rng,
}

impl Order {
    /// An order that is asleep.
    pub(super) fn new(geometry: Geometry, seed: u64) -> Self {
        Self {
            geometry,
            place: Vec::new(),
            pieces: Vec::new(),
            homes: Vec::new(),
            free_runs: Vec::new(),
            classes: Default::default(),
            rng: Rng::with_seed(seed),
        }
    }

    /// Puts all pieces at level 0, each in the class that `class` tells.
    pub(super) fn wake(&mut self, class: impl Fn(PieceIndex) -> u8) {
        let pieces = self.geometry.pieces() as usize;
        self.place = vec![0; pieces];
        self.pieces.reserve_exact(pieces + 2 * RUN);
        self.homes.reserve_exact(pieces.div_ceil(RUN) + 2);
        for piece in self.geometry.iter() {
            self.push(piece, class(piece), 0);
        }
    }

    /// Forgets everything, and takes no memory until it is woken: pieces stand nowhere and cannot be moved.
    pub(super) fn sleep(&mut self) {
        *self = Self::new(self.geometry, self.rng.u64(..));
    }

    /// Whether pieces stand nowhere.
    pub(super) fn is_asleep(&self) -> bool {
        self.place.is_empty()
    }

    /// How many pieces may be taken.
    pub(super) fn len(&self) -> usize {
        self.classes[1..].iter().map(|class| class.len).sum()
    }

    /// The highest class that has pieces which may be taken.
    pub(super) fn highest(&self) -> Option<u8> {
        (1..CLASSES as u8).rev().find(|&class| self.classes[class as usize].len > 0)
    }

    /// How many pieces that may be taken stand at this level.
    pub(super) fn at_level(&self, level: i32) -> usize {
        self.classes[1..].iter().filter_map(|class| class.list(level)).map(|list| list.len).sum()
    }

    /// The class of a piece, 0 if it is not to be taken, and its level.
    pub(super) fn standing(&self, piece: PieceIndex) -> (u8, i32) {
        let Some(&place) = self.place.get(piece.at()) else { return (UNLISTED as u8, 0) };
        let home = self.homes[place as usize / RUN];
        (home.class(), home.level())
    }

    /// Puts a piece into another class.
    pub(super) fn set_class(&mut self, piece: PieceIndex, class: u8) {
        let (before, level) = self.standing(piece);
        if class != before && !self.is_asleep() {
            self.take(piece);
            self.push(piece, class, level);
        }
    }

    /// Puts a piece one level higher or lower.
    pub(super) fn shift(&mut self, piece: PieceIndex, by: i32) {
        if !self.is_asleep() {
            let (class, level) = self.standing(piece);
            self.take(piece);
            self.push(piece, class, level + by);
        }
    }

    /// The pieces that may be taken, those of high priority first, then the rarest or the commonest. Pieces at
    /// `left_out` are left out: those that nobody has.
    pub(super) fn walk(&self, commonest: bool, left_out: i32) -> impl Iterator<Item = PieceIndex> + '_ {
        self.classes[1..].iter().rev().filter(|class| class.len > 0).flat_map(move |class| {
            let count = class.lists.len();
            (0..count).flat_map(move |nth| {
                let at = if commonest { count - 1 - nth } else { nth };
                let list = &class.lists[at];
                let len = if class.lowest + at as i32 == left_out { 0 } else { list.len };
                (0..len).filter_map(|at| self.geometry.piece(self.pieces[list.place(at)]))
            })
        })
    }

    /// A piece of the highest class, each as likely as any other.
    pub(super) fn any(&mut self) -> Option<PieceIndex> {
        let class = self.classes[1..].iter().rev().find(|class| class.len > 0)?;
        let mut chosen = self.rng.usize(..class.len);
        for list in &class.lists {
            if chosen < list.len {
                return self.geometry.piece(self.pieces[list.place(chosen)]);
            }
            chosen -= list.len;
        }
        None
    }

    /// Bytes that the order of the pieces takes: nothing else grows with their number.
    pub(super) fn bytes(&self) -> usize {
        let homes = self.homes.capacity() * size_of::<Home>();
        let runs = self.classes.iter().flat_map(|class| &class.lists).map(|list| list.runs.capacity());
        4 * (self.place.capacity() + self.pieces.capacity() + runs.sum::<usize>() + self.free_runs.capacity())
            + homes
    }

    fn push(&mut self, piece: PieceIndex, class: u8, level: i32) {
        let kin = &mut self.classes[class as usize];
        kin.len += 1;
        let list = kin.list_mut(level);
        if list.len == list.runs.len() * RUN {
            let home = Home::new(class, level);
            if let Some(run) = self.free_runs.pop() {
                if self.free_runs.len() * 4 < self.free_runs.capacity() {
                    self.free_runs.shrink_to(self.free_runs.len() * 2);
                }
                self.homes[run as usize] = home;
                list.runs.push(run);
            } else {
                list.runs.push(self.homes.len() as u32);
                if self.pieces.len() == self.pieces.capacity() {
                    // Doubling would waste as much again as there is.
                    self.pieces.reserve_exact(16 * RUN);
                    self.homes.reserve_exact(16);
                }
                self.homes.push(home);
                self.pieces.resize(self.pieces.len() + RUN, 0);
            }
        }
        let last = list.len;
        list.len += 1;
        let chosen = if class as usize == UNLISTED { last } else { self.rng.usize(..=last) };
        let (hole, place) = (list.place(last), list.place(chosen));
        if chosen != last {
            let moved = self.pieces[place];
            self.pieces[hole] = moved;
            self.place[moved as usize] = hole as u32;
        }
        self.pieces[place] = piece.get();
        self.place[piece.at()] = place as u32;
    }

    fn take(&mut self, piece: PieceIndex) {
        let (class, level) = self.standing(piece);
        let kin = &mut self.classes[class as usize];
        kin.len -= 1;
        let list = kin.list_mut(level);
        list.len -= 1;
        let last = list.place(list.len);
        if list.len.is_multiple_of(RUN) {
            self.free_runs.extend(list.runs.pop());
            if list.runs.len() * 4 < list.runs.capacity() {
                list.runs.shrink_to(list.runs.len() * 2);
            }
        }
        if list.len == 0 {
            list.runs = Vec::new();
            kin.trim();
        }
        let place = self.place[piece.at()];
        let moved = self.pieces[last];
        self.pieces[place as usize] = moved;
        self.place[moved as usize] = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn order(pieces: u32, seed: u64) -> Order {
        let mut order = Order::new(Geometry::new(u64::from(pieces), 1).unwrap(), seed);
        order.wake(|_| 4);
        order
    }

    #[test]
    fn ties_are_broken_differently_by_different_seeds() {
        let firsts: BTreeSet<_> = (0..50).map(|seed| order(20, seed).walk(false, -1).next()).collect();
        assert!(firsts.len() > 5, "{firsts:?}");
    }

    #[test]
    fn it_takes_eight_bytes_a_piece_wherever_pieces_have_been() {
        const PIECES: u32 = 200_000;
        let mut order = order(PIECES, 1);
        // A tenth more is for runs that are not full and the lists of runs.
        let at_most = PIECES as usize * 8 * 11 / 10;
        assert!(order.bytes() <= at_most, "{} bytes", order.bytes());
        let mut rng = Rng::with_seed(1);
        // Everything goes up through fifty levels and down through some.
        for _ in 0..50 {
            order.geometry.iter().for_each(|piece| order.shift(piece, 1));
        }
        for _ in 0..5 {
            for piece in order.geometry.iter() {
                order.shift(piece, -i32::from(rng.u8(..8)));
            }
        }
        for piece in order.geometry.iter() {
            order.set_class(piece, rng.u8(..8));
        }
        assert!(order.bytes() <= at_most, "{} bytes", order.bytes());
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(
            steps in prop::collection::vec((0u8..3, 0u32..100, 0u8..8), 0..600), seed: u64
        ) {
            let mut order = order(100, seed);
            let mut model: BTreeMap<u32, (u8, i32)> = (0..100).map(|piece| (piece, (4, 0))).collect();
            for (step, number, class) in steps {
                let piece = order.geometry.piece(number).unwrap();
                let standing = model.get_mut(&number).unwrap();
                match step {
                    0 => { order.set_class(piece, class); standing.0 = class; }
                    1 => { order.shift(piece, 1); standing.1 += 1; }
                    _ => { order.shift(piece, -1); standing.1 -= 1; }
                }
                prop_assert_eq!(order.standing(piece), *standing);
            }
            let listed = |(_, (class, _)): &(&u32, &(u8, i32))| *class > 0;
            prop_assert_eq!(order.len(), model.iter().filter(listed).count());
            prop_assert_eq!(order.at_level(1), model.iter().filter(listed).filter(|(_, (_, level))| *level == 1).count());
            prop_assert_eq!(order.highest(), model.values().map(|(class, _)| *class).max().filter(|class| *class > 0));
            for commonest in [false, true] {
                let rank = |(class, level): (u8, i32)| (-i32::from(class), if commonest { -level } else { level });
                let walked: Vec<_> = order.walk(commonest, 2).map(|piece| piece.get()).collect();
                let ranks: Vec<_> = walked.iter().map(|piece| rank(model[piece])).collect();
                prop_assert!(ranks.is_sorted(), "{ranks:?}");
                let expected = model.iter().filter(listed).filter(|(_, (_, level))| *level != 2);
                prop_assert!(expected.map(|(piece, _)| *piece).eq(walked.into_iter().collect::<BTreeSet<_>>()));
            }
        }
    }
}
