//! Every system call fails in turn: there is a clear error or success, and never a wrong piece.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_digest::sha1;
use quelea_storage::file_layer::FileLayer;
use quelea_storage::{CheckJob, Config, FilePool, Holder, Options, Pipeline, StorageError, Store};
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, mpsc};
use support::faulty::{Fault, Faulty};
use support::moves::{WANTED, torrent};
use support::{Torrent, file};

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

/// A store of 100 files of a byte each, all written.
fn many_files(root: &Path, layer: &Arc<Faulty>) -> Store {
    let names: Vec<String> = (0..100).map(|number| format!("t/{number}")).collect();
    let torrent = Torrent::new(names.iter().map(|name| file(name, 1)).collect(), 16_384, 7);
    let store = torrent.open(root, options(layer, None, false)).unwrap();
    torrent.geometry.iter().for_each(|piece| torrent.write(&store, piece).unwrap());
    store
}

#[test]
fn many_files_are_brought_to_the_disk_by_one_call() {
    let root = tempfile::tempdir().unwrap();
    let layer = Faulty::new(Fault::None);
    let store = many_files(root.path(), &layer);
    let holders: Vec<Holder> = store.holders().filter(|holder| *holder != Holder::PartFile).collect();
    layer.begin(Fault::Always("sync", Errno::IO));
    assert!(store.sync_all(&holders).iter().all(Result::is_ok), "none is synced by itself");
    assert!(!layer.has_fired());
    assert!(store.sync_all(&holders[..3]).iter().all(Result::is_err), "a few are");
    // Where the system cannot do it, or says that something was lost, each file is asked.
    layer.begin(Fault::Always("sync_file_system", Errno::IO));
    assert!(store.sync_all(&holders).iter().all(Result::is_ok));
}

#[test]
fn one_that_is_gone_is_told_among_many() {
    let root = tempfile::tempdir().unwrap();
    let layer = Faulty::new(Fault::None);
    let store = many_files(root.path(), &layer);
    std::fs::remove_file(root.path().join("t/7")).unwrap();
    store.look_again().unwrap();
    let holders: Vec<Holder> = store.holders().filter(|holder| *holder != Holder::PartFile).collect();
    let synced = store.sync_all(&holders);
    let failed: Vec<usize> = (0..100).filter(|&number| synced[number].is_err()).collect();
    assert_eq!(failed, [7]);
}

#[test]
fn space_that_cannot_be_reserved_whole_is_given_back() {
    let torrent = torrent();
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("t/x")).unwrap();
    std::fs::write(root.path().join("t/x/b"), "theirs").unwrap();
    let rest = || -> Vec<(bool, u64)> {
        let length = |path| std::fs::metadata(root.path().join(path)).map(|found| found.len());
        ["t/a", "t/x/b", "t/x/y/c"].map(|path| (length(path).is_ok(), length(path).unwrap_or(0))).into()
    };
    let before = rest();
    // What is missing is more than there is room for: nothing is begun.
    let layer = Faulty::new(Fault::Full(100_000));
    let error = torrent.open(root.path(), options(&layer, None, true)).unwrap_err();
    assert!(
        matches!(error, StorageError::NoRoom { free: 100_000, needed, .. } if needed > 100_000),
        "{error}"
    );
    assert_eq!(rest(), before);
    // The system refuses in the middle of it, at each file in turn.
    let calls = {
        let elsewhere = tempfile::tempdir().unwrap();
        let layer = Faulty::new(Fault::None);
        torrent.open(elsewhere.path(), options(&layer, None, true)).unwrap();
        layer.calls()
    };
    let mut refused = 0;
    for call in 0..calls {
        let layer = Faulty::new(Fault::Once(call, Errno::NOSPC));
        if torrent.open(root.path(), options(&layer, None, true)).is_err() {
            refused += 1;
            let found = rest();
            assert_eq!(found[1].1, 6, "call {call}");
            assert_eq!(found[0].1 + found[2].1, 0, "call {call}: {found:?}");
        } else {
            std::fs::remove_file(root.path().join("t/a")).unwrap();
            std::fs::remove_file(root.path().join("t/x/y/c")).unwrap();
            std::fs::write(root.path().join("t/x/b"), "theirs").unwrap();
        }
        assert_eq!(&std::fs::read(root.path().join("t/x/b")).unwrap()[..6], b"theirs");
    }
    assert!(refused > 2, "{refused} of {calls}");
}
