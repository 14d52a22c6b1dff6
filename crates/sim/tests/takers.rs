//! A seed and those who take little: its uplink is for whoever can use it.
#![allow(clippy::unwrap_used, missing_docs)]

use core::time::Duration;
use quelea_sim::{Crowd, NodePlan, Scenario, Summary};
use quelea_time::Time;
use quelea_wire::Bitfield;

const PIECE: u32 = 128 << 10;
/// What a connection holds under way to a peer that does not take it.
const WINDOW: usize = 64 << 10;
/// Nobody honest waits for longer.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Has those nodes want the first piece only.
fn ask_little(scenario: &mut Scenario, which: impl Fn(&NodePlan) -> bool) {
    let mut first = Bitfield::none(scenario.geometry.pieces());
    first.set(scenario.geometry.iter().next().unwrap());
    for node in scenario.nodes.iter_mut().skip(1).filter(|node| which(node)) {
        node.wanted = first.clone();
    }
}

fn run(scenario: Scenario) -> Summary {
    quelea_sim::run(scenario).unwrap()
}

/// How much later the last one, which comes after 25 seconds, has everything than if there were a slot for everybody.
/// Compared with what the seed's uplink takes for it, the same would be 16 seconds more: a window of 64 KiB each round
/// trip is all that its connection carries, whoever else is served.
fn waited(mut scenario: Scenario) -> Duration {
    scenario.nodes.last_mut().unwrap().joins = Time::from_secs(25);
    let done = |scenario: Scenario| run(scenario).nodes.last().unwrap().completed.unwrap();
    let with_slots_for_all = {
        let mut scenario = scenario.clone();
        scenario.nodes[0].upload_slots = scenario.nodes.len();
        done(scenario)
    };
    done(scenario).since(with_slots_for_all)
}

#[test]
fn one_that_takes_all_is_served_beside_any_number_of_slow_ones() {
    let waits: Vec<(usize, Duration)> = [4, 8, 16, 40]
        .into_iter()
        .map(|slow| {
            let mut takers = vec![5_000; slow];
            takers.push(8_000_000);
            (slow, waited(world(64, 4_000_000, &takers)))
        })
        .collect();
    assert!(waits.iter().all(|&(_, wait)| wait < PATIENCE), "{waits:?}");
}

#[test]
fn one_that_takes_all_is_served_beside_those_that_ask_and_hardly_read() {
    let waits: Vec<(usize, Duration)> = [8, 32]
        .into_iter()
        .map(|hostile| {
            let mut takers = vec![500; hostile];
            takers.push(8_000_000);
            let mut scenario = world(64, 4_000_000, &takers);
            ask_little(&mut scenario, |node| node.downlink == Some(500));
            (hostile, waited(scenario))
        })
        .collect();
    assert!(waits.iter().all(|&(_, wait)| wait < PATIENCE), "{waits:?}");
}

#[test]
fn one_that_takes_all_is_served_beside_slow_hostile_and_modest_ones() {
    let mut takers = [5_000, 500, 20_000].repeat(8);
    takers.push(8_000_000);
    let mut scenario = world(64, 4_000_000, &takers);
    ask_little(&mut scenario, |node| matches!(node.downlink, Some(500 | 20_000)));
    let wait = waited(scenario);
    assert!(wait < PATIENCE, "{wait:?}");
}

/// What the seed sent, in thousandths of what could be taken of its uplink by those who were not done, from the first
/// moment on.
fn used(summary: &Summary, takers: &[u64]) -> u64 {
    let uplink = summary.nodes[0].uplink;
    let mut ends: Vec<(Time, u64)> = summary
        .nodes
        .iter()
        .skip(1)
        .map(|node| node.completed.unwrap())
        .zip(takers.iter().copied())
        .collect();
    ends.sort_unstable();
    let (mut from, mut could, mut left) = (Time::ZERO, 0.0, takers.iter().sum::<u64>());
    for (end, takes) in ends {
        could += end.since(from).as_secs_f64() * left.min(uplink) as f64;
        from = end;
        left -= takes;
    }
    (summary.nodes[0].figures.uploaded as f64 * 1_000.0 / could) as u64
}

#[test]
fn an_uplink_is_used_when_it_takes_many_to_use_it() {
    let takers = [10_000; 100];
    let summary = run(world(32, 500_000, &takers));
    let used = used(&summary, &takers);
    assert!(used >= 950, "{used} of a thousand, {} until the last: {summary}", summary.nodes[0].busy);
}
