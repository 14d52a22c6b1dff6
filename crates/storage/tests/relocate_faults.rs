//! Moves that fail or are killed at any call: every file is in one place, and the next start finds it there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::{
    Existing, Goal, Holder, Interrupted, Journal, Options, Relocating, Step, StorageError, recover,
};
use rustix::io::Errno;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::faulty::{Fault, Faulty};
use support::moves::{Noted, Notes, PARTS, STAGING, WANTED, goal, memory, on, options, relocate, torrent};
use support::{Torrent, files_below};

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
    drop(store);
    let noted = notes.notes.noted.lock().unwrap().clone();
    let place = recover_to_one_place(torrent, border, (&old, &to), &noted, call);
    let store = torrent.open(place, options()).unwrap();
    torrent.geometry.iter().for_each(|piece| torrent.assert_piece_reads_back(&store, piece));
    died
}

/// Recovers an interrupted move from `old`: every file is in one place, which is returned, and nothing is left in the other.
fn recover_to_one_place<'a>(
    torrent: &Torrent,
    border: bool,
    (old, to): (&'a Path, &'a Goal),
    noted: &[Noted],
    call: usize,
) -> &'a Path {
    let at_goal = recover_twice(torrent, border, (old, to), noted);
    let (place, other) = if at_goal { (to.root.as_path(), old) } else { (old, to.root.as_path()) };
    torrent.assert_on_disk(place, &WANTED, &[Path::new(PARTS)]);
    let left = if other.exists() { files_below(other) } else { Vec::new() };
    assert!(left.is_empty(), "call {call}: {left:?} are left");
    place
}

/// What a recovery makes of a move from `old` whose steps were these: whether the files are at the goal. Twice each step,
/// since a recovery may be interrupted itself.
fn recover_twice(torrent: &Torrent, border: bool, (old, to): (&Path, &Goal), noted: &[Noted]) -> bool {
    let layer = || Faulty::with_border(Fault::None, border);
    recover_at_last(torrent, border, (old, to), noted, |recover| _ = recover(layer()).unwrap())
}

/// What a recovery makes of a move from `old` whose steps were these, where `before` has called it for each step before:
/// whether the files are at the goal.
fn recover_at_last(
    torrent: &Torrent,
    border: bool,
    (old, to): (&Path, &Goal),
    noted: &[Noted],
    mut before: impl FnMut(&dyn Fn(Arc<Faulty>) -> Result<bool, StorageError>),
) -> bool {
    let staged = noted.contains(&Noted::Placing { staged: true });
    let layout = quelea_storage::Layout::new(torrent.files.iter().map(|file| file.length), torrent.geometry);
    let layout = layout.unwrap();
    let paths: Vec<PathBuf> = torrent.files.iter().map(|file| file.path.clone()).collect();
    let pads: Vec<bool> = torrent.files.iter().map(|file| file.pad).collect();
    let is_there = |path: &Path| [&old.join(path), &to.root.join(path)].iter().any(|path| path.exists());
    let known: Vec<Holder> =
        layout.files().filter(|file| is_there(&paths[file.at()])).map(Holder::File).collect();
    let mut at_goal = noted.contains(&Noted::Placed);
    let mut next = match noted.last() {
        None | Some(Noted::Over) => None,
        Some(Noted::Copying) => Some(Step::Copying),
        Some(Noted::Placing { staged }) => Some(Step::Placing { staged: *staged }),
        Some(Noted::Placed) => Some(Step::Placed { moved: &[] }),
    };
    while let Some(step) = next {
        let interrupted = Interrupted {
            root: old,
            paths: &paths,
            pads: &pads,
            part_file: Path::new(PARTS),
            goal: to,
            step,
            staged,
            layout: &layout,
            known: &known,
        };
        before(&|layer| recover(interrupted, layer));
        at_goal = recover(interrupted, Faulty::with_border(Fault::None, border)).unwrap();
        let is_placing = matches!(step, Step::Placing { .. });
        next = (is_placing && at_goal).then_some(Step::Placed { moved: &[] });
    }
    at_goal
}

