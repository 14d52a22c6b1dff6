//! Decisions are pure: the same seed tells the same story.
#![allow(clippy::unwrap_used, missing_docs)]

use quelea_sim::{Kind, Scenario};
use std::collections::BTreeSet;

fn quick(seed: u64) -> Scenario {
    let mut scenario = Scenario::of_seed(seed);
    scenario.checks_every = u64::MAX;
    scenario
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..2 * Kind::ALL.len() as u64 {
        assert_eq!(quelea_sim::run(quick(seed)).unwrap(), quelea_sim::run(quick(seed)).unwrap());
    }
}

#[test]
fn different_seeds_tell_different_stories() {
    let hashes: BTreeSet<u64> = (0..8).map(|seed| quelea_sim::run(quick(seed)).unwrap().hash).collect();
    assert_eq!(hashes.len(), 8);
}

#[test]
fn checks_do_not_change_the_story() {
    let mut checked = quick(9);
    checked.checks_every = 1;
    assert_eq!(quelea_sim::run(checked).unwrap(), quelea_sim::run(quick(9)).unwrap());
}
