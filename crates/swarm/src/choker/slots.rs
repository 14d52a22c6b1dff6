//! How a session's slots are divided among its torrents.
//!
//! [`divide`] is one division; [`Division`] follows the torrents' demand, and where there are fewer slots than torrents
//! that want one it lets them take turns.

use super::ROUND;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
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
#[derive(Debug)]
pub struct Division<K> {
    slots: usize,
    shares: BTreeMap<K, Share>,
    /// Whose turn it is to be first.
    first: Option<K>,
    next_turn: Time,
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

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    demand: Demand,
    /// What it was told that it may hold.
    granted: usize,
    /// What it may yet hold.
    bound: usize,
}

impl<K: Copy + Ord> Division<K> {
    /// So many slots, which nobody wants yet.
    pub fn new(now: Time, slots: usize) -> Self {
        Self { slots, shares: BTreeMap::new(), first: None, next_turn: now + ROUND }
    }

    /// There are other slots from here on.
    pub fn set_slots(&mut self, slots: usize) {
        self.slots = slots;
        self.divide_anew();
    }

    /// How a torrent stands, which may be one that was not there. Whether shares may be others than before.
    pub fn note(&mut self, now: Time, key: K, report: Report) -> bool {
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
        changed
    }

    /// A torrent has no peers any more.
    pub fn remove(&mut self, key: K) {
        if self.shares.remove(&key).is_some() {
            self.divide_anew();
        }
    }

    /// What each torrent may hold.
    pub fn shares(&self) -> impl Iterator<Item = (K, usize)> + '_ {
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
            self.shares.get(key).is_some_and(|share| share.granted == 0 && share.demand.can_use() > 0)
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
