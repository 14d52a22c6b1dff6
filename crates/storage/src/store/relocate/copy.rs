//! To another file system: copying while pieces come and go, and the switch to the copies.

use std::collections::HashMap;
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Item, Journal, Moved, Plan, Relocated, Relocating, Step, note, over, place, switch};
use crate::error::StorageError;
use crate::file_layer::Stamp;
use crate::store::Store;
use crate::tree::{Changes, Refused, Tree};

/// How much is copied between two looks at whether it was cancelled, in bytes.
const CHUNK: u64 = 4 << 20;
/// How much is copied at a time where the system does not do it, in bytes.
const BUFFER: usize = 256 * 1024;
/// What may be left to copy while nobody can read or write, in bytes, if writes come no faster than copies go.
const LITTLE: u64 = 1 << 20;
/// How often what was written meanwhile is copied before that.
const ROUNDS: usize = 8;

impl Store {
    pub(super) fn copy_all(
        &self,
        plan: &Plan,
        journal: &dyn Journal,
        progress: &Relocating,
    ) -> Result<Relocated, StorageError> {
        let needed = {
            let files = self.files();
            let lengths = plan.items.iter().map(|item| length_of_data(&files.tree, &item.from));
            lengths.sum::<Result<u64, StorageError>>()?
        };
        let free = plan.goal.free_space()?;
        if needed > free {
            return Err(StorageError::NoRoom { path: plan.goal.root_path().to_owned(), needed, free });
        }
        progress.set_total(needed);
        note(journal, Step::Copying)?;
        let copied = plan.goal.create_empty_folder(&plan.staging).and_then(|()| {
            let copied = self.copy_and_switch(plan, journal, progress);
            if copied.is_err() {
                remove_copies(plan);
            }
            copied
        });
        match copied {
            Ok((moved, old)) => {
                for item in plan.items.iter().filter(|item| has_moved(&moved, item)) {
                    // It is whole at the goal; what stays here is only in the way.
                    if let Err(error) = old.remove(item.holder.what(), &item.from) {
                        tracing::warn!(%error, "a file that was moved is left where it was");
                    }
                }
                old.remove_empty_folders(plan.folders(|item| &item.from));
                plan.goal.remove_empty_folders([plan.staging.as_path()]);
                over(journal);
                Ok(Relocated { moved, adopted: plan.adopted.clone(), copied: true })
            }
            Err(error) => {
                over(journal);
                Err(error)
            }
        }
    }

    /// The files that were moved, and the tree where they still are too.
    fn copy_and_switch(
        &self,
        plan: &Plan,
        journal: &dyn Journal,
        progress: &Relocating,
    ) -> Result<(Vec<Moved>, Tree), StorageError> {
        // Alone, so that no write is under way that would not be taken down.
        self.files_alone().tree.watch_changes(true);
        let _watch = Watch(self);
        let mut copies = Copies { plan, progress, copied: vec![false; plan.items.len()] };
        for number in 0..plan.items.len() {
            copies.copy_file(&self.files().tree, number)?;
        }
        for _ in 0..ROUNDS {
            let changes = self.files().tree.take_changes();
            let left = changes.length();
            copies.copy_changes(&self.files().tree, changes)?;
            if left <= LITTLE {
                break;
            }
        }
        let mut files = self.files_alone();
        copies.copy_changes(&files.tree, files.tree.take_changes())?;
        progress.go_on()?;
        plan.goal.sync_folders([plan.staging.as_path()])?;
        let stamps = plan.items.iter().map(|item| files.tree.stamp(&item.from));
        let stamps: Vec<Option<Stamp>> = stamps.collect::<Result<_, _>>()?;
        note(journal, Step::Placing { staged: true })?;
        // The stamps by which these files are known are those of the originals.
        let known = Known { journal, plan, stamps: &stamps };
        let moved = match place::place(&plan.goal, plan, |item| &item.staged, &known) {
            Ok(moved) => moved,
            Err(Refused::Failed(error)) => return Err(error),
            // The staging folder is on the goal's own file system, unless one is mounted somewhere below it.
            Err(Refused::OtherFileSystem) => {
                return Err(StorageError::NotAFile(plan.goal.root_path().to_owned()));
            }
        };
        let moved = known.of_originals(&moved);
        let old = switch(&mut files, plan, &moved);
        Ok((moved, old))
    }
}

/// Ends the taking down of changes.
struct Watch<'a>(&'a Store);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.files().tree.watch_changes(false);
    }
}

/// A journal that is told how the originals of copies stood.
struct Known<'a> {
    journal: &'a dyn Journal,
    plan: &'a Plan,
    stamps: &'a [Option<Stamp>],
}

