//! The picker, driven at random by peers that come, give, choke and leave.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, Span};
use quelea_swarm::peers::{PeerKey, Peers};
use quelea_swarm::picker::{Picker, PieceState, Receipt, Source, Wish};
use quelea_wire::Bitfield;
use std::collections::BTreeSet;

const PIECE_LENGTH: u32 = 3 * BLOCK_LENGTH;
const PIECES: u32 = 12;

fn geometry() -> Geometry {
    Geometry::new(u64::from(PIECES) * u64::from(PIECE_LENGTH) - 20_000, PIECE_LENGTH).unwrap()
}

fn wish<'a>(peer: PeerKey, has: &'a Bitfield, count: usize, idle: bool) -> Wish<'a> {
    Wish { peer, has, count, suggested: &[], only: None, snubbed: false, idle, proven: true }
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
    before.seed_joined();
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
    after.seed_joined();
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
fn the_rarest_piece_is_opened_first() {
    for seed in 0..50 {
        let mut picker = picker(seed);
        let mut peers = Peers::default();
        let all = Bitfield::all(PIECES);
        let me = peers.insert(());
        picker.seed_joined();
        for piece in geometry().iter().filter(|piece| piece.get() != 7) {
            picker.peer_has(piece);
        }
        let mut picked = Vec::new();
        picker.pick(wish(me, &all, 1, true), &mut picked);
        assert_eq!(picked[0].piece.get(), 7);
    }
}

#[test]
fn a_peer_stays_on_its_piece_until_no_block_of_it_is_free() {
    let mut picker = picker(1);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let (me, other) = (peers.insert(()), peers.insert(()));
    picker.seed_joined();
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
    picker.seed_joined();
    let mut picked = Vec::new();
    picker.pick(wish(gone, &all, 2, false), &mut picked);
    for span in &picked {
        picker.release(*span, gone);
    }
    picker.disown(gone);
    let mut continued = Vec::new();
    picker.pick(wish(next, &all, 3, false), &mut continued);
    assert!(continued.iter().all(|span| span.piece == picked[0].piece));
}

