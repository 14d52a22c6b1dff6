//! Requests that are given up and come late, and those that are doubled.

use crate::bench::{Bench, bits, requests, uploads, wire};
use quelea_swarm::event::{Output, Verdict};
use quelea_swarm::torrent::READ_ALREADY;
use quelea_wire::{Bitfield, Message};

#[test]
fn blocks_sent_before_a_choke_are_welcome_from_peers_without_the_fast_extension() {
    let mut bench = Bench::leecher();
    let key = bench.old_peer();
    bench.says(key, bits(&[0, 1, 2, 3, 4, 5]));
    let asked = requests(&bench.says(key, Message::Unchoke), key);
    assert_eq!(asked.len(), 4);
    bench.says(key, Message::Choke);
    for &span in &asked {
        bench.block(key, span);
    }
    assert_eq!(bench.machine.stats(bench.now).wasted, 0);
}

#[test]
fn a_snubbed_peer_that_sends_late_is_trusted_again() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.says(key, Message::HaveAll);
    let asked = requests(&bench.says(key, Message::Unchoke), key);
    let again = requests(&bench.pass(21), key);
    assert_eq!(again.len(), 1, "one request at a time while it is snubbed");
    let late = asked.iter().find(|span| !again.contains(span)).unwrap();
    let more = requests(&bench.block(key, *late), key);
    assert!(more.len() > 1, "{more:?}");
}

#[test]
fn without_memory_for_other_pieces_late_blocks_are_asked_of_idle_peers_too() {
    let mut bench = Bench::new(Bitfield::none(6), |config| config.open_pieces = 2);
    let slow = [bench.peer(), bench.peer()];
    let asked = slow.map(|slow| {
        bench.says(slow, Message::HaveAll);
        requests(&bench.says(slow, Message::Unchoke), slow)
    });
    assert_eq!(asked.each_ref().map(Vec::len), [4; 2], "a piece of four blocks each");
    let fast = bench.peer();
    bench.says(fast, Message::HaveAll);
    assert_eq!(requests(&bench.says(fast, Message::Unchoke), fast), []);
    // A peer that sends is waited for, however long its queue.
    let mut outputs = bench.pass(4);
    for (slow, asked) in slow.into_iter().zip(&asked) {
        outputs.extend(bench.block(slow, asked[0]));
    }
    outputs.extend(bench.pass(4));
    assert_eq!(requests(&outputs, fast), []);
    assert!(!requests(&bench.pass(2), fast).is_empty());
}

#[test]
fn a_piece_that_fails_in_the_endgame_leaves_nothing_contradictory() {
    let mut bench = Bench::leecher();
    let (slow, fast) = (bench.peer(), bench.peer());
    bench.says(slow, Message::HaveAll);
    bench.says(slow, Message::Unchoke);
    bench.says(fast, Message::HaveAll);
    let mut asked = requests(&bench.says(fast, Message::Unchoke), fast);
    let mut doubled = false;
    let mut whole = None;
    while whole.is_none() || !doubled {
        let span = asked.pop().expect("it is asked for more until the test has what it needs");
        let outputs = bench.block(fast, span);
        doubled |= outputs
            .iter()
            .any(|output| matches!(output, Output::Send(key, Message::Cancel(_)) if *key == slow));
        let verified = outputs.iter().find_map(|output| match output {
            Output::Verify { piece, .. } => Some(*piece),
            _ => None,
        });
        whole = whole.or(verified);
        asked.extend(requests(&outputs, fast));
    }
    // Blocks are asked of both, and the endgame is over as this piece is missing again.
    bench.verdict(whole.unwrap().get(), Verdict::Mismatch, &[[0; 20]; 4]);
}

#[test]
fn a_peer_that_cannot_be_told_of_lost_requests_loses_none_however_many_it_makes() {
    let mut bench = Bench::seed();
    let key = bench.old_peer();
    bench.says(key, Message::Interested);
    let reads = |outputs: &[Output<()>]| {
        outputs.iter().rev().find_map(|output| match output {
            Output::Read(of, read) if *of == key => Some(*read),
            _ => None,
        })
    };
    let ask = |bench: &mut Bench, number: usize| {
        bench.says(key, Message::Request(wire(number as u32 / 4 % 6, number as u32 % 4)))
    };
    let (mut asked, mut granted, mut pauses) = (0, Vec::new(), 0);
    for _ in 0..3 {
        loop {
            let outputs = ask(&mut bench, asked);
            asked += 1;
            granted.extend(uploads(&outputs));
            if reads(&outputs) == Some(false) {
                break;
            }
            assert!(asked < 10_000, "all that it asks is kept");
        }
        pauses += 1;
        for _ in 1..READ_ALREADY {
            granted.extend(uploads(&ask(&mut bench, asked)));
            asked += 1;
        }
        // It is silent for longer than any peer may be, but takes what it asked for.
        let mut again = false;
        while !again {
            bench.pass(1);
            bench.machine.handle_uploaded(bench.now, key, granted.remove(0));
            let outputs = bench.outputs();
            assert!(!outputs.iter().any(|output| matches!(output, Output::Disconnect(..))));
            granted.extend(uploads(&outputs));
            again = reads(&outputs) == Some(true);
        }
    }
    let mut sent =
        bench.machine.stats(bench.now).uploaded / u64::from(quelea_metainfo::geometry::BLOCK_LENGTH);
    while !granted.is_empty() {
        bench.machine.handle_uploaded(bench.now, key, granted.remove(0));
        granted.extend(uploads(&bench.outputs()));
        sent += 1;
    }
    assert_eq!((sent, pauses), (asked as u64, 3));
}
