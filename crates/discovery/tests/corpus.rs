//! The vectors of the shared corpus that concern the order of peers and local discovery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use quelea_digest::crc32c;
use quelea_discovery::local::Search;
use quelea_discovery::priority::priority;
use serde_json::Value as Json;
use std::net::{IpAddr, SocketAddr};
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

fn word(text: &Json) -> u32 {
    u32::from_str_radix(text.as_str().unwrap(), 16).unwrap()
}

#[test]
fn crc32c_of_the_published_inputs() {
    for case in cases("crc32c") {
        assert_eq!(crc32c(&hex(&case["input"])), word(&case["expect"]), "{case}");
    }
}

#[test]
fn priorities_are_those_of_other_clients() {
    for case in cases("bep40_peer_priority") {
        let peer = |ip: &str, port: &str| {
            let ip: IpAddr = case[ip].as_str().unwrap().parse().unwrap();
            SocketAddr::new(ip, case[port].as_u64().unwrap() as u16)
        };
        let (a, b) = (peer("a", "a_port"), peer("b", "b_port"));
        assert_eq!(priority(a, b), word(&case["expect"]), "{case}");
        assert_eq!(priority(b, a), word(&case["expect"]), "{case}");
    }
}

#[test]
fn datagrams_of_local_discovery() {
    for case in cases("bep14_lsd") {
        let read = Search::parse(&hex(&case["packet"]));
        if case["ignore"] == true {
            assert!(read.is_err(), "{case}");
            continue;
        }
        let read = read.unwrap();
        let hashes: Vec<_> = case["info_hashes"].as_array().unwrap().iter().map(hex).collect();
        let ours: Vec<_> = read.hashes.iter().map(|hash| hash.to_vec()).collect();
        assert_eq!((u64::from(read.port), ours), (case["port"].as_u64().unwrap(), hashes), "{case}");
        assert_eq!(read.cookie.as_deref(), case["cookie"].as_str(), "{case}");
    }
}