#[test]
fn no_more_pieces_are_opened_than_allowed() {
    let mut picker = picker(3);
    picker.set_open_limit(2);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let me = peers.insert(());
    picker.seed_joined();
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
    picker.peer_has(geometry().piece(0).unwrap());
    picker.peer_has(geometry().piece(0).unwrap());
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
fn peers_that_never_sent_anything_leave_a_place_at_each_block_to_one_that_did() {
    let mut picker = picker(7);
    let mut peers = Peers::default();
    let all = Bitfield::all(PIECES);
    let first = peers.insert(());
    picker.seed_joined();
    let mut asked = Vec::new();
    picker.pick(wish(first, &all, usize::from(u8::MAX), false), &mut asked);
    let mut doubled = BTreeSet::new();
    for _ in 0..asked.len() * 3 {
        let silent = peers.insert(());
        let mut twins = Vec::new();
        picker.pick(Wish { proven: false, ..wish(silent, &all, 1, true) }, &mut twins);
        doubled.extend(twins);
    }
    assert_eq!(doubled.len(), asked.len(), "they have taken every place that they may");
    let me = peers.insert(());
    for _ in 0..asked.len() {
        let mut twins = Vec::new();
        picker.pick(wish(me, &all, 1, true), &mut twins);
        assert_eq!(twins.len(), 1);
        picker.receive(twins[0], source(me), ());
    }
    assert_eq!(picker.verifying() as u32, PIECES);
}

#[test]
fn pieces_that_wait_for_nobody_make_room() {
    let mut picker = picker(5);
    picker.set_open_limit(2);
    let mut peers = Peers::default();
    let rare = bits([0, 1]);
    let gone = peers.insert(());
    for piece in [0, 1] {
        picker.peer_has(geometry().piece(piece).unwrap());
    }
    let mut picked = Vec::new();
    picker.pick(wish(gone, &rare, 4, true), &mut picked);
    picker.receive(picked[0], source(gone), ());
    for span in &picked[1..] {
        picker.release(*span, gone);
    }
    picker.disown(gone);
    for piece in [0, 1] {
        picker.peer_lost(geometry().piece(piece).unwrap());
    }
    let common = bits([5, 6]);
    let next = peers.insert(());
    for piece in [5, 6] {
        picker.peer_has(geometry().piece(piece).unwrap());
    }
    let mut blocked = Vec::new();
    picker.pick(wish(next, &common, 1, true), &mut blocked);
    assert!(blocked.is_empty());
    picker.unblock();
    picker.pick(wish(next, &common, 1, true), &mut blocked);
    assert_eq!(blocked.len(), 1);
    picker.check_invariants().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Pick { peer: usize, count: usize },
    Receive { peer: usize, which: usize },
    Release { peer: usize, which: usize },
    Leave { peer: usize },
    Verdict { good: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = 0usize..4;
    let step = prop_oneof![
        4 => (peer.clone(), 1usize..8).prop_map(|(peer, count)| Step::Pick { peer, count }),
        6 => (peer.clone(), 0usize..100).prop_map(|(peer, which)| Step::Receive { peer, which }),
        1 => (peer.clone(), 0usize..100).prop_map(|(peer, which)| Step::Release { peer, which }),
        1 => peer.prop_map(|peer| Step::Leave { peer }),
        2 => prop::bool::weighted(0.8).prop_map(|good| Step::Verdict { good }),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance(
        steps in steps(),
        holdings in prop::collection::vec(prop::collection::btree_set(0..PIECES, 0..=PIECES as usize), 4),
        seed: u64,
        limit in 2usize..6,
    ) {
        let geometry = geometry();
        let mut picker = picker(seed);
        picker.set_open_limit(limit);
        let mut peers = Peers::default();
        let keys: Vec<PeerKey> = (0..4).map(|_| peers.insert(())).collect();
        let has: Vec<Bitfield> = holdings.iter().map(|pieces| bits(pieces.iter().copied())).collect();
        for bits in &has {
            for piece in bits.iter(&geometry) {
                picker.peer_has(piece);
            }
        }
        let mut outstanding: Vec<Vec<Span>> = vec![Vec::new(); 4];
        let mut verifying = Vec::new();
        for step in steps {
            match step {
                Step::Pick { peer, count } => {
                    let mut picked = Vec::new();
                    let idle = outstanding[peer].is_empty();
                    picker.pick(wish(keys[peer], &has[peer], count, idle), &mut picked);
                    prop_assert!(picked.len() <= count);
                    for span in picked {
                        prop_assert!(has[peer].has(span.piece));
                        prop_assert!(!outstanding[peer].contains(&span));
                        let twice = outstanding.iter().any(|spans| spans.contains(&span));
                        prop_assert!(!twice || picker.is_endgame());
                        outstanding[peer].push(span);
                    }
                }
                Step::Receive { peer, which } if !outstanding[peer].is_empty() => {
                    let which = which % outstanding[peer].len();
                    let span = outstanding[peer].remove(which);
                    let twins = match picker.receive(span, source(keys[peer]), ()) {
                        Receipt::Taken { twins } => twins,
                        Receipt::Complete { twins, blocks } => {
                            prop_assert_eq!(blocks.len() as u32, geometry.blocks_of(span.piece));
                            verifying.push(span.piece);
                            twins
                        }
                        Receipt::Useless(()) => { prop_assert!(false, "a leased block is of use"); Vec::new() }
                    };
                    for twin in twins {
                        let twin = keys.iter().position(|key| *key == twin).unwrap();
                        outstanding[twin].retain(|other| *other != span);
                    }
                }
                Step::Release { peer, which } if !outstanding[peer].is_empty() => {
                    let which = which % outstanding[peer].len();
                    let span = outstanding[peer].remove(which);
                    picker.release(span, keys[peer]);
                }
                Step::Leave { peer } => {
                    for span in outstanding[peer].drain(..) {
                        picker.release(span, keys[peer]);
                    }
                    picker.disown(keys[peer]);
                }
                Step::Verdict { good } => if let Some(piece) = verifying.pop() {
                    if good { picker.verified(piece); } else { picker.failed(piece); }
                },
                Step::Receive { .. } | Step::Release { .. } => {}
            }
            picker.unblock();
            picker.check_invariants().map_err(TestCaseError::fail)?;
            for (peer, spans) in outstanding.iter().enumerate() {
                for span in spans {
                    prop_assert!(picker.is_leased(*span, keys[peer]));
                }
            }
        }
    }
}
