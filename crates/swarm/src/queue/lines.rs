//! Who is to be looked at when something happens: the torrents by what they do, each line in the queue's order.
//!
//! Everything here follows from the rows. So what happens to one torrent costs the same however many there are.

use super::Stage;
use super::order::Rank;
use super::row::Stands;
use alloc::collections::{BTreeMap, BTreeSet};
use quelea_time::Time;

/// Torrents in the queue's order.
pub(super) type Line<K> = BTreeMap<Rank, K>;

/// Those of one stage that are neither forced nor kept from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfStage<K> {
    /// They wait for a place.
    pub(super) waiting: Line<K>,
    /// They run, and take one.
    pub(super) counted: Line<K>,
    /// They run beside the limit.
    pub(super) beside: Line<K>,
}

impl<K> OfStage<K> {
    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.counted.len() + self.beside.len()
    }
}

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines<K> {
    stages: [OfStage<K>; 2],
    /// Those that run and wait until their data may be hashed.
    pub(super) checks: Line<K>,
    /// The same of those that are forced, which do not wait for others.
    pub(super) forced_checks: Line<K>,
    /// Those that were forced, paused or failed, and do not do accordingly yet.
    pub(super) unheeded: Line<K>,
    /// Those of which the driver was told something else than what they do.
    pub(super) untold: Line<K>,
    /// When each that runs is to be looked at.
    pub(super) due: BTreeSet<(Time, K)>,
}

/// Where in the lines a torrent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) rank: Rank,
    pub(super) stands: Option<(Stage, Stands)>,
    /// Whether it is forced, of one that runs and wants its data hashed.
    pub(super) check: Option<bool>,
    pub(super) unheeded: bool,
    pub(super) untold: bool,
    pub(super) due: Option<Time>,
}

impl<K: Copy + Ord> Lines<K> {
    pub(super) fn new() -> Self {
        let empty = || OfStage { waiting: Line::new(), counted: Line::new(), beside: Line::new() };
        Self {
            stages: [empty(), empty()],
            checks: Line::new(),
            forced_checks: Line::new(),
            unheeded: Line::new(),
            untold: Line::new(),
            due: BTreeSet::new(),
        }
    }

    /// Those that have been due, in no order.
    pub(super) fn due_by(&self, now: Time) -> impl Iterator<Item = K> + '_ {
        self.due.iter().take_while(move |(due, _)| *due <= now).map(|(_, key)| *key)
    }

    pub(super) fn of(&self, stage: Stage) -> &OfStage<K> {
        &self.stages[stage as usize]
    }

    pub(super) fn enter(&mut self, key: K, spot: Spot) {
        self.each(spot, |line| _ = line.insert(spot.rank, key));
        self.due.extend(spot.due.map(|due| (due, key)));
    }

    pub(super) fn leave(&mut self, key: K, spot: Spot) {
        self.each(spot, |line| _ = line.remove(&spot.rank));
        if let Some(due) = spot.due {
            self.due.remove(&(due, key));
        }
    }

    /// Every line that a torrent stands in.
    fn each(&mut self, spot: Spot, mut act: impl FnMut(&mut Line<K>)) {
        if let Some((stage, stands)) = spot.stands {
            let OfStage { waiting, counted, beside } = &mut self.stages[stage as usize];
            act(match stands {
                Stands::Waiting => waiting,
                Stands::Counted => counted,
                Stands::Beside => beside,
            });
        }
        match spot.check {
            Some(true) => act(&mut self.forced_checks),
            Some(false) => act(&mut self.checks),
            None => {}
        }
        if spot.unheeded {
            act(&mut self.unheeded);
        }
        if spot.untold {
            act(&mut self.untold);
        }
    }
}
