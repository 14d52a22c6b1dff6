//! Slots divided among all torrents at every change.

use quelea_swarm::choker::ROUND;
use quelea_swarm::choker::slots::{Demand, Report, divide};
use quelea_time::Time;
use std::collections::BTreeMap;

/// A session's slots and the torrents that share them.
#[derive(Debug)]
pub(crate) struct Model<K> {
    slots: usize,
    shares: BTreeMap<K, Share>,
    first: Option<K>,
    next_turn: Time,
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    demand: Demand,
    /// What it was told that it may hold.
    granted: usize,
    /// What it may yet hold.
    bound: usize,
}

impl<K: Copy + Ord> Model<K> {
    /// So many slots, which nobody wants yet.
    pub(crate) fn new(now: Time, slots: usize) -> Self {
        Self { slots, shares: BTreeMap::new(), first: None, next_turn: now + ROUND }
    }

    /// There are other slots from here on.
    pub(crate) fn set_slots(&mut self, slots: usize) {
        self.slots = slots;
        self.divide_anew();
    }

    /// How a torrent stands, which may be one that was not there.
    pub(crate) fn note(&mut self, now: Time, key: K, report: Report) {
        let before = self.shares.get(&key).copied();
        let mut share = Share { demand: report.demand, ..before.unwrap_or_default() };
        if report.share == share.granted {
            share.bound = share.granted.max(report.held);
        }
        self.shares.insert(key, share);
        let turns = now >= self.next_turn;
        if turns {
            self.next_turn = now + ROUND;
            self.turn();
        }
        let is_same = |before: Share| (before.demand, before.bound) == (share.demand, share.bound);
        let changed = turns || !before.is_some_and(is_same);
        if changed {
            self.divide_anew();
        }
    }

    /// A torrent has no peers any more.
    pub(crate) fn remove(&mut self, key: K) {
        if self.shares.remove(&key).is_some() {
            self.divide_anew();
        }
    }

    /// What each torrent may hold.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (K, usize)> + '_ {
        self.shares.iter().map(|(key, share)| (*key, share.granted))
    }

    /// The torrents, beginning with the one whose turn it is.
    fn order(&self) -> Vec<K> {
        let is_behind = |key: &&K| self.first.is_none_or(|first| **key >= first);
        let (behind, before): (Vec<K>, Vec<K>) = self.shares.keys().partition(is_behind);
        behind.into_iter().chain(before).collect()
    }

    /// If some went without, the first of them is first.
    fn turn(&mut self) {
        let without = |key: &K| {
            self.shares
                .get(key)
                .is_some_and(|share| share.granted == 0 && share.demand.interested.min(share.demand.most) > 0)
        };
        self.first = self.order().into_iter().find(without).or(self.first);
    }

    fn divide_anew(&mut self) {
        let order = self.order();
        let demands: Vec<Demand> =
            order.iter().filter_map(|key| self.shares.get(key)).map(|share| share.demand).collect();
        let wanted = divide(self.slots, &demands);
        let left = self.slots.saturating_sub(wanted.iter().sum());
        let room = |(demand, wanted): (&Demand, &usize)| {
            let most = demand.most.saturating_sub(*wanted);
            Demand { interested: most, most }
        };
        let in_advance: Vec<Demand> = demands.iter().zip(&wanted).map(room).collect();
        let in_advance = divide(left, &in_advance);
        let goals: Vec<usize> = wanted.iter().zip(&in_advance).map(|(wanted, more)| wanted + more).collect();
        for (key, goal) in order.iter().zip(&goals) {
            if let Some(share) = self.shares.get_mut(key) {
                share.granted = share.granted.min(*goal);
            }
        }
        let bound: usize = self.shares.values().map(|share| share.bound).sum();
        let mut free = self.slots.saturating_sub(bound);
        // First what is of use at once.
        for goals in [&wanted, &goals] {
            for (key, goal) in order.iter().zip(goals) {
                let Some(share) = self.shares.get_mut(key).filter(|share| share.granted < *goal) else {
                    continue;
                };
                // What it may hold anyhow costs nothing.
                let had = share.bound.max(share.granted);
                share.granted = (had + free).min(*goal);
                let more = share.granted.saturating_sub(had);
                share.bound = had + more;
                free -= more;
            }
        }
    }
}
