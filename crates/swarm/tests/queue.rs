//! The queue: who runs, by example and at random.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use core::time::Duration;
use proptest::prelude::*;
use quelea_swarm::queue::{
    Figures, Goal, Goals, Limits, Move, Newcomer, Output, Queue, Slow, Stage, Standing, Then,
};
use quelea_time::Time;
use std::collections::{BTreeMap, BTreeSet};

const NEWCOMER: Newcomer = Newcomer {
    to: Move::Bottom,
    paused: false,
    forced: false,
    stage: Stage::Downloading,
    goals: None,
    waived: false,
    uploaded: 0,
    size: 1_000,
    seeded: Duration::ZERO,
};
const SEED: Newcomer = Newcomer { stage: Stage::Seeding, ..NEWCOMER };

fn limits(downloads: usize, seeds: usize) -> Limits {
    Limits { downloads: Some(downloads), seeds: Some(seeds), checks: 1, slow: None }
}

/// A queue with its clock, and who runs in it.
struct World {
    queue: Queue<u32>,
    now: Time,
    running: BTreeSet<u32>,
    other: Vec<Output<u32>>,
}

impl World {
    fn new(limits: Limits, goals: Goals) -> Self {
        Self {
            queue: Queue::new(limits, goals),
            now: Time::ZERO,
            running: BTreeSet::new(),
            other: Vec::new(),
        }
    }

    fn with(limits: Limits, newcomers: &[Newcomer]) -> Self {
        let mut world = Self::new(limits, Goals::default());
        for (key, newcomer) in (0..).zip(newcomers) {
            world.queue.insert(world.now, key, *newcomer);
        }
        world.drain();
        world
    }

    fn drain(&mut self) -> &BTreeSet<u32> {
        while let Some(output) = self.queue.poll_output(self.now) {
            match output {
                Output::Start(key) => assert!(self.running.insert(key), "{key} was started twice"),
                Output::Stop(key) => assert!(self.running.remove(&key), "{key} did not run"),
                Output::Check(_) | Output::Reached(..) => self.other.push(output),
            }
        }
        self.queue.check_invariants().unwrap();
        &self.running
    }

    fn after(&mut self, secs: u64) -> &mut Self {
        let end = self.now + Duration::from_secs(secs);
        while let Some(due) = self.queue.timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.queue.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self
    }

    fn runs(&mut self) -> Vec<u32> {
        self.drain().iter().copied().collect()
    }
}

#[test]
fn the_first_of_those_that_want_to_run_do() {
    let paused = Newcomer { paused: true, ..NEWCOMER };
    let mut world = World::with(limits(2, 1), &[NEWCOMER, paused, NEWCOMER, NEWCOMER, SEED, SEED]);
    assert_eq!(world.runs(), [0, 2, 4]);
    assert_eq!(world.queue.standing(1), Some(Standing::Paused));
    assert_eq!(world.queue.standing(3), Some(Standing::Queued));
    world.queue.remove(0);
    world.running.remove(&0);
    assert_eq!(world.runs(), [2, 3, 4]);
}

#[test]
fn what_a_person_does_takes_effect_at_once() {
    type Deed = fn(&mut Queue<u32>);
    let table: [(Deed, &[u32]); 9] = [
        (|queue| queue.shift(3, Move::Top), &[0, 3]),
        (|queue| queue.shift(0, Move::Bottom), &[1, 2]),
        (|queue| queue.shift(1, Move::Down), &[0, 2]),
        (|queue| queue.shift(2, Move::Up), &[0, 2]),
        (|queue| queue.shift(3, Move::To(1)), &[0, 3]),
        (|queue| queue.pause(Time::ZERO, 0), &[1, 2]),
        (|queue| queue.force(3), &[0, 1, 3]),
        (|queue| queue.set_limits(limits(3, 1)), &[0, 1, 2]),
        (|queue| queue.set_limits(limits(0, 1)), &[]),
    ];
    for (deed, running) in table {
        let mut world = World::with(limits(2, 1), &[NEWCOMER; 4]);
        assert_eq!(world.runs(), [0, 1]);
        deed(&mut world.queue);
        assert_eq!(world.runs(), running);
    }
}

#[test]
fn a_forced_torrent_takes_nobodys_place_and_gives_it_back() {
    let mut world = World::with(limits(1, 1), &[NEWCOMER; 3]);
    world.queue.force(2);
    assert_eq!(world.runs(), [0, 2]);
    world.queue.resume(2);
    assert_eq!(world.runs(), [0]);
    world.queue.force(0);
    assert_eq!(world.runs(), [0, 1], "the place of the forced one is free");
}

