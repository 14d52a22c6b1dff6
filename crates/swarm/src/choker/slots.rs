//! How a session's slots are divided among its torrents.
//!
//! [`divide`] is one division; [`Division`] follows the torrents' demand, and where there are fewer slots than torrents
//! that want one it lets them take turns.
//!
//! No more torrents can have a slot than there are slots. So [`Division`] keeps in order who wants one and who could
//! hold one in advance, and divides among the first of them alone: what a change costs goes by the number of slots,
//! not by that of torrents.

use super::ROUND;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;
use quelea_time::Time;

/// What a torrent could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Interested peers.
    pub interested: usize,
    /// Slots that it may have at most by its own setting.
    pub most: usize,
}

impl Demand {
    /// Slots that it has a use for.
    fn can_use(&self) -> usize {
        self.interested.min(self.most)
    }
}

/// Divides a session's slots among torrents: each gets what it can use, and where that is more than there is, all get
/// the same, but for what some cannot use. The sum is never more than `slots`. Where not even one is there for each,
/// the first ones get it: the caller turns the order from round to round.
pub fn divide(slots: usize, demands: &[Demand]) -> Vec<usize> {
    let want = Demand::can_use;
    let mut granted = alloc::vec![0; demands.len()];
    let mut left = slots;
    loop {
        let hungry =
            demands.iter().zip(&granted).filter(|(demand, granted)| want(demand) > **granted).count();
        if hungry == 0 || left == 0 {
            return granted;
        }
        let each = (left / hungry).max(1);
        for (demand, granted) in demands.iter().zip(&mut granted) {
            let more = want(demand).saturating_sub(*granted).min(each).min(left);
            *granted += more;
            left -= more;
        }
    }
}

/// A session's slots and the torrents that share them; `K` names one.
///
/// A torrent has what it can use, and of slots that nobody wants some in advance, so that its next interested peer need
/// not wait. What is taken from one is given to another only once the first has said that it does not hold it any
/// longer, so never more are held than there are. `now` never goes back.
///
/// After each call [`Division::take_changed`] tells whose share is another than before.
#[derive(Debug)]
pub struct Division<K> {
    slots: usize,
    shares: BTreeMap<K, Share>,
    /// Those that could use a slot.
    wanting: BTreeSet<K>,
    /// Those that may have more slots than they can use.
    roomy: BTreeSet<K>,
    /// Those that have slots, or hold some yet.
    holding: BTreeSet<K>,
    /// The sum of all bounds.
    bound: usize,
    /// Slots that nobody wanted when they were last divided.
    left: usize,
    /// The last, in turn, who got of those.
    last: Option<K>,
    /// Whose turn it is to be first.
    first: Option<K>,
    next_turn: Time,
    changed: BTreeSet<K>,
}

/// What a torrent says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// What it could use.
    pub demand: Demand,
    /// The share that it acts upon.
    pub share: usize,
    /// Slots that it holds.
    pub held: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    demand: Demand,
    /// What it was told that it may hold.
    granted: usize,
    /// What it may yet hold.
    bound: usize,
}

/// What one torrent should have.
#[derive(Debug, Clone, Copy, Default)]
struct Goal {
    /// Of use at once.
    wanted: usize,
    /// With what it has in advance.
    all: usize,
}

impl<K: Copy + Ord> Division<K> {
    /// So many slots, which nobody wants yet.
    pub fn new(now: Time, slots: usize) -> Self {
        Self {
            slots,
            shares: BTreeMap::new(),
            wanting: BTreeSet::new(),
            roomy: BTreeSet::new(),
            holding: BTreeSet::new(),
            bound: 0,
            left: slots,
            last: None,
            first: None,
            next_turn: now + ROUND,
            changed: BTreeSet::new(),
        }
    }

    /// There are other slots from here on.
    pub fn set_slots(&mut self, slots: usize) {
        self.slots = slots;
        self.divide_anew();
    }

    /// How a torrent stands, which may be one that was not there.
    pub fn note(&mut self, now: Time, key: K, report: Report) {
        let before = self.shares.get(&key).copied();
        let mut share = Share { demand: report.demand, ..before.unwrap_or_default() };
        if report.share == share.granted {
            share.bound = share.granted.max(report.held);
        }
        let turns = now >= self.next_turn;
        if before != Some(share) {
            self.put(key, share);
        }
        if turns {
            self.next_turn = now + ROUND;
            self.turn();
        }
        let comes_behind = before.is_none() && self.is_out_of_reach(key, share);
        if turns || (before != Some(share) && !comes_behind) {
            self.divide_anew();
        }
    }

    /// A torrent has no peers any more.
    pub fn remove(&mut self, key: K) {
        if let Some(share) = self.shares.remove(&key) {
            self.bound -= share.bound;
            for set in [&mut self.wanting, &mut self.roomy, &mut self.holding, &mut self.changed] {
                set.remove(&key);
            }
            if !self.is_out_of_reach(key, share) {
                self.divide_anew();
            }
        }
    }

