//! The DHT's vectors of the corpus: packets, ids, filters, items.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use quelea_dht::bloom::Bloom;
use quelea_dht::packet::{Body, Method, Packet, Signed, write_query};
use quelea_dht::{Config, Dht, Id, Item, item};
use quelea_time::Time;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The cases of a group; none, with a notice, where there is no corpus.
fn cases(group: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus/vectors.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        assert!(std::env::var_os("CI").is_none(), "there is no corpus at {path}");
        eprintln!("skipped: there is no corpus at {path}");
        return Vec::new();
    };
    let all: Value = serde_json::from_str(&text).unwrap();
    let groups = all["groups"].as_array().unwrap();
    let found = groups.iter().find(|one| one["id"] == group).unwrap();
    let cases = found["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

#[test]
fn ids_fit_the_addresses_that_bep_42_gives_them() {
    for case in cases("bep42_node_id") {
        let ip: IpAddr = case["ip"].as_str().unwrap().parse().unwrap();
        let id = Id(array(&case["node_id"]));
        assert_eq!(id.fits(ip), case["valid"].as_bool().unwrap(), "{case}");
    }
}

/// An address, or all from one to another.
fn addresses(range: &str) -> Vec<IpAddr> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse().unwrap(), last.parse().unwrap()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (first.to_bits()..=last.to_bits()).map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            (first.to_bits()..=last.to_bits()).map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
        }
        _ => panic!("a range of one family: {range}"),
    }
}

#[test]
fn filters_are_those_of_bep_33() {
    for case in cases("bep33_bloom") {
        let mut bloom = Bloom::default();
        for range in case["insert"].as_array().unwrap() {
            addresses(range.as_str().unwrap()).into_iter().for_each(|ip| bloom.insert(ip));
        }
        assert_eq!(bloom.0.to_vec(), hex(&case["filter"]), "{case}");
        let estimate = case["estimate"].as_f64().unwrap();
        assert!((bloom.estimate() - estimate).abs() < 0.001, "{} for {estimate}", bloom.estimate());
    }
}

/// The same bytes with each of some bits turned.
fn tampered<const N: usize>(bytes: [u8; N]) -> impl Iterator<Item = [u8; N]> {
    (0..N).map(move |at| {
        let mut other = bytes;
        other[at] ^= 1 << (at % 8);
        other
    })
}

#[test]
fn items_are_those_of_bep_44() {
    let mut judged = [0; 2];
    for case in cases("bep44_items") {
        let target = Id(array(&case["target"]));
        let value = case["v"].as_str().unwrap().as_bytes();
        if case["mutable"] == false {
            assert_eq!(Item::fixed(value.to_vec()).unwrap().target(), target, "{case}");
            assert!(Item::received(&target, value, None).is_ok(), "{case}");
            continue;
        }
        let (key, salt): ([u8; 32], _) = (array(&case["public_key"]), hex(&case["salt"]));
        let signature: [u8; 64] = array(&case["signature"]);
        let sequence = case["seq"].as_i64().unwrap();
        let signed = Signed { key: &key, salt: &salt, sequence, signature: &signature };
        let is_taken =
            |value: &[u8], signed: Signed<'_>| Item::received(&target, value, Some(signed)).is_ok();
        let valid = case["valid"].as_bool().unwrap();
        assert_eq!(is_taken(value, signed), valid, "{case}");
        judged[usize::from(valid)] += 1;
        let buffer = case["signed_buffer"].as_str().unwrap().as_bytes();
        if valid {
            assert!(item::verifies(&key, buffer, &signature), "{case}");
            let mut forged = tampered(signature);
            assert!(forged.all(|signature| !is_taken(value, Signed { signature: &signature, ..signed })));
            let mut others = tampered(key);
            assert!(others.all(|key| !is_taken(value, Signed { key: &key, ..signed })));
            assert!(!is_taken(value, Signed { salt: b"another", ..signed }));
            assert!(!is_taken(b"5:other", signed));
        }
    }
    assert!(judged == [0; 2] || judged.iter().all(|count| *count > 0), "{judged:?}");
}

#[test]
fn signatures_are_those_of_ed25519() {
    for case in cases("ed25519") {
        let (seed, key) = (array(&case["seed"]), array(&case["public_key"]));
        let (mut message, signature) = (hex(&case["message"]), array(&case["signature"]));
        assert_eq!(item::public_key(seed), key, "{case}");
        assert_eq!(item::sign(seed, &message), signature, "{case}");
        assert!(item::verifies(&key, &message, &signature), "{case}");
        assert!(tampered(signature).all(|signature| !item::verifies(&key, &message, &signature)), "{case}");
        assert!(tampered(key).all(|key| !item::verifies(&key, &message, &signature)), "{case}");
        let last = message.len() - 1;
        message[last] ^= 1;
        assert!(!item::verifies(&key, &message, &signature), "{case}");
    }
}

