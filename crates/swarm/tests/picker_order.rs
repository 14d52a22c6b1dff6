//! The rules by which the picker orders pieces, each in a table or a scene of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex, Span};
use quelea_swarm::peers::{PeerKey, Peers};
use quelea_swarm::picker::{Picker, PieceState, Priority, Source, Wish};
use quelea_time::Time;
use quelea_wire::Bitfield;
use std::collections::BTreeSet;
use std::time::Duration;

const PIECES: u32 = 100;
/// Blocks of a piece.
const BLOCKS: u32 = 4;

fn geometry() -> Geometry {
    let length = BLOCKS * BLOCK_LENGTH;
    Geometry::new(u64::from(PIECES) * u64::from(length), length).unwrap()
}

fn piece(number: u32) -> PieceIndex {
    geometry().piece(number).unwrap()
}

fn bits(pieces: impl IntoIterator<Item = u32>) -> Bitfield {
    let mut bits = Bitfield::none(PIECES);
    pieces.into_iter().for_each(|number| assert!(bits.set(piece(number))));
    bits
}

struct Scene {
    picker: Picker<()>,
    peers: Peers<()>,
    now: Time,
}

impl Scene {
    /// Nothing is here but the last ten pieces, so that no choice is a first one.
    fn new(seed: u64) -> Self {
        let picker = Picker::new(geometry(), &Bitfield::all(PIECES), bits(90..PIECES), seed);
        Self { picker, peers: Peers::default(), now: Time::ZERO }
    }

    fn join(&mut self, has: &Bitfield) -> PeerKey {
        self.picker.peer_joined(has);
        self.peers.insert(())
    }

    fn wish<'a>(&self, peer: PeerKey, has: &'a Bitfield, count: usize) -> Wish<'a> {
        let (now, suggested, rate) = (self.now, &[], 100_000);
        Wish {
            now,
            peer,
            has,
            count,
            suggested,
            led_after: usize::MAX,
            only: None,
            rate,
            snubbed: false,
            idle: false,
            proven: true,
        }
    }

    fn picks(&mut self, wish: Wish<'_>) -> Vec<Span> {
        let mut picked = Vec::new();
        self.picker.pick(wish, &mut picked);
        self.picker.check_invariants().unwrap();
        picked
    }

    /// The pieces in which blocks are picked, in order.
    fn pieces(&mut self, wish: Wish<'_>) -> Vec<u32> {
        let mut pieces: Vec<u32> = self.picks(wish).into_iter().map(|span| span.piece.get()).collect();
        pieces.dedup();
        pieces
    }
}

#[test]
fn what_comes_first() {
    // What is special about pieces 10, 20 and 30, and the order in which all three are taken.
    struct Row {
        what: &'static str,
        /// Peers that have the pieces beside the one that has everything.
        copies: [usize; 3],
        priorities: [u8; 3],
        snubbed: bool,
        order: [u32; 3],
    }
    let row = |what, copies, priorities, snubbed, order| Row { what, copies, priorities, snubbed, order };
    let table = [
        row("the rarest", [3, 1, 2], [4, 4, 4], false, [20, 30, 10]),
        row("the commonest from a snubbed peer", [3, 1, 2], [4, 4, 4], true, [10, 30, 20]),
        row("priority before rarity", [3, 1, 2], [7, 1, 6], false, [10, 30, 20]),
        row("priority before rarity for snubbed peers too", [1, 3, 2], [7, 1, 6], true, [10, 30, 20]),
        row("the rarest of equal priority", [2, 1, 0], [5, 5, 4], false, [20, 10, 30]),
    ];
    for Row { what, copies, priorities, snubbed, order } in table {
        for seed in 0..20 {
            let mut scene = Scene::new(seed);
            for (number, count) in [10, 20, 30].into_iter().zip(copies) {
                (0..count).for_each(|_| {
                    scene.join(&bits([number]));
                });
            }
            let all = Bitfield::all(PIECES);
            let me = scene.join(&all);
            let priority = |piece: PieceIndex| {
                let place = [10, 20, 30].iter().position(|number| *number == piece.get());
                place.map_or(Priority::UNWANTED, |place| Priority::new(priorities[place]).unwrap())
            };
            scene.picker.set_priorities(priority);
            let wish = Wish { snubbed, ..scene.wish(me, &all, 100) };
            assert_eq!(scene.pieces(wish), order, "{what}");
        }
    }
}

