//! What was there before the torrent: its own, or somebody else's that must not be touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::{Holder, Options, StorageError, Store};
use std::path::Path;
use support::faulty::{Fault, Faulty};
use support::{Torrent, file, files_below};

const PIECE: u32 = 16_384;
const PARTS: &str = ".torrent.parts";

/// Two files with pieces of their own, and two that share a piece.
fn torrent() -> Torrent {
    let files = vec![file("t/a", 49_152), file("t/b", 40_960), file("t/c", 3_000), file("t/d", 9_000)];
    Torrent::new(files, PIECE, 1)
}

/// Nothing is known of any file.
fn unknown() -> Options {
    Options { known: Some(vec![false; 4]), part_file: Some(PARTS.into()), ..Options::default() }
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(root.join("t")).unwrap();
    std::fs::write(root.join("t").join(name), bytes).unwrap();
}

fn got(root: &Path, name: &str) -> Vec<u8> {
    std::fs::read(root.join("t").join(name)).unwrap()
}

/// The pieces that a check would find good.
fn good(torrent: &Torrent, store: &Store) -> Vec<u32> {
    let is_good = |piece: &quelea_metainfo::geometry::PieceIndex| {
        let mut read = vec![0; torrent.piece(*piece).len()];
        store.read(torrent.whole(*piece), &mut read).is_ok() && read == torrent.piece(*piece)
    };
    torrent.geometry.iter().filter(is_good).map(|piece| piece.get()).collect()
}

fn accept(torrent: &Torrent, store: &Store, torn: bool) -> Result<(), StorageError> {
    let good = good(torrent, store);
    store.accept(&|piece| good.contains(&piece.get()), torn)
}

fn assert_foreign(result: Result<(), StorageError>, root: &Path, name: &str) {
    match result {
        Err(StorageError::ForeignFile(path)) => assert_eq!(path, root.join("t").join(name)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_without_a_good_piece_is_refused_and_stays_as_it_is() {
    for bytes in [&b"my only copy"[..], &[7; 49_152]] {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "a", bytes);
        let torrent = torrent();
        let store = torrent.open(root.path(), Options { preallocate: true, ..unknown() }).unwrap();
        assert_foreign(accept(&torrent, &store, false), root.path(), "a");
        assert_eq!(got(root.path(), "a"), bytes);
        assert_eq!(files_below(root.path()), [Path::new("t/a")]);
    }
}

#[test]
fn a_good_piece_zeros_or_a_hole_make_a_file_the_torrents() {
    let torrent = torrent();
    let whole = torrent.bytes_of(0);
    let mut one_piece = vec![9; 49_152];
    one_piece[16_384..32_768].copy_from_slice(&whole[16_384..32_768]);
    for bytes in [whole, &whole[..16_384], &one_piece, &[0; 49_152], &[0; 5], &[]] {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "a", bytes);
        let store = torrent.open(root.path(), unknown()).unwrap();
        accept(&torrent, &store, false).unwrap();
        torrent.write_all(&store);
        store.finish(false).unwrap();
        torrent.assert_on_disk(root.path(), &[true; 4], &[]);
    }
}

#[test]
fn what_is_known_needs_no_proof() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", &[7; 49_152]);
    let torrent = torrent();
    let options = Options { known: Some(vec![true, false, false, false]), ..unknown() };
    let store = torrent.open(root.path(), options).unwrap();
    accept(&torrent, &store, false).unwrap();
    torrent.write_all(&store);
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
}

#[test]
fn a_small_file_may_be_the_torrents_and_is_not_written_to_if_it_is_not() {
    let torrent = torrent();
    let right = torrent.bytes_of(2);
    // The end of b is in the same piece, and is not there.
    for bytes in [right.to_vec(), vec![7; 3_000]] {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "c", &bytes);
        let store = torrent.open(root.path(), unknown()).unwrap();
        accept(&torrent, &store, false).unwrap();
        let shared = torrent.geometry.piece(5).unwrap();
        let written = torrent.write(&store, shared);
        if bytes == right {
            written.unwrap();
            torrent.write_all(&store);
            torrent.assert_on_disk(root.path(), &[true; 4], &[]);
        } else {
            assert_foreign(written, root.path(), "c");
            assert_eq!(got(root.path(), "c"), bytes);
            // As the message says.
            std::fs::rename(root.path().join("t/c"), root.path().join("mine")).unwrap();
            torrent.write_all(&store);
            torrent.assert_on_disk(root.path(), &[true; 4], &[Path::new("mine")]);
        }
    }
}

