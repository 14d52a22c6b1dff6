//! Reading the corpus.

use serde::Deserialize;
use serde_json::Value as Json;
use std::path::Path;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus");

/// A JSON file of the corpus; `None`, with a notice, without a corpus.
fn read(name: &str) -> Option<Json> {
    let path = Path::new(CORPUS).join(name);
    let Ok(text) = std::fs::read(&path) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs {}", path.display());
        eprintln!("skipped: there is no {}", path.display());
        return None;
    };
    let mut json = serde_json::Deserializer::from_slice(&text);
    // One bencode case is nested 1000 levels deep, and so is its value in the manifest.
    json.disable_recursion_limit();
    Some(Json::deserialize(&mut json).unwrap())
}

/// The entries of this kind with the bytes they are about.
pub(crate) fn entries(kind: &str) -> Vec<(Json, Vec<u8>)> {
    let Some(manifest) = read("manifest.json") else { return Vec::new() };
    let entries = manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == kind);
    let bytes =
        |entry: &Json| std::fs::read(Path::new(CORPUS).join(entry["file"].as_str().unwrap())).unwrap();
    let entries: Vec<(Json, Vec<u8>)> = entries.map(|entry| (entry.clone(), bytes(entry))).collect();
    assert!(entries.len() > 80, "the corpus has lost its entries of kind {kind}");
    entries
}

/// The cases of this group of vectors.
pub(crate) fn vectors(group: &str) -> Vec<Json> {
    let Some(vectors) = read("vectors.json") else { return Vec::new() };
    let group = vectors["groups"].as_array().unwrap().iter().find(|found| found["id"] == group).unwrap();
    let cases = group["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

/// Whether an entry must be accepted (`Some(true)`), must be refused, or may be either.
pub(crate) fn must_accept(entry: &Json) -> Option<bool> {
    match entry["expect"].as_str().unwrap() {
        "valid" => Some(true),
        "reject" => Some(false),
        "lenient" => None,
        other => panic!("unknown expectation {other}"),
    }
}

/// Whether this field of the entry is to be compared.
pub(crate) fn checks(entry: &Json, field: &str) -> bool {
    entry["check"].as_array().is_some_and(|fields| fields.iter().any(|found| found == field))
}