/// What a query is called (BEP 5, BEP 44, BEP 51).
fn name(method: &Method<'_>) -> &'static str {
    match method {
        Method::Ping => "ping",
        Method::FindNode(_) => "find_node",
        Method::GetPeers { .. } => "get_peers",
        Method::AnnouncePeer { .. } => "announce_peer",
        Method::Get { .. } => "get",
        Method::Put { .. } => "put",
        Method::SampleInfohashes(_) => "sample_infohashes",
        Method::Unknown(_) => "another",
    }
}

fn address_text(address: &SocketAddr) -> String {
    address.to_string()
}

#[test]
fn the_messages_of_bep_5_are_read() {
    for case in cases("bep5_messages") {
        let datagram = case["packet"].as_str().unwrap().as_bytes();
        let packet = Packet::parse(datagram).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert_eq!(packet.transaction, case["t"].as_str().unwrap().as_bytes(), "{case}");
        match (&packet.body, case["y"].as_str().unwrap()) {
            (Body::Query(query), "q") => {
                let args = &case["args"];
                assert_eq!(query.id.0, args["id"].as_str().unwrap().as_bytes());
                assert_eq!(name(&query.method), case["q"], "{case}");
                if let Method::AnnouncePeer { port, token, .. } = query.method {
                    // The port that the datagram comes from is meant.
                    assert_eq!((args["implied_port"].as_u64(), port), (Some(1), None), "{case}");
                    assert_eq!(token, args["token"].as_str().unwrap().as_bytes(), "{case}");
                }
                let target = args.get("target").or(args.get("info_hash"));
                let target =
                    target.map(|target| Id::from_slice(target.as_str().unwrap().as_bytes()).unwrap());
                assert_eq!(query.method.target(), target, "{case}");
                // What we write of it is what stood there, but for our version.
                let mut written = Vec::new();
                write_query(query, packet.transaction, false, &mut written);
                let again = Packet::parse(&written).unwrap();
                assert_eq!(again.body, packet.body, "{case}");
            }
            (Body::Response(response), "r") => {
                assert_eq!(response.id.0, case["r"]["id"].as_str().unwrap().as_bytes());
                let token = case["r"].get("token").map(|token| token.as_str().unwrap().as_bytes());
                assert_eq!(response.token, token);
                // No node is made of a part of one.
                assert_eq!(response.nodes4.iter().count(), 0, "{case}");
                if let Some(values) = case.get("values_decoded") {
                    let read: Vec<String> = response.values.iter().map(address_text).collect();
                    assert_eq!(serde_json::to_value(read).unwrap(), *values);
                }
            }
            (Body::Error { code, text }, "e") => {
                assert_eq!(*code, case["e"][0].as_i64().unwrap());
                assert_eq!(*text, case["e"][1].as_str().unwrap().as_bytes());
            }
            (body, y) => panic!("{y} was read as {body:?}"),
        }
    }
}

#[test]
fn packets_of_the_live_network_are_read() {
    for case in cases("krpc_captures") {
        let datagram = hex(&case["packet"]);
        let packet = Packet::parse(&datagram).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert_eq!(packet.transaction, hex(&case["t"]), "{case}");
        let seen_as = case.get("ip").map(|seen| seen.as_str().unwrap().parse().unwrap());
        assert_eq!(packet.seen_as, seen_as, "{case}");
        match &packet.body {
            Body::Query(query) => {
                assert_eq!(case["y"], "q");
                assert_eq!(query.id, Id(array(&case["args"]["id"])));
                assert_eq!(name(&query.method), case["q"], "{case}");
                let target = case["args"].get("target").unwrap_or(&case["args"]["info_hash"]);
                assert_eq!(query.method.target(), Some(Id(array(target))), "{case}");
            }
            Body::Response(response) => {
                assert_eq!(case["y"], "r");
                assert_eq!(response.id, Id(array(&case["id"])));
                let read: Vec<(String, String)> =
                    response.nodes4.iter().map(|(id, at)| (id.to_string(), at.to_string())).collect();
                assert_eq!(serde_json::to_value(read).unwrap(), case["nodes"], "{case}");
            }
            Body::Error { .. } => assert_eq!(case["y"], "e"),
        }
    }
}

#[test]
fn extensions_are_read() {
    for case in cases("krpc_extensions") {
        let datagram = hex(&case["packet"]);
        let packet = Packet::parse(&datagram).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        match (case["name"].as_str().unwrap(), &packet.body) {
            ("bep51 empty samples", Body::Response(response)) => {
                assert_eq!((response.samples, response.interval), (Some(&b""[..]), Some(420)));
            }
            ("read-only ping", Body::Query(query)) => {
                assert!(packet.read_only);
                assert_eq!(query.method, Method::Ping);
            }
            ("ip field", Body::Response(_)) => {
                assert_eq!(packet.seen_as, Some("124.168.180.8:62844".parse().unwrap()));
            }
            ("one node", Body::Response(response)) => assert_eq!(response.nodes4.iter().count(), 1),
            ("one value", Body::Response(response)) => {
                assert_eq!(response.values, ["1.2.3.4:22136".parse().unwrap()]);
            }
            ("want both", Body::Query(query)) => assert!(query.want.v4 && query.want.v6),
            ("sample_infohashes query", Body::Query(query)) => {
                assert!(matches!(query.method, Method::SampleInfohashes(_)));
            }
            (name, body) => panic!("{name} was read as {body:?}"),
        }
    }
}

#[test]
fn malformed_datagrams_are_refused_and_nothing_is_stored_of_them() {
    let from: SocketAddr = "192.0.2.7:6881".parse().unwrap();
    for case in cases("krpc_malformed") {
        let mut dht = Dht::new(Time::ZERO, Config::new(1, [1; 32]));
        let datagram = hex(&case["packet"]);
        dht.handle_datagram(Time::ZERO, from, &datagram);
        let stats = dht.stats();
        assert_eq!((stats.peers, stats.torrents, stats.items), (0, 0, 0), "{case}");
        let is_known = case["name"] == "unknown query with target";
        let mut answers = 0;
        while let Some(sent) = dht.poll_transmit() {
            assert_eq!(sent.to, from);
            assert!(sent.bytes.len() <= 3 * datagram.len(), "{case}");
            let packet = Packet::parse(&sent.bytes).unwrap();
            match packet.body {
                Body::Response(_) => answers += 1,
                Body::Error { code, .. } => assert_eq!(code, 203, "{case}"),
                // It is asked whether it is there.
                Body::Query(query) => assert_eq!(query.method, Method::Ping),
            }
        }
        assert_eq!(answers, usize::from(is_known), "{case}");
    }
}
