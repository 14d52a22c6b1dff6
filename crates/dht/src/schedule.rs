//! Who asks the DHT for which torrent, and when: of thousands of torrents a few at a time.
//!
//! Owns: the moments, and how many searches may be under way. Does not own: the searches, and which torrents may be
//! announced at all: private ones are never entered here (BEP 27).
//!
//! A download that has too few peers is searched for every quarter of an hour, everything else every half (nodes keep
//! an announced peer for about that long), each time a little earlier than that, so that torrents which began together
//! drift apart. A search that finds nothing for a hungry download is soon followed by another, and so is one by which
//! few nodes heard of us, whatever the torrent wants: who looks for it may ask others.

use crate::table::K;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;
use fastrand::Rng;
use quelea_time::Time;

/// Searches under way at a time. Each is a walk in each family; the machine goes 64 walks side by side, and some of
/// them are a person's.
pub const AT_ONCE: usize = 24;
/// From one start to the next, at least.
const STRIDE: Duration = Duration::from_millis(100);
/// Between the searches for a download that wants peers.
pub const HUNGRY: Duration = Duration::from_secs(15 * 60);
/// Between the searches for everything else.
pub const CALM: Duration = Duration::from_secs(30 * 60);
/// The first pause after a search that a hungry download got nothing from, or that announced to few nodes; it doubles.
const NOTHING: Duration = Duration::from_secs(60);
/// So many nodes that keep an announcement are enough: half of those that are to have it in a network of one family.
/// Some refuse it, and some go before it ends.
pub const ENOUGH: usize = K / 2;
/// The first pause after a search that reached no node, which doubles.
const NOBODY: Duration = Duration::from_secs(15);
/// Between two searches for one torrent, whatever happens.
const LEAST: Duration = Duration::from_secs(5 * 60);
/// When seeds come by the thousand, each gives the next ones so much time.
const EACH_SEED: Duration = Duration::from_secs(1);

/// How much a torrent wants peers. The first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It downloads, and has too few peers.
    Hungry,
    /// It downloads, and has enough of them.
    Fed,
    /// It has all files that are wanted and not those that are not: it is announced for others, and as no seed (BEP 33
    /// counts those that have everything).
    PartlySeeding,
    /// It has everything, and is announced for others.
    Seeding,
}

impl Need {
    /// The need of a torrent that lacks so many bytes, of them so many of files that are wanted; `few_peers` says that it
    /// has fewer than it could use.
    pub const fn of(missing: u64, missing_wanted: u64, few_peers: bool) -> Self {
        match (missing, missing_wanted, few_peers) {
            (0, _, _) => Self::Seeding,
            (_, 0, _) => Self::PartlySeeding,
            (_, _, true) => Self::Hungry,
            (_, _, false) => Self::Fed,
        }
    }
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No node answered.
    Nobody,
    /// Nodes answered, and fewer than [`ENOUGH`] took our announcement.
    Few,
    /// Nodes answered, and knew no peer.
    Nothing,
    /// There are peers.
    Peers,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    need: Need,
    /// When the next search is due; `None` while one is under way.
    due: Option<Time>,
    /// When the last one began.
    last: Option<Time>,
    /// Searches in a row that came to the same disappointment.
    disappointed: u32,
}

/// Who asks the DHT for which torrent, and when. `K` names a torrent.
///
/// # Contract
/// After any call [`Schedule::next`] is asked until `None`; each torrent it gives is searched for, and
/// [`Schedule::ended`] told. [`Schedule::timeout`] says when to ask again. `now` never goes back.
#[derive(Debug)]
pub struct Schedule<K> {
    rows: BTreeMap<K, Row>,
    /// By need, so that seeds by the thousand hold up no download.
    due: [BTreeSet<(Time, K)>; 4],
    under_way: BTreeSet<K>,
    next_start: Time,
    rng: Rng,
}