    /// Whether nothing depends upon a torrent: it can use no slot, holds none, and stands behind all that have one in
    /// advance.
    fn is_out_of_reach(&self, key: K, share: Share) -> bool {
        let in_turn = |key: K| (self.first.is_some_and(|first| key < first), key);
        let is_behind = self.last.is_none_or(|last| in_turn(last) < in_turn(key));
        let others = self.roomy.len() - usize::from(self.roomy.contains(&key));
        share.bound == 0 && share.demand.can_use() == 0 && is_behind && others >= self.left
    }

    /// What each torrent may hold.
    pub fn shares(&self) -> impl Iterator<Item = (K, usize)> + '_ {
        self.shares.iter().map(|(key, share)| (*key, share.granted))
    }

    /// Those whose share has changed since this was last asked, and what they may hold.
    pub fn take_changed(&mut self) -> impl Iterator<Item = (K, usize)> + '_ {
        let changed = core::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| Some((key, self.shares.get(&key)?.granted)))
    }

    fn put(&mut self, key: K, share: Share) {
        let before = self.shares.insert(key, share).unwrap_or_default();
        self.bound = self.bound - before.bound + share.bound;
        let Share { demand, granted, bound } = share;
        let can_use = demand.can_use();
        for (set, is_in) in [
            (&mut self.wanting, can_use > 0),
            (&mut self.roomy, demand.most > can_use),
            (&mut self.holding, granted.max(bound) > 0),
        ] {
            if is_in {
                set.insert(key);
            } else {
                set.remove(&key);
            }
        }
        if granted != before.granted {
            self.changed.insert(key);
        }
    }

    /// Some of the torrents, beginning with the one whose turn it is.
    fn in_turn<'a>(&self, some: &'a BTreeSet<K>) -> impl Iterator<Item = K> + use<'a, K> {
        let from = self.first.map_or(Bound::Unbounded, Bound::Included);
        let before = self.first.map(|first| some.range(..first));
        some.range((from, Bound::Unbounded)).chain(before.into_iter().flatten()).copied()
    }

    /// If some went without, the first of them is first.
    fn turn(&mut self) {
        let without = |key: &K| self.shares.get(key).is_some_and(|share| share.granted == 0);
        self.first = self.in_turn(&self.wanting).find(without).or(self.first);
    }

    /// Divides these slots among the first of some torrents, each of which has a use for one at least: of more than
    /// there are slots, none but the first ones get any.
    fn share_out(
        &self,
        slots: usize,
        among: &BTreeSet<K>,
        demand: impl Fn(&Share) -> Demand,
    ) -> Vec<(K, usize)> {
        let first: Vec<K> = self.in_turn(among).take(slots).collect();
        let demands: Vec<Demand> = first.iter().filter_map(|key| self.shares.get(key)).map(demand).collect();
        first.into_iter().zip(divide(slots, &demands)).collect()
    }

    fn divide_anew(&mut self) {
        let wanted = self.share_out(self.slots, &self.wanting, |share| share.demand);
        let left = self.slots - wanted.iter().map(|(_, wanted)| wanted).sum::<usize>();
        // Where any are left, everybody has what it can use.
        let in_advance = self.share_out(left, &self.roomy, |share| {
            let most = share.demand.most - share.demand.can_use();
            Demand { interested: most, most }
        });
        self.left = left;
        self.last = in_advance.last().map(|(key, _)| *key);
        let mut goals: BTreeMap<K, Goal> = BTreeMap::new();
        for &(key, wanted) in &wanted {
            goals.insert(key, Goal { wanted, all: wanted });
        }
        for &(key, more) in &in_advance {
            goals.entry(key).or_default().all += more;
        }
        for key in self.holding.clone() {
            let goal = goals.get(&key).map_or(0, |goal| goal.all);
            self.change(key, |share| share.granted = share.granted.min(goal));
        }
        // First what is of use at once.
        for (key, _) in wanted {
            self.grow(key, goals.get(&key).map_or(0, |goal| goal.wanted));
        }
        let order: BTreeSet<K> = goals.keys().copied().collect();
        for key in self.in_turn(&order) {
            self.grow(key, goals.get(&key).map_or(0, |goal| goal.all));
        }
    }

    /// Has a torrent's share grow up to its goal, by what nobody holds.
    fn grow(&mut self, key: K, goal: usize) {
        let free = self.slots.saturating_sub(self.bound);
        self.change(key, |share| {
            // What it may hold anyhow costs nothing.
            let had = share.bound.max(share.granted);
            share.granted = (had + free).min(goal).max(share.granted);
            share.bound = had.max(share.granted);
        });
    }

    fn change(&mut self, key: K, change: impl FnOnce(&mut Share)) {
        if let Some(mut share) = self.shares.get(&key).copied() {
            let before = share;
            change(&mut share);
            if share != before {
                self.put(key, share);
            }
        }
    }
}
