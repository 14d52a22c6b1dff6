//! The info dictionary for peers that came by a magnet link.

use crate::bench::Bench;
use quelea_swarm::event::{Farewell, Output};
use quelea_swarm::peers::PeerKey;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::metadata::{MetadataMessage, PIECE};
use quelea_wire::extension::{Extension, Ids};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Message};

/// The number that the peers of these tests give to `ut_metadata`.
const THEIRS: u8 = 7;

fn seed(metadata: &[u8]) -> Bench {
    Bench::new(Bitfield::all(6), |config| config.metadata = metadata.into())
}

fn dictionary(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 3) as u8).collect()
}

fn newcomer(bench: &mut Bench) -> (PeerKey, Vec<Output<()>>) {
    let hello = bench.hello(Reserved::NONE.with(Feature::Fast).with(Feature::ExtensionProtocol));
    let key = bench.machine.handle_connected(bench.now, hello).unwrap();
    (key, bench.outputs())
}

/// A peer that has told its numbers.
fn peer(bench: &mut Bench) -> PeerKey {
    let (key, _) = newcomer(bench);
    let mut ids = Ids::default();
    ids.set(Extension::Metadata, THEIRS);
    let payload = ExtensionHandshake { ids, ..ExtensionHandshake::default() }.encode();
    bench.says(key, Message::Extended { id: 0, payload });
    key
}

fn ask(bench: &mut Bench, key: PeerKey, piece: u32) -> Vec<Output<()>> {
    let payload = MetadataMessage::Request { piece }.encode();
    bench.says(key, Message::Extended { id: Extension::Metadata.own_id(), payload })
}

fn told(outputs: &[Output<()>]) -> ExtensionHandshake {
    let handshake = outputs.iter().find_map(|output| match output {
        Output::Send(_, Message::Extended { id: 0, payload }) => Some(payload),
        _ => None,
    });
    ExtensionHandshake::parse(handshake.unwrap()).unwrap()
}

/// The metadata messages among these: a piece with its bytes, or without when it was rejected.
fn answers(outputs: &[Output<()>]) -> Vec<(u32, Option<Vec<u8>>)> {
    let answer = |output: &Output<()>| match output {
        Output::Send(_, Message::Extended { id: THEIRS, payload }) => {
            Some(match MetadataMessage::parse(payload).unwrap() {
                MetadataMessage::Data { piece, data, .. } => (piece, Some(data.to_vec())),
                MetadataMessage::Reject { piece } => (piece, None),
                other => panic!("{other:?}"),
            })
        }
        _ => None,
    };
    outputs.iter().filter_map(answer).collect()
}

fn sent_off(outputs: &[Output<()>]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Disconnect(_, Farewell::Fault(_))))
}

#[test]
fn the_size_is_told_and_every_piece_is_given() {
    let metadata = dictionary(2 * PIECE + 100);
    let mut bench = seed(&metadata);
    let (_, greeting) = newcomer(&mut bench);
    assert_eq!(told(&greeting).metadata_size, Some(metadata.len() as u32));
    assert_eq!(told(&greeting).ids.id(Extension::Metadata), Some(Extension::Metadata.own_id()));
    let key = peer(&mut bench);
    let mut whole = Vec::new();
    for piece in 0..3 {
        let answers = answers(&ask(&mut bench, key, piece));
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].0, piece);
        whole.extend(answers[0].1.clone().unwrap());
    }
    assert_eq!(whole, metadata);
}

#[test]
fn who_has_no_dictionary_to_give_promises_none() {
    let mut bench = Bench::seed();
    let (_, greeting) = newcomer(&mut bench);
    assert_eq!(told(&greeting).metadata_size, None);
    assert_eq!(told(&greeting).ids.id(Extension::Metadata), None);
    let key = peer(&mut bench);
    assert!(answers(&ask(&mut bench, key, 0)).is_empty());
}

#[test]
fn a_piece_that_does_not_exist_is_rejected() {
    let mut bench = seed(&dictionary(PIECE));
    let key = peer(&mut bench);
    assert_eq!(answers(&ask(&mut bench, key, 1)), [(1, None)]);
    assert_eq!(answers(&ask(&mut bench, key, u32::MAX)), [(u32::MAX, None)]);
    assert_eq!(answers(&ask(&mut bench, key, 0)).len(), 1);
}

#[test]
fn who_told_no_number_is_sent_nothing() {
    let mut bench = seed(&dictionary(PIECE));
    let (key, _) = newcomer(&mut bench);
    assert!(ask(&mut bench, key, 0).iter().all(|output| !matches!(output, Output::Send(..))));
}

#[test]
fn a_flood_of_requests_is_slowed_then_rejected_then_ended() {
    let mut bench = seed(&dictionary(4 * PIECE));
    let key = peer(&mut bench);
    let mut given = 0;
    let mut rejected = 0;
    let mut ended = false;
    let mut requests = 0;
    while !ended {
        requests += 1;
        assert!(requests < 1_000, "it is given without end");
        let outputs = ask(&mut bench, key, requests % 4);
        for (_, data) in answers(&outputs) {
            *if data.is_some() { &mut given } else { &mut rejected } += 1;
        }
        ended = sent_off(&outputs);
    }
    assert!(given <= 16, "four copies of four pieces, not {given}");
    assert!(rejected >= 19, "{rejected}");
}

#[test]
fn a_large_dictionary_goes_out_at_a_steady_pace_and_whole() {
    let metadata = dictionary(200 * PIECE);
    let mut bench = seed(&metadata);
    let key = peer(&mut bench);
    let mut got: Vec<(u32, Option<Vec<u8>>)> = Vec::new();
    for piece in 0..200 {
        got.extend(answers(&ask(&mut bench, key, piece)));
    }
    let burst = got.len();
    assert!(burst < 100, "{burst} pieces at once fill the peer's outbox");
    got.extend(answers(&bench.pass(20)));
    let whole: Vec<u8> = got.into_iter().flat_map(|(_, data)| data.unwrap()).collect();
    assert_eq!(whole, metadata);
}

#[test]
fn garbage_and_data_nobody_asked_for_end_the_connection_only_when_there_is_much_of_it() {
    for payload in
        [b"garbage".to_vec(), MetadataMessage::Data { piece: 0, total_size: 5, data: b"12345" }.encode()]
    {
        let mut bench = seed(&dictionary(PIECE));
        let key = peer(&mut bench);
        let id = Extension::Metadata.own_id();
        let mut says = || sent_off(&bench.says(key, Message::Extended { id, payload: payload.clone() }));
        assert!(!says());
        assert!((0..100).any(|_| says()));
    }
}