impl<K: Copy + Ord> Schedule<K> {
    /// A schedule without torrents.
    pub fn new(seed: u64) -> Self {
        Self {
            rows: BTreeMap::new(),
            due: Default::default(),
            under_way: BTreeSet::new(),
            next_start: Time::ZERO,
            rng: Rng::with_seed(seed),
        }
    }

    /// A torrent begins to be searched for; one that is here already goes on as it is.
    pub fn enter(&mut self, now: Time, torrent: K, need: Need) {
        if self.rows.contains_key(&torrent) {
            return;
        }
        let crowd = match need {
            Need::Hungry | Need::Fed => Duration::ZERO,
            Need::PartlySeeding | Need::Seeding => {
                (EACH_SEED * u32::try_from(self.rows.len()).unwrap_or(u32::MAX)).min(CALM)
            }
        };
        let wait = crowd.mul_f64(self.rng.f64());
        self.rows.insert(torrent, Row { need, due: None, last: None, disappointed: 0 });
        self.plan(torrent, now + wait);
    }

    /// A torrent is not searched for any more.
    pub fn leave(&mut self, torrent: K) {
        self.unplan(torrent);
        self.rows.remove(&torrent);
        self.under_way.remove(&torrent);
    }

    /// A torrent wants peers more or less than before.
    pub fn set_need(&mut self, now: Time, torrent: K, need: Need) {
        let Some(row) = self.rows.get(&torrent).copied().filter(|row| row.need != need) else { return };
        self.unplan(torrent);
        if let Some(row) = self.rows.get_mut(&torrent) {
            row.need = need;
            row.disappointed = 0;
        }
        let Some(due) = row.due else { return };
        // Whoever wants more is heard sooner, but nobody asks all the time by changing its mind.
        let soonest = row.last.map_or(now, |last| last + LEAST);
        let due = match (row.need, need) {
            (Need::Fed, Need::Hungry) => due.min(row.last.map_or(now, |last| last + HUNGRY)).max(now),
            // Others see by the next announce that there is one more seed (BEP 33).
            (Need::Hungry | Need::Fed | Need::PartlySeeding, Need::Seeding) => due.min(soonest.max(now)),
            (Need::PartlySeeding | Need::Seeding, Need::Hungry | Need::Fed) => soonest.max(now),
            _ => due,
        };
        self.plan(torrent, due);
    }

    /// The network is there again, or nodes are known at last: everything is searched for soon, hungry downloads at
    /// once.
    pub fn network_is_back(&mut self, now: Time) {
        let crowd = EACH_SEED * u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let waiting: Vec<(Time, K)> = self.due.iter().flatten().copied().collect();
        for (due, torrent) in waiting {
            let soon = match self.rows.get(&torrent).map(|row| row.need) {
                Some(Need::Hungry) => now,
                _ => now + crowd.min(CALM).mul_f64(self.rng.f64()),
            };
            if let Some(row) = self.rows.get_mut(&torrent) {
                row.disappointed = 0;
            }
            if soon < due {
                self.unplan(torrent);
                self.plan(torrent, soon);
            }
        }
    }

    /// The torrent to search for, until `None`.
    pub fn next(&mut self, now: Time) -> Option<K> {
        if self.under_way.len() >= AT_ONCE || now < self.next_start {
            return None;
        }
        let (_, torrent) = self.firsts().find(|(due, _)| *due <= now)?;
        self.unplan(torrent);
        if let Some(row) = self.rows.get_mut(&torrent) {
            row.last = Some(now);
        }
        self.under_way.insert(torrent);
        self.next_start = now + STRIDE;
        Some(torrent)
    }

