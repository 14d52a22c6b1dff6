//! The events of a stream are the same however it is cut and however deep the decoder speculates.

use super::*;
use crate::encoder::{encode, encode_piece};
use crate::message::{BlockSpan, HashSpan, id};
use alloc::vec::Vec;
use proptest::prelude::*;

type Buffer = Vec<u8>;

/// Hands out buffers of the right length, filled with what must never be seen.
fn take(length: usize) -> Buffer {
    vec![0xdb; length]
}

/// Reads a whole stream as a connection does: each read brings at most so many bytes, at such a depth.
fn read(
    stream: &[u8],
    mut reads: impl FnMut() -> (usize, usize),
) -> (Vec<Event<Buffer>>, Option<Fault>, Decoder<Buffer>) {
    let mut decoder = Decoder::new(Limits::default());
    let mut events = Vec::new();
    let mut left = stream;
    while !left.is_empty() {
        let (most, depth) = reads();
        decoder.prepare(depth, &mut take);
        let n = scatter(&mut decoder, left, most);
        assert!(n > 0, "a prepared decoder has room");
        left = &left[n..];
        decoder.commit(n);
        while let Some(event) = decoder.poll(&mut take) {
            match event {
                Ok(event) => events.push(event),
                Err(fault) => return (events, Some(fault), decoder),
            }
        }
    }
    (events, None, decoder)
}

/// A vectored read of at most `most` bytes.
fn scatter(decoder: &mut Decoder<Buffer>, stream: &[u8], most: usize) -> usize {
    let mut left = &stream[..most.min(stream.len())];
    let mut count = 0;
    for region in decoder.regions() {
        count += 1;
        assert!(!region.is_empty());
        let n = region.len().min(left.len());
        region[..n].copy_from_slice(&left[..n]);
        left = &left[n..];
    }
    assert!(count <= limits::REGIONS);
    most.min(stream.len()) - left.len()
}

/// The events of a stream that is given in one piece.
fn decoded(stream: &[u8]) -> (Vec<Event<Buffer>>, Option<Fault>) {
    let mut decoder = Decoder::new(Limits::default());
    let mut events = Vec::new();
    let mut left = stream;
    while let Some(event) = decoder.feed(&mut left, &mut take) {
        match event {
            Ok(event) => events.push(event),
            Err(fault) => return (events, Some(fault)),
        }
    }
    assert!(left.is_empty());
    (events, None)
}

/// One message as bytes, with the event that it is.
#[derive(Debug, Clone)]
struct Sent {
    bytes: Vec<u8>,
    event: Event<Buffer>,
}

fn sent(message: Message) -> Sent {
    let mut bytes = Vec::new();
    encode(&message, &mut bytes);
    Sent { bytes, event: Event::Message(message) }
}

fn block(piece: u32, begin: u32, length: usize) -> Sent {
    let block: Vec<u8> = (0..length).map(|at| (at as u32 ^ piece.wrapping_mul(31) ^ begin) as u8).collect();
    let mut bytes = Vec::new();
    encode_piece(piece, begin, &block, &mut bytes);
    Sent { bytes, event: Event::Block { piece, begin, block } }
}

fn unknown(number: u8, payload: &[u8]) -> Sent {
    let mut bytes = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(number);
    bytes.extend_from_slice(payload);
    Sent { bytes, event: Event::Message(Message::Unknown(number)) }
}

fn any_block_span() -> impl Strategy<Value = BlockSpan> {
    any::<(u32, u32, u32)>().prop_map(|(piece, begin, length)| BlockSpan { piece, begin, length })
}

fn any_hash_span() -> impl Strategy<Value = Box<HashSpan>> {
    any::<([u8; 32], u32, u32, u32, u32)>().prop_map(
        |(pieces_root, base_layer, index, length, proof_layers)| {
            Box::new(HashSpan { pieces_root, base_layer, index, length, proof_layers })
        },
    )
}

