//! Files go elsewhere, or get other names, while pieces come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::{Existing, Options, Relocating, StorageError};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use support::faulty::{Fault, Faulty};
use support::moves::{Noted, Notes, PARTS, WANTED, goal, needed, on, options, relocate, torrent};
use support::{Torrent, file, files_below};

#[test]
fn everything_is_at_the_goal_and_nothing_is_left() {
    for border in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new/place"));
        let torrent = torrent();
        let store = torrent.open(&old, on(border)).unwrap();
        torrent.write_all(&store);
        let notes = Notes::default();
        let progress = Relocating::default();
        let done = store.relocate(&goal(&new, &torrent, Existing::Refuse), &notes, &progress).unwrap();
        assert_eq!(done.copied, border);
        assert_eq!(done.moved.len(), 5, "four wanted files and the part file");
        assert_eq!(store.root(), new);
        torrent.assert_on_disk(&new, &WANTED, &[Path::new(PARTS)]);
        assert_eq!(std::fs::read_dir(&old).unwrap().count(), 0, "something is left");
        for piece in needed(&torrent) {
            torrent.assert_piece_reads_back(&store, piece);
        }
        let (moved, total) = progress.progress();
        assert!(moved == total && total >= 140_000, "{moved} of {total}");
        let steps = notes.noted.lock().unwrap().clone();
        let direct = [Noted::Placing { staged: false }, Noted::Placed, Noted::Over];
        let staged = [
            Noted::Placing { staged: false },
            Noted::Over,
            Noted::Copying,
            Noted::Placing { staged: true },
            Noted::Placed,
            Noted::Over,
        ];
        assert_eq!(steps, if border { staged.to_vec() } else { direct.to_vec() });
        // And back, with pieces written after that.
        torrent.write_all(&store);
        relocate(&store, &goal(&old, &torrent, Existing::Refuse)).unwrap();
        torrent.assert_on_disk(&old, &WANTED, &[Path::new(PARTS)]);
        drop(store);
        let store = torrent.open(&old, options()).unwrap();
        needed(&torrent).into_iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
    }
}

#[test]
fn between_two_real_file_systems_holes_stay_holes() {
    let memory = Path::new("/dev/shm");
    let (Ok(there), here) = (tempfile::tempdir_in(memory), tempfile::tempdir().unwrap()) else { return };
    if there.path().metadata().unwrap().dev() == here.path().metadata().unwrap().dev() {
        return;
    }
    let torrent = Torrent::new(vec![file("t/a", 16 << 20), file("t/b", 1 << 20)], 1 << 20, 1);
    let store = torrent.open(here.path(), Options::default()).unwrap();
    let pieces: Vec<_> = [3, 9, 16].iter().map(|&piece| torrent.geometry.piece(piece).unwrap()).collect();
    pieces.iter().for_each(|&piece| torrent.write(&store, piece).unwrap());
    let length = here.path().join("t/a").metadata().unwrap().len();
    let done = relocate(&store, &goal(there.path(), &torrent, Existing::Refuse)).unwrap();
    assert!(done.copied);
    pieces.iter().for_each(|&piece| torrent.assert_piece_reads_back(&store, piece));
    let metadata = there.path().join("t/a").metadata().unwrap();
    assert_eq!(metadata.len(), length);
    assert!(metadata.blocks() * 512 <= 3 << 20, "{} blocks", metadata.blocks());
    assert!(files_below(here.path()).is_empty());
    // And back, from a file system that shares nothing.
    relocate(&store, &goal(here.path(), &torrent, Existing::Refuse)).unwrap();
    pieces.iter().for_each(|&piece| torrent.assert_piece_reads_back(&store, piece));
}

#[test]
fn permissions_go_with_the_files() {
    for border in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let torrent = torrent();
        let store = torrent.open(&old, on(border)).unwrap();
        torrent.write_all(&store);
        let modes = [("t/a", 0o755), ("t/x/b", 0o640), ("t/x/empty", 0o500)];
        for (path, mode) in modes {
            std::fs::set_permissions(old.join(path), Permissions::from_mode(mode)).unwrap();
        }
        let done = relocate(&store, &goal(&new, &torrent, Existing::Refuse)).unwrap();
        assert_eq!(done.copied, border);
        for (path, mode) in modes {
            let found = new.join(path).metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode, "{path}: {found:o}, not {mode:o}");
        }
    }
}

