//! Pieces go into files and come out again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use proptest::prelude::*;
use quelea_metainfo::geometry::Geometry;
use quelea_storage::{FileSpec, Options, StorageError, Store};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use support::{Torrent, file, files_below, pad};

const PARTS: &str = ".torrent.parts";

fn some_wanted(wanted: &[bool]) -> Options {
    Options { wanted: Some(wanted.to_vec()), part_file: Some(PARTS.into()), ..Options::default() }
}

#[test]
fn pieces_that_span_files_come_back_whole() {
    let root = tempfile::tempdir().unwrap();
    let files = vec![file("t/a", 10_000), file("t/b/c", 1), file("t/b/d", 70_000), file("t/e", 33_333)];
    let torrent = Torrent::new(files, 32_768, 1);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    assert!(!store.has_data());
    torrent.write_all(&store);
    store.finish(true).unwrap();
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
    for piece in torrent.geometry.iter() {
        torrent.assert_piece_reads_back(&store, piece);
    }
    drop(store);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    assert!(store.has_data());
    for piece in torrent.geometry.iter() {
        torrent.assert_piece_reads_back(&store, piece);
    }
}

#[test]
fn opening_creates_nothing_but_empty_files() {
    let root = tempfile::tempdir().unwrap();
    let files = vec![file("t/a", 10), file("t/empty", 0), file("t/x/empty", 0), file("t/unwanted", 0)];
    let torrent = Torrent::new(files, 16_384, 1);
    torrent.open(root.path(), some_wanted(&[true, true, true, false])).unwrap();
    assert_eq!(files_below(root.path()), [Path::new("t/empty"), Path::new("t/x/empty")]);

    let root = tempfile::tempdir().unwrap();
    let below = root.path().join("not/there");
    let torrent = Torrent::new(vec![file("a", 10)], 16_384, 1);
    let store = torrent.open(&below, Options::default()).unwrap();
    assert!(!below.exists());
    torrent.write_all(&store);
    torrent.assert_on_disk(&below, &[true], &[]);
}

#[test]
fn files_are_sparse_until_written() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("a", 8 << 20)], 1 << 20, 1);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    torrent.write(&store, torrent.geometry.piece(7).unwrap()).unwrap();
    let metadata = std::fs::metadata(root.path().join("a")).unwrap();
    assert_eq!(metadata.len(), 8 << 20);
    assert!(metadata.blocks() * 512 < 4 << 20, "{} blocks", metadata.blocks());
    assert!(store.is_hole(torrent.geometry.piece(0).unwrap()).unwrap());
    assert!(!store.is_hole(torrent.geometry.piece(7).unwrap()).unwrap());
}

#[test]
fn preallocation_reserves_all_wanted_space_and_keeps_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("t/a", 3 << 20), file("t/b", 1 << 20), file("t/c", 9)], 1 << 20, 1);
    std::fs::create_dir(root.path().join("t")).unwrap();
    std::fs::write(root.path().join("t/a"), &torrent.content[..1_000]).unwrap();
    let options = Options { preallocate: true, ..some_wanted(&[true, true, false]) };
    torrent.open(root.path(), options).unwrap();
    for (name, length) in [("t/a", 3 << 20), ("t/b", 1 << 20)] {
        let metadata = std::fs::metadata(root.path().join(name)).unwrap();
        assert_eq!(metadata.len(), length);
        assert!(metadata.blocks() * 512 >= length, "{} blocks", metadata.blocks());
    }
    assert_eq!(std::fs::read(root.path().join("t/a")).unwrap()[..1_000], torrent.content[..1_000]);
    assert!(!root.path().join("t/c").exists());
}

#[test]
fn pad_files_are_neither_created_nor_missed() {
    let root = tempfile::tempdir().unwrap();
    let files = vec![file("t/a", 10_000), pad(6_384), file("t/b", 20_000), pad(12_768)];
    let torrent = Torrent::new(files, 16_384, 1);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    torrent.write_all(&store);
    store.finish(false).unwrap();
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
    for piece in torrent.geometry.iter() {
        torrent.assert_piece_reads_back(&store, piece);
    }
}

