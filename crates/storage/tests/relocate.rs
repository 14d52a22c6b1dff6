//! Files go elsewhere, or get other names, while pieces come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::{
    Existing, Goal, Holder, Interrupted, Journal, Options, Relocating, Step, StorageError, Store, recover,
};
use rustix::io::Errno;
use std::error::Error;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use support::faulty::{Fault, Faulty};
use support::{Torrent, file, files_below, pad};

const PARTS: &str = ".t.parts";
const STAGING: &str = ".t.moving";

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

fn options() -> Options {
    Options { wanted: Some(WANTED.to_vec()), part_file: Some(PARTS.into()), ..Options::default() }
}

/// As if every directory were a file system of its own, or as it is.
fn on(border: bool) -> Options {
    if border { Options { layer: Faulty::with_border(Fault::None, true), ..options() } } else { options() }
}

fn goal(root: &Path, torrent: &Torrent, existing: Existing) -> Goal {
    let paths = torrent.files.iter().map(|file| file.path.clone()).collect();
    Goal { root: root.to_owned(), paths, existing, staging: STAGING.into() }
}

/// A step as a test remembers it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Noted {
    Copying,
    Placing { staged: bool },
    Placed,
    Over,
}

/// Remembers what it was told, and stops after so many steps, as a kill does.
#[derive(Default)]
struct Notes {
    noted: Mutex<Vec<Noted>>,
    stop: Option<usize>,
}

impl Notes {
    fn last(&self) -> Option<Noted> {
        self.noted.lock().unwrap().last().copied()
    }
}

impl Journal for Notes {
    fn note(&self, step: Step<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut noted = self.noted.lock().unwrap();
        if self.stop == Some(noted.len()) {
            return Err("the journal is full".into());
        }
        noted.push(match step {
            Step::Copying => Noted::Copying,
            Step::Placing { staged } => Noted::Placing { staged },
            Step::Placed { .. } => Noted::Placed,
            Step::Over => Noted::Over,
        });
        Ok(())
    }
}

fn relocate(store: &Store, goal: &Goal) -> Result<quelea_storage::Relocated, StorageError> {
    store.relocate(goal, &Notes::default(), &Relocating::default())
}

fn needed(torrent: &Torrent) -> Vec<quelea_metainfo::geometry::PieceIndex> {
    torrent.geometry.iter().collect()
}

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

/// A place in memory, where there is such a place: nothing of this shall wait for a real disk.
fn memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Moves with a fault, then again without; everything is there all the while.
///
/// How many calls were made, whether the fault was met, and whether the move failed.
fn survive(torrent: &Torrent, border: bool, fault: Fault) -> (usize, bool, bool) {
    let folder = memory();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    torrent.write_all(&torrent.open(&old, options()).unwrap());
    let layer = Faulty::with_border(Fault::None, border);
    let store = torrent.open(&old, Options { layer: layer.clone(), ..options() }).unwrap();
    layer.begin(fault);
    let notes = Notes::default();
    let result = store.relocate(&goal(&new, torrent, Existing::Refuse), &notes, &Relocating::default());
    let (calls, fired) = (layer.calls(), layer.has_fired());
    layer.begin(Fault::None);
    let failed = result.is_err();
    if let Err(error) = result {
        let words = error.to_string();
        assert!(words.contains("old") || words.contains("new"), "no path: {words}");
        assert_eq!(store.root(), old);
        torrent.assert_on_disk(&old, &WANTED, &[Path::new(PARTS)]);
        assert!(matches!(notes.last(), Some(Noted::Over) | None), "{:?}", notes.last());
        torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
        // What could not be cleared away is in the way, and told.
        if let Err(error) = relocate(&store, &goal(&new, torrent, Existing::Refuse)) {
            assert!(matches!(&error, StorageError::Exists(path) if path.ends_with(STAGING)), "{error}");
            std::fs::remove_dir_all(new.join(STAGING)).unwrap();
            relocate(&store, &goal(&new, torrent, Existing::Refuse)).unwrap();
        }
    }
    assert_eq!(store.root(), new);
    for (file, wanted) in torrent.files.iter().zip(WANTED).filter(|(file, wanted)| !file.pad && *wanted) {
        assert!(wanted && new.join(&file.path).is_file());
    }
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
    (calls, fired, failed)
}

