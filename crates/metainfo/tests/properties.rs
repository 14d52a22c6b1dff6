//! What holds for every torrent, however it was made or damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use quelea_bencode::Item;
use quelea_metainfo::{Info, Link, Metainfo};
use std::collections::BTreeSet;

const PIECE: u64 = 16_384;

#[derive(Debug, Clone)]
struct Wanted {
    path: Vec<Vec<u8>>,
    length: u64,
    attributes: String,
    target: Option<Vec<Vec<u8>>>,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[abAB]".prop_map(String::into_bytes),
        1 => proptest::sample::select(&[
            "..", ".", "", "a (2)", "con", "é", "e\u{301}", "a/b", "C:", "x. ", "\u{202e}", "ß",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let path = proptest::collection::vec(element(), 1..4);
    let target = proptest::option::of(proptest::collection::vec(element(), 0..3));
    (path, 0..3 * PIECE, "[plxh]{0,2}", target).prop_map(|(path, length, attributes, target)| Wanted {
        path,
        length,
        attributes,
        target,
    })
}

/// A v1 info dictionary of these files with digests for all its pieces.
fn info(name: &[u8], files: &[Wanted]) -> Vec<u8> {
    let mut total = 0;
    let list = |path: &[Vec<u8>]| Item::list(path.iter().cloned());
    let files = files.iter().map(|file| {
        let link = file.attributes.contains('l');
        total += if link { 0 } else { file.length };
        let mut item = vec![
            ("length", Item::from(i64::try_from(file.length).unwrap())),
            ("path", list(&file.path)),
            ("attr", Item::from(file.attributes.as_str())),
        ];
        item.extend(file.target.as_ref().map(|target| ("symlink path", list(target))));
        Item::dict(item)
    });
    let files = Item::List(files.collect());
    let pieces = usize::try_from(total.div_ceil(PIECE)).unwrap();
    let piece_length = Item::from(i64::try_from(PIECE).unwrap());
    let pieces = Item::from(vec![1; 20 * pieces]);
    let entries =
        [("files", files), ("name", name.into()), ("piece length", piece_length), ("pieces", pieces)];
    Item::dict(entries).encode()
}

/// What every accepted torrent promises.
fn check(info: &Info) {
    let mut end = 0;
    let mut paths = BTreeSet::new();
    for file in &info.files {
        assert!(file.offset >= end && file.offset + file.length <= info.geometry.total_length());
        end = file.offset + file.length;
        let elements: Vec<&str> = file.path.elements().collect();
        assert!(elements.iter().all(|element| !["", ".", ".."].contains(element) && element.len() <= 255));
        assert_eq!(elements[0], info.name);
        assert!(file.pad || paths.insert(file.path.as_str().to_lowercase()), "{} is there twice", file.path);
    }
    for path in &paths {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        assert!(!folders.into_iter().any(|folder| paths.contains(folder)), "a folder of {path} is a file");
    }
    for file in &info.files {
        let Some(Link::To(target)) = &file.link else { continue };
        let target = target.as_str();
        let file_there = info.files.iter().any(|other| other.path.as_str() == target && other.link.is_none());
        let folder = format!("{target}/");
        let folder_there = info.files.iter().any(|other| other.path.as_str().starts_with(&folder));
        assert!(file_there || folder_there, "{} leads to {target}, which is not there", file.path);
        assert!(!file.path.as_str().starts_with(&folder), "{} leads to a folder around it", file.path);
    }
}

/// A hybrid's bytes, whose keys, numbers and structure a mutation can hit.
fn hybrid() -> Vec<u8> {
    let file = |length: i64| {
        Item::dict([(
            "",
            Item::dict([("length", Item::from(length)), ("pieces root", Item::from(&[9u8; 32]))]),
        )])
    };
    let v1 = |name: &str, length: i64, attributes: &str| {
        let path = Item::list([name]);
        Item::dict([("attr", Item::from(attributes)), ("length", Item::from(length)), ("path", path)])
    };
    let info = Item::dict([
        ("file tree", Item::dict([("a", file(100)), ("b", file(200))])),
        ("files", Item::list([v1("a", 100, ""), v1("p", 16_284, "p"), v1("b", 200, "x")])),
        ("meta version", 2.into()),
        ("name", "t".into()),
        ("piece length", 16_384.into()),
        ("pieces", vec![7; 40].into()),
    ]);
    let tiers = Item::list([Item::list(["http://t/a"])]);
    Item::dict([("announce-list", tiers), ("info", info), ("piece layers", Item::dict::<&str, Item>([]))])
        .encode()
}

proptest! {
    #[test]
    fn whatever_the_names_every_file_has_its_place(
        name in element(), files in proptest::collection::vec(wanted(), 1..12)
    ) {
        let bytes = info(&name, &files);
        let info = Info::parse(&bytes).unwrap();
        prop_assert_eq!(info.files.len(), files.len());
        prop_assert_eq!(info.raw(), &bytes[..]);
        check(&info);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        _ = Metainfo::parse(&bytes);
        _ = Metainfo::parse(&[b"d4:info".as_slice(), &bytes, b"e"].concat());
        _ = Info::parse(&[b"d".as_slice(), &bytes, b"e"].concat());
    }

    #[test]
    fn a_damaged_torrent_is_refused_or_keeps_its_promises(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6)
    ) {
        let mut bytes = hybrid();
        prop_assert!(Metainfo::parse(&bytes).is_ok());
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"0129delip:"[usize::from(byte) % 10],
                2 => _ = bytes.remove(at),
                _ => bytes.insert(at, byte),
            }
        }
        if let Ok(torrent) = Metainfo::parse(&bytes) {
            check(&torrent.info);
        }
    }
}
