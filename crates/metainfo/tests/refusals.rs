//! What a torrent must not be, one fault at a time, in torrents that are sound otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use quelea_bencode::Item;
use quelea_digest::merkle;
use quelea_metainfo::{Error, Info, Link, MAX_NAMES_LENGTH, MAX_PIECE_LENGTH, MAX_PIECES, Metainfo, Version};
use std::collections::BTreeMap;

const PIECE: i64 = 16_384;

type Dict = BTreeMap<Vec<u8>, Item>;

fn dict<const N: usize>(entries: [(&str, Item); N]) -> Dict {
    entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

fn hashes(pieces: usize) -> Item {
    vec![7; 20 * pieces].into()
}

fn v1_file(path: &[&str], length: i64) -> Dict {
    dict([("length", length.into()), ("path", Item::list(path.iter().copied()))])
}

fn v2_file(length: i64) -> Item {
    let mut file = dict([("length", length.into())]);
    if length > 0 {
        file.insert("pieces root".into(), Item::from(&[9u8; 32]));
    }
    Item::dict([("", file)])
}

/// A v1 torrent of two files in two pieces.
fn v1() -> Dict {
    dict([
        ("files", Item::list([v1_file(&["a"], 100), v1_file(&["d", "b"], PIECE)])),
        ("name", "t".into()),
        ("piece length", PIECE.into()),
        ("pieces", hashes(2)),
    ])
}

/// A hybrid torrent of the files `a` (100 bytes) and `b` (200 bytes).
fn hybrid() -> Dict {
    let mut pad = v1_file(&[".pad", "16284"], PIECE - 100);
    pad.insert("attr".into(), "p".into());
    dict([
        ("file tree", Item::dict([("a", v2_file(100)), ("b", v2_file(200))])),
        ("files", Item::list([v1_file(&["a"], 100), pad, v1_file(&["b"], 200)])),
        ("meta version", 2.into()),
        ("name", "t".into()),
        ("piece length", PIECE.into()),
        ("pieces", hashes(2)),
    ])
}

fn v2() -> Dict {
    let mut info = hybrid();
    info.remove(b"files".as_slice());
    info.remove(b"pieces".as_slice());
    info
}

fn parse(info: &Dict) -> Result<Info, Error> {
    Info::parse(&Item::Dict(info.clone()).encode())
}

/// What becomes of `info` with this value under `key`, or without any.
fn with(mut info: Dict, key: &str, value: Option<Item>) -> Result<Info, Error> {
    match value {
        Some(value) => info.insert(key.into(), value),
        None => info.remove(key.as_bytes()),
    };
    parse(&info)
}

#[test]
fn the_sound_torrents_are_read() {
    let info = parse(&v1()).unwrap();
    assert_eq!((info.version, info.geometry.pieces(), info.content_length()), (Version::V1, 2, 16_484));
    assert_eq!(info.piece_hash(info.geometry.piece(1).unwrap()), Some(&[7; 20]));
    let paths: Vec<(&str, u64)> = info.files.iter().map(|file| (file.path.as_str(), file.offset)).collect();
    assert_eq!(paths, [("t/a", 0), ("t/d/b", 100)]);

    let info = parse(&hybrid()).unwrap();
    assert_eq!(
        (info.version, info.content_length(), info.geometry.total_length()),
        (Version::Hybrid, 300, 16_584)
    );
    assert_eq!(info.files[2].pieces_root, Some([9; 32]));
    assert!(info.files[1].pad && info.files[1].path.as_str() == "t/.pad/16284");

    let info = parse(&v2()).unwrap();
    assert_eq!(
        (info.version, info.content_length(), info.geometry.total_length()),
        (Version::V2, 300, 16_584)
    );
    assert_eq!((info.files[1].offset, info.piece_hash(info.geometry.piece(0).unwrap())), (16_384, None));
}

#[test]
fn piece_lengths_have_limits() {
    for length in [0, -1, i64::MIN, i64::MAX, i64::from(MAX_PIECE_LENGTH) + 1] {
        assert_eq!(with(v1(), "piece length", Some(length.into())), Err(Error::PieceLength { length }));
    }
    for length in [8_192, 16_385, 49_152] {
        assert_eq!(with(v2(), "piece length", Some(length.into())), Err(Error::PieceLength { length }));
    }
    assert!(matches!(with(v1(), "piece length", None), Err(Error::Field { key: "piece length", .. })));
}

#[test]
fn pieces_have_one_digest_each() {
    for found in [0, 19, 20, 39, 41, 60] {
        let refused = with(v1(), "pieces", Some(vec![0; found].into()));
        assert_eq!(refused, Err(Error::PieceHashes { found, pieces: 2 }));
    }
    assert!(matches!(with(v1(), "pieces", None), Err(Error::Field { key: "pieces", .. })));
}

#[test]
fn the_number_of_pieces_has_a_limit() {
    let length = PIECE * i64::from(MAX_PIECES) + 1;
    let refused = with(v2(), "file tree", Some(Item::dict([("a", v2_file(length))])));
    assert_eq!(refused, Err(Error::TooManyPieces { pieces: u64::from(MAX_PIECES) + 1 }));
}

#[test]
fn lengths_must_not_overflow() {
    let files = Item::list([v1_file(&["a"], i64::MAX), v1_file(&["b"], 1)]);
    assert_eq!(with(v1(), "files", Some(files)), Err(Error::TotalLength));
    let tree = Item::dict([("a", v2_file(i64::MAX)), ("b", v2_file(1))]);
    assert_eq!(with(v2(), "file tree", Some(tree)), Err(Error::TotalLength));
}

#[test]
fn names_have_a_limit_together() {
    let files: BTreeMap<Vec<u8>, Item> = (0..5_000).map(|n| (format!("{n}").into(), v2_file(0))).collect();
    let deep = (0..60).fold(Item::Dict(files), |inner, _| Item::dict([("d".repeat(250), inner)]));
    assert_eq!(with(v2(), "file tree", Some(deep)), Err(Error::NamesLength));
    let long = "x".repeat(MAX_NAMES_LENGTH);
    let files = Item::list([v1_file(&["a"], 100), v1_file(&[&long], PIECE)]);
    assert_eq!(with(v1(), "files", Some(files)), Err(Error::NamesLength));
}

#[test]
fn a_hybrid_whose_halves_differ_is_refused() {
    let tree = |a: i64, b: i64| Item::dict([("a", v2_file(a)), ("b", v2_file(b))]);
    let fault = |tree| match with(hybrid(), "file tree", Some(tree)) {
        Err(Error::Hybrid { file, fault }) => (file, fault),
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(tree(101, 200)), (0, "the lengths differ"));
    assert_eq!(fault(tree(100, 201)), (1, "the lengths differ"));
    assert_eq!(fault(Item::dict([("a", v2_file(100)), ("c", v2_file(200))])), (1, "the names differ"));
    assert_eq!(fault(Item::dict([("a", v2_file(100))])), (1, "the v1 half has more files"));
    let more = Item::dict([("a", v2_file(100)), ("b", v2_file(200)), ("c", v2_file(0))]);
    assert_eq!(fault(more), (2, "the v2 half has more files"));

    let unaligned = Item::list([v1_file(&["a"], 100), v1_file(&["b"], 200)]);
    let mut info = hybrid();
    info.insert("pieces".into(), hashes(1));
    let refused = with(info, "files", Some(unaligned));
    assert_eq!(refused, Err(Error::Hybrid { file: 1, fault: "it does not begin with a piece" }));
}

#[test]
fn versions_beyond_the_second_are_refused() {
    for version in [-1, 0, 3, i64::MAX] {
        assert_eq!(with(hybrid(), "meta version", Some(version.into())), Err(Error::Version { version }));
    }
    assert_eq!(with(v1(), "meta version", Some(1.into())).unwrap().version, Version::V1);
}

#[test]
fn a_torrent_with_its_own_certificate_is_refused() {
    assert_eq!(with(v1(), "ssl-cert", Some("x".into())), Err(Error::Ssl));
}

#[test]
fn a_file_tree_has_files_without_siblings_in_order() {
    let both = Item::dict([("", v2_file(1)), ("x", v2_file(1))]);
    for tree in
        [both.clone(), Item::dict([("d", both)]), Item::dict([("a", Item::from(1))]), Item::list(["a"])]
    {
        assert!(matches!(with(v2(), "file tree", Some(tree)), Err(Error::Field { key: "file tree", .. })));
    }
    let sorted = Item::Dict(v2()).encode();
    let a = sorted.windows(5).position(|bytes| bytes == b"1:ad0").unwrap();
    let b = sorted.windows(5).position(|bytes| bytes == b"1:bd0").unwrap();
    let mut unsorted = sorted.clone();
    unsorted[a + 2] = b'c';
    assert!(Info::parse(&sorted).is_ok() && b > a);
    assert!(matches!(Info::parse(&unsorted), Err(Error::Field { key: "file tree", .. })));
}

#[test]
fn a_file_in_v2_needs_a_root_unless_it_is_empty() {
    for root in [&[0u8; 32][..], &[9; 31], &[9; 33], b""] {
        let file = Item::dict([("", dict([("length", 1.into()), ("pieces root", root.into())]))]);
        let refused = with(v2(), "file tree", Some(Item::dict([("a", file)])));
        assert!(matches!(refused, Err(Error::Field { key: "pieces root", .. })), "{root:?}");
    }
    let info = with(v2(), "file tree", Some(Item::dict([("a", v2_file(0))]))).unwrap();
    assert_eq!((info.geometry.pieces(), info.files[0].pieces_root), (0, None));
}

#[test]
fn a_layer_is_hashed_against_its_root() {
    let layer = [[1u8; 32], [2; 32]];
    let root = merkle::layer_root(layer, 0);
    let file = Item::dict([("", dict([("length", (PIECE + 1).into()), ("pieces root", Item::from(&root))]))]);
    let mut info = v2();
    info.insert("file tree".into(), Item::dict([("x", file.clone()), ("y", file)]));
    let torrent =
        |layers: Item| Item::dict([("info", Item::Dict(info.clone())), ("piece layers", layers)]).encode();

    let sound = Metainfo::parse(&torrent(Item::dict([(root, layer.concat())]))).unwrap();
    assert_eq!(sound.piece_layers, BTreeMap::from([(root, layer.to_vec())]));
    let swapped = [layer[1], layer[0]].concat();
    let fault = "does not hash to the file's root";
    assert_eq!(
        Metainfo::parse(&torrent(Item::dict([(root, swapped)]))),
        Err(Error::PieceLayer { file: 0, fault })
    );
    let absent = Item::dict([("info", Item::Dict(info.clone()))]).encode();
    assert!(Metainfo::parse(&absent).unwrap().piece_layers.is_empty());
}

#[test]
fn links_and_attributes_are_read() {
    let mut link = v1_file(&["now"], 0);
    link.insert("attr".into(), "lx".into());
    link.insert("symlink path".into(), Item::list(["d", "b"]));
    let mut out = v1_file(&["out"], 5);
    out.insert("attr".into(), "lh".into());
    out.insert("symlink path".into(), Item::list(["..", "..", "etc", "passwd"]));
    let files = Item::list([v1_file(&["a"], 100), v1_file(&["d", "b"], PIECE), link, out]);
    let info = with(v1(), "files", Some(files)).unwrap();
    let Some(Link::To(target)) = &info.files[2].link else { panic!("{:?}", info.files[2]) };
    assert_eq!(target.as_str(), "t/d/b");
    assert!(info.files[2].executable && !info.files[2].hidden);
    assert_eq!((&info.files[3].link, info.files[3].length), (&Some(Link::Nowhere), 0));
    assert!(info.files[3].hidden && !info.files[3].executable);
}

#[test]
fn a_name_of_which_nothing_is_left_becomes_the_hash() {
    for name in ["", "..", ". "] {
        let info = with(v1(), "name", Some(name.into())).unwrap();
        assert_eq!(Some(&info.name), info.hashes.v1_hex().as_ref());
    }
}

#[test]
fn metadata_that_is_not_exactly_a_dictionary_is_refused() {
    let bytes = Item::Dict(v1()).encode();
    assert!(Info::parse(&bytes).is_ok());
    assert!(matches!(Info::parse(&[&bytes[..], b"\n"].concat()), Err(Error::Bencode(_))));
    assert!(matches!(Info::parse(b"le"), Err(Error::Field { key: "info", .. })));
    assert!(matches!(Info::parse(b""), Err(Error::Bencode(_))));
}