#[test]
fn pieces_come_and_go_while_files_are_copied() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let lengths = [700_000, 300_000, 0, 1_200_000, 5, 99_999];
        let files = (0..).zip(lengths).map(|(n, length)| file(&format!("t/{n}"), length)).collect();
        let torrent = Torrent::new(files, 16_384, seed);
        let layer = Faulty::with_border(Fault::Short(20_000), true);
        let wanted = (0..6).map(|file| file != 1).collect();
        let options =
            Options { wanted: Some(wanted), part_file: Some(PARTS.into()), layer, ..Options::default() };
        let store = torrent.open(&folder.path().join("0"), options).unwrap();
        let stop = AtomicBool::new(false);
        let written = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut pieces: Vec<_> = torrent.geometry.iter().collect();
                fastrand::Rng::with_seed(seed).shuffle(&mut pieces);
                for piece in pieces {
                    torrent.write(&store, piece).unwrap();
                    written.lock().unwrap().push(piece);
                }
                stop.store(true, Ordering::Relaxed);
            });
            scope.spawn(|| {
                let mut random = fastrand::Rng::with_seed(seed);
                while !stop.load(Ordering::Relaxed) {
                    let Some(&piece) = random.choice(&*written.lock().unwrap()) else { continue };
                    let mut read = vec![0xee; torrent.piece(piece).len()];
                    if !store.try_read_cached(torrent.whole(piece), &mut read) {
                        store.read(torrent.whole(piece), &mut read).unwrap();
                    }
                    assert!(read == torrent.piece(piece), "seed {seed}: piece {piece} is wrong meanwhile");
                }
            });
            let mut place = 0;
            while !stop.load(Ordering::Relaxed) || place == 0 {
                place += 1;
                let root = folder.path().join(place.to_string());
                relocate(&store, &goal(&root, &torrent, Existing::Refuse)).unwrap();
            }
        });
        torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
        store.finish(false).unwrap();
        let root = store.root();
        drop(store);
        assert_eq!(files_below(folder.path()).len(), 6, "seed {seed}: files are left behind");
        let store =
            torrent.open(&root, Options { part_file: Some(PARTS.into()), ..Options::default() }).unwrap();
        torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
    }
}

#[test]
fn what_is_at_the_goal_stays_unless_it_may_be_replaced() {
    for border in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let torrent = torrent();
        let store = torrent.open(&old, on(border)).unwrap();
        torrent.write_all(&store);
        std::fs::create_dir_all(new.join("t/x")).unwrap();
        std::fs::write(new.join("t/x/b"), "theirs").unwrap();
        std::fs::write(new.join("t/x/mine"), "theirs too").unwrap();
        let error = relocate(&store, &goal(&new, &torrent, Existing::Refuse)).unwrap_err();
        assert!(error.to_string().contains("new/t/x/b\" is there already; move it away"), "{error}");
        torrent.assert_on_disk(&old, &WANTED, &[Path::new(PARTS)]);
        assert_eq!(std::fs::read(new.join("t/x/b")).unwrap(), b"theirs");
        assert_eq!(files_below(&new).len(), 2);

        let done = relocate(&store, &goal(&new, &torrent, Existing::Replace)).unwrap();
        assert_eq!((done.moved.len(), done.adopted.len()), (5, 0));
        torrent.assert_on_disk(&new, &WANTED, &[Path::new(PARTS), Path::new("t/x/mine")]);
    }
}

#[test]
fn adopted_files_are_read_from_then_on_and_ours_stay() {
    for border in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let torrent = torrent();
        let store = torrent.open(&old, on(border)).unwrap();
        torrent.write_all(&store);
        std::fs::create_dir_all(new.join("t/x")).unwrap();
        std::fs::write(new.join("t/x/b"), vec![7; 30_001]).unwrap();
        let adopt = goal(&new, &torrent, Existing::Adopt);
        let error = relocate(&store, &adopt).unwrap_err();
        assert!(matches!(error, StorageError::LongerFile { found: 30_001, .. }), "{error}");
        std::fs::write(new.join("t/x/b"), vec![7; 30_000]).unwrap();
        let done = relocate(&store, &adopt).unwrap();
        assert_eq!(done.adopted.iter().map(|file| file.at()).collect::<Vec<_>>(), [3]);
        assert_eq!(files_below(&old), [Path::new("t/x/b")]);
        assert!(std::fs::read(new.join("t/x/b")).unwrap() == vec![7; 30_000]);
        let third = torrent.geometry.piece(2).unwrap();
        let mut read = vec![0; torrent.piece(third).len()];
        store.read(torrent.whole(third), &mut read).unwrap();
        assert!(read[..1_000] != torrent.piece(third)[..1_000], "it is read where it was");
        torrent.write(&store, third).unwrap();
        torrent.assert_piece_reads_back(&store, third);
    }
}

#[test]
fn folders_links_and_other_things_at_the_goal_are_never_replaced() {
    type Put = fn(&Path);
    let folder_there: Put = |new| std::fs::create_dir_all(new.join("t/a")).unwrap();
    let link_there: Put = |new| {
        std::fs::create_dir_all(new.join("t")).unwrap();
        symlink("/etc/passwd", new.join("t/a")).unwrap();
    };
    let folder_is_link: Put = |new| {
        std::fs::create_dir_all(new.join("elsewhere")).unwrap();
        symlink(new.join("elsewhere"), new.join("t")).unwrap();
    };
    let folder_is_file: Put = |new| {
        std::fs::create_dir_all(new).unwrap();
        std::fs::write(new.join("t"), "").unwrap();
    };
    for put in [folder_there, link_there, folder_is_link, folder_is_file] {
        for existing in [Existing::Refuse, Existing::Replace, Existing::Adopt] {
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = (folder.path().join("old"), folder.path().join("new"));
            let torrent = torrent();
            let store = torrent.open(&old, options()).unwrap();
            torrent.write_all(&store);
            put(&new);
            let before = files_below(&new);
            let error = relocate(&store, &goal(&new, &torrent, existing)).unwrap_err();
            assert!(error.to_string().contains("new/t"), "{error}");
            assert_eq!(files_below(&new), before);
            torrent.assert_on_disk(&old, &WANTED, &[Path::new(PARTS)]);
        }
    }
}

