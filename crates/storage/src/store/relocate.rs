//! Bringing a torrent's files elsewhere, or giving them other names, while pieces come and go.
//!
//! # What happens, and in which order
//! Within a file system the files are renamed, while nobody reads or writes. To another file system they are
//! copied first, to a folder of our own at the goal (the staging folder), while reads and writes go on where the
//! files are; what is written meanwhile is copied again. Then, while nobody reads or writes, the last of it is
//! copied, everything is brought to the disk, and the copies are renamed to their names. Only after that are the
//! files removed where they were.
//!
//! Before each of these steps a [`Journal`] is told, so that after a kill or a loss of power [`recover`] brings
//! it to one end or the other:
//!
//! | told last | where the files are | after that |
//! |---|---|---|
//! | [`Step::Copying`] | all of them where they were | the copies are removed |
//! | [`Step::Placing`] | some where they were (or in the staging folder), some at the goal | the rest are renamed |
//! | [`Step::Placed`] | all of them at the goal | what was left behind of copied files is removed |
//! | [`Step::Over`] | told by the step before | nothing |
//!
//! # What is never done
//! Nothing that is at the goal already is replaced unless that is asked for ([`Existing`]), and nothing is removed
//! but the torrent's own files and folders that are left empty.

mod copy;
mod place;
mod recover;

pub use recover::{Interrupted, recover};

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::files::Files;
use super::opening::{check_paths, folder_there};
use super::{Holder, Store};
use crate::error::StorageError;
use crate::file_layer::{Found, Stamp};
use crate::layout::FileIndex;
use crate::part_file::is_plain_name;
use crate::torrent_links::{self, LinkLeftOut, LinkState, TorrentLink, remove_links};
use crate::tree::{Refused, Tree};

/// Where files are to go.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The download directory that they go to.
    pub root: PathBuf,
    /// Where they will be below it, one entry a file; those of pad files mean nothing.
    pub paths: Vec<PathBuf>,
    /// What is done about files that are there already.
    pub existing: Existing,
    /// The plain name of the staging folder, directly below the root: one that nobody else gives to anything.
    pub staging: PathBuf,
}

/// What is done about files that are already where the torrent's files are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Nothing is moved.
    #[default]
    Refuse,
    /// They are replaced by the torrent's, where the torrent has such a file. Folders and links never are.
    Replace,
    /// They are the torrent's from then on, and to be checked; the torrent's own stay where they are. A file that
    /// is longer than the torrent's is refused.
    Adopt,
}

/// A step of a relocation that is about to be taken.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Copies will be made in the staging folder.
    Copying,
    /// Files will be renamed to where they go.
    Placing {
        /// From the staging folder, not from where they were.
        staged: bool,
    },
    /// All files are where they go; from here on they are read and written there.
    Placed {
        /// The files that were moved, and how they stand.
        moved: &'a [Moved],
    },
    /// There is nothing left to do: [`recover`] need not be called.
    Over,
}

/// Writes down how far a relocation is. What it has written must outlast a loss of power when it comes back.
pub trait Journal {
    /// About to take this step. Where it can't be written down the step is not taken, except for [`Step::Over`].
    ///
    /// # Errors
    /// When it can't be written down.
    fn note(&self, step: Step<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// A file that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Which one.
    pub holder: Holder,
    /// How it stood where it was.
    pub before: Stamp,
    /// How it stands where it is.
    pub after: Stamp,
}

/// What a relocation did.
#[derive(Debug, Default)]
pub struct Relocated {
    /// The files that were moved.
    pub moved: Vec<Moved>,
    /// The files that were there already and are the torrent's from here on.
    pub adopted: Vec<FileIndex>,
    /// Whether the files were copied, as between two file systems.
    pub copied: bool,
}

/// How far a relocation is, and the way to cancel it.
#[derive(Default)]
pub struct Relocating {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Relocating {
    /// Bytes that were brought over, and that are to be. Both 0 until that is known.
    pub fn progress(&self) -> (u64, u64) {
        let total = self.total.load(Ordering::Relaxed);
        // What is written meanwhile is copied twice.
        (self.done.load(Ordering::Relaxed).min(total), total)
    }

    /// Cancels it if it has not come so far that all files are at the goal.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wants it cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn go_on(&self) -> Result<(), StorageError> {
        if self.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
    }

    fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Relocating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relocating").field(&self.progress()).finish()
    }
}