fn small() -> impl Strategy<Value = Sent> {
    prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        any::<u32>().prop_map(Message::Have),
        any_block_span().prop_map(Message::Request),
        any_block_span().prop_map(Message::Cancel),
        any::<u16>().prop_map(Message::Port),
        any::<u32>().prop_map(Message::Suggest),
        Just(Message::HaveAll),
        Just(Message::HaveNone),
        any_block_span().prop_map(Message::Reject),
        any::<u32>().prop_map(Message::AllowedFast),
        any_hash_span().prop_map(Message::HashRequest),
        any_hash_span().prop_map(Message::HashReject),
    ]
    .prop_map(sent)
}

fn long() -> impl Strategy<Value = Sent> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bits| sent(Message::Bitfield(bits))),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(id, payload)| sent(Message::Extended { id, payload })),
        (any::<u8>(), 5_000usize..20_000)
            .prop_map(|(id, length)| sent(Message::Extended { id, payload: vec![id; length] })),
        (any_hash_span(), 0usize..20)
            .prop_map(|(span, count)| sent(Message::Hashes { span, hashes: vec![9; 32 * count] })),
        (24u8.., prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(id, payload)| unknown(id, &payload)),
    ]
}

/// A stream of messages with runs of whole blocks in it.
fn streams() -> impl Strategy<Value = Vec<Sent>> {
    let whole = any::<(u32, u32)>().prop_map(|(piece, begin)| block(piece, begin, limits::BLOCK));
    let short = (any::<u32>(), 1usize..limits::BLOCK).prop_map(|(piece, length)| block(piece, 0, length));
    // A block that looks like the header of a block wherever one looks.
    let hostile = any::<u32>().prop_map(|piece| {
        let header = crate::encoder::piece_header(piece, 0, limits::BLOCK as u32);
        let block: Vec<u8> = header.into_iter().cycle().take(limits::BLOCK).collect();
        let mut bytes = Vec::new();
        encode_piece(piece, 7, &block, &mut bytes);
        Sent { bytes, event: Event::Block { piece, begin: 7, block } }
    });
    prop::collection::vec(prop_oneof![8 => whole, 1 => short, 1 => hostile, 3 => small(), 1 => long()], 1..24)
}

/// How much each read brings: few bytes, some blocks, or all there is room for.
fn amounts() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let most = prop_oneof![1usize..40, 1usize..40_000, 16_380usize..16_420, Just(usize::MAX)];
    prop::collection::vec((most, 0usize..6), 1..40)
}

