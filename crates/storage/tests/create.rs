//! Making torrents: which files are found, and what their pieces hash to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use quelea_metainfo::geometry::Geometry;
use quelea_storage::create::{Reason, ScanOptions, Source, SourceError};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn scan(path: &Path) -> Source {
    Source::scan(path, &ScanOptions::default()).unwrap()
}

fn paths(source: &Source) -> Vec<String> {
    source.files().iter().map(|file| file.elements.join("/")).collect()
}

fn hash(source: &Source, piece_length: u32) -> Result<Vec<[u8; 20]>, SourceError> {
    let length = source.files().iter().map(|file| file.length).sum();
    let geometry = Geometry::new(length, piece_length).unwrap();
    Ok(source.hash(geometry, &mut |_| ControlFlow::Continue(()))?.unwrap())
}

#[test]
fn files_are_sorted_folder_by_folder_by_the_bytes_of_their_names() {
    let root = tempfile::tempdir().unwrap();
    for path in ["b", "a/z", "a.b", "a/c/d", "ä", "Z", "a b/c"] {
        put(root.path(), path, b"x");
    }
    assert_eq!(paths(&scan(root.path())), ["Z", "a/c/d", "a/z", "a b/c", "a.b", "b", "ä"]);
}

#[test]
fn what_is_no_plain_file_is_left_out_and_told() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "file", b"x");
    put(root.path(), ".git/config", b"x");
    put(root.path(), "folder/.hidden", b"x");
    put(root.path(), "own.torrent", b"x");
    symlink("file", root.path().join("link")).unwrap();
    symlink("/", root.path().join("folder/up")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    let options = ScanOptions { hidden: false, except: Some(root.path().join("folder/../own.torrent")) };
    let source = Source::scan(root.path(), &options).unwrap();
    assert_eq!(paths(&source), ["file"]);
    let real = root.path().canonicalize().unwrap();
    let left_out: Vec<_> = source
        .left_out()
        .iter()
        .map(|left| (left.path.strip_prefix(&real).unwrap().to_str().unwrap(), left.reason))
        .collect();
    assert_eq!(
        left_out,
        [
            (".git", Reason::Hidden),
            ("folder/.hidden", Reason::Hidden),
            ("folder/up", Reason::SymbolicLink),
            ("link", Reason::SymbolicLink),
            ("own.torrent", Reason::Excepted),
            ("socket", Reason::Special),
        ]
    );
    let all = Source::scan(root.path(), &ScanOptions { hidden: true, except: None }).unwrap();
    assert_eq!(paths(&all), [".git/config", "file", "folder/.hidden", "own.torrent"]);
}

#[test]
fn links_to_what_is_elsewhere_are_followed_and_told() {
    let outside = tempfile::tempdir().unwrap();
    put(outside.path(), "sub/b", b"b");
    put(outside.path(), "file", b"cc");
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", b"x");
    symlink(outside.path().join("sub"), root.path().join("linked")).unwrap();
    symlink(outside.path().join("file"), root.path().join("z")).unwrap();
    // The walk would have no end.
    symlink(root.path(), outside.path().join("sub/back")).unwrap();
    symlink(".", outside.path().join("sub/self")).unwrap();
    symlink("gone", root.path().join("dead")).unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    let source = scan(root.path());
    assert_eq!(paths(&source), ["a", "linked/b", "z"]);
    assert_eq!(hash(&source, 16_384).unwrap(), [quelea_digest::sha1(b"xbcc")]);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let followed: Vec<_> = source.followed().iter().map(|link| name(&link.link)).collect();
    assert_eq!(followed, ["linked", "z"]);
    let mut left_out: Vec<_> = source.left_out().iter().map(|left| (name(&left.path), left.reason)).collect();
    left_out.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("back", Reason::SymbolicLink),
        ("dead", Reason::DeadLink),
        ("loop", Reason::DeadLink),
        ("self", Reason::SymbolicLink),
    ];
    assert_eq!(left_out, expected.map(|(name, reason)| (name.to_owned(), reason)));
}

#[test]
fn a_link_that_the_user_names_is_followed_and_gives_its_name() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "real/a", b"abc");
    symlink("real", root.path().join("folder")).unwrap();
    symlink("real/a", root.path().join("file")).unwrap();
    let folder = scan(&root.path().join("folder"));
    assert_eq!((folder.name(), folder.is_single(), paths(&folder)), ("folder", false, vec!["a".to_owned()]));
    let file = scan(&root.path().join("file"));
    assert_eq!((file.name(), file.is_single()), ("file", true));
    assert_eq!(hash(&file, 16_384).unwrap(), [quelea_digest::sha1(b"abc")]);
}

