//! Every system call fails in turn: there is a clear error or success, and never a wrong piece.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_digest::sha1;
use quelea_storage::file_layer::FileLayer;
use quelea_storage::{CheckJob, Config, FilePool, Options, Pipeline, StorageError, Store};
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, mpsc};
use support::faulty::{Fault, Faulty};
use support::{Torrent, file, pad};

fn torrent() -> Torrent {
    let files = vec![
        file("t/a", 40_000),
        pad(9_152),
        file("t/x/empty", 0),
        file("t/x/b", 30_000),
        file("t/unwanted", 20_000),
        file("t/x/y/c", 70_000),
    ];
    Torrent::new(files, 32_768, 5)
}

const WANTED: [bool; 6] = [true, true, true, true, false, true];

fn options(layer: &Arc<Faulty>, wanted: Option<Vec<bool>>, preallocate: bool) -> Options {
    let layer: Arc<dyn FileLayer> = Arc::clone(layer) as Arc<dyn FileLayer>;
    let part_file = Some(".t.parts".into());
    // So few that files are opened again and again.
    Options { wanted, preallocate, part_file, pool: FilePool::new(2), layer, ..Options::default() }
}

/// Tries `step` until it succeeds, at most twice: a fault that comes once may be met once.
fn persevere<T>(errors: &mut Vec<StorageError>, mut step: impl FnMut() -> Result<T, StorageError>) -> T {
    step().unwrap_or_else(|error| {
        errors.push(error);
        step().expect("the fault is over")
    })
}

/// A whole life of a torrent: downloaded without one file, read, then with all files.
fn live(layer: &Arc<Faulty>, preallocate: bool) -> Vec<StorageError> {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    let root = &root.path().join("downloads");
    let mut errors = Vec::new();
    let some = || options(layer, Some(WANTED.to_vec()), preallocate);
    let store: Store = persevere(&mut errors, || torrent.open(root, some()));
    for piece in torrent.geometry.iter() {
        persevere(&mut errors, || torrent.write(&store, piece));
        let mut read = vec![0xee; torrent.piece(piece).len()];
        if store.try_read_cached(torrent.whole(piece), &mut read) {
            assert!(read == torrent.piece(piece), "piece {piece} from the cache is wrong");
        }
        persevere(&mut errors, || {
            let mut read = vec![0xee; torrent.piece(piece).len()];
            store.read(torrent.whole(piece), &mut read)?;
            assert!(read == torrent.piece(piece), "piece {piece} is wrong");
            Ok(())
        });
        assert!(!persevere(&mut errors, || store.is_hole(piece)));
    }
    persevere(&mut errors, || store.finish(true));
    drop(store);
    torrent.assert_on_disk(root, &WANTED, &[Path::new(".t.parts")]);

    let store = persevere(&mut errors, || torrent.open(root, options(layer, None, preallocate)));
    for piece in torrent.geometry.iter() {
        persevere(&mut errors, || {
            let mut read = vec![0xee; torrent.piece(piece).len()];
            store.read(torrent.whole(piece), &mut read)?;
            assert!(read == torrent.piece(piece), "piece {piece} is wrong after moving");
            Ok(())
        });
    }
    errors
}

#[test]
fn each_call_fails_once_in_turn() {
    let healthy = Faulty::new(Fault::None);
    assert_eq!(live(&healthy, false).len(), 0);
    let calls = healthy.calls();
    assert!(calls > 60, "only {calls} calls");
    for errno in [Errno::NOSPC, Errno::IO, Errno::ACCESS, Errno::MFILE] {
        for call in 0..calls {
            let layer = Faulty::new(Fault::Once(call, errno));
            let errors = live(&layer, false);
            assert!(layer.has_fired(), "call {call} was not made");
            // A read from the cache that fails is no error: the slow way is still open.
            assert!(errors.len() <= 1, "{errors:?}");
            for error in errors {
                let StorageError::System { source, .. } = &error else { panic!("{error}") };
                assert_eq!(source.raw_os_error(), Some(errno.raw_os_error()));
                let words = error.to_string();
                assert!(words.contains("downloads") && words.contains("; "), "no path or no remedy: {words}");
                assert_eq!(error.is_full(), errno == Errno::NOSPC);
            }
        }
    }
}

