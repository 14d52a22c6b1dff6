//! What the picker does with blocks that come, are given up, fail, or were saved.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry};
use quelea_swarm::peers::{PeerKey, Peers};
use quelea_swarm::picker::{Picker, PieceState, Receipt, Source, Wish};
use quelea_time::Time;
use quelea_wire::Bitfield;
use std::collections::BTreeSet;

const PIECE_LENGTH: u32 = 3 * BLOCK_LENGTH;
const PIECES: u32 = 12;

fn geometry() -> Geometry {
    Geometry::new(u64::from(PIECES) * u64::from(PIECE_LENGTH) - 20_000, PIECE_LENGTH).unwrap()
}

fn wish<'a>(peer: PeerKey, has: &'a Bitfield, count: usize, idle: bool) -> Wish<'a> {
    let (now, rate) = (Time::ZERO, 0);
    Wish {
        now,
        peer,
        has,
        count,
        suggested: &[],
        led_after: usize::MAX,
        only: None,
        rate,
        snubbed: false,
        idle,
        proven: true,
    }
}

fn source(peer: PeerKey) -> Source {
    Source { peer, ip: "10.0.0.1".parse().unwrap() }
}

fn bits(pieces: impl IntoIterator<Item = u32>) -> Bitfield {
    let mut bits = Bitfield::none(PIECES);
    for piece in pieces {
        bits.set(geometry().piece(piece).unwrap());
    }
    bits
}

fn picker(seed: u64) -> Picker<()> {
    Picker::new(geometry(), &Bitfield::all(PIECES), Bitfield::none(PIECES), seed)
}

#[test]
fn blocks_that_were_saved_are_not_asked_for_again() {
    let all = Bitfield::all(PIECES);
    let mut peers = Peers::default();
    let me = peers.insert(());
    let mut before = picker(1);
    before.peer_joined(&Bitfield::all(PIECES));
    let mut picked = Vec::new();
    before.pick(wish(me, &all, 5, true), &mut picked);
    for span in &picked[..4] {
        before.receive(*span, source(me), ());
    }
    before.release(picked[4], me);
    // Three of them are a piece, which is being verified; the fourth is saved.
    let saved = before.take_blocks();
    before.check_invariants().unwrap();
    assert_eq!(saved.iter().map(|(span, ())| *span).collect::<Vec<_>>(), picked[3..4]);

    let mut after = picker(2);
    after.peer_joined(&Bitfield::all(PIECES));
    assert!(matches!(after.restore(saved[0].0, ()), Receipt::Taken { .. }));
    assert!(matches!(after.restore(saved[0].0, ()), Receipt::Useless(())));
    after.check_invariants().unwrap();
    let mut asked = Vec::new();
    after.pick(wish(me, &all, 100, false), &mut asked);
    assert!(!asked.contains(&saved[0].0));
    assert_eq!(asked[0].piece, saved[0].0.piece, "what was begun is finished first");
    let mut ends = 0;
    for span in asked.iter().filter(|span| span.piece == saved[0].0.piece) {
        ends += u32::from(matches!(after.receive(*span, source(me), ()), Receipt::Complete { .. }));
    }
    assert_eq!(ends, 1);
}

#[test]
fn saved_blocks_open_no_more_pieces_than_there_is_room_for() {
    let mut picker = picker(1);
    picker.set_open_limit(2);
    for piece in geometry().iter() {
        picker.restore(geometry().block(piece, 1).unwrap(), ());
    }
    assert_eq!(picker.open(), 2);
    picker.check_invariants().unwrap();
    // A block that is none, and one of a piece that nobody wants.
    assert!(matches!(picker.restore(geometry().span(0, 1, 5).unwrap(), ()), Receipt::Useless(())));
    let mut unwanted = Picker::new(geometry(), &bits([3]), Bitfield::none(PIECES), 1);
    let block = geometry().block(geometry().piece(2).unwrap(), 0).unwrap();
    assert!(matches!(unwanted.restore(block, ()), Receipt::Useless(())));
}