#[test]
fn what_is_not_there_is_missing_and_not_zeros() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("t/a", 40_000), file("t/b", 40_000)], 16_384, 1);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    let first = torrent.geometry.piece(0).unwrap();
    let mut into = vec![0; 16_384];
    assert!(store.read(torrent.whole(first), &mut into).unwrap_err().is_missing());
    torrent.write(&store, first).unwrap();
    torrent.assert_piece_reads_back(&store, first);
    let second = torrent.geometry.piece(1).unwrap();
    assert!(store.read(torrent.whole(second), &mut into).unwrap_err().is_missing());
    assert!(store.finish(false).unwrap_err().is_missing());
}

#[test]
fn cached_reads_give_the_bytes_or_nothing() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("t/a", 20_000), pad(12_768), file("t/b", 40_000)], 32_768, 1);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    let first = torrent.geometry.piece(0).unwrap();
    let mut into = vec![0xee; 32_768];
    assert!(!store.try_read_cached(torrent.whole(first), &mut into), "nothing is there");
    torrent.write(&store, first).unwrap();
    // The file is open and its pages have just been written; file systems without the call may still refuse.
    if store.try_read_cached(torrent.whole(first), &mut into) {
        assert!(into == torrent.piece(first));
    }
    assert!(!store.try_read_cached(torrent.whole(first), &mut into[1..]), "a buffer of the wrong length");
}

#[test]
fn pieces_with_unwanted_bytes_go_to_the_part_file() {
    let root = tempfile::tempdir().unwrap();
    let files = vec![file("t/a", 50_000), file("t/b", 50_000), file("t/c", 50_000), file("t/d", 50_000)];
    let torrent = Torrent::new(files, 32_768, 1);
    let wanted = [false, true, false, false];
    let store = torrent.open(root.path(), some_wanted(&wanted)).unwrap();
    let needed = store.layout().wanted_pieces(&wanted);
    let pieces: Vec<_> = torrent.geometry.iter().filter(|piece| needed[piece.at()]).collect();
    assert_eq!(pieces.len(), 3);
    for &piece in &pieces {
        torrent.write(&store, piece).unwrap();
    }
    store.finish(true).unwrap();
    torrent.assert_on_disk(root.path(), &wanted, &[Path::new(PARTS)]);
    let length = std::fs::metadata(root.path().join(PARTS)).unwrap().len();
    assert_eq!(length, 4_096 + 2 * 32_768, "a table and two pieces");

    let check =
        |store: &Store| pieces.iter().for_each(|&piece| torrent.assert_piece_reads_back(store, piece));
    check(&store);
    drop(store);
    let store = torrent.open(root.path(), some_wanted(&wanted)).unwrap();
    assert!(store.has_data());
    check(&store);
}

#[test]
fn files_that_become_wanted_get_their_bytes_out_of_the_part_file() {
    let root = tempfile::tempdir().unwrap();
    let torrent =
        Torrent::new(vec![file("t/a", 50_000), file("t/b", 50_000), file("t/c", 10_000)], 32_768, 1);
    let store = torrent.open(root.path(), some_wanted(&[true, false, false])).unwrap();
    let border = torrent.geometry.piece(1).unwrap();
    torrent.write(&store, border).unwrap();
    drop(store);
    assert!(!root.path().join("t/b").exists());

    let store = torrent.open(root.path(), some_wanted(&[true, true, false])).unwrap();
    torrent.assert_piece_reads_back(&store, border);
    assert!(!root.path().join(PARTS).exists(), "nothing is left in it");
    let b = std::fs::read(root.path().join("t/b")).unwrap();
    assert!(b == torrent.bytes_of(1)[..b.len()] && b.len() == 2 * 32_768 - 50_000);
}

#[test]
fn moving_bytes_out_of_the_part_file_overwrites_nothing() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("t/a", 50_000), file("t/b", 50_000)], 32_768, 1);
    let store = torrent.open(root.path(), some_wanted(&[true, false])).unwrap();
    torrent.write(&store, torrent.geometry.piece(1).unwrap()).unwrap();
    drop(store);
    std::fs::write(root.path().join("t/b"), "somebody's").unwrap();
    torrent.open(root.path(), some_wanted(&[true, true])).unwrap();
    assert!(std::fs::read(root.path().join("t/b")).unwrap().starts_with(b"somebody's"));
}