/// What goes where.
struct Plan {
    goal: Tree,
    staging: PathBuf,
    replace: bool,
    /// The files that go elsewhere, the part file too.
    items: Vec<Item>,
    adopted: Vec<FileIndex>,
    /// Files that are not moved, but something is in their place at the goal.
    found: Vec<FileIndex>,
    paths: Vec<PathBuf>,
}

/// A file that goes elsewhere, if it is there.
struct Item {
    holder: Holder,
    from: PathBuf,
    to: PathBuf,
    staged: PathBuf,
}

impl Item {
    fn new(holder: Holder, from: &Path, to: &Path, staging: &Path) -> Self {
        let staged = match holder {
            Holder::File(file) => staging.join(file.to_string()),
            Holder::PartFile => staging.join("parts"),
        };
        Self { holder, from: from.to_owned(), to: to.to_owned(), staged }
    }
}

impl Store {
    /// Brings the torrent's files elsewhere, or gives them other names; see the source for the order of things.
    /// Reads and writes go on meanwhile, where the files are. Waits for the disk, and for another change of this
    /// store that is going on.
    ///
    /// # Errors
    /// When something is in the way, there is not enough room, it was cancelled, the journal can't be written or
    /// the system refuses. Then the files are where they were.
    pub fn relocate(
        &self,
        goal: &Goal,
        journal: &dyn Journal,
        progress: &Relocating,
    ) -> Result<Relocated, StorageError> {
        let _change = self.begin_change();
        let plan = Plan::new(&self.files(), goal)?;
        progress.go_on()?;
        // They hold nothing, and would keep folders from being empty; they are made again where the files are then.
        let (root, paths) = (self.root(), self.paths());
        let is_there = |link: &&TorrentLink| link.look(&root, &paths) == LinkState::Good;
        let links: Vec<TorrentLink> = self.links.iter().filter(is_there).copied().collect();
        remove_links(&root, &paths, &links);
        let relocated = self.relocate_files(&plan, goal, journal, progress);
        for LinkLeftOut { path, reason } in torrent_links::make(&self.root(), &self.paths(), &links) {
            tracing::warn!("the link {path:?} is not made: {reason}");
        }
        relocated
    }

    fn relocate_files(
        &self,
        plan: &Plan,
        goal: &Goal,
        journal: &dyn Journal,
        progress: &Relocating,
    ) -> Result<Relocated, StorageError> {
        let reclaimed = {
            let files = self.files();
            let wanted = files.files.iter().zip(&goal.paths).filter(|(place, _)| place.wanted && !place.pad);
            let paths: Vec<&Path> = wanted.map(|(_, path)| path.as_path()).collect();
            self.claim_anew(&goal.root, &paths, true)?
        };
        let relocated = match self.rename_all(plan, journal, progress) {
            Ok(relocated) => relocated,
            Err(Refused::OtherFileSystem) => self.copy_all(plan, journal, progress)?,
            Err(Refused::Failed(error)) => return Err(error),
        };
        self.reclaimed(reclaimed);
        Ok(relocated)
    }

    fn rename_all(
        &self,
        plan: &Plan,
        journal: &dyn Journal,
        progress: &Relocating,
    ) -> Result<Relocated, Refused> {
        note(journal, Step::Placing { staged: false })?;
        let mut files = self.files_alone();
        let placed = place::place(&files.tree, plan, |item| &item.from, journal);
        let moved = match placed {
            Ok(moved) => moved,
            Err(refused) => {
                over(journal);
                return Err(refused);
            }
        };
        let old = switch(&mut files, plan, &moved);
        old.remove_empty_folders(plan.folders(|item| &item.from));
        drop(files);
        let bytes = moved.iter().map(|moved| moved.after.length).sum();
        progress.set_total(bytes);
        progress.add(bytes);
        over(journal);
        Ok(Relocated { moved, adopted: plan.adopted.clone(), copied: false })
    }
}

/// Makes the goal the place where files are read and written. The tree where they were.
fn switch(files: &mut Files, plan: &Plan, moved: &[Moved]) -> Tree {
    for (place, path) in files.files.iter_mut().zip(&plan.paths) {
        place.path.clone_from(path);
    }
    let files_moved = moved.iter().filter_map(|moved| match moved.holder {
        Holder::File(file) => Some(file),
        Holder::PartFile => None,
    });
    for file in &plan.found {
        files.files[file.at()].unproven.store(true, Ordering::Relaxed);
    }
    for file in files_moved.chain(plan.adopted.iter().copied()).chain(plan.found.iter().copied()) {
        files.files[file.at()].absent.store(false, Ordering::Relaxed);
    }
    let mut goal = files.tree.elsewhere(plan.goal.root_path().to_owned());
    let stamps = moved.iter().map(|moved| (moved.holder.what(), moved.before, moved.after));
    goal.take_over_stamps(&files.tree, stamps);
    std::mem::replace(&mut files.tree, goal)
}

