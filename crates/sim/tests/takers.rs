//! A seed and those who take little: its uplink is for whoever can use it.
#![allow(clippy::unwrap_used, missing_docs)]

use core::time::Duration;
use quelea_sim::{Crowd, Scenario, Summary};
use quelea_time::Time;

const PIECE: u32 = 128 << 10;
/// What a connection holds under way to a peer that does not take it.
const WINDOW: usize = 64 << 10;

/// A seed with eight slots, and leechers that give nothing and take so much each.
fn world(pieces: u32, uplink: u64, takers: &[u64]) -> Scenario {
    let crowd = Crowd { seed_uplink: uplink, ..Crowd::even(takers.len(), pieces, PIECE) };
    let mut scenario = Scenario::crowd(&Crowd { max_peers: 200, ..crowd }, 1);
    scenario.links.window = Some(WINDOW);
    for (node, &takes) in scenario.nodes.iter_mut().skip(1).zip(takers) {
        node.downlink = Some(takes);
        node.upload_slots = 0;
    }
    scenario
}

fn run(scenario: Scenario) -> Summary {
    quelea_sim::run(scenario).unwrap()
}

#[test]
fn one_that_takes_all_is_served_beside_any_number_of_slow_ones() {
    for slow in [4, 8, 16, 40] {
        let mut takers = vec![5_000; slow];
        takers.push(8_000_000);
        let mut scenario = world(64, 4_000_000, &takers);
        scenario.nodes.last_mut().unwrap().joins = Time::from_secs(25);
        let summary = run(scenario);
        let done = summary.nodes.last().unwrap().completed.unwrap();
        let least = Time::from_secs(25) + Duration::from_secs(u64::from(64 * PIECE) / 4_000_000);
        assert!(done.since(least) < Duration::from_secs(30), "beside {slow}: {done}");
    }
}

#[test]
fn an_uplink_is_used_when_it_takes_many_to_use_it() {
    let summary = run(world(32, 500_000, &[10_000; 100]));
    let seed = &summary.nodes[0];
    // At first it has to be found how many that are, and the last ones cannot use it.
    assert!(seed.busy >= 900, "{} of a thousand: {summary}", seed.busy);
}
