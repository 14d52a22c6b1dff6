//! The user's own symbolic links are followed; no other is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::file_layer::{FileLayer, System};
use quelea_storage::{Existing, Goal, Journal, LinkFault, Options, Relocating, Step, StorageError, Store};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{Torrent, file, files_below};

fn torrent() -> Torrent {
    Torrent::new(vec![file("t/a", 50_000), file("t/sub/b", 30_000), file("t/sub/deep/c", 20_000)], 16_384, 1)
}

fn fault(error: &StorageError) -> &LinkFault {
    let StorageError::Link { fault, .. } = error else { panic!("{error}") };
    fault
}

#[test]
fn a_torrents_folder_a_folder_in_it_and_a_file_may_be_links_of_the_user() {
    let torrent = torrent();
    for (place, link, target) in [
        ("", "t", "../other/t"),
        ("t", "t/sub", "../../other/sub"),
        ("t/sub", "t/sub/deep", "../../../other/deep"),
        ("t", "t/a", "../../other/file"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (root, other) = (folder.path().join("root"), folder.path().join("other"));
        std::fs::create_dir_all(root.join(place)).unwrap();
        for target in ["t", "sub", "deep"] {
            std::fs::create_dir_all(other.join(target)).unwrap();
        }
        std::fs::write(other.join("file"), "").unwrap();
        symlink(target, root.join(link)).unwrap();
        let before = files_below(&other).len();
        torrent.write_all(&torrent.open(&root, Options::default()).unwrap());
        assert!(root.join(link).symlink_metadata().unwrap().is_symlink(), "{link}");
        assert!(files_below(&other).len() > before || link == "t/a", "{link}");
        let store = torrent.open(&root, Options { read_only: true, ..Options::default() }).unwrap();
        assert!(store.has_data());
        torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
        store.finish(false).unwrap();
    }
}

#[test]
fn a_link_in_a_folder_that_a_link_leads_to_is_followed_too() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for target in ["one/sub", "two"] {
        std::fs::create_dir_all(folder.path().join(target)).unwrap();
    }
    std::fs::create_dir(&root).unwrap();
    symlink("../one", root.join("t")).unwrap();
    symlink("../../two", folder.path().join("one/sub/deep")).unwrap();
    let torrent = torrent();
    torrent.write_all(&torrent.open(&root, Options::default()).unwrap());
    assert_eq!(files_below(&folder.path().join("two")), [Path::new("c")]);
    let store = torrent.open(&root, Options::default()).unwrap();
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
}

#[test]
fn links_to_nothing_in_circles_and_to_the_wrong_thing_are_refused_by_name() {
    let torrent = torrent();
    type Expected = fn(&LinkFault) -> bool;
    let cases: [(&str, &str, Expected); 6] = [
        ("t/a", "gone", |fault| matches!(fault, LinkFault::Dangling(_))),
        ("t/sub", "gone", |fault| matches!(fault, LinkFault::Dangling(_))),
        ("t/a", "a", |fault| matches!(fault, LinkFault::Loop)),
        ("t/a", "../dir", |fault| matches!(fault, LinkFault::Folder(_))),
        ("t/sub", "../file", |fault| matches!(fault, LinkFault::NoFolder(_))),
        ("t/a", "/dev/null", |fault| matches!(fault, LinkFault::NotAFile(_))),
    ];
    for (link, target, expected) in cases {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("t")).unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        std::fs::write(root.path().join("file"), "theirs").unwrap();
        symlink(target, root.path().join(link)).unwrap();
        let error = torrent.open(root.path(), Options::default()).unwrap_err();
        assert!(expected(fault(&error)), "{link} -> {target}: {error}");
        assert!(error.to_string().contains(link), "{error}");
        assert_eq!(std::fs::read(root.path().join("file")).unwrap(), b"theirs");
    }
}

#[test]
fn a_link_that_appears_while_the_torrent_runs_is_not_followed_until_the_files_are_looked_at_again() {
    let outside = tempfile::tempdir().unwrap();
    let torrent = torrent();
    for (link, target) in [("t", "."), ("t/sub", "."), ("t/a", "file")] {
        std::fs::write(outside.path().join("file"), "theirs").unwrap();
        let before = files_below(outside.path());
        let root = tempfile::tempdir().unwrap();
        let store = torrent.open(root.path(), Options::default()).unwrap();
        std::fs::create_dir_all(root.path().join(link).parent().unwrap()).unwrap();
        symlink(outside.path().join(target), root.path().join(link)).unwrap();
        // One of the pieces has bytes behind the link.
        let written = torrent.geometry.iter().map(|piece| torrent.write(&store, piece));
        let refused: Vec<StorageError> = written.filter_map(Result::err).collect();
        assert!(!refused.is_empty(), "{link}");
        for error in &refused {
            assert_eq!(*fault(error), LinkFault::New, "{link}");
        }
        assert_eq!(files_below(outside.path()), before, "{link}");
        assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"theirs");
        store.look_again().unwrap();
        torrent.write_all(&store);
    }
}