#[test]
fn one_that_fails_frees_its_place_and_waits_for_a_person() {
    let mut world = World::with(limits(1, 1), &[NEWCOMER; 2]);
    world.queue.fail(world.now, 0);
    assert_eq!(world.runs(), [1]);
    assert_eq!(world.queue.standing(0), Some(Standing::Failed));
    world.queue.resume(0);
    assert_eq!(world.runs(), [0]);
}

#[test]
fn a_download_that_completes_takes_a_place_among_the_seeds_or_waits() {
    let mut world = World::with(limits(1, 1), &[SEED, NEWCOMER, NEWCOMER]);
    assert_eq!(world.runs(), [0, 1]);
    world.queue.handle_stage(world.now, 1, Stage::Seeding);
    assert_eq!(world.runs(), [0, 2]);
    world.queue.pause(world.now, 0);
    assert_eq!(world.runs(), [1, 2]);
}

#[test]
fn so_many_check_at_a_time_in_order() {
    let mut world = World::with(limits(9, 9), &[NEWCOMER; 4]);
    world.queue.force(3);
    for key in [2, 1, 0, 3] {
        world.queue.want_check(key);
    }
    world.drain();
    assert_eq!(world.other, [Output::Check(0), Output::Check(3)], "a forced one does not wait");
    world.queue.end_check(3);
    world.drain();
    world.queue.pause(world.now, 1);
    world.queue.end_check(0);
    world.drain();
    assert_eq!(world.other[2..], [Output::Check(2)], "who was stopped wants no check any more");
}

#[test]
fn slow_torrents_give_their_place_up_but_go_on() {
    let slow = Slow { rate: 2_000, after: Duration::from_secs(60), at_most: 4 };
    let limits = Limits { slow: Some(slow), ..limits(2, 2) };
    let mut world = World::with(limits, &[NEWCOMER; 6]);
    let fast = Figures { download_rate: 5_000, ..Figures::default() };
    assert_eq!(world.runs(), [0, 1]);
    for _ in 0..10 {
        world.after(10);
        world.queue.handle_figures(world.now, 1, fast);
    }
    assert_eq!(world.runs(), [0, 1, 2], "the first is slow");
    assert_eq!(world.after(600).runs(), [0, 1, 2, 3], "no more than four in all");
    world.queue.handle_figures(world.now, 0, fast);
    world.queue.handle_figures(world.now, 1, fast);
    world.queue.handle_figures(world.now, 2, fast);
    assert_eq!(world.runs(), [0, 1, 2, 3], "nobody is stopped because others revive");
    world.queue.pause(world.now, 3);
    assert_eq!(world.runs(), [0, 1, 2], "two of them count again");
}

#[test]
fn a_goal_pauses_and_says_what_follows() {
    let second = Duration::from_secs(1);
    let table = [
        (Goals { ratio: Some(1.5), then: Then::Remove, ..Goals::default() }, Goal::Ratio, 30),
        (Goals { seed_time: Some(100 * second), ..Goals::default() }, Goal::SeedTime, 90),
        (Goals { idle: Some(20 * second), then: Then::RemoveWithData, ..Goals::default() }, Goal::Idle, 50),
    ];
    for (goals, goal, at) in table {
        let mut world = World::new(limits(1, 1), goals);
        world.queue.insert(world.now, 7, Newcomer { seeded: 10 * second, ..SEED });
        world.drain();
        for tenths in 1..=3 {
            world.after(10);
            let figures = Figures { uploaded: tenths * 500, size: 1_000, ..Figures::default() };
            world.queue.handle_figures(world.now, 7, figures);
            world.drain();
        }
        world.after(1_000).drain();
        assert_eq!(world.other, [Output::Reached(7, goal, goals.then)]);
        assert!(world.running.is_empty());
        assert_eq!(world.queue.seeded(world.now, 7), (at + 10) * second);
    }
}

#[test]
fn a_goal_that_is_met_before_it_runs_counts_once_it_runs_and_a_person_waives_it() {
    let goals = Goals { ratio: Some(1.0), ..Goals::default() };
    let mut world = World::new(limits(1, 1), goals);
    world.queue.insert(world.now, 1, Newcomer { uploaded: 1_000, ..SEED });
    world.drain();
    world.after(1).drain();
    assert_eq!(world.other, [Output::Reached(1, Goal::Ratio, Then::Pause)]);
    world.queue.resume(1);
    world.drain();
    assert_eq!(world.after(9_000).runs(), [1]);
    assert!(world.queue.is_waived(1));
    world.queue.set_goals(1, Some(Goals { ratio: Some(0.5), ..Goals::default() }));
    assert!(world.after(1).runs().is_empty());
}

