//! Flash crowds, smaller than those of `cargo xtask sim swarm`, and held to the same bars.
#![allow(clippy::unwrap_used, missing_docs)]

use quelea_sim::{Crowd, Role, Scenario, Summary};
use quelea_time::Time;

/// The last completion, as a multiple of the fluid limit.
const BAR: f64 = 1.15;
/// Bytes a second.
const UPLINK: u64 = 250_000;
/// So many pieces that what one takes on its way through the crowd is little of the whole.
const PIECES: u32 = 512;
const PIECE: u32 = 128 << 10;

fn crowd(leechers: usize) -> Crowd {
    Crowd { seed_uplink: UPLINK, uplinks: vec![UPLINK], ..Crowd::even(leechers, PIECES, PIECE) }
}

fn run(crowd: &Crowd) -> Summary {
    quelea_sim::run(Scenario::crowd(crowd, 1)).unwrap()
}

#[test]
fn equals_complete_in_little_more_than_the_fluid_limit() {
    let summary = run(&crowd(24));
    assert!(summary.times_fluid() < BAR, "{summary}");
    assert!(summary.copies_from_seed() < 1.25, "{summary}");
}

#[test]
fn a_crowd_of_mixed_bandwidths_does_too() {
    let uplinks = vec![UPLINK / 2, UPLINK, 2 * UPLINK, 4 * UPLINK];
    let summary = run(&Crowd { uplinks, seed_uplink: 2 * UPLINK, ..crowd(24) });
    assert!(summary.times_fluid() < BAR, "{summary}");
}

#[test]
fn who_gives_nothing_gets_less_than_a_quarter_while_others_lack_pieces() {
    let summary = run(&Crowd { riders: 8, seed_uplink: 4 * UPLINK, ..crowd(24) });
    assert!(summary.riders_share() < 0.25, "{} {summary}", summary.riders_share());
    let riders = summary.nodes.iter().filter(|node| node.role == Role::Rider);
    assert_eq!(riders.map(|rider| rider.figures.uploaded).sum::<u64>(), 0);
    let contributors = summary.nodes.iter().filter(|node| node.role == Role::Leecher);
    let last = contributors.filter_map(|node| node.completed).max().unwrap();
    assert!(last.as_secs_f64() < BAR * summary.fluid_limit.as_secs_f64(), "{summary}");
}

#[test]
fn the_last_piece_waits_for_no_slow_peer() {
    // A block takes such a peer sixteen seconds, and a piece half a minute.
    let mut scenario = Scenario::crowd(&crowd(12), 1);
    for _ in 0..5 {
        let mut slow = scenario.nodes[0].clone();
        slow.uplink = 1_000;
        scenario.nodes.push(slow);
    }
    let summary = quelea_sim::run(scenario).unwrap();
    let slow = summary.nodes.iter().filter(|node| node.uplink == 1_000);
    assert!(slow.map(|node| node.figures.uploaded).sum::<u64>() > 0, "nobody was slowed down: {summary}");
    assert!(summary.times_fluid() < BAR, "{summary}");
}

#[test]
fn one_who_knows_one_fast_and_several_slow_seeds_ends_with_the_fast_one() {
    let mut scenario = Scenario::crowd(&Crowd { seed_uplink: 8 * UPLINK, ..crowd(1) }, 1);
    for _ in 0..5 {
        let mut slow = scenario.nodes[0].clone();
        slow.uplink = 500;
        scenario.nodes.push(slow);
    }
    let summary = quelea_sim::run(scenario).unwrap();
    let least = Time::from_secs(u64::from(PIECES * (PIECE / 1_000)) * 1_000 / (8 * UPLINK));
    assert!(summary.last_completion.since(least).as_secs() < 12, "{least} {summary}");
}

#[test]
fn a_seed_that_leaves_after_one_copy_leaves_a_swarm_that_completes() {
    for super_seed in [true, false] {
        let summary = run(&Crowd { seed_leaves: true, super_seed, ..crowd(24) });
        assert!(summary.faults.crashes + summary.faults.goodbyes == 1, "it left: {summary}");
        assert!(summary.copies_from_seed() <= 1.1, "{} {summary}", summary.copies_from_seed());
        assert!(summary.times_fluid() < BAR, "{summary}");
    }
}