#[test]
fn a_file_that_is_no_longer_wanted_is_still_read() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("t/a", 50_000), file("t/b", 50_000)], 32_768, 1);
    torrent.write_all(&torrent.open(root.path(), Options::default()).unwrap());
    let store = torrent.open(root.path(), some_wanted(&[true, false])).unwrap();
    for piece in torrent.geometry.iter() {
        torrent.assert_piece_reads_back(&store, piece);
    }
}

#[test]
fn somebody_elses_part_file_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("t/a", 50_000), file("t/b", 50_000)], 32_768, 1);
    let path = root.path().join(PARTS);
    let mut wrong_table = b"QLPARTS1".to_vec();
    wrong_table.extend(32_768u32.to_le_bytes());
    wrong_table.extend(4u32.to_le_bytes());
    wrong_table.extend(100_000u64.to_le_bytes());
    wrong_table.resize(64, 0);
    wrong_table.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    let mut beyond = wrong_table.clone();
    beyond.truncate(64);
    beyond.extend(9u32.to_le_bytes());
    for content in [b"theirs".to_vec(), vec![0; 5_000], wrong_table, beyond] {
        std::fs::write(&path, &content).unwrap();
        let error = torrent.open(root.path(), some_wanted(&[true, false])).unwrap_err();
        assert!(matches!(error, StorageError::ForeignPartFile(_)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn the_download_directory_itself_may_be_a_link() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("link");
    std::fs::create_dir(outside.path().join("real")).unwrap();
    symlink(outside.path().join("real"), &root).unwrap();
    let torrent = Torrent::new(vec![file("a", 50_000)], 16_384, 1);
    torrent.write_all(&torrent.open(&root, Options::default()).unwrap());
    torrent.assert_on_disk(&outside.path().join("real"), &[true], &[]);
}

#[test]
fn a_longer_file_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("a", 50_000)], 16_384, 1);
    let path = root.path().join("a");
    std::fs::write(&path, vec![7; 50_001]).unwrap();
    let error = torrent.open(root.path(), Options::default()).unwrap_err();
    assert!(matches!(error, StorageError::LongerFile { found: 50_001, expected: 50_000, .. }), "{error}");

    std::fs::remove_file(&path).unwrap();
    let store = torrent.open(root.path(), Options::default()).unwrap();
    std::fs::write(&path, vec![7; 50_001]).unwrap();
    let error = torrent.write(&store, torrent.geometry.piece(0).unwrap()).unwrap_err();
    assert!(matches!(error, StorageError::LongerFile { .. }), "{error}");
    assert!(matches!(store.finish(false), Err(StorageError::LongerFile { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 50_001]);
}

#[test]
fn what_stands_in_the_way_is_named_with_a_remedy() {
    let torrent = Torrent::new(vec![file("t/a", 10)], 16_384, 1);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("t/a")).unwrap();
    let error = torrent.open(root.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains("t/a") && error.contains("move it away"), "{error}");

    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("t"), "").unwrap();
    let error = torrent.open(root.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains("/t\"") && error.contains("where a folder belongs"), "{error}");

    let torrent = Torrent::new(vec![file(&"n".repeat(256), 10)], 16_384, 1);
    let root = tempfile::tempdir().unwrap();
    let error = torrent.open(root.path(), Options::default()).unwrap_err().to_string();
    assert!(error.contains("nnn") && error.contains("long names"), "{error}");
}

#[test]
fn paths_that_leave_the_directory_or_repeat_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for path in ["../a", "/a", "a/../../b", "", ".", "a/.."] {
        let torrent = Torrent::new(vec![file(path, 10)], 16_384, 1);
        let error = torrent.open(root.path(), Options::default()).unwrap_err();
        assert!(matches!(error, StorageError::BadPath(_)), "{path:?}: {error}");
    }
    let torrent = Torrent::new(vec![file("a", 10), file("a", 10)], 16_384, 1);
    let error = torrent.open(root.path(), Options::default()).unwrap_err();
    assert!(matches!(error, StorageError::BadPath(_)));
}