#[derive(Debug, Clone)]
enum Deed {
    Insert(Newcomer),
    Remove,
    Pause,
    Resume,
    Force,
    Fail,
    Shift(Move),
    Stage(Stage),
    Figures(Figures),
    WantCheck,
    EndCheck,
    Limits(Limits),
    Wait(u64),
}

fn stages() -> impl Strategy<Value = Stage> {
    prop_oneof![Just(Stage::Downloading), Just(Stage::Seeding)]
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        Just(Move::Up),
        Just(Move::Down),
        Just(Move::Top),
        Just(Move::Bottom),
        (0usize..12).prop_map(Move::To)
    ]
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let some = || proptest::option::of(0usize..4);
    let slow = proptest::option::of((1usize..6).prop_map(|at_most| Slow {
        rate: 1_000,
        after: Duration::from_secs(60),
        at_most,
    }));
    (some(), some(), 1usize..3, slow).prop_map(|(downloads, seeds, checks, slow)| Limits {
        downloads,
        seeds,
        checks,
        slow,
    })
}

fn deeds() -> impl Strategy<Value = Deed> {
    let newcomer =
        (moves(), any::<bool>(), any::<bool>(), stages()).prop_map(|(to, paused, forced, stage)| {
            Deed::Insert(Newcomer { to, paused, forced, stage, ..NEWCOMER })
        });
    let figures =
        (0u64..2_000, 0u64..2_000, 0u64..3_000).prop_map(|(download_rate, upload_rate, uploaded)| {
            Deed::Figures(Figures { download_rate, upload_rate, uploaded, size: 1_000 })
        });
    prop_oneof![
        4 => newcomer,
        1 => Just(Deed::Remove),
        2 => Just(Deed::Pause),
        2 => Just(Deed::Resume),
        1 => Just(Deed::Force),
        1 => Just(Deed::Fail),
        3 => moves().prop_map(Deed::Shift),
        2 => stages().prop_map(Deed::Stage),
        4 => figures,
        1 => Just(Deed::WantCheck),
        1 => Just(Deed::EndCheck),
        1 => any_limits().prop_map(Deed::Limits),
        3 => (0u64..90).prop_map(Deed::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_limits_hold_and_nothing_flaps(
        first in any_limits(),
        deeds in proptest::collection::vec((0u32..12, deeds()), 1..120),
    ) {
        let goals = Goals { ratio: Some(2.0), seed_time: Some(Duration::from_secs(500)), ..Goals::default() };
        let mut world = World::new(first, goals);
        let mut stages: BTreeMap<u32, Stage> = BTreeMap::new();
        for (key, deed) in deeds {
            let before = world.running.clone();
            let queue = &mut world.queue;
            let by_itself = matches!(deed, Deed::Figures(_) | Deed::WantCheck | Deed::EndCheck | Deed::Wait(_));
            let told = world.other.len();
            match deed {
                Deed::Insert(newcomer) => queue.insert(world.now, key, newcomer),
                Deed::Remove => {
                    queue.remove(key);
                    world.running.remove(&key);
                }
                Deed::Pause => queue.pause(world.now, key),
                Deed::Resume => queue.resume(key),
                Deed::Force => queue.force(key),
                Deed::Fail => queue.fail(world.now, key),
                Deed::Shift(to) => queue.shift(key, to),
                Deed::Stage(stage) => {
                    queue.handle_stage(world.now, key, stage);
                    stages.insert(key, stage);
                }
                Deed::Figures(figures) => queue.handle_figures(world.now, key, figures),
                Deed::WantCheck => queue.want_check(key),
                Deed::EndCheck => queue.end_check(key),
                Deed::Limits(limits) => queue.set_limits(limits),
                Deed::Wait(secs) => {
                    world.after(secs);
                }
            }
            // The invariants are looked at after every drain.
            let after = world.drain().clone();
            for key in before.difference(&after).filter(|_| by_itself) {
                let reached = |output: &Output<u32>| matches!(output, Output::Reached(other, ..) if other == key);
                prop_assert!(world.other[told..].iter().any(reached), "{key} was stopped by nobody");
            }
            for key in &after {
                prop_assert_eq!(world.queue.standing(*key), Some(Standing::Active));
            }
            for key in world.queue.order() {
                let forced = world.queue.is_forced(*key);
                let standing = world.queue.standing(*key).unwrap();
                prop_assert!(!forced || standing != Standing::Queued, "a forced one waits");
            }
            // Nothing is left to do, however often one asks.
            prop_assert_eq!(world.queue.poll_output(world.now), None);
        }
    }
}