impl Plan {
    fn new(files: &Files, goal: &Goal) -> Result<Self, StorageError> {
        if files.tree.is_read_only() {
            return Err(StorageError::ReadOnly(files.tree.root_path().to_owned()));
        }
        if goal.paths.len() != files.files.len() {
            return Err(StorageError::BadFileList("a place was not named for each file"));
        }
        if !is_plain_name(&goal.staging) {
            return Err(StorageError::BadPath(goal.staging.clone()));
        }
        let real = || files.files.iter().zip(&goal.paths).filter(|(file, _)| !file.pad);
        check_paths(real().map(|(_, path)| path.as_path()))?;
        let tree = files.tree.elsewhere(goal.root.clone());
        let same_root = files.tree.is_same(&tree)?;
        let mut plan = Self {
            goal: tree,
            staging: goal.staging.clone(),
            replace: goal.existing == Existing::Replace,
            items: Vec::new(),
            adopted: Vec::new(),
            found: Vec::new(),
            paths: goal.paths.clone(),
        };
        let mut folders = HashMap::new();
        let tree = files.tree.elsewhere(goal.root.clone());
        for holder in files.holders() {
            let Some(from) = files.path_of_holder(holder) else { continue };
            let to = match holder {
                Holder::File(file) => goal.paths[file.at()].as_path(),
                Holder::PartFile => from,
            };
            if same_root && from == to {
                continue;
            }
            if let Some(link) = files.tree.link_above(from) {
                return Err(StorageError::ThroughLink(link));
            }
            let above = to.parent().unwrap_or(Path::new(""));
            let there = if folder_there(&tree, above, &mut folders)? { tree.look(to)? } else { None };
            if let Some(link) = tree.link_above(above) {
                return Err(StorageError::SymbolicLink(link));
            }
            if plan.goes(files, holder, from, to, there, goal.existing)? {
                plan.items.push(Item::new(holder, from, to, &goal.staging));
            }
        }
        Ok(plan)
    }

    /// Whether this file goes to the goal, where `there` is.
    fn goes(
        &mut self,
        files: &Files,
        holder: Holder,
        from: &Path,
        to: &Path,
        there: Option<Found>,
        existing: Existing,
    ) -> Result<bool, StorageError> {
        let full = || self.goal.path_of(to);
        let length = match there {
            None => return Ok(true),
            Some(Found::File(length)) => length,
            Some(Found::SymbolicLink) => return Err(StorageError::SymbolicLink(full())),
            Some(Found::Folder | Found::Other) => return Err(StorageError::NotAFile(full())),
        };
        let ours = matches!(files.tree.look(from), Ok(Some(_)));
        let Holder::File(file) = holder else {
            // Two part files can't become one.
            return if ours && existing == Existing::Replace {
                Ok(true)
            } else {
                Err(StorageError::Exists(full()))
            };
        };
        let wanted = files.is_wanted_file(file);
        match existing {
            Existing::Replace if ours => return Ok(true),
            Existing::Refuse if ours || wanted => return Err(StorageError::Exists(full())),
            Existing::Adopt if ours || wanted => {}
            // Nothing of ours is wanted there: it is what a torrent finds that is opened there.
            Existing::Refuse | Existing::Adopt | Existing::Replace => {}
        }
        let expected = files.layout.length_of(file);
        if wanted && length > expected {
            return Err(StorageError::LongerFile { path: full(), found: length, expected });
        }
        if existing == Existing::Refuse {
            self.found.push(file);
        } else {
            self.adopted.push(file);
        }
        Ok(false)
    }

    /// The folders that the files are in.
    fn folders<'a>(
        &'a self,
        of: impl Fn(&'a Item) -> &'a PathBuf + 'a,
    ) -> impl Iterator<Item = &'a Path> + 'a {
        let folders: std::collections::BTreeSet<&Path> =
            self.items.iter().filter_map(|item| of(item).parent()).collect();
        folders.into_iter()
    }
}

fn note(journal: &dyn Journal, step: Step<'_>) -> Result<(), StorageError> {
    journal.note(step).map_err(StorageError::Journal)
}

/// There is nothing left to do. If that can't be written down, a recovery finds nothing to do.
fn over(journal: &dyn Journal) {
    if let Err(error) = journal.note(Step::Over) {
        tracing::warn!(%error, "it can't be written down that files have been moved");
    }
}
