//! The vectors about selections and piece layers.

use crate::manifest::vectors;
use quelea_bencode::Item;
use quelea_digest::{merkle, sha256};
use quelea_metainfo::{Error, Metainfo, Selection, to_hex};
use serde_json::Value as Json;

#[test]
fn bep53_selections_name_their_files() {
    for case in vectors("bep53_select_only") {
        let numbers: Json = Selection::parse(case["so"].as_str().unwrap()).iter().collect();
        assert_eq!(numbers, case["expect"], "{}", case["so"]);
    }
}

#[test]
fn bep52_pad_hashes_are_those_of_the_tree() {
    for case in vectors("bep52_pad_hashes") {
        let height = u32::try_from(case["height"].as_u64().unwrap()).unwrap();
        assert_eq!(case["hash"], to_hex(&merkle::pad(height)), "height {height}");
    }
}

fn bytes(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A v2 torrent of one file.
fn torrent(length: i64, piece_length: i64, root: &[u8], layer: Option<&[u8]>) -> Vec<u8> {
    let file =
        Item::dict([("", Item::dict([("length", Item::from(length)), ("pieces root", Item::from(root))]))]);
    let info = Item::dict([
        ("file tree", Item::dict([("f", file)])),
        ("meta version", Item::from(2)),
        ("name", Item::from("f")),
        ("piece length", Item::from(piece_length)),
    ]);
    let layers = layer.map(|layer| (root, Item::from(layer)));
    Item::dict([("info", info), ("piece layers", Item::dict(layers))]).encode()
}

#[test]
fn bep52_piece_layers_are_taken_and_damaged_ones_are_refused() {
    for case in vectors("bep52_merkle") {
        let (length, piece_length) =
            (case["length"].as_i64().unwrap(), case["piece_length"].as_i64().unwrap());
        let root = bytes(&case["pieces_root"]);
        let layer: Option<Vec<u8>> =
            case["piece_layer"].as_array().map(|layer| layer.iter().flat_map(bytes).collect());
        let read = Metainfo::parse(&torrent(length, piece_length, &root, layer.as_deref())).unwrap();
        assert_eq!(read.info.files[0].pieces_root.map(Vec::from), Some(root.clone()));
        assert_eq!(read.info.hashes.v2(), Some(sha256(read.info.raw())));
        assert_eq!(read.piece_layers.len(), usize::from(layer.is_some()));

        let Some(layer) = layer else { continue };
        let mut damaged = layer.clone();
        damaged[layer.len() / 2] ^= 1;
        let longer = [&layer[..], &[0; 32]].concat();
        for wrong in [Some(&damaged[..]), Some(&layer[32..]), Some(&longer[..]), Some(&layer[1..]), None] {
            let refused = Metainfo::parse(&torrent(length, piece_length, &root, wrong));
            assert!(
                matches!(refused, Err(Error::PieceLayer { file: 0, .. })),
                "length {length}: {refused:?}"
            );
        }
    }
}