#[test]
fn names_change_at_once_and_only_to_names_that_files_may_have() {
    let root = tempfile::tempdir().unwrap();
    let torrent = torrent();
    let store = torrent.open(root.path(), options()).unwrap();
    torrent.write_all(&store);
    std::fs::write(root.path().join("t/theirs"), "theirs").unwrap();
    let mut named = goal(root.path(), &torrent, Existing::Refuse);
    for refused in ["../out", "/etc/out", "t/x/b", "t/x/b/c", "t/x", "", "t/./../../out", "t/theirs", PARTS] {
        named.paths[0] = refused.into();
        assert!(relocate(&store, &named).is_err(), "{refused} is taken");
    }
    torrent.assert_on_disk(root.path(), &WANTED, &[Path::new(PARTS), Path::new("t/theirs")]);
    named.paths[0] = "t/new/name".into();
    named.paths[3] = "b".into();
    named.paths[5] = "t/x2/y/c".into();
    relocate(&store, &named).unwrap();
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
    let mut expected = [PARTS, "b", "t/new/name", "t/theirs", "t/x/empty", "t/x2/y/c"];
    expected.sort_unstable();
    assert_eq!(files_below(root.path()), expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    assert!(!root.path().join("t/x/y").exists(), "an empty folder is left");
    // A file that is not there yet gets its new name when it is written.
    let fresh = tempfile::tempdir().unwrap();
    let store = torrent.open(fresh.path(), options()).unwrap();
    named.root = fresh.path().to_owned();
    relocate(&store, &named).unwrap();
    torrent.write_all(&store);
    assert!(fresh.path().join("t/new/name").is_file() && !fresh.path().join("t/a").exists());
}

#[test]
fn the_same_directory_by_another_name_is_no_other_place() {
    let folder = tempfile::tempdir().unwrap();
    let (root, link) = (folder.path().join("root"), folder.path().join("link"));
    std::fs::create_dir(&root).unwrap();
    symlink(&root, &link).unwrap();
    let torrent = torrent();
    let store = torrent.open(&root, options()).unwrap();
    torrent.write_all(&store);
    relocate(&store, &goal(&link, &torrent, Existing::Refuse)).unwrap();
    assert_eq!(store.root(), link);
    torrent.assert_on_disk(&root, &WANTED, &[Path::new(PARTS)]);
}

#[test]
fn a_goal_without_room_is_told_before_anything_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let torrent = torrent();
    let layer = Faulty::with_border(Fault::Full(100_000), true);
    let store = torrent.open(&old, Options { layer, ..options() }).unwrap();
    torrent.write_all(&store);
    let notes = Notes::default();
    let error =
        store.relocate(&goal(&new, &torrent, Existing::Refuse), &notes, &Relocating::default()).unwrap_err();
    let StorageError::NoRoom { needed, free: 100_000, .. } = error else { panic!("{error}") };
    assert!(needed >= 140_000 && error.is_full(), "{error}");
    assert!(!notes.noted.lock().unwrap().contains(&Noted::Copying));
    torrent.assert_on_disk(&old, &WANTED, &[Path::new(PARTS)]);
    assert_eq!(files_below(&new).len(), 0);
}

#[test]
fn a_move_that_is_cancelled_leaves_all_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let torrent = Torrent::new(vec![file("t/a", 3 << 20), file("t/b", 1 << 20)], 1 << 20, 1);
    let progress = std::sync::Arc::new(Relocating::default());
    let layer = Faulty::with_border(Fault::Cancel(std::sync::Arc::clone(&progress)), true);
    let store = torrent.open(&old, Options { layer, ..Options::default() }).unwrap();
    torrent.write_all(&store);
    let notes = Notes::default();
    let error = store.relocate(&goal(&new, &torrent, Existing::Refuse), &notes, &progress).unwrap_err();
    assert!(matches!(error, StorageError::Cancelled), "{error}");
    assert!(progress.progress().0 > 0, "it was cancelled before it began");
    assert_eq!(notes.last(), Some(Noted::Over));
    torrent.assert_on_disk(&old, &[true, true], &[]);
    assert_eq!(files_below(&new).len(), 0);
    torrent.write_all(&store);
    relocate(&store, &goal(&new, &torrent, Existing::Refuse)).unwrap();
    torrent.assert_on_disk(&new, &[true, true], &[]);
}