#[test]
fn a_suggested_piece_goes_before_a_rarer_one_and_an_allowed_one_alone() {
    let all = Bitfield::all(PIECES);
    let mut scene = Scene::new(1);
    let me = scene.join(&all);
    scene.join(&bits([5, 6]));
    let wish = Wish { suggested: &[piece(5)], ..scene.wish(me, &all, 1) };
    assert_eq!(scene.pieces(wish), [5]);
    let allowed: BTreeSet<PieceIndex> = [piece(6), piece(7)].into();
    let other = scene.join(&all);
    let wish = Wish { only: Some(&allowed), ..scene.wish(other, &all, 100) };
    assert_eq!(scene.pieces(wish), [7, 6], "the rarer first, and no other");
}

#[test]
fn in_sequential_mode_pieces_come_in_order_and_rarest_first_beyond_the_window() {
    let all = Bitfield::all(PIECES);
    let mut scene = Scene::new(1);
    scene.picker.set_window(Some(10));
    let me = scene.join(&all);
    let wish = scene.wish(me, &all, 3 * BLOCKS as usize);
    assert_eq!(scene.pieces(wish), [0, 1, 2]);
    let late = bits([30, 31, 32]);
    let other = scene.join(&late);
    scene.join(&bits([30, 32]));
    let wish = scene.wish(other, &late, BLOCKS as usize);
    assert_eq!(scene.pieces(wish), [31], "it has nothing near, so the rarest");
    let near = bits([5, 8, 31]);
    let third = scene.join(&near);
    let wish = scene.wish(third, &near, 2 * BLOCKS as usize);
    assert_eq!(scene.pieces(wish), [5, 8]);
    // Pieces of higher priority come in order before the others.
    scene.picker.set_priorities(|piece| Priority::new(if piece.get() >= 50 { 7 } else { 4 }).unwrap());
    let wish = scene.wish(me, &all, 2 * BLOCKS as usize);
    assert_eq!(scene.pieces(wish), [50, 51]);
    scene.picker.set_window(None);
    let fourth = scene.join(&all);
    let wish = Wish { rate: 0, ..scene.wish(fourth, &all, 20 * BLOCKS as usize) };
    let pieces = scene.pieces(wish);
    assert!(!pieces.is_sorted(), "it can be ended at any time: {pieces:?}");
}

#[test]
fn a_piece_that_is_missing_again_is_the_first_in_order() {
    let all = Bitfield::all(PIECES);
    let mut scene = Scene::new(1);
    scene.picker.set_window(Some(10));
    let me = scene.join(&all);
    let wish = scene.wish(me, &all, 2 * BLOCKS as usize);
    let picked = scene.picks(wish);
    for span in &picked {
        scene.picker.receive(*span, Source { peer: me, ip: "10.0.0.1".parse().unwrap() }, ());
    }
    scene.picker.verified(piece(1));
    scene.picker.failed(piece(0));
    let wish = scene.wish(me, &all, 2 * BLOCKS as usize);
    assert_eq!(scene.pieces(wish), [0, 2]);
}

#[test]
fn pieces_with_a_deadline_go_before_all_others_the_nearest_first_and_to_fast_peers() {
    let all = Bitfield::all(PIECES);
    let mut scene = Scene::new(1);
    let (slow, fast) = (scene.join(&all), scene.join(&all));
    for (number, seconds) in [(40, 9), (41, 5), (42, 7)] {
        scene.picker.set_deadline(piece(number), Time::from_secs(seconds));
        scene.picker.set_floor(piece(number), 50_000);
    }
    scene.picker.set_deadline(piece(95), Time::from_secs(1));
    let wish = Wish { rate: 49_999, ..scene.wish(slow, &all, BLOCKS as usize) };
    assert!(scene.pieces(wish)[0] < 40 || scene.pieces(wish)[0] > 42);
    let wish = Wish { snubbed: true, ..scene.wish(slow, &all, BLOCKS as usize) };
    assert!(!(40..=42).contains(&scene.pieces(wish)[0]));
    let wish = scene.wish(fast, &all, 3 * BLOCKS as usize);
    assert_eq!(scene.pieces(wish), [41, 42, 40], "piece 95 is here");
    // Nothing of them is free, and none is late; then one is.
    let third = scene.join(&all);
    let wish = scene.wish(third, &all, BLOCKS as usize);
    assert!(!(40..=42).contains(&scene.pieces(wish)[0]));
    scene.now = Time::from_secs(4) + Duration::from_millis(1);
    let wish = scene.wish(third, &all, BLOCKS as usize);
    let picked = scene.picks(wish);
    assert_eq!(picked[0].piece.get(), 41, "a block of it is doubled");
    assert!(picked[1].piece.get() != 41, "one at a time");
}

