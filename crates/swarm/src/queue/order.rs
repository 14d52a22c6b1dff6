//! The order of the queue: every key once, each with a rank that says who stands before whom.
//!
//! A rank is a number with room beside it, so that one that comes between two others changes no other's.

use super::Move;
use alloc::vec::Vec;

/// Who has the smaller one stands before.
pub(super) type Rank = i128;

/// What lies between two that were put behind each other.
const GAP: Rank = 1 << 64;

/// Every key once, in order, with its rank.
#[derive(Debug, Clone)]
pub(super) struct Order<K> {
    keys: Vec<K>,
    ranks: Vec<Rank>,
}

/// Whether others have other ranks as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranked {
    /// It alone has this rank.
    Alone(Rank),
    /// All have new ones.
    Anew,
}

impl<K: Copy> Order<K> {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), ranks: Vec::new() }
    }

    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Every key with its rank.
    pub(super) fn ranked(&self) -> impl Iterator<Item = (K, Rank)> + '_ {
        self.keys.iter().copied().zip(self.ranks.iter().copied())
    }

    /// The place of who has this rank, from 0.
    pub(super) fn place(&self, rank: Rank) -> Option<usize> {
        self.ranks.binary_search(&rank).ok()
    }

    /// A key comes behind all others; its rank.
    pub(super) fn push(&mut self, key: K) -> Rank {
        let rank = self.ranks.last().map_or(0, |last| last + GAP);
        self.keys.push(key);
        self.ranks.push(rank);
        rank
    }

    /// Who stands at a place goes.
    pub(super) fn remove(&mut self, place: usize) {
        self.keys.remove(place);
        self.ranks.remove(place);
    }

    /// Who stands at a place goes to another one; `None` where that is the same.
    pub(super) fn shift(&mut self, from: usize, to: Move) -> Option<Ranked> {
        let last = self.keys.len().checked_sub(1)?;
        let to = match to {
            Move::Up => from.saturating_sub(1),
            Move::Down => (from + 1).min(last),
            Move::Top => 0,
            Move::Bottom => last,
            Move::To(place) => place.min(last),
        };
        if from == to {
            return None;
        }
        let key = self.keys.remove(from);
        self.ranks.remove(from);
        self.keys.insert(to, key);
        let before = to.checked_sub(1).and_then(|before| self.ranks.get(before)).copied();
        let rank = match (before, self.ranks.get(to).copied()) {
            (None, None) => 0,
            (None, Some(behind)) => behind - GAP,
            (Some(before), None) => before + GAP,
            (Some(before), Some(behind)) if behind - before > 1 => before + (behind - before) / 2,
            (Some(_), Some(_)) => {
                self.ranks = (0..).take(self.keys.len()).map(|place: Rank| place * GAP).collect();
                return Some(Ranked::Anew);
            }
        };
        self.ranks.insert(to, rank);
        Some(Ranked::Alone(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_one_comes_between_two_others_the_ranks_rise() {
        let mut order = Order::new();
        for key in 0..3 {
            order.push(key);
        }
        let mut anew = 0;
        for _ in 0..300 {
            // The last one goes between the first two.
            anew += usize::from(order.shift(2, Move::To(1)) == Some(Ranked::Anew));
            let ranks: Vec<Rank> = order.ranked().map(|(_, rank)| rank).collect();
            assert!(ranks.is_sorted_by(|before, behind| before < behind), "{ranks:?}");
        }
        assert_eq!(order.keys(), [0, 1, 2]);
        assert!((1..10).contains(&anew), "{anew}");
        assert_eq!(order.shift(0, Move::Top), None);
    }
}
