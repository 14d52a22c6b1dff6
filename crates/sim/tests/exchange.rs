//! Peers that know one peer find all others by it (BEP 11), and nobody finds anybody where that is off.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use quelea_sim::{Kind, LEECHERS, Scenario, Summary};

/// A world whose tracker names one leecher and nobody else.
fn world(seed: u64, pex: bool) -> Summary {
    let mut scenario = Scenario::of_kind(Kind::Even, seed);
    scenario.tracker.names = Some(1);
    scenario.pex = pex;
    quelea_sim::run(scenario).unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn who_knows_one_peer_meets_everybody() {
    for seed in 0..5 {
        let summary = world(seed, true);
        let met: Vec<usize> = summary.nodes.iter().map(|node| node.met).collect();
        assert!(met.iter().all(|met| *met == LEECHERS), "seed {seed}: {met:?}");
    }
}

#[test]
fn without_exchange_all_know_that_one_alone() {
    for seed in 0..2 {
        let summary = world(seed, false);
        let met: Vec<usize> = summary.nodes.iter().map(|node| node.met).collect();
        let (middle, others): (Vec<_>, Vec<_>) = met.iter().enumerate().partition(|(number, _)| *number == 1);
        assert_eq!(*middle[0].1, LEECHERS, "seed {seed}: {met:?}");
        assert!(others.iter().all(|(_, met)| **met == 1), "seed {seed}: {met:?}");
    }
}