impl Known<'_> {
    fn of_originals(&self, moved: &[Moved]) -> Vec<Moved> {
        let stamps: HashMap<_, _> = self.plan.items.iter().map(|item| item.holder).zip(self.stamps).collect();
        let original = |moved: &Moved| {
            let before = stamps.get(&moved.holder).copied().copied().flatten();
            Moved { before: before.unwrap_or(moved.before), ..*moved }
        };
        moved.iter().map(original).collect()
    }
}

impl Journal for Known<'_> {
    fn note(&self, step: Step<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match step {
            Step::Placed { moved } => self.journal.note(Step::Placed { moved: &self.of_originals(moved) }),
            Step::Copying | Step::Placing { .. } | Step::Over => self.journal.note(step),
        }
    }
}

struct Copies<'a> {
    plan: &'a Plan,
    progress: &'a Relocating,
    /// Which files have a copy.
    copied: Vec<bool>,
}

impl Copies<'_> {
    /// Copies a file as it is; its holes stay holes.
    fn copy_file(&mut self, tree: &Tree, number: usize) -> Result<(), StorageError> {
        let item = &self.plan.items[number];
        self.progress.go_on()?;
        let Some(from) = tree.open_apart(&item.from)? else { return Ok(()) };
        let to = self.plan.goal.create_apart(&item.staged, true)?;
        self.copied[number] = true;
        self.plan.goal.copy_mode(&from, &to);
        self.plan.goal.set_length(&to, &item.staged, tree.length_of(&from, &item.from)?)?;
        let mut at = 0;
        while let Some(run) = tree.next_run(&from, &item.from, at)? {
            self.copy_run(tree, item, (&from, &to), run.clone())?;
            at = run.end;
        }
        self.plan.goal.sync(&to, &item.staged)
    }

    /// Copies what was written after it had been copied.
    fn copy_changes(&mut self, tree: &Tree, changes: Changes) -> Result<(), StorageError> {
        let numbers: HashMap<&Path, usize> =
            self.plan.items.iter().zip(0..).map(|(item, number)| (item.from.as_path(), number)).collect();
        for (path, runs) in changes.into_files() {
            // What does not move stays, and is read where it is.
            let Some(&number) = numbers.get(path.as_path()) else { continue };
            if !self.copied[number] {
                self.copy_file(tree, number)?;
                continue;
            }
            let item = &self.plan.items[number];
            let Some(from) = tree.open_apart(&item.from)? else { continue };
            let to = self.plan.goal.create_apart(&item.staged, false)?;
            let length = tree.length_of(&from, &item.from)?;
            self.plan.goal.set_length(&to, &item.staged, length)?;
            for run in runs {
                let run = run.start.min(length)..run.end.min(length);
                self.copy_run(tree, item, (&from, &to), run)?;
            }
            self.plan.goal.sync(&to, &item.staged)?;
        }
        Ok(())
    }

    fn copy_run(
        &self,
        tree: &Tree,
        item: &Item,
        (from, to): (&OwnedFd, &OwnedFd),
        run: Range<u64>,
    ) -> Result<(), StorageError> {
        let goal = &self.plan.goal;
        let mut at = run.start;
        let mut buffer = Vec::new();
        while at < run.end {
            self.progress.go_on()?;
            let mut copied = 0;
            if buffer.is_empty() {
                copied = goal.copy(from, to, &item.staged, at..run.end.min(at + CHUNK))?;
            }
            if copied == 0 {
                buffer.resize(BUFFER, 0);
                let some = &mut buffer[..BUFFER.min((run.end - at) as usize)];
                tree.read_exact(from, &item.from, some, at)?;
                goal.write_all(item.holder.what(), to, &item.staged, &mut [IoSlice::new(some)], at)?;
                copied = some.len() as u64;
            }
            at += copied;
            self.progress.add(copied);
        }
        Ok(())
    }
}

/// Bytes of a file that are not holes.
fn length_of_data(tree: &Tree, path: &Path) -> Result<u64, StorageError> {
    let Some(file) = tree.open_apart(path)? else { return Ok(0) };
    let (mut at, mut length) = (0, 0);
    while let Some(run) = tree.next_run(&file, path, at)? {
        length += run.end - run.start;
        at = run.end;
    }
    Ok(length)
}

fn has_moved(moved: &[Moved], item: &Item) -> bool {
    // Both are in the same order, but not every item was there.
    moved.binary_search_by_key(&item.holder, |moved| moved.holder).is_ok()
}

/// Removes the copies; what can't be removed stays, and says so when it is in the way.
fn remove_copies(plan: &Plan) {
    for item in &plan.items {
        if let Err(error) = plan.goal.remove(item.holder.what(), &item.staged) {
            tracing::warn!(%error, "a copy is left behind");
        }
    }
    plan.goal.remove_empty_folders([plan.staging.as_path()]);
}
