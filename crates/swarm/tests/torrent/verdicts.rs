//! Pieces that fail: who is banned, and that they are fetched again.

use crate::bench::{Bench, all, bits, requests, wire};
use quelea_swarm::event::{Event, Output, Verdict};
use quelea_swarm::peers::PeerKey;
use quelea_wire::Message;

fn banned(outputs: &[Output<()>]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Event(Event::Banned(..)))).count()
}

/// Piece 2 came half from each of two peers, and failed.
fn failed_by_two() -> (Bench, PeerKey, PeerKey) {
    let mut bench = Bench::leecher();
    let (one, other) = (bench.old_peer(), bench.old_peer());
    bench.says(one, bits(&[2]));
    bench.says(one, Message::Unchoke);
    bench.block(one, wire(2, 0));
    bench.block(one, wire(2, 1));
    bench.says(one, Message::Choke);
    bench.says(other, bits(&[2]));
    assert_eq!(requests(&bench.says(other, Message::Unchoke), other), [wire(2, 2), wire(2, 3)]);
    bench.block(other, wire(2, 2));
    let outputs = bench.block(other, wire(2, 3));
    assert!(outputs.iter().any(|output| matches!(output, Output::Verify { .. })));
    let outputs = bench.verdict(2, Verdict::Mismatch, &[[1; 20], [2; 20], [3; 20], [4; 20]]);
    assert_eq!(banned(&outputs), 0, "nobody is proven to have lied yet");
    (bench, one, other)
}

#[test]
fn who_sent_a_whole_bad_piece_is_banned() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.says(key, bits(&[2]));
    bench.says(key, Message::Unchoke);
    for span in all(2) {
        bench.block(key, span);
    }
    let outputs = bench.verdict(2, Verdict::Mismatch, &[[0; 20]; 4]);
    assert_eq!(banned(&outputs), 1);
    assert!(outputs.iter().any(|output| matches!(output, Output::Disconnect(gone, _) if *gone == key)));
}

#[test]
fn who_sent_the_bad_block_is_banned_when_the_piece_is_good_at_last() {
    let (mut bench, one, other) = failed_by_two();
    bench.says(one, Message::Unchoke);
    for span in all(2) {
        bench.block(other, span);
    }
    // Block 1 differs: that was the first one's.
    let outputs = bench.verdict(2, Verdict::Written, &[[1; 20], [9; 20], [3; 20], [4; 20]]);
    assert_eq!(banned(&outputs), 1);
    assert!(outputs.iter().any(|output| matches!(output, Output::Disconnect(gone, _) if *gone == one)));
}

#[test]
fn a_piece_on_parole_does_not_wait_for_a_peer_that_chokes_and_rejects() {
    let (mut bench, _, other) = failed_by_two();
    bench.says(other, Message::Choke);
    let third = bench.peer();
    bench.says(third, bits(&[2]));
    let asked = requests(&bench.says(third, Message::AllowedFast(2)), third);
    assert_eq!(asked.len(), 4, "it may give the piece though it chokes us");
    for span in asked {
        bench.says(third, Message::Reject(span));
    }
    assert_eq!(requests(&bench.says(other, Message::Unchoke), other).len(), 4);
}
