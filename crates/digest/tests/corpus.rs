//! The merkle vectors of the shared corpus (BEP 52).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use quelea_digest::{merkle, sha256};
use serde_json::Value;

fn cases(group: &str) -> Option<Vec<Value>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus/vectors.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{path} is missing");
        eprintln!("skipped: {path} is missing");
        return None;
    };
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let groups = vectors["groups"].as_array().unwrap();
    let group = groups.iter().find(|found| found["id"] == group).expect("the group is in the corpus");
    let cases = group["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    Some(cases.clone())
}

fn node(hex: &Value) -> merkle::Node {
    let hex = hex.as_str().unwrap();
    assert_eq!(hex.len(), 64);
    core::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
}

#[test]
fn roots_and_layers_of_files_agree_with_the_corpus() {
    for case in cases("bep52_merkle").unwrap_or_default() {
        let length = case["length"].as_u64().unwrap();
        let piece_length = case["piece_length"].as_u64().unwrap();
        let expected = node(&case["pieces_root"]);
        let content: Vec<u8> = (0..length).map(|at| (7 * at + (at >> 8)) as u8).collect();
        assert_eq!(merkle::root_of_bytes(&content), expected, "{length} bytes");

        let Some(layer) = case["piece_layer"].as_array() else { continue };
        let layer: Vec<merkle::Node> = layer.iter().map(node).collect();
        let leaves_a_piece = (piece_length / u64::from(merkle::LEAF_LENGTH)) as usize;
        let leaves: Vec<merkle::Node> = content.chunks(merkle::LEAF_LENGTH as usize).map(sha256).collect();
        for (piece, (leaves, expected)) in leaves.chunks(leaves_a_piece).zip(&layer).enumerate() {
            let full = leaves.iter().copied().chain(std::iter::repeat([0; 32])).take(leaves_a_piece);
            assert_eq!(merkle::root(full), *expected, "piece {piece} of {length} bytes");
        }
        assert!(merkle::layer_matches(layer.as_flattened(), length, piece_length, &expected));
    }
}

#[test]
fn pad_hashes_agree_with_the_corpus() {
    for case in cases("bep52_pad_hashes").unwrap_or_default() {
        let height = u32::try_from(case["height"].as_u64().unwrap()).unwrap();
        assert_eq!(merkle::pad(height), node(&case["hash"]), "height {height}");
    }
}
