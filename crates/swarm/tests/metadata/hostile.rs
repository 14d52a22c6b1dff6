//! Peers that lie, flood and stall.

use crate::world::{Manner, World, dictionary, honest, message};
use proptest::prelude::*;
use quelea_swarm::event::Farewell;
use quelea_wire::Message;
use quelea_wire::extension::Extension;
use quelea_wire::extension::metadata::{MetadataMessage, PIECE};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Sooner than anybody's patience with a silent peer ends.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn who_gives_all_of_it_wrong_is_banned() {
    let (right, wrong) = (dictionary(4 * PIECE, 0), dictionary(4 * PIECE, 1));
    let mut world = World::v1(&right);
    let liar = world.peer(honest(&wrong));
    assert!(!world.run(MINUTE));
    assert!(world.banned.contains(&liar.ip()));
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
    assert_eq!(world.banned.len(), 1);
}

#[test]
fn a_liar_among_honest_peers_is_found() {
    let (right, wrong) = (dictionary(30 * PIECE, 0), dictionary(30 * PIECE, 1));
    let mut world = World::v1(&right);
    let liar = world.peer(honest(&wrong));
    for _ in 0..3 {
        world.peer(honest(&right));
    }
    assert!(world.run(MINUTE), "{:?}", world.fetch.progress());
    assert_eq!(world.done.as_ref(), Some(&right));
    assert_eq!(world.banned.iter().copied().collect::<Vec<_>>(), [liar.ip()]);
}

#[test]
fn one_honest_peer_among_many_liars_suffices() {
    let right = dictionary(10 * PIECE, 0);
    let mut world = World::v1(&right);
    for seed in 1..=12 {
        world.peer(honest(&dictionary(10 * PIECE, seed)));
    }
    let honest = world.peer(honest(&right));
    assert!(world.run(5 * MINUTE), "{:?}", world.fetch.progress());
    assert!(!world.banned.contains(&honest.ip()));
}

#[test]
fn one_wrong_piece_is_enough_to_be_found() {
    let right = dictionary(12 * PIECE, 0);
    let mut wrong = right.clone();
    for at in (0..wrong.len()).step_by(PIECE) {
        wrong[at] ^= 1;
    }
    let mut world = World::v1(&right);
    let liar = world.peer(honest(&wrong));
    world.peer(honest(&right));
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
    assert_eq!(world.banned.iter().copied().collect::<Vec<_>>(), [liar.ip()]);
}

#[test]
fn lengths_are_votes_and_a_majority_of_liars_does_not_delay() {
    let right = dictionary(3 * PIECE, 0);
    let mut world = World::v1(&right);
    for number in 0..6u32 {
        // Two lengths with three votes each, and nothing behind them.
        world.peer(Manner::Silent(1_000 + number % 2));
    }
    let honest = world.peer(honest(&right));
    assert!(world.run(SOON), "{:?}", world.fetch.progress());
    assert!(!world.banned.contains(&honest.ip()));
}

#[test]
fn silent_peers_that_each_claim_a_length_of_their_own_do_not_delay() {
    for (count, length) in [(6, 100), (20, 100), (20, 30 << 20)] {
        let right = dictionary(3 * PIECE, 0);
        let mut world = World::v1(&right);
        for number in 0..count {
            world.peer(Manner::Silent(length + number));
        }
        world.peer(honest(&right));
        assert!(world.run(SOON), "{:?}", world.fetch.progress());
    }
}

#[test]
fn two_voices_for_each_of_the_largest_lengths_do_not_delay_by_silence() {
    let right = dictionary(3 * PIECE, 0);
    let mut world = World::v1(&right);
    for number in 0..20 {
        world.peer(Manner::Silent((32 << 20) - number / 2));
    }
    world.peer(honest(&right));
    assert!(world.run(SOON), "{:?}", world.fetch.progress());
}

#[test]
fn memory_holds_one_copy_of_the_largest_length_and_an_honest_one_gets_its_turn() {
    let right = dictionary(3 * PIECE, 0);
    let mut world = World::v1(&right);
    for number in 0..6 {
        // Two voices for each length, and all that is asked for, but not the last piece.
        let length = (32 << 20) - number / 2 * 16;
        world.peer(Manner::Miscounts {
            data: dictionary(length - PIECE, 1),
            length: length as u32,
            total: 0,
        });
    }
    world.peer(honest(&right));
    assert!(world.run(10 * MINUTE), "{:?}", world.fetch.progress());
}

#[test]
fn metadata_of_a_gibibyte_is_not_believed_and_costs_nothing() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    let liar = world.peer(Manner::Without);
    assert!(!world.run(Duration::from_secs(1)));
    let key = *world.keys.iter().find(|(_, address)| **address == liar).unwrap().0;
    let payload = format!("d1:md11:ut_metadatai3ee13:metadata_sizei{}ee", 1 << 30).into_bytes();
    world.fetch.handle_message(world.now, key, &Message::Extended { id: 0, payload });
    world.drain();
    assert_eq!(world.fetch.progress().size, None);
    assert!(!world.asked.contains_key(&liar));
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
}