#[test]
fn each_call_fails_once_in_turn_and_nothing_is_lost() {
    let torrent = torrent();
    for border in [false, true] {
        let (calls, ..) = survive(&torrent, border, Fault::None);
        assert!(calls > 30, "only {calls} calls");
        for errno in [Errno::NOSPC, Errno::IO, Errno::ACCESS] {
            let mut failures = 0;
            for call in 0..calls {
                let (_, fired, failed) = survive(&torrent, border, Fault::Once(call, errno));
                assert!(fired, "call {call} was not made");
                failures += usize::from(failed);
            }
            // What is cleared away at the end is not worth a failure.
            assert!(failures * 2 > calls, "{failures} of {calls}");
        }
    }
}

#[test]
fn interruptions_and_short_copies_are_never_noticed() {
    let torrent = torrent();
    let unsupported = Fault::Always("copy", Errno::OPNOTSUPP);
    for fault in [Fault::Interrupted, Fault::Short(1_000), Fault::Short(16_385), unsupported] {
        let (_, fired, failed) = survive(&torrent, true, fault.clone());
        assert!(!failed && fired, "{fault:?}");
    }
}

/// A kill at this call, and what a recovery makes of it.
fn die(torrent: &Torrent, border: bool, call: usize) -> bool {
    let folder = memory();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    torrent.write_all(&torrent.open(&old, options()).unwrap());
    let layer = Faulty::with_border(Fault::None, border);
    let store = torrent.open(&old, Options { layer: layer.clone(), ..options() }).unwrap();
    layer.begin(Fault::From(call));
    let notes = Dying { notes: Notes::default(), layer: layer.clone() };
    let to = goal(&new, torrent, Existing::Refuse);
    // What it answers is of no interest to the dead.
    let _ = store.relocate(&to, &notes, &Relocating::default());
    let died = layer.has_fired();
    let layout = quelea_storage::Layout::new(torrent.files.iter().map(|file| file.length), torrent.geometry);
    drop(store);
    let noted = notes.notes.noted.lock().unwrap().clone();
    let staged = noted.contains(&Noted::Placing { staged: true });
    let step = match noted.last() {
        None | Some(Noted::Over) => None,
        Some(Noted::Copying) => Some(Step::Copying),
        Some(Noted::Placing { staged }) => Some(Step::Placing { staged: *staged }),
        Some(Noted::Placed) => Some(Step::Placed { moved: &[] }),
    };
    let paths: Vec<PathBuf> = torrent.files.iter().map(|file| file.path.clone()).collect();
    let pads: Vec<bool> = torrent.files.iter().map(|file| file.pad).collect();
    let known: Vec<Holder> = layout.as_ref().unwrap().files().map(Holder::File).collect();
    let mut at_goal = noted.contains(&Noted::Placed);
    let mut next = step;
    // Twice each, since a recovery may be interrupted itself.
    while let Some(step) = next {
        let interrupted = Interrupted {
            root: &old,
            paths: &paths,
            pads: &pads,
            part_file: Path::new(PARTS),
            goal: &to,
            step,
            staged,
            layout: layout.as_ref().unwrap(),
            known: &known,
        };
        let recover = || recover(interrupted, Faulty::with_border(Fault::None, border)).unwrap();
        at_goal = recover();
        assert_eq!(recover(), at_goal);
        let is_placing = matches!(step, Step::Placing { .. });
        next = (is_placing && at_goal).then_some(Step::Placed { moved: &[] });
    }
    let (place, other) = if at_goal { (&new, &old) } else { (&old, &new) };
    torrent.assert_on_disk(place, &WANTED, &[Path::new(PARTS)]);
    let left = if other.exists() { files_below(other) } else { Vec::new() };
    assert!(left.is_empty(), "call {call}: {left:?} are left");
    let store = torrent.open(place, options()).unwrap();
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
    died
}

