//! Upload slots, grants and cancels.

use crate::bench::{Bench, sent, uploads, wire};
use quelea_swarm::event::Output;
use quelea_wire::Message;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn interest_takes_no_slot_from_others_between_rounds() {
    let mut bench = Bench::seed();
    let holders: Vec<_> = (0..4).map(|_| bench.peer()).collect();
    for &key in &holders {
        let outputs = bench.says(key, Message::Interested);
        assert!(sent(&outputs, key, &Message::Unchoke));
    }
    let late = bench.peer();
    let outputs = bench.says(late, Message::Interested);
    assert!(
        outputs.iter().all(|output| !matches!(output, Output::Send(_, Message::Choke | Message::Unchoke)))
    );
    // A slot that becomes free is filled at once.
    let outputs = bench.says(holders[0], Message::NotInterested);
    assert!(sent(&outputs, late, &Message::Unchoke) && sent(&outputs, holders[0], &Message::Choke));
}

#[test]
fn a_round_gives_everybody_a_turn() {
    let mut bench = Bench::seed();
    let peers: Vec<_> = (0..8).map(|_| bench.peer()).collect();
    for &key in &peers {
        bench.says(key, Message::Interested);
    }
    let mut waiting: BTreeSet<_> = peers.iter().copied().collect();
    for _ in 0..20 {
        waiting.retain(|&key| bench.machine.peer_stats().any(|peer| peer.key == key && peer.we_choke_it));
        bench.pass(30);
        for &key in &peers {
            bench.says(key, Message::KeepAlive);
        }
    }
    assert!(waiting.is_empty(), "{waiting:?}");
}

#[test]
fn what_a_slow_connection_has_asked_for_can_be_cancelled() {
    let mut bench = Bench::seed();
    let key = bench.peer();
    bench.says(key, Message::Interested);
    let mut granted = Vec::new();
    for block in 0..24 {
        granted.extend(uploads(&bench.says(key, Message::Request(wire(block / 4, block % 4)))));
    }
    assert_eq!(granted.len(), 2, "the others wait until these have left");
    let outputs = bench.says(key, Message::Cancel(wire(5, 3)));
    assert!(sent(&outputs, key, &Message::Reject(wire(5, 3))));
}

#[test]
fn a_fast_connection_is_granted_enough_to_stay_busy() {
    let mut bench = Bench::seed();
    let key = bench.peer();
    bench.says(key, Message::Interested);
    let mut granted = std::collections::VecDeque::new();
    let mut asked = 0;
    for _ in 0..300 {
        // A hundred requests wait, and ten blocks leave each 10 ms: 16 MB/s.
        for _ in 0..10 {
            while asked < 100 {
                granted.extend(uploads(&bench.says(key, Message::Request(wire(asked % 6, asked % 4)))));
                asked += 1;
            }
            let Some(span) = granted.pop_front() else { break };
            bench.machine.handle_uploaded(bench.now, key, span);
            asked -= 1;
            granted.extend(uploads(&bench.outputs()));
        }
        bench.now += Duration::from_millis(10);
    }
    assert_eq!(granted.len(), 32);
}