#[test]
fn a_fast_peer_takes_neighbours_where_none_is_rarer() {
    let all = Bitfield::all(PIECES);
    for seed in 0..20 {
        let mut scene = Scene::new(seed);
        let me = scene.join(&all);
        let in_run = 6;
        let rate = in_run * u64::from(BLOCKS * BLOCK_LENGTH) / 20;
        let wish = Wish { rate: rate + 1, ..scene.wish(me, &all, 6 * BLOCKS as usize) };
        let pieces = scene.pieces(wish);
        let first = pieces[0];
        // A run ends where the missing pieces end.
        let expected: Vec<u32> = (first..90).take(6).collect();
        assert_eq!(pieces[..expected.len()], expected, "{pieces:?}");
    }
    let mut scene = Scene::new(1);
    let me = scene.join(&all);
    scene.join(&bits((0..90).filter(|number| number % 10 != 3)));
    let wish = Wish { rate: 1_000_000, ..scene.wish(me, &all, 9 * BLOCKS as usize) };
    assert!(scene.pieces(wish).iter().all(|number| number % 10 == 3), "rarer pieces are not passed by");
}

#[test]
fn slow_peers_share_a_piece_and_others_have_one_each() {
    let all = Bitfield::all(PIECES);
    let slow_rate = u64::from(BLOCKS * BLOCK_LENGTH - 1) / 20;
    for (rate, together) in [(slow_rate, 1), (slow_rate + 1, 3), (0, 3)] {
        let mut scene = Scene::new(1);
        let mut pieces = BTreeSet::new();
        for _ in 0..3 {
            let peer = scene.join(&all);
            let wish = Wish { rate, ..scene.wish(peer, &all, 1) };
            pieces.extend(scene.pieces(wish));
        }
        assert_eq!(pieces.len(), together, "at {rate} bytes a second");
    }
}

#[test]
fn first_pieces_are_random_where_none_is_rare() {
    let all = Bitfield::all(PIECES);
    for (copies, any) in [(3, false), (6, true)] {
        let mut firsts = BTreeSet::new();
        for seed in 0..40 {
            let mut scene = Scene::new(seed);
            scene.picker = Picker::new(geometry(), &all, Bitfield::none(PIECES), seed);
            let me = scene.join(&all);
            (1..copies).for_each(|_| {
                scene.join(&all);
            });
            // All but one piece have one copy more.
            scene.join(&bits((0..PIECES).filter(|number| *number != 50)));
            let wish = scene.wish(me, &all, 1);
            firsts.extend(scene.pieces(wish));
        }
        assert_eq!(firsts.len() > 10, any, "with {copies} copies of the rarest: {firsts:?}");
    }
}

#[test]
fn what_is_not_wanted_any_longer_is_dropped_and_what_is_whole_is_kept() {
    let all = Bitfield::all(PIECES);
    let mut scene = Scene::new(1);
    let me = scene.join(&all);
    let source = Source { peer: me, ip: "10.0.0.1".parse().unwrap() };
    let wish = scene.wish(me, &all, 2 * BLOCKS as usize);
    let picked = scene.picks(wish);
    let (whole, begun) = (picked[0].piece, picked[4].piece);
    for span in &picked[..5] {
        scene.picker.receive(*span, source, ());
    }
    let dropped = scene.picker.set_priorities(|_| Priority::UNWANTED);
    assert_eq!(dropped.bytes, u64::from(BLOCK_LENGTH));
    assert_eq!(dropped.requests, picked[5..].iter().map(|span| (*span, me)).collect::<Vec<_>>());
    assert_eq!(scene.picker.missing_wanted(), 0);
    assert_eq!(scene.picker.state(whole), PieceState::Verifying);
    assert_eq!(scene.picker.state(begun), PieceState::Unwanted);
    scene.picker.check_invariants().unwrap();
    let wish = scene.wish(me, &all, 100);
    assert_eq!(scene.picks(wish), []);
    scene.picker.verified(whole);
    assert!(scene.picker.have().has(whole));
    scene.picker.set_priorities(|_| Priority::LOWEST);
    assert_eq!(scene.picker.missing_wanted(), 89, "eleven are here");
    scene.picker.check_invariants().unwrap();
}

#[test]
fn an_unwanted_piece_that_fails_is_not_fetched_again() {
    let all = Bitfield::all(PIECES);
    let mut scene = Scene::new(1);
    let me = scene.join(&all);
    let wish = scene.wish(me, &all, BLOCKS as usize);
    let picked = scene.picks(wish);
    for span in &picked {
        scene.picker.receive(*span, Source { peer: me, ip: "10.0.0.1".parse().unwrap() }, ());
    }
    scene.picker.set_priorities(|_| Priority::UNWANTED);
    scene.picker.failed(picked[0].piece);
    assert_eq!(scene.picker.state(picked[0].piece), PieceState::Unwanted);
    scene.picker.check_invariants().unwrap();
}