#[test]
fn a_peer_stays_on_its_piece_until_no_block_of_it_is_free() {
    let mut picker = picker(1);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let (me, other) = (peers.insert(()), peers.insert(()));
    picker.peer_joined(&Bitfield::all(PIECES));
    let mut mine = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..3 {
        picker.pick(wish(me, &all, 1, false), &mut mine);
        picker.pick(wish(other, &all, 1, false), &mut theirs);
    }
    assert!(mine.iter().all(|span| span.piece == mine[0].piece), "{mine:?}");
    assert!(theirs.iter().all(|span| span.piece == theirs[0].piece), "{theirs:?}");
    assert_ne!(mine[0].piece, theirs[0].piece);
}

#[test]
fn an_abandoned_piece_is_finished_before_another_is_opened() {
    let mut picker = picker(1);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let (gone, next) = (peers.insert(()), peers.insert(()));
    picker.peer_joined(&Bitfield::all(PIECES));
    let mut picked = Vec::new();
    picker.pick(wish(gone, &all, 2, false), &mut picked);
    picker.receive(picked[0], source(gone), ());
    picker.release(picked[1], gone);
    picker.disown(gone);
    let mut continued = Vec::new();
    picker.pick(wish(next, &all, 2, false), &mut continued);
    assert_eq!(continued.len(), 2);
    assert!(continued.iter().all(|span| span.piece == picked[0].piece));
}