fn concatenated(stream: &[Sent]) -> (Vec<u8>, Vec<Event<Buffer>>) {
    (
        stream.iter().flat_map(|sent| sent.bytes.iter().copied()).collect(),
        stream.iter().map(|sent| sent.event.clone()).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn events_do_not_depend_on_cuts_and_depth(stream in streams(), amounts in amounts()) {
        let (bytes, expected) = concatenated(&stream);
        let mut amounts = amounts.into_iter().cycle();
        let (events, fault, decoder) = read(&bytes, || amounts.next().unwrap());
        prop_assert_eq!(fault, None);
        prop_assert!(events == expected);
        prop_assert!(!decoder.is_amid_message());
        prop_assert_eq!(decoder.held_blocks(), 0);
    }

    #[test]
    fn feeding_gives_the_same_events(stream in streams(), cuts in prop::collection::vec(1usize..40_000, 1..20)) {
        let (bytes, expected) = concatenated(&stream);
        let mut decoder = Decoder::new(Limits::default());
        let mut events = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut left = &bytes[..];
        while !left.is_empty() {
            let (mut chunk, rest) = left.split_at(cuts.next().unwrap().min(left.len()));
            left = rest;
            while let Some(event) = decoder.feed(&mut chunk, &mut take) {
                events.push(event.unwrap());
            }
        }
        prop_assert!(events == expected);
    }

    /// A driver that reads again before it has fetched all events loses nothing, as long as there is room.
    #[test]
    fn reading_before_all_is_polled_loses_nothing(
        stream in streams(), amounts in amounts(), polls in prop::collection::vec(0usize..3, 1..20)
    ) {
        let (bytes, expected) = concatenated(&stream);
        let (mut amounts, mut polls) = (amounts.into_iter().cycle(), polls.into_iter().cycle());
        let mut decoder = Decoder::new(Limits::default());
        let mut events = Vec::new();
        let mut left = &bytes[..];
        while !left.is_empty() {
            let (most, depth) = amounts.next().unwrap();
            decoder.prepare(depth, &mut take);
            let n = scatter(&mut decoder, left, most);
            decoder.commit(n);
            left = &left[n..];
            let polls = if n == 0 { usize::MAX } else { polls.next().unwrap() };
            for _ in 0..polls {
                let Some(event) = decoder.poll(&mut take) else { break };
                events.push(event.unwrap());
            }
        }
        while let Some(event) = decoder.poll(&mut take) {
            events.push(event.unwrap());
        }
        prop_assert!(events == expected);
    }

    #[test]
    fn arbitrary_bytes_end_alike_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 2 => 0u8..24, 1 => any::<u8>()], 0..400),
        amounts in amounts()
    ) {
        let mut amounts = amounts.into_iter().cycle();
        let (events, fault, mut decoder) = read(&bytes, || amounts.next().unwrap());
        prop_assert_eq!((events, fault), decoded(&bytes));
        if fault.is_some() {
            prop_assert!(decoder.poll(&mut take).is_none());
            decoder.prepare(4, &mut take);
            prop_assert_eq!(decoder.regions().count(), 0);
        }
    }
}

#[test]
fn a_run_of_whole_blocks_is_not_copied() {
    let run: Vec<Sent> = (0..100).map(|number| block(number, number * 3, limits::BLOCK)).collect();
    let (bytes, expected) = concatenated(&run);
    // The first read finds the first block in a slot; the scratch behind the slots takes 51 bytes of a block at most.
    for depth in [1, 4, limits::SPECULATED_BLOCKS] {
        let mut reads = 0u64;
        let (events, _, decoder) = read(&bytes, || {
            reads += 1;
            (usize::MAX, depth)
        });
        assert!(events == expected);
        assert!(decoder.copied() <= reads * 51, "{} of {reads} reads", decoder.copied());
        assert!(reads <= 100 / depth as u64 + 1);
    }
    // Where the socket gives what it likes, nothing is copied but what falls into that scratch.
    let mut reads = 0u64;
    let (events, _, decoder) = read(&bytes, || {
        reads += 1;
        (7_001, 3)
    });
    assert!(events == expected);
    assert_eq!(decoder.copied(), 0, "no read was large enough to reach the scratch");
}

#[test]
fn a_header_in_two_reads_is_still_foreseen() {
    let (bytes, expected) = concatenated(&[block(1, 0, limits::BLOCK), block(1, 16_384, limits::BLOCK)]);
    for cut in 1..13 {
        let cut = 13 + limits::BLOCK + cut;
        let mut most = [cut, usize::MAX].into_iter();
        let (events, _, decoder) = read(&bytes, || (most.next().unwrap_or(usize::MAX), 2));
        assert!(events == expected);
        assert_eq!(decoder.copied(), 0, "cut at {cut}");
    }
}

#[test]
fn a_message_between_blocks_costs_one_copy_and_speculation_goes_on() {
    let mut stream: Vec<Sent> = (0..10).map(|number| block(number, 0, limits::BLOCK)).collect();
    stream.insert(2, sent(Message::Have(7)));
    let (bytes, expected) = concatenated(&stream);
    let (events, _, decoder) = read(&bytes, || (usize::MAX, 4));
    assert!(events == expected);
    assert!(decoder.copied() > 0 && decoder.copied() < 3 * limits::BLOCK as u64, "{}", decoder.copied());
}