    /// The search for a torrent is over.
    pub fn ended(&mut self, now: Time, torrent: K, outcome: Outcome) {
        if !self.under_way.remove(&torrent) {
            return;
        }
        let Some(row) = self.rows.get_mut(&torrent) else { return };
        let usual = match row.need {
            Need::Hungry => HUNGRY,
            Need::Fed | Need::PartlySeeding | Need::Seeding => CALM,
        };
        let first = match (outcome, row.need) {
            (Outcome::Nobody, _) => Some(NOBODY),
            (Outcome::Few, _) | (Outcome::Nothing, Need::Hungry) => Some(NOTHING),
            (Outcome::Nothing, Need::Fed | Need::PartlySeeding | Need::Seeding) | (Outcome::Peers, _) => None,
        };
        let pause = match first {
            None => {
                row.disappointed = 0;
                usual
            }
            Some(first) => {
                let doubled = first.saturating_mul(1_u32.checked_shl(row.disappointed).unwrap_or(u32::MAX));
                row.disappointed = (row.disappointed + 1).min(16);
                doubled.min(usual)
            }
        };
        let pause = pause.mul_f64(1.0 - 0.1 * self.rng.f64());
        self.plan(torrent, now + pause);
    }

    /// When [`Schedule::next`] may give a torrent; `None` while it will not before something else happens.
    pub fn timeout(&self) -> Option<Time> {
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        self.firsts().map(|(due, _)| due).min().map(|due| due.max(self.next_start))
    }

