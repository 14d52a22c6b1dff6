//! The vectors of the shared corpus that concern what goes over a connection between peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use quelea_wire::decoder::{Decoder, Event, Limits};
use quelea_wire::encoder::{encode, encode_piece};
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::metadata::MetadataMessage;
use quelea_wire::extension::pex::Pex;
use quelea_wire::extension::{Extension, HANDSHAKE};
use quelea_wire::fast::allowed_fast;
use quelea_wire::handshake::{self, Feature, HandshakeDecoder};
use quelea_wire::message::BlockSpan;
use quelea_wire::{Bitfield, Fault, Message, PeerId};
use serde_json::Value as Json;
use std::path::Path;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus/vectors.json");

/// The cases of one group; none, with a notice, without a corpus.
fn cases(group: &str) -> Vec<Json> {
    let Ok(text) = std::fs::read(Path::new(VECTORS)) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs {VECTORS}");
        eprintln!("skipped {group}: there is no {VECTORS}");
        return Vec::new();
    };
    let vectors: Json = serde_json::from_slice(&text).unwrap();
    let groups = vectors["groups"].as_array().unwrap();
    let group = groups.iter().find(|found| found["id"] == group).expect("the group is in the corpus");
    let cases = group["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn hex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(fields: &Json, key: &str) -> u32 {
    u32::try_from(fields[key].as_u64().unwrap_or_else(|| panic!("{key} in {fields}"))).unwrap()
}

fn take(length: usize) -> Vec<u8> {
    vec![0; length]
}

/// All events of a stream, which comes in chunks of this size.
fn events(stream: &[u8], chunk: usize) -> (Vec<Event<Vec<u8>>>, Option<Fault>, bool) {
    let mut decoder = Decoder::new(Limits::default());
    let mut events = Vec::new();
    for mut chunk in stream.chunks(chunk) {
        while let Some(event) = decoder.feed(&mut chunk, &mut take) {
            match event {
                Ok(event) => events.push(event),
                Err(fault) => return (events, Some(fault), false),
            }
        }
    }
    (events, None, decoder.is_amid_message())
}

/// The one message that a packet is.
fn only_event(packet: &[u8], name: &Json) -> Event<Vec<u8>> {
    let (mut events, fault, amid) = events(packet, usize::MAX);
    assert_eq!((events.len(), fault, amid), (1, None, false), "{name}");
    events.pop().unwrap()
}

fn encoded(event: &Event<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    match event {
        Event::Block { piece, begin, block } => encode_piece(*piece, *begin, block, &mut out),
        Event::Message(message) => encode(message, &mut out),
    }
    out
}

#[test]
fn every_peer_message_is_read_and_written_as_it_stands() {
    for case in cases("peer_wire") {
        let (name, packet, fields) = (&case["name"], hex(&case["packet"]), &case["fields"]);
        if packet.len() == handshake::LENGTH {
            check_handshake(&packet, fields);
            continue;
        }
        let event = only_event(&packet, name);
        assert_eq!(encoded(&event), packet, "{name}");
        let span = || BlockSpan {
            piece: number(fields, "index"),
            begin: number(fields, "begin"),
            length: number(fields, "length"),
        };
        let expected = match name.as_str().unwrap().split(' ').next().unwrap() {
            "keep-alive" => Message::KeepAlive,
            "choke" => Message::Choke,
            "unchoke" => Message::Unchoke,
            "interested" => Message::Interested,
            "not" => Message::NotInterested,
            "have" if name == "have all" => Message::HaveAll,
            "have" if name == "have none" => Message::HaveNone,
            "have" => Message::Have(number(fields, "index")),
            "bitfield" => {
                let Event::Message(Message::Bitfield(bits)) = &event else { panic!("{name}: {event:?}") };
                let field = Bitfield::from_wire(bits, number(fields, "num_pieces")).unwrap();
                let set: Vec<u64> = field.numbers().map(u64::from).collect();
                assert_eq!(Json::from(set), fields["bits"], "{name}");
                continue;
            }
            "request" => Message::Request(span()),
            "piece" => {
                let (piece, begin) = (number(fields, "index"), number(fields, "begin"));
                assert_eq!(event, Event::Block { piece, begin, block: hex(&fields["block"]) }, "{name}");
                continue;
            }
            "cancel" => Message::Cancel(span()),
            "port" => Message::Port(number(fields, "port") as u16),
            "suggest" => Message::Suggest(number(fields, "index")),
            "reject" => Message::Reject(span()),
            "allowed" => Message::AllowedFast(number(fields, "index")),
            other => panic!("a case that is not checked: {other}"),
        };
        assert_eq!(event, Event::Message(expected), "{name}");
    }
}

