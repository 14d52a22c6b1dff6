//! A seed and peers that take little, or nothing: its uplink is for whoever can use it.
//!
//! Two bars hold beside any mix of them. Fifteen seconds after the last peer came, what arrives at honest peers is 95 % of
//! what they and the uplink can carry; and while the uplink has room for all, no honest peer waits longer than half a
//! minute for its first block or for the next.
#![allow(clippy::unwrap_used, missing_docs, clippy::print_stdout)]

use core::ops::RangeInclusive;
use core::time::Duration;
use quelea_sim::{Crowd, NodePlan, Role, Scenario, Summary};
use quelea_time::Time;

const PIECE: u32 = 128 << 10;
/// Bytes a second of a peer that takes all that comes.
const FAST: u64 = 8_000_000;
/// Bytes a second of a slow peer.
const SLOW: u64 = 5_000;
/// Bytes a second of a peer that asks and does not read.
const NEVER: u64 = 1;
/// While the uplink has room for all, nobody honest waits longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// It takes this long to find out what the uplink and those who come can carry.
const START: u64 = 15;

/// Peers that come at the second `at`, take so many bytes a second each, and want so many pieces.
#[derive(Debug, Clone, Copy)]
struct Takers {
    count: usize,
    takes: u64,
    at: u64,
    pieces: u32,
}

impl Takers {
    fn at(self, at: u64) -> Self {
        Self { at, ..self }
    }
}

fn slow(count: usize) -> Takers {
    Takers { count, takes: SLOW, at: 0, pieces: 6 }
}

fn fast(count: usize, pieces: u32) -> Takers {
    Takers { count, takes: FAST, at: 0, pieces }
}

fn hostile(count: usize) -> Takers {
    Takers { count, takes: NEVER, at: 0, pieces: 6 }
}

/// A seed with eight slots, and peers that give nothing. A connection holds 64 KiB for a peer that does not take them.
fn world(uplink: u64, takers: &[Takers], seed: u64) -> Scenario {
    let pieces = takers.iter().map(|takers| takers.pieces).max().unwrap();
    let crowd = Crowd { seed_uplink: uplink, max_peers: 300, ..Crowd::even(1, pieces, PIECE) };
    let mut scenario = Scenario::crowd(&crowd, seed);
    scenario.links.window = Some(64 << 10);
    // So a connection carries more than any uplink here.
    scenario.links.latency = 20..=20;
    scenario.tracker.peers = 300;
    let model = scenario.nodes.pop().unwrap();
    for &Takers { count, takes, at, pieces } in takers {
        let mut node = NodePlan {
            role: if takes == NEVER { Role::Staller } else { Role::Leecher },
            uplink: 20_000,
            downlink: Some(takes),
            upload_slots: 0,
            joins: Time::from_secs(at),
            ..model.clone()
        };
        for piece in scenario.geometry.iter().skip(pieces as usize) {
            node.wanted.unset(piece);
        }
        scenario.nodes.extend(std::iter::repeat_n(node, count));
    }
    scenario
}

/// What came of the honest peers of a world.
#[derive(Debug)]
struct Outcome {
    /// Thousandths of what could be carried after the start.
    used: u64,
    longest_wait: Duration,
    summary: Summary,
}

fn run(scenario: Scenario) -> Outcome {
    let uplink = scenario.nodes[0].uplink;
    let plans = scenario.nodes.clone();
    let summary = quelea_sim::run(scenario).unwrap();
    let honest: Vec<_> = plans
        .iter()
        .zip(&summary.nodes)
        .filter(|(plan, _)| plan.role == Role::Leecher)
        .map(|(plan, node)| (plan, node, node.completed.unwrap().as_secs_f64() as u64))
        .collect();
    let comes = |plan: &NodePlan| plan.joins.as_secs_f64() as u64;
    let (mut could, mut came) = (0, 0);
    for second in 0..summary.last_completion.as_secs_f64() as u64 {
        if plans.iter().any(|plan| (comes(plan)..comes(plan) + START).contains(&second)) {
            continue;
        }
        let there = honest.iter().filter(|(plan, _, done)| comes(plan) < second && second < *done);
        could += there.map(|(plan, ..)| plan.downlink.unwrap()).sum::<u64>().min(uplink);
        let received = |of: &[u32]| u64::from(of.get(second as usize).copied().unwrap_or(0));
        came += honest.iter().map(|(_, node, _)| received(&node.received_by_second)).sum::<u64>();
    }
    let longest_wait = honest.iter().map(|(_, node, _)| node.longest_wait).max().unwrap();
    Outcome { used: came * 1_000 / could, longest_wait, summary }
}

/// Holds the worlds of these takers to both bars.
fn hold(uplink: u64, takers: &[Takers]) {
    hold_at(20..=20, uplink, takers);
}

/// The same with peers so many milliseconds away.
fn hold_at(latency: RangeInclusive<u64>, uplink: u64, takers: &[Takers]) {
    for seed in 1..=3 {
        let mut scenario = world(uplink, takers, seed);
        scenario.links.latency = latency.clone();
        let Outcome { used, longest_wait, summary } = run(scenario);
        println!("{takers:?} at {uplink}, world {seed}: {used} of a thousand used, waits {longest_wait:?}");
        assert!(used >= 950, "{used} of a thousand used: {takers:?} {summary}");
        assert!(longest_wait <= PATIENCE, "one waits {longest_wait:?}: {takers:?} {summary}");
    }
}

#[test]
fn one_that_takes_all_is_served_beside_slow_ones() {
    for (slows, at) in [(16, 0), (16, 25), (40, 25)] {
        hold(1_000_000, &[slow(slows), fast(1, 457).at(at)]);
    }
}

#[test]
fn one_that_takes_all_is_served_beside_those_that_ask_and_do_not_read() {
    for hostiles in [8, 40] {
        for at in [0, 25] {
            hold(1_000_000, &[hostile(hostiles), fast(1, 457).at(at)]);
        }
    }
}

#[test]
fn slow_ones_and_late_comers_are_served_beside_hostile_ones() {
    hold(1_000_000, &[hostile(20), slow(16), slow(3).at(35), fast(1, 457), fast(1, 457).at(50)]);
}

#[test]
fn an_uplink_is_used_when_it_takes_many_to_use_it() {
    hold_at(5..=50, 500_000, &[slow(50)]);
    // All in step.
    hold(500_000, &[slow(50)]);
}

/// More peers than slots share an uplink that is full: they take turns, which last a minute at most.
#[test]
fn a_thin_uplink_is_used_whole_and_each_has_its_turn() {
    for seed in 1..=3 {
        let outcome = run(world(20_000, &[fast(8, 4), fast(2, 4).at(30)], seed));
        println!("thin, world {seed}: {} of a thousand used, waits {:?}", outcome.used, outcome.longest_wait);
        assert!(outcome.used >= 950, "{} of a thousand used: {}", outcome.used, outcome.summary);
        assert!(outcome.longest_wait <= 2 * PATIENCE, "{:?} {}", outcome.longest_wait, outcome.summary);
    }
}