/// A journal of a process that dies with its file system.
struct Dying {
    notes: Notes,
    layer: std::sync::Arc<Faulty>,
}

impl Journal for Dying {
    fn note(&self, step: Step<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.layer.has_fired() { Err("dead".into()) } else { self.notes.note(step) }
    }
}

#[test]
fn after_a_kill_at_any_call_all_files_are_in_one_place() {
    let torrent = torrent();
    for border in [false, true] {
        let mut call = 0;
        while die(&torrent, border, call) {
            call += 1;
        }
        assert!(call > 30, "only {call} calls");
    }
}

#[test]
fn files_in_neither_place_are_told_and_not_taken_for_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let torrent = torrent();
    let paths: Vec<PathBuf> = torrent.files.iter().map(|file| file.path.clone()).collect();
    let pads: Vec<bool> = torrent.files.iter().map(|file| file.pad).collect();
    let layout = quelea_storage::Layout::new(torrent.files.iter().map(|file| file.length), torrent.geometry);
    let known: Vec<Holder> = layout.as_ref().unwrap().files().map(Holder::File).collect();
    let to = goal(&new, &torrent, Existing::Refuse);
    let interrupted = Interrupted {
        root: &old,
        paths: &paths,
        pads: &pads,
        part_file: Path::new(PARTS),
        goal: &to,
        step: Step::Placing { staged: false },
        staged: false,
        layout: layout.as_ref().unwrap(),
        known: &known,
    };
    let layer = Faulty::new(Fault::None);
    assert!(matches!(recover(interrupted, layer.clone()), Err(StorageError::Lost(_))));
    // The copies are gone, the originals are not.
    torrent.write_all(&torrent.open(&old, options()).unwrap());
    let step = Step::Placing { staged: true };
    let interrupted = Interrupted { step, staged: true, ..interrupted };
    assert!(matches!(recover(interrupted, layer), Err(StorageError::Lost(_))));
    torrent.assert_on_disk(&old, &WANTED, &[Path::new(PARTS)]);
}

#[test]
fn a_file_that_was_never_there_is_not_missed_when_its_new_name_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let torrent = torrent();
    torrent.write_all(&torrent.open(folder.path(), options()).unwrap());
    let paths: Vec<PathBuf> = torrent.files.iter().map(|file| file.path.clone()).collect();
    let pads: Vec<bool> = torrent.files.iter().map(|file| file.pad).collect();
    let layout = quelea_storage::Layout::new(torrent.files.iter().map(|file| file.length), torrent.geometry);
    let layout = layout.unwrap();
    // One that is not wanted, so that nothing is there, gets another name.
    let unwanted = WANTED.iter().zip(&pads).position(|(wanted, pad)| !wanted && !pad).unwrap();
    let mut to = goal(folder.path(), &torrent, Existing::Refuse);
    to.paths.clone_from(&paths);
    to.paths[unwanted] = "renamed".into();
    let known: Vec<Holder> = layout.files().map(Holder::File).collect();
    let (others, own): (Vec<Holder>, Vec<Holder>) =
        known.iter().partition(|&&holder| holder != known[unwanted]);
    let interrupted = Interrupted {
        root: folder.path(),
        paths: &paths,
        pads: &pads,
        part_file: Path::new(PARTS),
        goal: &to,
        step: Step::Placing { staged: false },
        staged: false,
        layout: &layout,
        known: &others,
    };
    let layer = Faulty::new(Fault::None);
    assert!(recover(interrupted, layer.clone()).unwrap(), "it has its new name");
    assert!(matches!(recover(Interrupted { known: &own, ..interrupted }, layer), Err(StorageError::Lost(_))));
    torrent.assert_on_disk(folder.path(), &WANTED, &[Path::new(PARTS)]);
}