fn check_handshake(packet: &[u8], fields: &Json) {
    let read = HandshakeDecoder::new().feed(&mut &packet[..]).unwrap().unwrap();
    assert_eq!(read.encode()[..], packet[..]);
    assert_eq!(to_hex(&read.reserved.0), fields["reserved"]);
    for (key, bytes) in [("info_hash", read.info_hash), ("peer_id", read.peer_id.0)] {
        assert!(fields[key].is_null() || fields[key] == to_hex(&bytes), "{key}");
    }
    for (key, feature) in [
        ("extension_protocol", Feature::ExtensionProtocol),
        ("fast", Feature::Fast),
        ("dht", Feature::Dht),
        ("v2", Feature::V2),
    ] {
        assert!(fields[key].is_null() || fields[key] == read.reserved.has(feature), "{key}");
    }
}

#[test]
fn malformed_streams_are_survived_and_end_alike_however_they_are_cut() {
    for case in cases("peer_wire_malformed") {
        let (name, stream) = (case["name"].as_str().unwrap(), hex(&case["stream"]));
        if name.contains("protocol") {
            let fault = HandshakeDecoder::new().feed(&mut &stream[..]).unwrap_err();
            let wrong = stream.iter().zip(b"\x13BitTorrent protocol").position(|(a, b)| a != b).unwrap();
            assert_eq!(fault, Fault::NotBitTorrent { at: wrong, found: stream[wrong] }, "{name}");
            continue;
        }
        let (found, fault, amid) = events(&stream, usize::MAX);
        for chunk in 1..stream.len() {
            assert_eq!(events(&stream, chunk), (found.clone(), fault, amid), "{name} in chunks of {chunk}");
        }
        // What is not refused here is a message that came whole, or one that never ends.
        match name {
            "request of 6 bytes" | "choke with a payload" | "length 2^31" | "piece header truncated" => {
                assert!(fault.is_some(), "{name}");
            }
            "fuzz 9d2ec002df4eda28" | "truncated header" => {
                assert!(amid && fault.is_none(), "{name}");
            }
            _ => {}
        }
        for event in found {
            check_meaning(name, &event);
        }
    }
}

/// What the layers above this one ask of a message must hold as well.
fn check_meaning(name: &str, event: &Event<Vec<u8>>) {
    match event {
        Event::Message(Message::Bitfield(bits)) => {
            assert!(Bitfield::from_wire(bits, 37).is_err(), "{name}");
        }
        Event::Message(Message::Extended { id: HANDSHAKE, payload }) => {
            match ExtensionHandshake::parse(payload) {
                Ok(said) => assert_eq!(
                    (name, said.metadata_size),
                    ("extended handshake, negative metadata_size", None)
                ),
                Err(fault) => {
                    assert_eq!(name, "extended handshake that is not bencoding");
                    assert!(matches!(fault, Fault::NotADictionary { .. }));
                }
            }
        }
        Event::Message(Message::Unknown(id)) => assert_eq!((name, *id), ("unknown message 255", 255)),
        Event::Message(_) | Event::Block { .. } => {}
    }
}

#[test]
fn extension_handshakes_say_what_they_say() {
    for case in cases("bep10_extended") {
        let (name, packet, fields) = (&case["name"], hex(&case["packet"]), &case["fields"]);
        let event = only_event(&packet, name);
        assert_eq!(encoded(&event), packet, "{name}");
        let Event::Message(Message::Extended { id, payload }) = event else { panic!("{name}: {event:?}") };
        assert_eq!(id, HANDSHAKE, "{name}");
        let said = ExtensionHandshake::parse(&payload).unwrap();
        for extension in Extension::ALL {
            let expected = fields["m"][extension.name()].as_u64();
            assert_eq!(said.ids.id(extension).map(u64::from), expected, "{name}: {extension:?}");
        }
        let check = |key: &str, found: Option<u64>| assert_eq!(found, fields[key].as_u64(), "{name}: {key}");
        check("p", said.port.map(u64::from));
        check("reqq", said.requests.map(u64::from));
        check("metadata_size", said.metadata_size.map(u64::from));
        check("upload_only", said.upload_only.map(u64::from));
        check("complete_ago", said.complete_ago.map(u64::from));
        assert_eq!(said.client.as_deref(), fields["v"].as_str(), "{name}");
        let your_ip = fields["yourip"].as_str().map(|_| hex(&fields["yourip"]));
        let your_ip = your_ip.map(|bytes| <[u8; 4]>::try_from(bytes).unwrap().into());
        assert_eq!(said.your_ip, your_ip, "{name}");
        assert_eq!(ExtensionHandshake::parse(&said.encode()), Ok(said), "{name}");
    }
}