#[test]
fn the_largest_length_that_is_believed_delays_nobody() {
    let right = dictionary(3 * PIECE, 0);
    let mut world = World::v1(&right);
    for _ in 0..3 {
        world.peer(Manner::Gives(dictionary(32 << 20, 1), Duration::from_secs(1)));
    }
    world.peer(honest(&right));
    assert!(world.run(MINUTE), "{:?}", world.fetch.progress());
}

#[test]
fn pieces_of_the_wrong_length_end_the_connection() {
    let right = dictionary(2 * PIECE, 0);
    for (total_size, length) in [(2 * PIECE, 5), (2 * PIECE, 0), (3 * PIECE, PIECE + 1), (0, 2 * PIECE)] {
        let data = vec![0; length];
        let said = MetadataMessage::Data { piece: 0, total_size: total_size as u32, data: &data };
        let mut world = World::v1(&right);
        let liar = world.peer(Manner::Answers(2 * PIECE as u32, vec![message(&said)]));
        assert!(!world.run(Duration::from_secs(2)));
        assert!(matches!(world.farewells.get(&liar), Some(Farewell::Fault(_))));
    }
}

#[test]
fn floods_of_what_nobody_asked_for_end_the_connection() {
    let right = dictionary(2 * PIECE, 0);
    let piece = dictionary(PIECE, 0);
    let unasked = MetadataMessage::Data { piece: 1_000, total_size: 2 * PIECE as u32, data: &piece };
    let garbage = Message::Extended { id: Extension::Metadata.own_id(), payload: b"x".to_vec() };
    for said in [message(&unasked), garbage, message(&MetadataMessage::Request { piece: 0 })] {
        let mut world = World::v1(&right);
        let liar = world.peer(Manner::Answers(2 * PIECE as u32, vec![said; 50]));
        assert!(!world.run(Duration::from_secs(2)));
        assert!(matches!(world.farewells.get(&liar), Some(Farewell::Fault(_))));
        world.peer(honest(&right));
        assert!(world.run(MINUTE));
    }
}

#[test]
fn a_length_that_keeps_changing_ends_the_connection() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    let liar = world.peer(Manner::Silent(1));
    assert!(!world.run(Duration::from_secs(1)));
    let key = *world.keys.keys().next().unwrap();
    for size in 2..100 {
        world.says_size(key, Some(size));
    }
    assert!(!world.run(Duration::from_secs(5)));
    assert!(matches!(world.farewells.get(&liar), Some(Farewell::Fault(_))));
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
}

#[test]
fn a_peer_that_drips_does_not_hold_up_the_proof() {
    let (right, wrong) = (dictionary(40 * PIECE, 0), dictionary(40 * PIECE, 1));
    let mut world = World::v1(&right);
    world.peer(honest(&wrong));
    // It gives what is right, but a piece in nine seconds.
    world.peer(Manner::Gives(right.clone(), Duration::from_secs(9)));
    world.peer(honest(&right));
    assert!(world.run(5 * MINUTE), "{:?}", world.fetch.progress());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whoever else is there: with one honest peer the dictionary comes, and the honest are not banned.
    #[test]
    fn one_honest_peer_is_enough(
        others in proptest::collection::vec((0..7usize, 1..40_000u32, 0..12_000u64), 0..14),
        length in 1..100_000usize,
        place in 0..15usize,
    ) {
        let right = dictionary(length, 0);
        let mut world = World::v1(&right);
        let mut good = Vec::new();
        for (number, (kind, size, delay)) in others.iter().copied().enumerate() {
            if number == place {
                good.push(world.peer(honest(&right)));
            }
            let delay = Duration::from_millis(delay);
            world.peer(match kind {
                0 => Manner::Gives(dictionary(length, number as u8 + 1), delay),
                1 => Manner::Gives(dictionary(size as usize, number as u8 + 1), delay),
                2 => Manner::Silent(size),
                3 => Manner::Silent(length as u32),
                4 => Manner::Rejects(length as u32),
                5 => Manner::Answers(length as u32, vec![message(&MetadataMessage::Reject { piece: 9 }); 3]),
                _ => Manner::Without,
            });
        }
        if good.is_empty() {
            good.push(world.peer(honest(&right)));
        }
        prop_assert!(world.run(60 * MINUTE), "{:?}", world.fetch.progress());
        prop_assert_eq!(world.done.as_ref(), Some(&right));
        prop_assert!(good.iter().all(|peer| !world.banned.contains(&peer.ip())));
    }
}