/// A journal of a process that dies with its file system.
struct Dying {
    notes: Notes,
    layer: Arc<Faulty>,
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

/// A move between file systems that fails when all copies have their names, a kill at this call after that, and what a
/// recovery makes of it.
fn fail_and_die(torrent: &Torrent, call: usize) -> bool {
    let folder = memory();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    torrent.write_all(&torrent.open(&old, options()).unwrap());
    let layer = Faulty::with_border(Fault::None, true);
    let store = torrent.open(&old, Options { layer: layer.clone(), ..options() }).unwrap();
    // Neither that the files are at the goal is written down, nor that it is over.
    let notes = Notes { stop: Some(4), ..Notes::default() };
    let notes = Failing { notes, layer: layer.clone(), call };
    let to = goal(&new, torrent, Existing::Refuse);
    store.relocate(&to, &notes, &Relocating::default()).unwrap_err();
    drop(store);
    let noted = notes.notes.noted.lock().unwrap().clone();
    recover_to_one_place(torrent, true, (&old, &to), &noted, call);
    layer.has_fired()
}

/// A full journal, on a file system that works for so many calls more.
struct Failing {
    notes: Notes,
    layer: Arc<Faulty>,
    call: usize,
}

impl Journal for Failing {
    fn note(&self, step: Step<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let noted = self.notes.note(step);
        if noted.is_err() && !matches!(step, Step::Over) {
            self.layer.begin(Fault::From(self.call));
        }
        noted
    }
}

#[test]
fn after_a_kill_while_a_failed_move_is_taken_back_all_files_are_in_one_place() {
    let torrent = torrent();
    let mut call = 0;
    while fail_and_die(&torrent, call) {
        call += 1;
    }
    assert!(call > 10, "only {call} calls");
}

#[test]
fn an_original_is_removed_although_its_copy_has_grown_since() {
    let torrent = torrent();
    let folder = memory();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    torrent.write_all(&torrent.open(&old, options()).unwrap());
    let file = old.join(&torrent.files[0].path);
    std::fs::File::options().write(true).open(&file).unwrap().set_len(1_000).unwrap();
    let store = torrent.open(&old, on(true)).unwrap();
    let notes = Notes::default();
    let to = goal(&new, &torrent, Existing::Refuse);
    store.relocate(&to, &notes, &Relocating::default()).unwrap();
    // Killed after a piece was written to the copy, and before the originals were removed.
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &torrent.bytes_of(0)[..1_000]).unwrap();
    torrent.write_all(&store);
    drop(store);
    let noted = notes.noted.lock().unwrap().clone();
    let (over, noted) = noted.split_last().unwrap();
    assert_eq!(*over, Noted::Over);
    assert!(recover_twice(&torrent, true, (&old, &to), noted));
    assert_eq!(files_below(&old), Vec::<PathBuf>::new());
    torrent.assert_on_disk(&new, &WANTED, &[Path::new(PARTS)]);
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
    assert!(!recover(interrupted, layer).unwrap(), "they are where they were");
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

/// A move or renaming of a torrent of which only some is there, killed at a random call, and recoveries that are killed
/// at random calls until one is not. Whether it was killed.
fn die_at_random(torrent: &Torrent, seed: u64) -> bool {
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = memory();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    std::fs::create_dir(&new).unwrap();
    let mut wanted = WANTED;
    wanted[2] = rng.bool();
    let options = || Options { wanted: Some(wanted.to_vec()), ..options() };
    {
        let store = torrent.open(&old, options()).unwrap();
        let some = torrent.geometry.iter().filter(|_| rng.u8(0..4) == 0);
        some.for_each(|piece| torrent.write(&store, piece).unwrap());
    }
    let before = files_below(&old);
    let mut to = goal(&new, torrent, Existing::Refuse);
    if rng.u8(0..3) == 0 {
        to.root.clone_from(&old);
        for path in &mut to.paths {
            if rng.bool() {
                *path = Path::new("t").join(rng.u64(..).to_string());
            }
        }
    }
    let border = rng.bool();
    let layer = Faulty::with_border(Fault::None, border);
    let store = torrent.open(&old, Options { layer: layer.clone(), ..options() }).unwrap();
    layer.begin(Fault::From(rng.usize(0..140)));
    let notes = Dying { notes: Notes::default(), layer: layer.clone() };
    // What it answers is of no interest to the dead.
    let _ = store.relocate(&to, &notes, &Relocating::default());
    drop(store);
    let noted = notes.notes.noted.lock().unwrap().clone();
    let at_goal = recover_at_last(torrent, border, (&old, &to), &noted, |recover| {
        while rng.bool() {
            let _ = recover(Faulty::with_border(Fault::From(rng.usize(0..40)), border));
        }
    });
    let place = |path: &PathBuf| {
        let number = torrent.files.iter().position(|file| file.path == *path);
        number.filter(|_| at_goal).map_or(path, |number| &to.paths[number]).clone()
    };
    let mut expected: Vec<PathBuf> = before.iter().map(place).collect();
    expected.sort();
    let (there, other) = if at_goal { (&to.root, &old) } else { (&old, &new) };
    assert_eq!(files_below(there), expected, "seed {seed}, {noted:?}");
    assert!(there == other || files_below(other).is_empty(), "seed {seed}, {noted:?}: something is left");
    layer.has_fired()
}

#[test]
fn whatever_was_there_is_in_one_place_after_kills_of_a_move_and_of_its_recovery() {
    let torrent = torrent();
    let killed = (0..400).filter(|_| die_at_random(&torrent, fastrand::u64(..))).count();
    assert!(killed > 50, "only {killed} were killed");
}
