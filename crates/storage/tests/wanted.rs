//! Other files are wanted than before, while the store is open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use proptest::prelude::*;
use quelea_storage::{Holder, Options, Store};
use rustix::io::Errno;
use std::path::Path;
use support::faulty::{Fault, Faulty};
use support::{Torrent, file, files_below};

const PARTS: &str = ".t.parts";

fn torrent(seed: u64) -> Torrent {
    let files = vec![file("t/a", 50_000), file("t/b", 20_000), file("t/c", 50_000), file("t/d", 50_000)];
    Torrent::new(files, 32_768, seed)
}

fn options(wanted: &[bool]) -> Options {
    Options { wanted: Some(wanted.to_vec()), part_file: Some(PARTS.into()), ..Options::default() }
}

/// Writes the pieces that these files need; they are what can be read from then on.
fn download(torrent: &Torrent, store: &Store, wanted: &[bool], had: &mut [bool]) {
    let needed = store.layout().wanted_pieces(wanted);
    for piece in torrent.geometry.iter().filter(|piece| needed[piece.at()]) {
        if !std::mem::replace(&mut had[piece.at()], true) {
            torrent.write(store, piece).unwrap();
        }
    }
}

fn assert_had(torrent: &Torrent, store: &Store, had: &[bool]) {
    for piece in torrent.geometry.iter().filter(|piece| had[piece.at()]) {
        torrent.assert_piece_reads_back(store, piece);
    }
}

#[test]
fn an_unwanted_file_takes_its_bytes_from_the_part_file_once_it_is_wanted() {
    let root = tempfile::tempdir().unwrap();
    let torrent = torrent(1);
    let some = [false, true, false, false];
    let store = torrent.open(root.path(), options(&some)).unwrap();
    let mut had = vec![false; torrent.geometry.pieces() as usize];
    download(&torrent, &store, &some, &mut had);
    assert_eq!(files_below(root.path()), [Path::new(PARTS), Path::new("t/b")]);
    let written = store.set_wanted(&[true; 4], &|_| true).unwrap();
    assert!(written.contains(&Holder::PartFile) && written.len() == 3, "{written:?}");
    assert_eq!(files_below(root.path()), [Path::new("t/a"), Path::new("t/b"), Path::new("t/c")]);
    assert_had(&torrent, &store, &had);
    download(&torrent, &store, &[true; 4], &mut had);
    store.finish(false).unwrap();
    torrent.assert_on_disk(root.path(), &[true; 4], &[]);
}

#[test]
fn a_file_that_is_no_longer_wanted_stays_and_its_neighbours_go_on() {
    let root = tempfile::tempdir().unwrap();
    let torrent = torrent(2);
    let store = torrent.open(root.path(), options(&[true; 4])).unwrap();
    let mut had = vec![false; torrent.geometry.pieces() as usize];
    had[0] = true;
    torrent.write(&store, torrent.geometry.piece(0).unwrap()).unwrap();
    let some = [false, true, false, true];
    store.set_wanted(&some, &|_| true).unwrap();
    assert_eq!(store.wanted(), some);
    download(&torrent, &store, &some, &mut had);
    store.finish(false).unwrap();
    assert_had(&torrent, &store, &had);
    assert_eq!(std::fs::read(root.path().join("t/a")).unwrap()[..32_768], torrent.content[..32_768]);
    store.set_wanted(&[true; 4], &|_| true).unwrap();
    assert_had(&torrent, &store, &had);
}

#[test]
fn verified_bytes_win_over_what_a_torn_write_left() {
    let root = tempfile::tempdir().unwrap();
    let torrent = torrent(3);
    let some = [true, true, false, true];
    let store = torrent.open(root.path(), options(&some)).unwrap();
    torrent.write_all(&store);
    // The beginning of the boundary piece's run, and then something else.
    std::fs::write(root.path().join("t/c"), vec![9; 1_000]).unwrap();
    store.set_wanted(&[true; 4], &|_| true).unwrap();
    torrent.geometry.iter().for_each(|piece| {
        if store.layout().wanted_pieces(&some)[piece.at()] {
            torrent.assert_piece_reads_back(&store, piece);
        }
    });
}

#[test]
fn what_stands_in_the_place_of_a_file_that_becomes_wanted_is_told_and_nothing_changes() {
    let root = tempfile::tempdir().unwrap();
    let torrent = torrent(4);
    let some = [true, true, false, true];
    let store = torrent.open(root.path(), options(&some)).unwrap();
    torrent.write_all(&store);
    std::fs::create_dir(root.path().join("t/c")).unwrap();
    let error = store.set_wanted(&[true; 4], &|_| true).unwrap_err();
    assert!(error.to_string().contains("t/c"), "{error}");
    assert_eq!(store.wanted(), some);
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
}

#[test]
fn each_call_fails_once_in_turn_and_no_byte_is_lost() {
    let torrent = torrent(5);
    let some = [false, true, false, false];
    for errno in [Errno::NOSPC, Errno::IO] {
        let mut call = 0;
        loop {
            let root = tempfile::tempdir().unwrap();
            let layer = Faulty::new(Fault::None);
            let store =
                torrent.open(root.path(), Options { layer: layer.clone(), ..options(&some) }).unwrap();
            let mut had = vec![false; torrent.geometry.pieces() as usize];
            download(&torrent, &store, &some, &mut had);
            // Files are opened anew, so that this may fail too.
            store.look_again().unwrap();
            layer.begin(Fault::Once(call, errno));
            let result = store.set_wanted(&[true; 4], &|_| true);
            layer.begin(Fault::None);
            assert_had(&torrent, &store, &had);
            if !layer.has_fired() {
                assert!(result.is_ok());
                break;
            }
            if result.is_err() {
                assert_eq!(store.wanted(), some);
                // Killed here, or going on.
                let again = torrent.open(root.path(), options(&some)).unwrap();
                assert_had(&torrent, &again, &had);
                drop(again);
                store.look_again().unwrap();
                store.set_wanted(&[true; 4], &|_| true).unwrap();
            }
            assert_had(&torrent, &store, &had);
            download(&torrent, &store, &[true; 4], &mut had);
            store.finish(false).unwrap();
            torrent.assert_on_disk(root.path(), &[true; 4], &[]);
            call += 1;
        }
        assert!(call > 15, "only {call} calls");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_was_had_is_had_whatever_is_wanted(
        seed in 0u64..1_000, steps in prop::collection::vec((prop::array::uniform4(any::<bool>()), any::<bool>()), 1..8),
    ) {
        let root = tempfile::tempdir().unwrap();
        let torrent = torrent(seed);
        let mut store = torrent.open(root.path(), options(&[true; 4])).unwrap();
        let mut had = vec![false; torrent.geometry.pieces() as usize];
        let mut random = fastrand::Rng::with_seed(seed);
        for (wanted, reopens) in steps {
            if reopens {
                drop(store);
                store = torrent.open(root.path(), options(&wanted)).unwrap();
            } else {
                let trusted = had.clone();
                store.set_wanted(&wanted, &|piece| trusted[piece.at()]).unwrap();
            }
            assert_had(&torrent, &store, &had);
            let needed = store.layout().wanted_pieces(&wanted);
            for piece in torrent.geometry.iter().filter(|piece| needed[piece.at()]) {
                if random.bool() && !std::mem::replace(&mut had[piece.at()], true) {
                    torrent.write(&store, piece).unwrap();
                }
            }
            assert_had(&torrent, &store, &had);
        }
        drop(store);
        let store = torrent.open(root.path(), options(&[true; 4])).unwrap();
        assert_had(&torrent, &store, &had);
    }
}
