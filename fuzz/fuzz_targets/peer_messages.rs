//! Any stream of a connection: what comes out does not depend on how it was cut nor on what was speculated, and
//! messages are written back as they were.
//!
//! The first eight bytes are the seed of cuts and depths; the stream follows.
#![no_main]

use fastrand::Rng;
use libfuzzer_sys::fuzz_target;
use quelea_wire::decoder::Limits;
use quelea_wire::extension::{dont_have, handshake::ExtensionHandshake, metadata::MetadataMessage, pex::Pex};
use quelea_wire::handshake::{self, HandshakeDecoder};
use quelea_wire::{Decoder, Event, Fault, Message, encoder, limits};

type Events = Vec<Result<Event<Vec<u8>>, Fault>>;

/// Small limits, so that short inputs reach them.
const LIMITS: Limits = Limits { bitfield: 40, extended: 400, own_extensions: false };

fuzz_target!(|data: &[u8]| {
    let Some((seed, stream)) = data.split_first_chunk() else { return };
    let mut rng = Rng::with_seed(u64::from_le_bytes(*seed));
    let whole = feed(&[stream]);
    assert_eq!(read(stream, &mut rng), whole);
    let (front, back) = stream.split_at(rng.usize(0..=stream.len()));
    assert_eq!(feed(&[front, back]), whole);
    for event in whole.into_iter().flatten() {
        check(&event);
    }

    let greeting = [b"\x13BitTorrent protocol", stream].concat();
    check_handshake(stream, &mut rng);
    check_handshake(&greeting, &mut rng);
});

/// A handshake is the same in two parts as in one, takes no byte that follows, and is written as it was.
fn check_handshake(stream: &[u8], rng: &mut Rng) {
    let mut rest = stream;
    let whole = HandshakeDecoder::new().feed(&mut rest);
    let (mut front, mut back) = stream.split_at(rng.usize(0..=stream.len()));
    let mut decoder = HandshakeDecoder::new();
    let parts = match decoder.feed(&mut front) {
        Ok(None) => decoder.feed(&mut back),
        early => early,
    };
    assert_eq!(parts.is_err(), whole.is_err());
    if let Ok(Some(handshake)) = whole {
        assert_eq!(parts, whole);
        assert_eq!(stream.len() - rest.len(), handshake::LENGTH);
        assert_eq!(handshake.encode(), stream[..handshake::LENGTH]);
    }
}

fn take(length: usize) -> Vec<u8> {
    assert!(length <= limits::BLOCK);
    vec![0xaa; length]
}

/// What comes of buffers that are at hand.
fn feed(chunks: &[&[u8]]) -> Events {
    let mut decoder = Decoder::new(LIMITS);
    let mut events = Events::new();
    for mut chunk in chunks.iter().copied() {
        while let Some(event) = decoder.feed(&mut chunk, &mut take) {
            let failed = event.is_err();
            events.push(event);
            if failed {
                return events;
            }
        }
    }
    events
}

/// What comes of vectored reads of any size at any depth.
fn read(mut stream: &[u8], rng: &mut Rng) -> Events {
    let mut decoder = Decoder::new(LIMITS);
    let mut events = Events::new();
    while !stream.is_empty() {
        decoder.prepare(rng.usize(0..=4), &mut take);
        if rng.u8(..) < 30 {
            decoder.release();
        }
        let most = if rng.bool() { rng.usize(1..=40) } else { rng.usize(1..=70_000) };
        let mut read = 0;
        for region in decoder.regions() {
            let length = region.len().min(stream.len()).min(most - read);
            region[..length].copy_from_slice(&stream[..length]);
            stream = &stream[length..];
            read += length;
        }
        assert!(read > 0, "there is no room");
        decoder.commit(read);
        while let Some(event) = decoder.poll(&mut take) {
            let failed = event.is_err();
            events.push(event);
            if failed {
                return events;
            }
        }
        assert!(decoder.held_blocks() <= limits::SPECULATED_BLOCKS + 1);
    }
    events
}

/// What came of a message is bounded, and is written as it was read.
fn check(event: &Event<Vec<u8>>) {
    let mut written = Vec::new();
    match event {
        Event::Block { piece, begin, block } => {
            assert!(!block.is_empty() && block.len() <= limits::BLOCK);
            encoder::encode_piece(*piece, *begin, block, &mut written);
        }
        Event::Message(Message::Unknown(_)) => return,
        Event::Message(message) => {
            if let Message::Extended { payload, .. } = message {
                assert!(payload.len() <= LIMITS.extended);
                check_extended(payload);
            }
            encoder::encode(message, &mut written);
        }
    }
    assert_eq!(feed(&[&written]), [Ok(event.clone())]);
}

/// Any payload as each of the messages that it may be.
fn check_extended(payload: &[u8]) {
    if let Ok(handshake) = ExtensionHandshake::parse(payload) {
        let written = handshake.encode();
        assert_eq!(ExtensionHandshake::parse(&written), Ok(handshake));
    }
    if let Ok(message) = MetadataMessage::parse(payload) {
        let written = message.encode();
        assert_eq!(MetadataMessage::parse(&written), Ok(message));
    }
    if let Ok(pex) = Pex::parse(payload) {
        assert!(pex.added.len().max(pex.dropped.len()) <= 2 * limits::PEX_CONTACTS);
        let written = pex.encode();
        assert_eq!(Pex::parse(&written), Ok(pex));
    }
    let _ = dont_have::parse(payload);
}
