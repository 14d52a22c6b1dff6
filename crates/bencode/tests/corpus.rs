//! The bencode cases of the shared corpus: what must be read is read as it stands, what must be refused is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use quelea_bencode::{Item, Limits, parse, to_json};
use serde::Deserialize;
use serde_json::Value as Json;
use std::path::Path;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus");

/// The bencode entries of the manifest with the bytes they are about; none, with a notice, without a corpus.
fn entries() -> Vec<(Json, Vec<u8>)> {
    let manifest = Path::new(CORPUS).join("manifest.json");
    let Ok(text) = std::fs::read(&manifest) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs {}", manifest.display());
        eprintln!("skipped: there is no {}", manifest.display());
        return Vec::new();
    };
    let mut manifest = serde_json::Deserializer::from_slice(&text);
    // One case is nested 1000 levels deep, and so is its value in the manifest.
    manifest.disable_recursion_limit();
    let manifest = Json::deserialize(&mut manifest).unwrap();
    let entries = manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "bencode");
    let entries: Vec<(Json, Vec<u8>)> = entries
        .map(|entry| {
            let file = Path::new(CORPUS).join(entry["file"].as_str().unwrap());
            (entry.clone(), std::fs::read(file).unwrap())
        })
        .collect();
    assert!(entries.len() > 100, "the corpus has lost its bencode cases");
    entries
}

#[test]
fn valid_cases_are_read_and_written_as_they_stand() {
    for (entry, bytes) in entries().iter().filter(|(entry, _)| entry["expect"] == "valid") {
        let value =
            parse(bytes, Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", entry["id"]));
        let json: Json = serde_json::from_str(&to_json(&value)).unwrap();
        assert_eq!(json["canonical"], entry["canonical"], "{}", entry["id"]);
        // The manifest leaves out the longest values.
        assert!(entry["value"].is_null() || json["value"] == entry["value"], "{}", entry["id"]);
        assert!(Item::from(&value).encode() == *bytes, "{}", entry["id"]);
    }
}

#[test]
fn cases_to_refuse_are_refused_at_a_place_in_the_input() {
    for (entry, bytes) in entries().iter().filter(|(entry, _)| entry["expect"] == "reject") {
        let error = parse(bytes, Limits::default()).expect_err(&entry["id"].to_string());
        assert!(error.at() <= bytes.len(), "{}: {error}", entry["id"]);
    }
}

#[test]
fn lenient_cases_come_out_as_recommended() {
    for (entry, bytes) in entries().iter().filter(|(entry, _)| entry["expect"] == "lenient") {
        let result = parse(bytes, Limits::default());
        match entry["recommend"].as_str().unwrap() {
            "accept" => assert!(result.is_ok(), "{}: {:?}", entry["id"], result.err()),
            "reject" => assert!(result.is_err(), "{}", entry["id"]),
            _ => {}
        }
        if entry["reason"] == "unsorted dictionary keys" {
            let value = result.unwrap();
            assert!(!value.is_canonical(), "{}", entry["id"]);
            let json: Json = serde_json::from_str(&to_json(&value)).unwrap();
            assert_eq!(json["value"], entry["value"], "{}", entry["id"]);
        }
        if let Some(end) = entry["value_ends_at"].as_u64() {
            let (_, taken) = quelea_bencode::parse_prefix(bytes, Limits::default()).unwrap();
            assert_eq!(taken as u64, end, "{}", entry["id"]);
        }
    }
}
