//! A seed that shows its pieces one by one (BEP 16).

use crate::bench::{Bench, all, bits, sent, uploads, wire};
use quelea_swarm::event::{Farewell, Output};
use quelea_swarm::peers::PeerKey;
use quelea_wire::Message;
use std::collections::BTreeSet;

/// A super-seed with one slot, so that whoever comes second waits.
fn super_seed() -> Bench {
    let mut bench = Bench::seed_with(|config| config.upload_slots = 1);
    bench.machine.set_super_seeding(bench.now, true);
    bench
}

/// Pieces that a peer is shown.
fn shown(outputs: &[Output<()>], to: PeerKey) -> Vec<u32> {
    let have = |output: &Output<()>| match output {
        Output::Send(key, Message::Have(piece)) if *key == to => Some(*piece),
        _ => None,
    };
    outputs.iter().filter_map(have).collect()
}

/// A newcomer that has nothing: what it is shown.
fn comes(bench: &mut Bench) -> (PeerKey, Vec<u32>) {
    let key = bench.peer();
    let outputs = bench.outputs();
    assert!(sent(&outputs, key, &Message::HaveNone), "it does not say that it has anything");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Send(_, Message::AllowedFast(_)))));
    (key, shown(&outputs, key))
}

/// A peer takes all of a piece.
fn takes(bench: &mut Bench, key: PeerKey, piece: u32) {
    for span in all(piece) {
        let mut outputs = bench.says(key, Message::Request(span));
        for span in uploads(&outputs) {
            bench.machine.handle_uploaded(bench.now, key, span);
        }
        outputs.extend(bench.outputs());
        assert!(!sent(&outputs, key, &Message::Reject(span)), "{span:?}");
    }
}

#[test]
fn every_peer_is_shown_other_pieces() {
    let mut bench = super_seed();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let (_, pieces) = comes(&mut bench);
        assert_eq!(pieces.len(), 2, "nobody waits for a slot");
        seen.extend(pieces);
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn what_was_not_shown_is_not_given() {
    let mut bench = super_seed();
    let (key, pieces) = comes(&mut bench);
    bench.says(key, Message::Interested);
    let hidden = (0..6).find(|piece| !pieces.contains(piece)).unwrap();
    let outputs = bench.says(key, Message::Request(wire(hidden, 0)));
    assert!(sent(&outputs, key, &Message::Reject(wire(hidden, 0))) && uploads(&outputs).is_empty());
    let outputs = bench.says(key, Message::Request(wire(pieces[0], 0)));
    assert_eq!(uploads(&outputs).len(), 1);
}

#[test]
fn while_others_wait_the_next_piece_is_shown_when_somebody_else_has_the_last_one() {
    let mut bench = super_seed();
    let (first, pieces) = comes(&mut bench);
    bench.says(first, Message::Interested);
    let (second, _) = comes(&mut bench);
    bench.says(second, Message::Interested);
    takes(&mut bench, first, pieces[0]);
    takes(&mut bench, first, pieces[1]);
    let mut outputs = bench.says(first, Message::Have(pieces[0]));
    outputs.extend(bench.says(first, Message::Have(pieces[1])));
    assert_eq!(shown(&outputs, first), [0; 0], "it keeps both to itself");
    let outputs = bench.says(second, Message::Have(pieces[0]));
    let next = shown(&outputs, first);
    assert!(next.len() == 1 && !pieces.contains(&next[0]), "{next:?}");
}

#[test]
fn who_is_alone_gets_everything_without_giving_on() {
    let mut bench = super_seed();
    let (key, mut todo) = comes(&mut bench);
    bench.says(key, Message::Interested);
    let mut taken = BTreeSet::new();
    while let Some(piece) = todo.pop() {
        takes(&mut bench, key, piece);
        taken.insert(piece);
        let outputs = bench.says(key, Message::Have(piece));
        todo.extend(shown(&outputs, key));
        let outputs = bench.pass(1);
        assert!(outputs.iter().all(|output| !matches!(output, Output::Disconnect(_, Farewell::Fault(_)))));
        todo.extend(shown(&outputs, key));
    }
    assert_eq!(taken.len(), 6);
}

#[test]
fn a_piece_that_left_with_its_peer_is_shown_to_another() {
    let mut bench = super_seed();
    let peers: Vec<_> = (0..3).map(|_| comes(&mut bench)).collect();
    let (gone, lost) = &peers[0];
    bench.machine.handle_disconnected(bench.now, *gone);
    let (_, pieces) = comes(&mut bench);
    assert_eq!(pieces.iter().collect::<BTreeSet<_>>(), lost.iter().collect());
}

#[test]
fn who_does_not_want_what_it_is_shown_is_shown_something_else() {
    let mut bench = super_seed();
    let (key, pieces) = comes(&mut bench);
    let outputs = bench.pass(6);
    let others = shown(&outputs, key);
    assert!(others.len() == 2 && others.iter().all(|piece| !pieces.contains(piece)), "{others:?}");
}

#[test]
fn pieces_that_a_newcomer_has_are_not_shown_to_it_in_vain() {
    let mut bench = super_seed();
    let (key, pieces) = comes(&mut bench);
    let outputs = bench.says(key, bits(&pieces));
    assert_eq!(shown(&outputs, key).len(), 2);
}

#[test]
fn when_it_ends_peers_are_shown_everything() {
    let mut bench = super_seed();
    let (key, pieces) = comes(&mut bench);
    bench.machine.set_super_seeding(bench.now, false);
    assert_eq!(shown(&bench.outputs(), key).len() + pieces.len(), 6);
    let newcomer = bench.peer();
    assert!(sent(&bench.outputs(), newcomer, &Message::HaveAll));
}

#[test]
fn a_leecher_hides_nothing() {
    let mut bench = Bench::leecher();
    bench.machine.set_super_seeding(bench.now, true);
    assert!(!bench.machine.is_super_seeding());
}