#[test]
fn an_idle_decoder_holds_no_blocks() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.prepare(4, &mut take);
    assert_eq!(decoder.held_blocks(), 4);
    decoder.release();
    assert_eq!(decoder.held_blocks(), 0);

    decoder.prepare(4, &mut take);
    let keep_alive = [0; 4];
    let n = scatter(&mut decoder, &keep_alive, 4);
    decoder.commit(n);
    assert_eq!(decoder.poll(&mut take), Some(Ok(Event::Message(Message::KeepAlive))));
    assert_eq!(decoder.poll(&mut take), None);
    assert_eq!(decoder.held_blocks(), 0, "drained, so idle");

    // In the middle of a block only that block is kept while the connection waits.
    let Sent { bytes, event } = block(3, 0, limits::BLOCK);
    decoder.prepare(4, &mut take);
    let n = scatter(&mut decoder, &bytes, 1000);
    decoder.commit(n);
    assert_eq!(decoder.poll(&mut take), None);
    decoder.release();
    assert_eq!(decoder.held_blocks(), 1);
    assert!(decoder.is_amid_message());
    decoder.prepare(0, &mut take);
    let more = scatter(&mut decoder, &bytes[n..], usize::MAX);
    assert_eq!(n + more, bytes.len());
    decoder.commit(more);
    assert!(decoder.poll(&mut take) == Some(Ok(event)));
}

#[test]
fn releasing_amid_a_header_loses_nothing() {
    let Sent { bytes, event } = block(3, 0, limits::BLOCK);
    let mut decoder = Decoder::new(Limits::default());
    decoder.prepare(2, &mut take);
    let n = scatter(&mut decoder, &bytes, 9);
    decoder.commit(n);
    assert_eq!(decoder.poll(&mut take), None);
    decoder.prepare(2, &mut take);
    decoder.release();
    assert_eq!(decoder.held_blocks(), 0);
    assert!(decoder.is_amid_message());
    assert!(decoder.feed(&mut &bytes[9..], &mut take) == Some(Ok(event)));
}

#[test]
fn the_steady_state_asks_only_for_blocks() {
    let run: Vec<Sent> = (0..64).map(|number| block(number, 0, limits::BLOCK)).collect();
    let (bytes, _) = concatenated(&run);
    let mut decoder = Decoder::new(Limits::default());
    let mut taken = 0;
    let mut counted = |length| {
        taken += 1;
        take(length)
    };
    let mut left = &bytes[..];
    while !left.is_empty() {
        decoder.prepare(4, &mut counted);
        let n = scatter(&mut decoder, left, 50_000);
        decoder.commit(n);
        left = &left[n..];
        while decoder.poll(&mut counted).is_some() {}
    }
    assert!((64..=72).contains(&taken), "unused buffers stay for the next read: {taken}");
}

#[test]
fn an_announced_length_is_not_allocated() {
    let mut stream = (limits::EXTENDED as u32 + 2).to_be_bytes().to_vec();
    stream.extend_from_slice(&[id::EXTENDED, 3]);
    stream.resize(1_000, 7);
    let (events, fault, decoder) = read(&stream, || (usize::MAX, 0));
    assert!(events.is_empty() && fault.is_none());
    assert!(decoder.is_amid_message());
    assert!(decoder.assembler.kept() < 4_096, "{}", decoder.assembler.kept());
}