#[test]
fn interruptions_and_short_transfers_are_never_noticed() {
    for fault in [Fault::Interrupted, Fault::Short(1_000), Fault::Short(16_385)] {
        let layer = Faulty::new(fault.clone());
        assert_eq!(live(&layer, false).len(), 0, "{fault:?}");
        assert!(layer.has_fired());
    }
}

#[test]
fn a_full_disk_says_so_with_every_write() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    let layer = Faulty::new(Fault::Always("write_at", Errno::NOSPC));
    let store = torrent.open(root.path(), options(&layer, None, false)).unwrap();
    for piece in torrent.geometry.iter() {
        let error = torrent.write(&store, piece).unwrap_err();
        assert!(error.is_full() && error.to_string().contains("free some space"), "{error}");
    }
}

#[test]
fn a_disk_too_small_is_found_out_when_space_is_reserved() {
    let root = tempfile::tempdir().unwrap();
    let layer = Faulty::new(Fault::Always("allocate", Errno::NOSPC));
    let error = torrent().open(root.path(), options(&layer, None, true)).unwrap_err();
    assert!(error.is_full() && error.to_string().contains("reserve space"), "{error}");
}

#[test]
fn a_file_system_that_reserves_nothing_gets_the_lengths() {
    let root = tempfile::tempdir().unwrap();
    let layer = Faulty::new(Fault::Always("allocate", Errno::OPNOTSUPP));
    let torrent = torrent();
    torrent.open(root.path(), options(&layer, None, true)).unwrap();
    assert!(layer.has_fired());
    for file in torrent.files.iter().filter(|file| !file.pad) {
        assert_eq!(std::fs::metadata(root.path().join(&file.path)).unwrap().len(), file.length);
    }
}

#[test]
fn a_check_on_a_failing_disk_counts_bad_and_names_the_trouble() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    torrent.write_all(&torrent.open(root.path(), Options::default()).unwrap());
    let pipeline = Pipeline::start(&Config::default()).unwrap();
    let check = |fault: Fault| {
        let layer = Faulty::new(fault);
        let store = Arc::new(torrent.open(root.path(), options(&layer, None, false)).unwrap());
        let (tell, outcome) = mpsc::sync_channel(1);
        let hashes: Vec<_> = torrent.geometry.iter().map(|piece| sha1(torrent.piece(piece))).collect();
        pipeline.check(CheckJob {
            store,
            pieces: torrent.geometry.iter().collect(),
            expected: Box::new(move |piece| hashes[piece.at()]),
            progress: Box::new(|_| ()),
            done: Box::new(move |outcome| tell.send(outcome).unwrap()),
        });
        (layer, outcome.recv().unwrap())
    };
    // A file's first bytes are never read from the cache, because the file is not open yet.
    let (layer, outcome) = check(Fault::Always("read_at", Errno::IO));
    assert!(layer.has_fired());
    assert!(!outcome.good[0]);
    assert!(outcome.trouble.unwrap().to_string().contains("disk may be failing"));
    let (layer, outcome) = check(Fault::Always("read_cached_at", Errno::OPNOTSUPP));
    assert!(layer.has_fired());
    assert!(outcome.good.iter().all(|&good| good) && outcome.trouble.is_none());
    let (layer, outcome) = check(Fault::Always("open", Errno::ACCESS));
    assert!(layer.has_fired());
    assert!(outcome.good.iter().all(|&good| !good));
    assert!(outcome.trouble.unwrap().to_string().contains("check its permissions"));
    let (_, outcome) = check(Fault::Short(777));
    assert!(outcome.good.iter().all(|&good| good));
}