    /// How many torrents there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The earliest of each need, by need.
    fn firsts(&self) -> impl Iterator<Item = (Time, K)> + '_ {
        self.due.iter().filter_map(|due| due.first().copied())
    }

    fn plan(&mut self, torrent: K, due: Time) {
        if let Some(row) = self.rows.get_mut(&torrent) {
            row.due = Some(due);
            self.due[row.need as usize].insert((due, torrent));
        }
    }

    fn unplan(&mut self, torrent: K) {
        if let Some(row) = self.rows.get_mut(&torrent)
            && let Some(due) = row.due.take()
        {
            self.due[row.need as usize].remove(&(due, torrent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    /// When the next search for the one torrent begins after one that began and ended at `start` like this.
    fn pause(schedule: &mut Schedule<u32>, start: u64, outcome: Outcome) -> u64 {
        assert_eq!(schedule.next(at(start)), Some(7));
        schedule.ended(at(start), 7, outcome);
        let due = schedule.timeout().unwrap();
        due.since(at(start)).as_secs()
    }

    #[test]
    fn pauses_follow_the_need_and_the_outcome() {
        use {Need::*, Outcome::*};
        let quarter = 15 * 60 * 9 / 10..=15 * 60;
        let half = 30 * 60 * 9 / 10..=30 * 60;
        for (need, outcome, expected) in [
            (Hungry, Peers, quarter),
            (Hungry, Nothing, 54..=60),
            (Hungry, Nobody, 13..=15),
            (Fed, Peers, half.clone()),
            (Fed, Nothing, half.clone()),
            (Seeding, Peers, half.clone()),
            (Seeding, Nothing, half),
            (Seeding, Nobody, 13..=15),
            (Hungry, Few, 54..=60),
            (Seeding, Few, 54..=60),
        ] {
            let mut schedule = Schedule::new(1);
            schedule.enter(at(0), 7, need);
            let found = pause(&mut schedule, 0, outcome);
            assert!(expected.contains(&found), "{need:?} {outcome:?}: {found}");
        }
    }

    #[test]
    fn disappointments_in_a_row_double_the_pause_up_to_the_usual_one() {
        let mut schedule = Schedule::new(1);
        schedule.enter(at(0), 7, Need::Hungry);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..8 {
            let found = pause(&mut schedule, now, Outcome::Nothing);
            pauses.push(found);
            now += found + 1;
        }
        for (found, expected) in pauses.iter().zip([60, 120, 240, 480, 900, 900, 900, 900]) {
            assert!((expected * 9 / 10 - 1..=expected).contains(found), "{pauses:?}");
        }
        let found = pause(&mut schedule, now, Outcome::Peers);
        assert!(found > 800);
        assert!(pause(&mut schedule, now + found + 1, Outcome::Nothing) <= 60);
    }

    #[test]
    fn ten_thousand_seeds_are_spread_and_a_download_goes_before_them() {
        let mut schedule = Schedule::new(1);
        (0..10_000).for_each(|torrent| schedule.enter(at(0), torrent, Need::Seeding));
        let mut begun = BTreeMap::new();
        let mut latest = 0;
        for tick in 0..25_000_u64 {
            let now = Time::from_millis(tick * 100);
            if tick == 9_000 {
                schedule.enter(now, 20_000, Need::Hungry);
            }
            let before = begun.len();
            while let Some(torrent) = schedule.next(now) {
                begun.entry(torrent).or_insert(now);
                schedule.ended(now, torrent, Outcome::Peers);
            }
            assert!(begun.len() <= before + 1, "ten a second");
            if begun.len() == 10_001 && latest == 0 {
                latest = tick / 10;
            }
        }
        assert_eq!(begun[&20_000], Time::from_millis(900_000));
        assert!((1_000..=1_900).contains(&latest), "{latest}");
    }

    #[test]
    fn no_more_than_the_bound_are_under_way() {
        let mut schedule = Schedule::new(1);
        (0..100).for_each(|torrent| schedule.enter(at(0), torrent, Need::Hungry));
        let mut begun = Vec::new();
        for tick in 0..1_000 {
            begun.extend(schedule.next(Time::from_millis(tick * 100)));
        }
        assert_eq!(begun.len(), AT_ONCE);
        assert_eq!(schedule.timeout(), None);
        schedule.ended(at(100), begun[0], Outcome::Peers);
        assert!(schedule.next(at(100)).is_some());
        // One that leaves makes room as well.
        schedule.leave(begun[1]);
        assert!(schedule.next(at(101)).is_some());
        assert_eq!(schedule.next(at(102)), None);
    }

    #[test]
    fn a_network_that_is_back_is_used_at_once_for_who_is_hungry() {
        let mut schedule = Schedule::new(1);
        for (torrent, need) in [(1, Need::Hungry), (2, Need::Seeding), (3, Need::Fed)] {
            schedule.enter(at(0), torrent, need);
        }
        for second in 0..10 {
            while let Some(torrent) = schedule.next(at(second)) {
                schedule.ended(at(second), torrent, Outcome::Peers);
            }
        }
        assert!(schedule.timeout().unwrap() > at(600));
        schedule.network_is_back(at(60));
        assert_eq!(schedule.next(at(60)), Some(1));
        let rest: Vec<_> = (61..70).filter_map(|second| schedule.next(at(second))).collect();
        assert_eq!(rest.len(), 2, "{rest:?}");
    }

    #[test]
    fn changes_of_mind_do_not_make_a_torrent_ask_all_the_time() {
        let mut schedule = Schedule::new(1);
        schedule.enter(at(0), 7, Need::Hungry);
        let mut begun = 0;
        for second in 0..3_600 {
            while let Some(torrent) = schedule.next(at(second)) {
                begun += 1;
                schedule.ended(at(second), torrent, Outcome::Peers);
            }
            let needs = [Need::Hungry, Need::Fed, Need::PartlySeeding, Need::Seeding];
            let need = needs[second as usize % 4];
            schedule.set_need(at(second), 7, need);
        }
        assert!((4..=12).contains(&begun), "{begun}");
    }

    #[test]
    fn who_has_all_that_it_wants_is_a_seed_only_when_nothing_else_is_missing() {
        assert_eq!(Need::of(0, 0, true), Need::Seeding);
        assert_eq!(Need::of(1, 0, true), Need::PartlySeeding);
        assert_eq!((Need::of(9, 1, true), Need::of(9, 1, false)), (Need::Hungry, Need::Fed));
    }

    #[test]
    fn one_that_completes_is_announced_as_a_seed_before_its_time() {
        let mut schedule = Schedule::new(1);
        schedule.enter(at(0), 7, Need::Fed);
        assert!(pause(&mut schedule, 0, Outcome::Peers) > 1_500);
        schedule.set_need(at(400), 7, Need::Seeding);
        assert_eq!(schedule.next(at(400)), Some(7));
    }
}