#[test]
fn metadata_messages_are_read_and_written_as_they_stand() {
    for case in cases("bep9_ut_metadata") {
        let (name, payload, fields) = (&case["name"], hex(&case["payload"]), &case["fields"]);
        let message = MetadataMessage::parse(&payload).unwrap();
        let data;
        let expected = match fields["msg_type"].as_u64().unwrap() {
            0 => MetadataMessage::Request { piece: number(fields, "piece") },
            1 => {
                data = hex(&fields["data"]);
                let (piece, total_size) = (number(fields, "piece"), number(fields, "total_size"));
                MetadataMessage::Data { piece, total_size, data: &data }
            }
            2 => MetadataMessage::Reject { piece: number(fields, "piece") },
            _ => MetadataMessage::Unknown,
        };
        assert_eq!(message, expected, "{name}");
        if expected != MetadataMessage::Unknown {
            assert_eq!(message.encode(), payload, "{name}");
        }
    }
}

#[test]
fn peer_exchanges_name_their_contacts() {
    for case in cases("bep11_ut_pex") {
        let name = &case["name"];
        let pex = Pex::parse(&hex(&case["payload"])).unwrap();
        let list = |key: &str| -> Vec<String> {
            let list = case[key].as_array().into_iter().flatten();
            list.map(|contact| contact.as_str().unwrap().to_owned()).collect()
        };
        let contacts: Vec<String> = pex.added.iter().map(|(contact, _)| contact.to_string()).collect();
        assert_eq!(contacts, [list("added"), list("added6")].concat(), "{name}");
        let dropped: Vec<String> = pex.dropped.iter().map(ToString::to_string).collect();
        assert_eq!(dropped, [list("dropped"), list("dropped6")].concat(), "{name}");
        let given = ["flags", "flags6"].into_iter().filter_map(|key| case[key].as_array()).flatten();
        let mut expected: Vec<u64> = given.map(|flags| flags.as_u64().unwrap()).collect();
        expected.resize(pex.added.len(), 0);
        let flags: Vec<u64> = pex.added.iter().map(|(_, flags)| u64::from(flags.0)).collect();
        assert_eq!(flags, expected, "{name}");
        assert_eq!(Pex::parse(&pex.encode()), Ok(pex), "{name}");
    }
}

#[test]
fn allowed_fast_sets_are_drawn_in_the_published_order() {
    for case in cases("bep6_allowed_fast") {
        let ip = case["ip"].as_str().unwrap().parse().unwrap();
        let info_hash = hex(&case["info_hash"]).try_into().unwrap();
        let set = allowed_fast(ip, &info_hash, number(&case, "num_pieces"), number(&case, "k") as usize);
        assert_eq!(Json::from(set), case["expect"], "{case}");
    }
}

#[test]
fn hash_messages_are_read_and_written_as_they_stand() {
    for case in cases("bep52_hash_messages") {
        for kind in ["request", "hashes", "reject"] {
            let packet = hex(&case[kind]);
            let event = only_event(&packet, &case[kind]);
            assert_eq!(encoded(&event), packet);
            let span = match &event {
                Event::Message(Message::HashRequest(span)) if kind == "request" => span,
                Event::Message(Message::HashReject(span)) if kind == "reject" => span,
                Event::Message(Message::Hashes { span, hashes }) if kind == "hashes" => {
                    assert_eq!(hashes.len(), 32 * number(&case, "num_hashes") as usize);
                    span
                }
                Event::Block { .. } | Event::Message(_) => panic!("{kind}: {event:?}"),
            };
            assert_eq!(span.base_layer, number(&case, "base_layer"));
            assert_eq!(span.index, number(&case, "index"));
            assert_eq!(span.length, number(&case, "length"));
            assert_eq!(span.proof_layers, number(&case, "proof_layers"));
        }
    }
}

#[test]
fn clients_are_named_by_their_peer_ids() {
    let cases = cases("bep20_peer_ids");
    for case in &cases {
        let prefix = hex(&case["peer_id_prefix"]);
        let mut id = [b'x'; 20];
        id[..prefix.len()].copy_from_slice(&prefix);
        assert_eq!(PeerId(id).client(), case["client"], "{case}");
    }
}
