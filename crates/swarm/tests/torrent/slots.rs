//! Upload slots, grants and cancels.

use crate::bench::{Bench, sent, uploads, wire};
use quelea_metainfo::geometry::Span;
use quelea_swarm::event::Output;
use quelea_swarm::peers::PeerKey;
use quelea_wire::Message;
use std::collections::{BTreeSet, VecDeque};
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

#[test]
fn other_slots_hold_at_once_where_they_are_more_and_in_the_next_round_where_they_are_fewer() {
    let mut bench = Bench::seed();
    let peers: Vec<_> = (0..6).map(|_| bench.peer()).collect();
    for &key in &peers {
        bench.says(key, Message::Interested);
    }
    let unchoked = |bench: &mut Bench| bench.machine.stats(bench.now).unchoked;
    assert_eq!((unchoked(&mut bench), bench.machine.stats(bench.now).interested), (4, 6));
    bench.machine.set_upload_slots(bench.now, 5);
    bench.outputs();
    assert_eq!(unchoked(&mut bench), 5);
    bench.machine.set_upload_slots(bench.now, 0);
    bench.outputs();
    assert_eq!(unchoked(&mut bench), 5, "a peer that is choked loses what is on its way");
    bench.pass(20);
    assert_eq!(unchoked(&mut bench), 0);
    bench.machine.set_upload_slots(bench.now, 2);
    bench.outputs();
    assert_eq!(unchoked(&mut bench), 2);
}

#[test]
fn a_seed_chooses_as_it_was_told() {
    use quelea_swarm::choker::SeedChoking;
    let mut bench = Bench::new(quelea_wire::Bitfield::all(6), |config| config.upload_slots = 2);
    bench.machine.set_seed_choking(SeedChoking::FastestUpload);
    let peers: Vec<_> = (0..4).map(|_| bench.peer()).collect();
    for &key in &peers {
        bench.says(key, Message::Interested);
    }
    let holders = |bench: &Bench| -> BTreeSet<_> {
        bench.machine.peer_stats().filter(|peer| !peer.we_choke_it).map(|peer| peer.key).collect()
    };
    let fast = *holders(&bench).iter().next().unwrap();
    for _ in 0..300 {
        let outputs = bench.says(fast, Message::Request(wire(0, 0)));
        for span in uploads(&outputs) {
            bench.machine.handle_uploaded(bench.now, fast, span);
        }
        bench.pass(1);
        for &key in &peers {
            bench.says(key, Message::KeepAlive);
        }
    }
    assert!(holders(&bench).contains(&fast), "whoever takes fastest keeps its slot");
}

/// Seconds until `key` is unchoked, while `others` do each second what they do.
fn waits(bench: &mut Bench, key: PeerKey, mut others: impl FnMut(&mut Bench)) -> u64 {
    let chokes = |bench: &Bench| bench.machine.peer_stats().any(|peer| peer.key == key && peer.we_choke_it);
    let mut seconds = 0;
    while chokes(bench) && seconds < 600 {
        others(bench);
        bench.pass(1);
        bench.says(key, Message::KeepAlive);
        seconds += 1;
    }
    seconds
}

fn unchoked(bench: &Bench) -> Vec<PeerKey> {
    bench.machine.peer_stats().filter(|peer| !peer.we_choke_it).map(|peer| peer.key).collect()
}

/// So many peers that want something.
fn interested(bench: &mut Bench, count: usize) -> Vec<PeerKey> {
    let peers: Vec<_> = (0..count).map(|_| bench.peer()).collect();
    for &key in &peers {
        bench.says(key, Message::Interested);
    }
    peers
}

#[test]
fn peers_that_ask_and_do_not_read_keep_nobody_waiting() {
    for count in [4, 8, 24] {
        let mut bench = Bench::seed();
        let hostile = interested(&mut bench, count);
        let ask = |bench: &mut Bench| {
            for &key in &hostile {
                bench.says(key, Message::KeepAlive);
                bench.says(key, Message::Request(wire(0, 0)));
            }
        };
        for _ in 0..60 {
            ask(&mut bench);
            bench.pass(1);
        }
        let honest = interested(&mut bench, 1)[0];
        let waited = waits(&mut bench, honest, ask);
        assert!(waited <= 30, "{waited} s behind {count}");
    }
}

#[test]
fn peers_that_ask_for_nothing_or_little_keep_nobody_waiting() {
    for (count, every) in [(4, 1_000), (24, 1_000), (8, 10), (24, 10)] {
        let mut bench = Bench::seed();
        let hostile = interested(&mut bench, count);
        let mut second = 0;
        let mut ask = |bench: &mut Bench| {
            second += 1;
            for &key in &hostile {
                bench.says(key, Message::KeepAlive);
                let outputs = if second % every == 0 {
                    bench.says(key, Message::Request(wire(0, 0)))
                } else {
                    Vec::new()
                };
                for span in uploads(&outputs) {
                    bench.machine.handle_uploaded(bench.now, key, span);
                }
            }
        };
        for _ in 0..60 {
            ask(&mut bench);
            bench.pass(1);
        }
        let honest = interested(&mut bench, 1)[0];
        let waited = waits(&mut bench, honest, ask);
        assert!(waited <= 30, "{waited} s behind {count} that ask every {every} s");
    }
}

/// Peers ask for more than they get, and an uplink brings `blocks` a second to those that have a slot, in turn.
fn share_uplink(
    bench: &mut Bench,
    peers: &[PeerKey],
    blocks: usize,
    granted: &mut VecDeque<(PeerKey, Span)>,
) {
    for &key in peers {
        bench.says(key, Message::KeepAlive);
        let asked = granted.iter().filter(|(of, _)| *of == key).count();
        if asked < 2 && unchoked(bench).contains(&key) {
            let spans = uploads(&bench.says(key, Message::Request(wire(0, 0))));
            granted.extend(spans.into_iter().map(|span| (key, span)));
        }
    }
    for _ in 0..blocks {
        let Some((key, span)) = granted.pop_front() else { break };
        bench.machine.handle_uploaded(bench.now, key, span);
        bench.outputs();
    }
}

#[test]
fn a_thin_uplink_is_not_shared_among_more_than_its_slots_and_a_few() {
    for blocks in [1, 4] {
        let mut bench = Bench::seed();
        let peers = interested(&mut bench, 30);
        let (mut granted, mut sum) = (VecDeque::new(), 0);
        for _ in 0..300 {
            share_uplink(&mut bench, &peers, blocks, &mut granted);
            bench.pass(1);
            sum += unchoked(&bench).len();
        }
        // Half as many again are tried out now and then, and may take the rest of their pieces.
        let mean = sum as f64 / 300.0;
        assert!(mean < 8.0, "{blocks} blocks a second: {mean} of four slots");
    }
}