#[test]
fn a_link_that_is_swapped_in_where_a_followed_one_leads_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (root, other, outside) =
        (folder.path().join("root"), folder.path().join("other"), folder.path().join("outside"));
    for path in [&root.join("t"), &other.join("sub"), &outside] {
        std::fs::create_dir_all(path).unwrap();
    }
    symlink("../../other/sub", root.join("t/sub")).unwrap();
    let torrent = torrent();
    let store = torrent.open(&root, Options::default()).unwrap();
    std::fs::remove_dir(other.join("sub")).unwrap();
    symlink(&outside, other.join("sub")).unwrap();
    let error = torrent.write(&store, torrent.geometry.piece(4).unwrap()).unwrap_err();
    assert_eq!(*fault(&error), LinkFault::New);
    // Nor is the way to it: a folder above becomes a link.
    std::fs::remove_file(other.join("sub")).unwrap();
    std::fs::rename(&other, folder.path().join("moved")).unwrap();
    std::fs::create_dir(outside.join("sub")).unwrap();
    symlink(&outside, &other).unwrap();
    let error = torrent.write(&store, torrent.geometry.piece(4).unwrap()).unwrap_err();
    assert_eq!(*fault(&error), LinkFault::New);
    assert_eq!(files_below(&outside).len(), 0);
}

#[test]
fn a_link_whose_target_goes_away_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (root, other) = (folder.path().join("root"), folder.path().join("other"));
    std::fs::create_dir_all(root.join("t")).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    symlink(&other, root.join("t/sub")).unwrap();
    let torrent = torrent();
    let store = torrent.open(&root, Options::default()).unwrap();
    std::fs::remove_dir(&other).unwrap();
    let error = torrent.write(&store, torrent.geometry.piece(4).unwrap()).unwrap_err();
    assert!(matches!(fault(&error), LinkFault::Dangling(_)), "{error}");
    assert!(!other.exists(), "what the link leads to is not made");
}

struct Unwritten;

impl Journal for Unwritten {
    fn note(&self, _step: Step<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

fn relocate(store: &Store, root: &Path, paths: &[&str]) -> StorageError {
    let paths = paths.iter().map(Into::into).collect();
    let goal = Goal { root: root.to_owned(), paths, existing: Existing::Refuse, staging: ".s".into() };
    store.relocate(&goal, &Unwritten, &Relocating::default()).unwrap_err()
}

#[test]
fn nothing_is_moved_out_of_a_place_that_a_link_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let (root, other, new) =
        (folder.path().join("root"), folder.path().join("other"), folder.path().join("new"));
    std::fs::create_dir_all(root.join("t")).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    symlink(&other, root.join("t/sub")).unwrap();
    let torrent = torrent();
    let store = torrent.open(&root, Options::default()).unwrap();
    torrent.write_all(&store);
    let before = files_below(&other);
    let error = relocate(&store, &new, &["t/a", "t/sub/b", "t/sub/deep/c"]);
    assert!(matches!(&error, StorageError::ThroughLink(link) if *link == root.join("t/sub")), "{error}");
    assert_eq!(files_below(&other), before);
    assert!(!new.exists());
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
}

#[test]
fn the_rule_about_owners_is_that_of_protected_symlinks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    symlink(".", root.join("link")).unwrap();
    // Without the rights of root there is no other user's link to be made: only the way that is taken is tested.
    let owner = rustix::process::geteuid().as_raw();
    let strange = rustix::fs::Uid::from_raw(owner + 4_321);
    let opened = System.open_root(&root).unwrap();
    let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let resolve = || System.resolve(&root, "link".as_ref()).unwrap();
    match rustix::fs::chownat(opened.as_fd(), "link", Some(strange), None, nofollow) {
        Ok(()) => assert_eq!(resolve(), Err(LinkFault::Foreign(owner + 4_321))),
        Err(_) => assert_eq!(resolve(), Ok(root.clone())),
    }
}
