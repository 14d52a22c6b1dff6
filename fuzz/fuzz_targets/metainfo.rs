//! Any bytes as a torrent file: what is accepted keeps every promise of the crate.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use quelea_metainfo::{Error, Info, Link, Magnet, Metainfo, SafePath};

fuzz_target!(|data: &[u8]| {
    if let Ok(info) = Info::parse(data) {
        check(&info);
    }
    let Ok(torrent) = Metainfo::parse(data) else { return };
    check(&torrent.info);
    let info = Info::parse(torrent.info.raw()).expect("the info dictionary stands for itself");
    assert_eq!(info, torrent.info);
    let link = torrent.magnet();
    match Magnet::parse(&link.to_string()) {
        Ok(read) => assert_eq!(read.hashes, link.hashes),
        Err(error) => assert!(matches!(error, Error::TooLong { .. }), "{error}"),
    }
});

fn check(info: &Info) {
    assert_eq!(info.version.has_v1(), info.hashes.v1().is_some());
    assert_eq!(info.version.has_v2(), info.hashes.v2().is_some());
    let geometry = &info.geometry;
    let pieces: u64 = geometry.iter().map(|piece| u64::from(geometry.length_of(piece))).sum();
    assert_eq!(pieces, geometry.total_length());
    if info.version.has_v1() {
        assert!(geometry.iter().all(|piece| info.piece_hash(piece).is_some()), "every piece has its digest");
    }

    let mut paths = BTreeSet::new();
    let mut end = 0;
    for file in &info.files {
        assert!(file.offset >= end, "files do not overlap");
        end = file.offset.checked_add(file.length).expect("sums do not overflow");
        assert!(end <= geometry.total_length());
        check_path(&file.path);
        if let Some(Link::To(target)) = &file.link {
            check_path(target);
        }
        if !file.pad {
            assert!(paths.insert(file.path.as_str().to_lowercase()), "two files at {}", file.path.as_str());
        }
    }
    for path in &paths {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        assert!(!folders.into_iter().any(|folder| paths.contains(folder)), "{path} lies in a file");
    }
}

/// The path stays where it is put.
fn check_path(path: &SafePath) {
    for element in path.elements() {
        assert!(!matches!(element, "" | "." | ".."), "{}", path.as_str());
        assert!(!element.contains(['/', '\\', '\0', ':']), "{}", path.as_str());
    }
}