#[test]
fn lengths_beyond_the_limits_are_faults() {
    let limits_of = |id, length: u32| {
        let mut stream = length.to_be_bytes().to_vec();
        stream.push(id);
        decoded(&stream).1
    };
    assert_eq!(limits_of(id::PIECE, 16_393), None);
    assert_eq!(limits_of(id::PIECE, 16_394), Some(Fault::TooLong { id: 7, length: 16_394, limit: 16_393 }));
    assert_eq!(limits_of(id::PIECE, 9), Some(Fault::Length { id: 7, length: 9 }));
    assert_eq!(limits_of(id::BITFIELD, 262_145), None);
    assert_eq!(
        limits_of(id::BITFIELD, 262_146),
        Some(Fault::TooLong { id: 5, length: 262_146, limit: 262_145 })
    );
    assert_eq!(limits_of(id::EXTENDED, 1_048_578), None);
    assert!(matches!(limits_of(id::EXTENDED, 1_048_579), Some(Fault::TooLong { id: 20, .. })));
    assert_eq!(limits_of(id::EXTENDED, 1), Some(Fault::Length { id: 20, length: 1 }));
    assert_eq!(limits_of(id::HASHES, 49), None);
    assert_eq!(limits_of(id::HASHES, 50), Some(Fault::Length { id: 22, length: 50 }));
    assert_eq!(limits_of(id::HASH_REQUEST, 48), Some(Fault::Length { id: 21, length: 48 }));
    assert_eq!(limits_of(id::CHOKE, 2), Some(Fault::Length { id: 0, length: 2 }));
    assert!(matches!(limits_of(200, u32::MAX), Some(Fault::TooLong { id: 200, .. })));
}

#[test]
fn tighter_limits_hold_from_the_next_message_on() {
    let mut decoder: Decoder<Buffer> = Decoder::new(Limits::default());
    let mut out = Vec::new();
    encode(&Message::Bitfield(vec![1; 10]), &mut out);
    assert!(decoder.feed(&mut &out[..6], &mut take).is_none());
    decoder.set_limits(Limits { bitfield: 5, ..Limits::default() });
    assert_eq!(
        decoder.feed(&mut &out[6..], &mut take),
        Some(Ok(Event::Message(Message::Bitfield(vec![1; 10]))))
    );
    assert!(matches!(
        decoder.feed(&mut &out[..], &mut take),
        Some(Err(Fault::TooLong { id: 5, limit: 6, .. }))
    ));
}

#[test]
fn extended_messages_that_cannot_be_meant_for_us_are_skipped_and_not_kept() {
    let limits = Limits { extended: 100, own_extensions: true, ..Limits::default() };
    let mut stream = Vec::new();
    let say = |id: u8, length: usize, stream: &mut Vec<u8>| {
        encode(&Message::Extended { id, payload: vec![1; length] }, stream);
    };
    say(77, 0, &mut stream);
    say(77, limits::UNKNOWN, &mut stream);
    say(crate::extension::HANDSHAKE, 100, &mut stream);
    for cut in [1, 5, 6, 7, 1_000] {
        let mut decoder: Decoder<Buffer> = Decoder::new(limits);
        let mut events = Vec::new();
        for mut chunk in stream.chunks(cut) {
            while let Some(event) = decoder.feed(&mut chunk, &mut take) {
                events.push(event.unwrap());
            }
            assert!(decoder.kept() <= 256);
        }
        let skipped = Event::Message(Message::Unknown(id::EXTENDED));
        let handshake = Event::Message(Message::Extended { id: 0, payload: vec![1; 100] });
        assert_eq!(events, [skipped.clone(), skipped, handshake], "{cut}");
    }
    for (id, length) in
        [(77, limits::UNKNOWN + 1), (0, 101), (crate::extension::Extension::Pex.own_id(), 101)]
    {
        let mut stream = Vec::new();
        say(id, length, &mut stream);
        let mut decoder: Decoder<Buffer> = Decoder::new(limits);
        let event = decoder.feed(&mut &stream[..], &mut take);
        assert!(matches!(event, Some(Err(Fault::TooLong { id: 20, .. }))), "{event:?}");
    }
}

#[test]
fn a_buffer_of_another_length_is_a_named_bug() {
    let Sent { bytes, .. } = block(0, 0, 100);
    let mut decoder: Decoder<Buffer> = Decoder::new(Limits::default());
    let mut short = |_| vec![0; 10];
    decoder.prepare(3, &mut short);
    assert_eq!(decoder.held_blocks(), 0);
    let fault = decoder.feed(&mut &bytes[..], &mut short);
    assert_eq!(fault, Some(Err(Fault::Buffer { wanted: 100, given: 10 })));
}
