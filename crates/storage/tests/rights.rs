//! Who may read and write which files: stores of a session, and of different processes, which differ in nothing but that
//! they have no claims in common.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::{Claims, Existing, Goal, Journal, Options, Relocating, Step, StorageError, Store};
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{Torrent, file, files_below};

fn single(name: &str, seed: u64) -> Torrent {
    Torrent::new(vec![file(name, 40_000)], 16_384, seed)
}

/// A torrent of so many files in a folder.
fn folder(count: usize, seed: u64) -> Torrent {
    Torrent::new((0..count).map(|number| file(&format!("t/{number}"), 20_000)).collect(), 16_384, seed)
}

fn open(torrent: &Torrent, root: &Path, claims: &Claims) -> Result<Store, StorageError> {
    let known = Some(vec![false; torrent.files.len()]);
    let claims = Some((claims.clone(), "other".to_owned()));
    torrent.open(root, Options { known, claims, ..Options::default() })
}

/// Opens a torrent of which nothing is there, or all.
fn begin(torrent: &Torrent, root: &Path, claims: &Claims, complete: bool) -> Result<Store, StorageError> {
    let store = open(torrent, root, claims)?;
    store.accept(&|_| complete, false)?;
    Ok(store)
}

fn assert_other_torrent<T: std::fmt::Debug>(result: Result<T, StorageError>, only_reads: bool) {
    match result {
        Err(StorageError::OtherTorrent { name, reads, .. }) => {
            assert_eq!((&*name, reads), ("other", only_reads));
        }
        other => panic!("{other:?}"),
    }
}

fn assert_other_process<T: std::fmt::Debug>(result: Result<T, StorageError>) {
    match result {
        Err(StorageError::OtherProcess { process, .. }) => {
            if cfg!(target_os = "linux") {
                assert_eq!(process, Some(std::process::id()));
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_torrents_of_a_session_do_not_write_the_same_file() {
    let (root, claims) = (tempfile::tempdir().unwrap(), Claims::default());
    let (one, two) = (single("x", 1), single("x", 2));
    let first = begin(&one, root.path(), &claims, false).unwrap();
    assert_other_torrent(open(&two, root.path(), &claims), false);
    let link = root.path().join("link");
    symlink(root.path(), &link).unwrap();
    assert_other_torrent(open(&two, &link, &claims), false);
    // A file of one and a folder of another, one of which is not there.
    assert_other_torrent(open(&single("x/y", 3), root.path(), &claims), false);
    one.write_all(&first);
    one.assert_on_disk(root.path(), &[true], &[Path::new("link")]);
}

#[test]
fn those_that_are_complete_share_and_neither_is_written() {
    let (root, claims) = (tempfile::tempdir().unwrap(), Claims::default());
    let torrent = single("x", 1);
    torrent.write_all(&begin(&torrent, root.path(), &Claims::default(), false).unwrap());
    let first = begin(&torrent, root.path(), &claims, true).unwrap();
    let second = begin(&torrent, root.path(), &claims, true).unwrap();
    let piece = torrent.geometry.piece(0).unwrap();
    torrent.assert_piece_reads_back(&second, piece);
    assert_other_torrent(torrent.write(&second, piece), true);
    first.disclaim();
    torrent.write(&second, piece).unwrap();
    assert_other_torrent(open(&torrent, root.path(), &claims), false);
    assert!(torrent.write(&first, piece).is_err());
    second.end_writing().unwrap();
    begin(&torrent, root.path(), &claims, true).unwrap();
}

#[test]
fn two_processes_do_not_write_the_same_files() {
    for (one, two) in
        [(single("x", 1), single("x", 2)), (folder(3, 1), folder(3, 2)), (folder(9, 1), folder(2, 2))]
    {
        for (one, two) in [(&one, &two), (&two, &one)] {
            let root = tempfile::tempdir().unwrap();
            let first = begin(one, root.path(), &Claims::default(), false).unwrap();
            let link = tempfile::tempdir().unwrap();
            symlink(root.path(), link.path().join("link")).unwrap();
            for path in [root.path(), &link.path().join("link")] {
                assert_other_process(begin(two, path, &Claims::default(), false));
            }
            drop(first);
            assert_eq!(files_below(root.path()), Vec::<&Path>::new(), "something was left");
            begin(two, root.path(), &Claims::default(), false).unwrap();
        }
    }
}

#[test]
fn of_two_processes_that_begin_at_once_one_writes() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (single("x", 1), single("x", 2));
    let (first, second) = (
        open(&one, root.path(), &Claims::default()).unwrap(),
        open(&two, root.path(), &Claims::default()).unwrap(),
    );
    first.accept(&|_| false, false).unwrap();
    assert_other_process(second.accept(&|_| false, false));
    one.write_all(&first);
    drop(first);
    // It is over, and the file is there that was not when the second looked.
    assert!(matches!(second.accept(&|_| false, false), Err(StorageError::ForeignFile(_))));
    one.assert_on_disk(root.path(), &[true], &[]);
}

#[test]
fn files_of_a_folder_may_belong_to_several_processes() {
    let root = tempfile::tempdir().unwrap();
    let _first = begin(&single("t/0", 1), root.path(), &Claims::default(), false).unwrap();
    let other = begin(&single("t/1", 2), root.path(), &Claims::default(), false).unwrap();
    assert_other_process(begin(&folder(9, 3), root.path(), &Claims::default(), false));
    single("t/1", 2).write_all(&other);
}

struct Unwritten;

impl Journal for Unwritten {
    fn note(&self, _: Step<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

#[test]
fn files_go_nowhere_where_others_are_and_are_claimed_where_they_went() {
    let (root, goal, claims) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Claims::default());
    let (one, two) = (single("x", 1), single("x", 2));
    let first = begin(&one, root.path(), &claims, false).unwrap();
    one.write_all(&first);
    let to = |existing| Goal {
        root: goal.path().to_owned(),
        paths: vec!["x".into()],
        existing,
        staging: ".staging".into(),
    };
    let second = begin(&two, goal.path(), &claims, false).unwrap();
    let go = |existing| first.relocate(&to(existing), &Unwritten, &Relocating::default());
    assert_other_torrent(go(Existing::Replace), false);
    drop(second);
    go(Existing::Refuse).unwrap();
    assert_other_torrent(open(&two, goal.path(), &claims), false);
    assert_other_process(open(&two, goal.path(), &Claims::default()));
    drop(begin(&two, root.path(), &claims, false).unwrap());
}