#[test]
fn a_path_of_dots_has_the_name_of_its_folder() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a/b/c", b"x");
    assert_eq!(scan(&root.path().join("a/b/..")).name(), "a");
    assert!(matches!(Source::scan(Path::new("/"), &ScanOptions::default()), Err(SourceError::NoName(_))));
}

#[test]
fn names_that_are_not_utf8_are_refused_unless_they_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", b"x");
    let odd = |name: &[u8]| root.path().join(std::ffi::OsStr::from_bytes(name));
    std::fs::write(odd(b".\xff"), b"x").unwrap();
    assert_eq!(paths(&scan(root.path())), ["a"]);
    std::fs::write(odd(b"\xff"), b"x").unwrap();
    let error = Source::scan(root.path(), &ScanOptions::default()).unwrap_err();
    assert!(matches!(error, SourceError::NotUtf8(_)), "{error}");
    assert!(!error.to_string().contains('\u{fffd}'), "{error}");
}

/// Waits until a change has another time than the file's last one: the file system's clock ticks coarsely.
fn wait_for_another_tick(path: &Path) {
    let changed = |path: &Path| {
        let found = std::fs::metadata(path).unwrap();
        (found.ctime(), found.ctime_nsec())
    };
    let trial = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    while changed(trial.path()) <= changed(path) {
        std::fs::write(trial.path(), b"x").unwrap();
    }
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_named() {
    let changes: [fn(&Path); 8] = [
        |path| std::fs::write(path, [1; 99_999]).unwrap(),
        |path| std::fs::write(path, [1; 100_001]).unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            symlink("/dev/zero", path).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
        |path| {
            // Another content of the same length shows by its time alone.
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let later = file.metadata().unwrap().modified().unwrap() + std::time::Duration::from_secs(1);
            file.set_modified(later).unwrap();
        },
        |path| {
            // Its old time may be given back to it.
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let before = file.metadata().unwrap();
            wait_for_another_tick(path);
            file.write_all_at(b"x", 5).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        },
        |path| {
            // Another file of the same length and time may take its place.
            let before = std::fs::metadata(path).unwrap();
            let other = path.with_extension("other");
            std::fs::write(&other, [1; 100_000]).unwrap();
            let file = std::fs::File::options().write(true).open(&other).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            std::fs::rename(&other, path).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "a", &[0; 20_000]);
        put(root.path(), "b", &[0; 100_000]);
        let source = scan(root.path());
        change(&root.path().join("b"));
        match hash(&source, 16_384) {
            Err(SourceError::Changed(path)) => assert!(path.ends_with("b"), "change {number}: {path:?}"),
            other => panic!("change {number}: {other:?}"),
        }
    }
}

#[test]
fn hashing_stops_when_progress_breaks() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", &[0; 100_000]);
    let source = scan(root.path());
    let geometry = Geometry::new(100_000, 16_384).unwrap();
    assert!(source.hash(geometry, &mut |_| ControlFlow::Break(())).unwrap().is_none());
}

#[test]
fn progress_ends_with_every_byte() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", &[0; 300_000]);
    let source = scan(root.path());
    let mut last = 0;
    let mut told = |hashed| {
        assert!(hashed >= last);
        last = hashed;
        ControlFlow::Continue(())
    };
    source.hash(Geometry::new(300_000, 16_384).unwrap(), &mut told).unwrap();
    assert_eq!(last, 300_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn digests_are_those_of_the_files_laid_end_to_end(
        lengths in prop::collection::vec(prop_oneof![Just(0usize), 1usize..3_000, 60_000usize..300_000], 1..12),
        piece_length in prop_oneof![Just(16_384u32), Just(65_536), Just(131_072), Just(1 << 20)],
        seed: u64,
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut whole = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let mut bytes = vec![0; *length];
            rng.fill(&mut bytes);
            put(root.path(), &format!("{number:02}"), &bytes);
            whole.extend(bytes);
        }
        let expected: Vec<[u8; 20]> = whole.chunks(piece_length as usize).map(quelea_digest::sha1).collect();
        prop_assert_eq!(hash(&scan(root.path()), piece_length).unwrap(), expected);
    }
}
