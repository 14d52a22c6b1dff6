//! Every kernel that the machine has gives the digests of the `sha1` crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use quelea_digest::{Kernel, Sha1State, sha1_advance, sha1_advance_with, sha1_batch, sha1_batch_with};
use sha1::{Digest, Sha1};

fn expected(message: &[Vec<u8>]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    for part in message {
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn check(messages: &[Vec<Vec<u8>>]) {
    let expected: Vec<_> = messages.iter().map(|message| expected(message)).collect();
    let slices: Vec<&[Vec<u8>]> = messages.iter().map(Vec::as_slice).collect();
    for kernel in Kernel::available() {
        for least in [1, kernel.break_even(), kernel.lanes()] {
            assert_eq!(
                sha1_batch_with(kernel, least, &slices),
                expected,
                "{} from {least} on",
                kernel.name()
            );
        }
    }
    assert_eq!(sha1_batch(&slices), expected);
}

/// A message of `length` bytes in parts of at most `part` bytes, different for every `seed`.
fn message(seed: u32, length: usize, part: usize) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let bytes: Vec<u8> = (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect();
    bytes.chunks(part).map(<[u8]>::to_vec).collect()
}

#[test]
fn no_messages_give_no_digests() {
    check(&[]);
}

#[test]
fn messages_without_parts_and_with_empty_parts_are_empty() {
    for lanes in 1..=17 {
        check(&vec![vec![]; lanes]);
        check(&vec![vec![vec![], vec![]]; lanes]);
    }
}

#[test]
fn the_published_vectors_hold_in_every_lane() {
    let messages: Vec<Vec<Vec<u8>>> = (0..34)
        .map(|lane| match lane % 3 {
            0 => vec![b"abc".to_vec()],
            1 => vec![],
            _ => vec![vec![b'a'; 500_000], vec![b'a'; 500_000]],
        })
        .collect();
    check(&messages);
}

#[test]
fn every_tail_length_ends_right_in_every_lane() {
    let messages: Vec<_> = (0..=130).map(|length| message(length as u32, length, 1_000)).collect();
    check(&messages);
}

#[test]
fn pieces_of_blocks_with_a_short_last_one() {
    for lanes in 1..=17u32 {
        let messages: Vec<_> = (0..lanes)
            .map(|lane| message(lane, if lane + 1 == lanes { 50_001 } else { 65_536 }, 16_384))
            .collect();
        check(&messages);
    }
}

#[test]
fn more_messages_than_lanes_refill_them() {
    let messages: Vec<_> = (0..100).map(|n: u32| message(n, (n as usize * 7_919) % 20_000, 1_024)).collect();
    check(&messages);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_lengths_any_cuts_any_number_of_lanes(
        shapes in prop::collection::vec((any::<u32>(), 0usize..1_500, 1usize..200), 1..=40)
    ) {
        let messages: Vec<_> =
            shapes.iter().map(|&(seed, length, part)| message(seed, length, part)).collect();
        check(&messages);
    }

    #[test]
    fn cuts_do_not_change_a_digest(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 0..12), lanes in 1usize..=17
    ) {
        check(&vec![parts; lanes]);
    }

    #[test]
    fn streams_fed_piecemeal_end_like_whole_ones(
        lengths in prop::collection::vec(0usize..3_000, 1..=35),
        inputs in prop::collection::vec(0usize..20, 1..20),
        least in 1usize..=16,
    ) {
        let messages: Vec<Vec<u8>> =
            lengths.iter().zip(1..).map(|(&length, seed)| message(seed, length, usize::MAX).concat()).collect();
        for kernel in Kernel::available().map(Some).chain([None]) {
            let mut streams = vec![Sha1State::new(); messages.len()];
            let mut blocks: Vec<(&[[u8; 64]], &[u8])> = messages.iter().map(|m| m.as_chunks()).collect();
            let mut rounds = inputs.iter().cycle();
            let mut round = 0;
            while blocks.iter().any(|(blocks, _)| !blocks.is_empty()) {
                let now: Vec<&[[u8; 64]]> = blocks
                    .iter_mut()
                    .map(|(left, _)| {
                        // Every stream goes its own pace, and may stand still every other round.
                        let some = (rounds.next().unwrap() + round % 2).min(left.len());
                        left.split_off(..some).unwrap()
                    })
                    .collect();
                round += 1;
                match kernel {
                    Some(kernel) => sha1_advance_with(kernel, least, &mut streams, &now),
                    None => sha1_advance(&mut streams, &now),
                }
            }
            for ((stream, (_, tail)), message) in streams.into_iter().zip(blocks).zip(&messages) {
                prop_assert_eq!(stream.length(), message.len() as u64 / 64 * 64);
                prop_assert_eq!(stream.finish(tail), quelea_digest::sha1(message));
            }
        }
    }
}
