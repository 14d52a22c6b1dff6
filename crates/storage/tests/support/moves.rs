//! A torrent whose files are moved, and a journal that remembers what it was told.

use super::faulty::{Fault, Faulty};
use super::{Torrent, file, pad};
use quelea_storage::{Existing, Goal, Journal, Options, Relocating, Step, StorageError, Store};
use std::error::Error;
use std::path::Path;
use std::sync::Mutex;

pub const PARTS: &str = ".t.parts";
pub const STAGING: &str = ".t.moving";

pub fn torrent() -> Torrent {
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

pub const WANTED: [bool; 6] = [true, true, true, true, false, true];

pub fn options() -> Options {
    Options { wanted: Some(WANTED.to_vec()), part_file: Some(PARTS.into()), ..Options::default() }
}

/// As if every directory were a file system of its own, or as it is.
pub fn on(border: bool) -> Options {
    if border { Options { layer: Faulty::with_border(Fault::None, true), ..options() } } else { options() }
}

pub fn goal(root: &Path, torrent: &Torrent, existing: Existing) -> Goal {
    let paths = torrent.files.iter().map(|file| file.path.clone()).collect();
    Goal { root: root.to_owned(), paths, existing, staging: STAGING.into() }
}

/// A step as a test remembers it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noted {
    Copying,
    Placing { staged: bool },
    Placed,
    Over,
}

/// Remembers what it was told, and stops after so many steps, as a kill does.
#[derive(Default)]
pub struct Notes {
    pub noted: Mutex<Vec<Noted>>,
    pub stop: Option<usize>,
}

impl Notes {
    pub fn last(&self) -> Option<Noted> {
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

pub fn relocate(store: &Store, goal: &Goal) -> Result<quelea_storage::Relocated, StorageError> {
    store.relocate(goal, &Notes::default(), &Relocating::default())
}

pub fn needed(torrent: &Torrent) -> Vec<quelea_metainfo::geometry::PieceIndex> {
    torrent.geometry.iter().collect()
}

/// A place in memory, where there is such a place: nothing of this shall wait for a real disk.
pub fn memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}
