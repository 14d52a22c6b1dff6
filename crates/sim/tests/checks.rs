//! The simulator's own checks find what they are there for, and the machines are as fast as they should be.
#![allow(clippy::unwrap_used, missing_docs)]

use quelea_sim::{Kind, Role, Scenario};
use quelea_time::Time;

#[test]
fn a_liar_in_a_world_where_nobody_lies_is_found() {
    let mut scenario = Scenario::of_kind(Kind::Even, 0);
    scenario.nodes[7].role = Role::Liar;
    let violation = quelea_sim::run(scenario).unwrap_err().to_string();
    assert!(violation.contains("though nobody lies"), "{violation}");
    assert!(violation.contains("cargo xtask sim 0"), "{violation}");
}

#[test]
fn a_swarm_that_cannot_complete_is_found() {
    let mut scenario = Scenario::of_kind(Kind::Even, 0);
    scenario.nodes[0].max_peers = 0;
    let violation = quelea_sim::run(scenario).unwrap_err().to_string();
    assert!(violation.contains("not everybody has what it wants"), "{violation}");
}

#[test]
fn blocks_that_take_more_memory_than_there_is_are_found() {
    let mut scenario = Scenario::of_kind(Kind::Even, 0);
    // A machine opens two pieces at least.
    scenario.nodes[3].open_pieces = 1;
    let violation = quelea_sim::run(scenario).unwrap_err().to_string();
    assert!(violation.contains("bytes of blocks, more than"), "{violation}");
}

#[test]
fn the_least_time_is_never_beaten() {
    for seed in Kind::Even.seeds(3) {
        let mut scenario = Scenario::of_seed(seed);
        scenario.checks_every = 100;
        let summary = quelea_sim::run(scenario).unwrap();
        assert!(summary.last_completion > Time::ZERO + summary.fluid_limit, "{}", summary.line());
    }
}

#[test]
fn equals_share_a_larger_torrent_in_little_more_than_the_least_time() {
    let mut scenario = Scenario::even(256, 0);
    scenario.checks_every = 1_000;
    let summary = quelea_sim::run(scenario).unwrap();
    assert!(summary.times_fluid() < 1.6, "{summary}");
    assert!(summary.wasted_per_mille() < 20, "{summary}");
}