#[test]
fn no_more_pieces_are_opened_than_allowed() {
    let mut picker = picker(3);
    picker.set_open_limit(2);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let me = peers.insert(());
    picker.peer_joined(&Bitfield::all(PIECES));
    let mut picked = Vec::new();
    picker.pick(wish(me, &all, 100, false), &mut picked);
    assert_eq!(picked.iter().map(|span| span.piece).collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(picker.open(), 2);
}

#[test]
fn a_piece_on_parole_is_asked_of_one_peer_at_a_time() {
    let mut picker = picker(5);
    let mut peers = Peers::default();
    let only_first = bits([0]);
    let (one, two) = (peers.insert(()), peers.insert(()));
    picker.peer_joined(&only_first);
    picker.peer_joined(&only_first);
    let mut picked = Vec::new();
    picker.pick(wish(one, &only_first, 3, true), &mut picked);
    for span in picked.clone() {
        picker.receive(span, source(one), ());
    }
    let piece = picked[0].piece;
    assert_eq!(picker.state(piece), PieceState::Verifying);
    assert_eq!(picker.failed(piece).len(), 3);
    picked.clear();
    picker.pick(wish(one, &only_first, 1, true), &mut picked);
    assert_eq!(picked.len(), 1);
    let mut shared = Vec::new();
    picker.pick(wish(two, &only_first, 3, true), &mut shared);
    assert!(shared.is_empty(), "{shared:?}");
    picker.release(picked[0], one);
    picker.disown(one);
    picker.pick(wish(two, &only_first, 3, true), &mut shared);
    assert_eq!(shared.len(), 3);
}

#[test]
fn a_block_is_asked_of_two_peers_at_most_and_of_the_second_only_if_it_is_known_to_send() {
    let mut picker = picker(7);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let first = peers.insert(());
    picker.peer_joined(&all);
    let mut asked = Vec::new();
    picker.pick(wish(first, &all, usize::from(u8::MAX), false), &mut asked);
    let mut twins = Vec::new();
    picker.pick(Wish { proven: false, ..wish(peers.insert(()), &all, 1, true) }, &mut twins);
    picker.pick(wish(peers.insert(()), &all, 1, false), &mut twins);
    assert_eq!(twins, [], "one has never sent anything, the other is busy");
    for _ in 0..asked.len() {
        let before = twins.len();
        picker.pick(wish(peers.insert(()), &all, 5, true), &mut twins);
        assert_eq!(twins.len(), before + 1, "one at a time");
    }
    picker.pick(wish(peers.insert(()), &all, 5, true), &mut twins);
    asked.sort();
    twins.sort();
    assert_eq!(twins, asked, "each once");
    picker.check_invariants().unwrap();
}

#[test]
fn what_comes_of_a_piece_that_was_given_up_is_welcome() {
    let mut picker = picker(3);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let slow = peers.insert(());
    picker.peer_joined(&all);
    let mut picked = Vec::new();
    picker.pick(wish(slow, &all, 3, false), &mut picked);
    picked.iter().for_each(|span| picker.release(*span, slow));
    assert_eq!(picker.state(picked[0].piece), PieceState::Missing, "it holds nothing and waits for nobody");
    assert!(matches!(picker.receive(picked[1], source(slow), ()), Receipt::Taken { .. }));
    assert_eq!(picker.state(picked[0].piece), PieceState::Open);
    picker.check_invariants().unwrap();
}

#[test]
fn pieces_that_wait_for_nobody_make_room() {
    let mut picker = picker(5);
    picker.set_open_limit(2);
    let mut peers = Peers::default();
    let rare = bits([0, 1]);
    let gone = peers.insert(());
    let tally = picker.peer_joined(&rare);
    let mut picked = Vec::new();
    picker.pick(wish(gone, &rare, 4, true), &mut picked);
    for piece in [0, 1] {
        let of_piece: Vec<_> = picked.iter().filter(|span| span.piece.get() == piece).collect();
        picker.receive(*of_piece[0], source(gone), ());
        of_piece[1..].iter().for_each(|span| picker.release(**span, gone));
    }
    picker.peer_left(gone, &rare, tally);
    let common = bits([5, 6]);
    let next = peers.insert(());
    picker.peer_joined(&common);
    let mut blocked = Vec::new();
    picker.pick(wish(next, &common, 1, true), &mut blocked);
    assert!(blocked.is_empty());
    assert_eq!(picker.unblock(), u64::from(BLOCK_LENGTH), "the one block of the piece that is dropped");
    picker.pick(wish(next, &common, 1, true), &mut blocked);
    assert_eq!(blocked.len(), 1);
    picker.check_invariants().unwrap();
}

#[test]
fn what_is_complete_and_has_no_peers_keeps_no_order() {
    let all = Bitfield::all(PIECES);
    let mut picker = Picker::<()>::new(geometry(), &all, all.clone(), 1);
    assert_eq!(picker.order_bytes(), 0);
    let me = Peers::default().insert(());
    let tally = picker.peer_joined(&bits([3]));
    assert!(picker.order_bytes() > 0);
    assert_eq!(picker.availability(geometry().piece(3).unwrap()), 1);
    picker.peer_left(me, &bits([3]), tally);
    assert_eq!(picker.order_bytes(), 0);
    picker.check_invariants().unwrap();
}

#[test]
fn what_a_check_finds_is_had_and_what_it_misses_is_fetched_again() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let wanted = bits((0..PIECES).filter(|piece| piece % 5 > 0));
        let mut picker = Picker::<()>::new(geometry(), &wanted, bits([1, 2, 5]), seed);
        picker.peer_joined(&Bitfield::all(PIECES));
        let mut peers = Peers::default();
        let me = peers.insert(());
        let mut picked = Vec::new();
        picker.pick(wish(me, &Bitfield::all(PIECES), 5, true), &mut picked);
        for span in &picked {
            // Some of it is here, the rest given up: the torrent is stopped.
            if rng.bool() && picker.state(span.piece) == PieceState::Open {
                if let Receipt::Complete { .. } = picker.receive(*span, source(me), ()) {
                    picker.verified(span.piece);
                }
            } else {
                picker.release(*span, me);
            }
        }
        picker.peer_left(me, &Bitfield::all(PIECES), quelea_swarm::picker::Tally::Lacks);
        let found = bits((0..PIECES).filter(|_| rng.bool()));
        picker.set_have(&found);
        picker.check_invariants().unwrap();
        assert_eq!(picker.have(), &found, "seed {seed}");
        let missing = geometry().iter().filter(|&piece| wanted.has(piece) && !found.has(piece));
        assert_eq!(missing.filter(|&piece| picker.is_missing(piece)).count() as u32, picker.missing_wanted());
    }
}