#[test]
fn a_piece_is_not_written_beside_bytes_of_others() {
    // The second file shares one piece with the first and one with the third.
    let torrent = Torrent::new(vec![file("t/a", 8_192), file("t/f", 16_384), file("t/g", 8_192)], PIECE, 1);
    let root = tempfile::tempdir().unwrap();
    for theirs in [&b"my only copy"[..], &[&[7; 100][..], &[0; 16_284]].concat()] {
        put(root.path(), "a", &torrent.bytes_of(0)[..8_192]);
        put(root.path(), "f", theirs);
        let options = Options { known: Some(vec![true, false, false]), ..Options::default() };
        let store = torrent.open(root.path(), options).unwrap();
        if store.accept(&|_| false, false).is_ok() {
            for piece in torrent.geometry.iter() {
                assert_foreign(torrent.write(&store, piece), root.path(), "f");
            }
        }
        assert_eq!(got(root.path(), "f"), theirs);
    }
}

#[test]
fn a_small_file_of_another_length_is_refused_where_nothing_is_good() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "c", b"notes");
    let store = torrent.open(root.path(), unknown()).unwrap();
    assert_foreign(accept(&torrent, &store, false), root.path(), "c");
    drop(store);
    // Beside good data it may be what a kill has left.
    put(root.path(), "a", torrent.bytes_of(0));
    put(root.path(), "c", &torrent.bytes_of(2)[..1_000]);
    let store = torrent.open(root.path(), unknown()).unwrap();
    accept(&torrent, &store, false).unwrap();
    torrent.write_all(&store);
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
}

#[test]
fn a_piece_that_a_kill_has_torn_is_gone_on_with() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", &torrent.bytes_of(0)[..10_000]);
    let store = torrent.open(root.path(), unknown()).unwrap();
    assert_foreign(accept(&torrent, &store, false), root.path(), "a");
    accept(&torrent, &store, true).unwrap();
    assert!(store.is_unproven(Holder::File(store.layout().file(0).unwrap())));
    torrent.write_all(&store);
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
    drop(store);

    put(root.path(), "a", &[7; 10_000]);
    let store = torrent.open(root.path(), unknown()).unwrap();
    accept(&torrent, &store, true).unwrap();
    assert_foreign(torrent.write(&store, torrent.geometry.piece(0).unwrap()), root.path(), "a");
    assert_eq!(got(root.path(), "a"), [7; 10_000]);
}

#[test]
fn what_may_be_overwritten_is_and_is_cut() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", &[7; 60_000]);
    put(root.path(), "b", b"notes");
    assert!(matches!(torrent.open(root.path(), unknown()), Err(StorageError::LongerFile { .. })));
    let store = torrent.open(root.path(), Options { overwrite: true, ..unknown() }).unwrap();
    accept(&torrent, &store, false).unwrap();
    torrent.write_all(&store);
    store.finish(false).unwrap();
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
}

#[test]
fn what_appears_after_a_look_is_not_overwritten() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    let store = torrent.open(root.path(), unknown()).unwrap();
    accept(&torrent, &store, false).unwrap();
    put(root.path(), "a", &[7; 10]);
    assert_foreign(torrent.write(&store, torrent.geometry.piece(0).unwrap()), root.path(), "a");
    assert_eq!(got(root.path(), "a"), [7; 10]);
}

#[test]
fn a_file_that_becomes_wanted_is_looked_at_as_well() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "b", &[7; 40_960]);
    let options = Options { wanted: Some(vec![true, false, true, true]), ..unknown() };
    let store = torrent.open(root.path(), options).unwrap();
    accept(&torrent, &store, false).unwrap();
    let pieces: Vec<_> = torrent.geometry.iter().collect();
    for piece in [&pieces[..3], &pieces[5..]].concat() {
        torrent.write(&store, piece).unwrap();
    }
    // The part file has its end, and knows that to be right.
    assert_foreign(store.set_wanted(&[true; 4], &|_| true).map(drop), root.path(), "b");
    assert_eq!(got(root.path(), "b"), [7; 40_960]);
}

#[test]
fn an_empty_file_that_cannot_be_created_is_no_reason_not_to_give_away_the_others() {
    let torrent = Torrent::new(vec![file("t/a", 20_000), file("t/empty", 0)], PIECE, 1);
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a", torrent.bytes_of(0));
    let layer = Faulty::new(Fault::None);
    let options = Options { known: Some(vec![false; 2]), layer: layer.clone(), ..Options::default() };
    let store = torrent.open(root.path(), options).unwrap();
    assert_eq!(good(&torrent, &store).len(), 2);
    layer.begin(Fault::Always("open", rustix::io::Errno::ROFS));
    store.accept(&|_| true, false).unwrap();
    assert!(layer.has_fired());
    store.finish(false).unwrap();
}
