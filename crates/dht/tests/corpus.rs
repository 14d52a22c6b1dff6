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
    found["cases"].as_array().unwrap().clone()
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

#[test]
fn items_are_those_of_bep_44() {
    for case in cases("bep44_items") {
        let target = Id(array(&case["target"]));
        let value = case["v"].as_str().unwrap().as_bytes();
        if case["mutable"] == false {
            assert_eq!(Item::fixed(value.to_vec()).unwrap().target(), target, "{case}");
            continue;
        }
        let (key, salt): ([u8; 32], _) = (array(&case["public_key"]), hex(&case["salt"]));
        let signature = array(&case["signature"]);
        let sequence = case["seq"].as_i64().unwrap();
        let signed = Signed { key: &key, salt: &salt, sequence, signature: &signature };
        let received = Item::received(&target, value, Some(signed));
        assert_eq!(received.is_ok(), case["valid"].as_bool().unwrap(), "{case}");
    }
}

#[test]
fn signatures_are_those_of_ed25519() {
    let mut checked = 0;
    for case in cases("ed25519") {
        let Some(seed) = case.get("seed").filter(|seed| seed.as_str().is_some_and(|seed| seed.len() == 64))
        else {
            continue;
        };
        let Some(public) = case.get("public_key") else { continue };
        assert_eq!(item::public_key(array(seed)), array::<32>(public), "{case}");
        checked += 1;
    }
    eprintln!("{checked} keys checked");
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
                assert_eq!(query.id.0, case["args"]["id"].as_str().unwrap().as_bytes());
                let target = case["args"].get("target").or(case["args"].get("info_hash"));
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
        match &packet.body {
            Body::Query(query) => {
                assert_eq!(case["y"], "q");
                assert_eq!(query.id, Id(array(&case["args"]["id"])));
            }
            Body::Response(response) => {
                assert_eq!(case["y"], "r");
                assert_eq!(response.id, Id(array(&case["id"])));
                if let Some(nodes) = case.get("nodes").and_then(Value::as_array) {
                    let read: Vec<(String, String)> =
                        response.nodes4.iter().map(|(id, at)| (id.to_string(), at.to_string())).collect();
                    assert_eq!(serde_json::to_value(read).unwrap(), Value::Array(nodes.clone()));
                }
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
        while let Some(sent) = dht.poll_transmit() {
            assert_eq!(sent.to, from);
            assert!(sent.bytes.len() <= 3 * datagram.len().max(40), "{case}");
        }
    }
}