#[test]
fn lists_that_do_not_fit_together_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let geometry = Geometry::new(10, 16_384).unwrap();
    let open = |files, options| Store::open(root.path(), files, geometry, options).unwrap_err();
    assert!(matches!(open(vec![file("a", 9)], Options::default()), StorageError::BadFileList(_)));
    let unwanted = |wanted| Options { wanted: Some(wanted), ..Options::default() };
    assert!(matches!(open(vec![file("a", 10)], unwanted(vec![])), StorageError::BadFileList(_)));
    assert!(matches!(open(vec![file("a", 10)], unwanted(vec![false])), StorageError::BadFileList(_)));
}

#[test]
fn a_store_for_reading_alone_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("a", 50_000), file("empty", 0)], 16_384, 1);
    let options = Options { read_only: true, ..Options::default() };
    let store = torrent.open(root.path(), options).unwrap();
    let error = torrent.write(&store, torrent.geometry.piece(0).unwrap()).unwrap_err();
    assert!(matches!(error, StorageError::ReadOnly(_)));
    assert_eq!(files_below(root.path()).len(), 0);
}

#[test]
fn blocks_of_the_wrong_length_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let torrent = Torrent::new(vec![file("a", 50_000)], 16_384, 1);
    let store = torrent.open(root.path(), Options::default()).unwrap();
    let piece = torrent.geometry.piece(3).unwrap();
    for length in [0, 847, 849, 16_384] {
        let error = store.write_piece(piece, &[vec![0; length]]).unwrap_err();
        assert!(matches!(error, StorageError::WrongLength { expected: 848, .. }), "{error}");
    }
    assert_eq!(files_below(root.path()).len(), 0);
}

#[test]
fn a_download_directory_taken_away_is_made_again() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    let torrent = Torrent::new(vec![file("a", 16_384), file("b", 16_384)], 16_384, 1);
    let store = torrent.open(&root, Options::default()).unwrap();
    torrent.write(&store, torrent.geometry.piece(0).unwrap()).unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    torrent.write(&store, torrent.geometry.piece(1).unwrap()).unwrap();
    assert_eq!(files_below(&root), [Path::new("b")]);
    assert!(store.finish(false).unwrap_err().is_missing());
}

fn any_files() -> impl Strategy<Value = Vec<(u64, bool, bool)>> {
    let length = prop_oneof![Just(0u64), 1u64..100, 1u64..40_000];
    prop::collection::vec((length, prop::bool::weighted(0.2), any::<bool>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_files_any_selection_any_order(
        shapes in any_files(), piece_length in 100u32..50_000, seed in any::<u64>(), reselect in any::<u16>()
    ) {
        let root = tempfile::tempdir().unwrap();
        let number = |(number, &(length, pad, _)): (usize, &(u64, bool, bool))| {
            FileSpec { path: format!("t/{}/{number}", number % 3).into(), length, pad }
        };
        let torrent = Torrent::new(shapes.iter().enumerate().map(number).collect(), piece_length, seed);
        let wanted: Vec<bool> = shapes.iter().map(|&(_, _, wanted)| wanted).collect();
        let mut order: Vec<_> = torrent.geometry.iter().collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);

        let store = torrent.open(root.path(), some_wanted(&wanted)).unwrap();
        let needed = store.layout().wanted_pieces(&wanted);
        order.retain(|piece| needed[piece.at()]);
        for &piece in &order {
            torrent.write(&store, piece).unwrap();
            torrent.assert_piece_reads_back(&store, piece);
        }
        store.finish(false).unwrap();
        drop(store);
        let there: Vec<&Path> = [Path::new(PARTS)].into_iter().filter(|path| root.path().join(path).exists()).collect();
        torrent.assert_on_disk(root.path(), &wanted, &there);

        // Whatever is wanted next, no piece is lost, and nothing wanted before is changed.
        let now: Vec<bool> = (0..wanted.len()).map(|bit| reselect >> bit & 1 == 1).collect();
        let store = torrent.open(root.path(), some_wanted(&now)).unwrap();
        for &piece in &order {
            torrent.assert_piece_reads_back(&store, piece);
        }
        drop(store);
        let all = Options { part_file: Some(PARTS.into()), ..Options::default() };
        let store = torrent.open(root.path(), all).unwrap();
        for &piece in &order {
            torrent.assert_piece_reads_back(&store, piece);
        }
        prop_assert!(!root.path().join(PARTS).exists());
    }
}
