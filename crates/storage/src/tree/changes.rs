//! What was written to files while somebody copies them.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use super::Tree;

/// Runs that are kept apart a file; more of them become one that covers all.
const RUNS: usize = 1_024;

/// The runs of bytes that were written, by the file's path. An empty run stands for the file's length.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    runs: HashMap<PathBuf, Vec<Range<u64>>>,
}

impl Changes {
    pub(super) fn add(&mut self, path: &Path, run: Range<u64>) {
        let Some(runs) = self.runs.get_mut(path) else {
            self.runs.insert(path.to_owned(), vec![run]);
            return;
        };
        match runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            Some(_) | None => runs.push(run),
        }
        if runs.len() > RUNS {
            let start = runs.iter().map(|run| run.start).min().unwrap_or(0);
            let end = runs.iter().map(|run| run.end).max().unwrap_or(0);
            runs.clear();
            runs.push(start..end);
        }
    }

    /// Bytes in all runs.
    pub(crate) fn length(&self) -> u64 {
        self.runs.values().flatten().map(|run| run.end - run.start).sum()
    }

    /// The runs of each file that was written to.
    pub(crate) fn into_files(self) -> impl Iterator<Item = (PathBuf, Vec<Range<u64>>)> {
        self.runs.into_iter()
    }
}

impl Tree {
    /// Begins to take down what is written, or ends it.
    pub(crate) fn watch_changes(&self, watch: bool) {
        *self.changes() = watch.then(Changes::default);
    }

    /// What was written since the last call, if that is taken down.
    pub(crate) fn take_changes(&self) -> Changes {
        self.changes().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn changes(&self) -> MutexGuard<'_, Option<Changes>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes down a change when it is over, however it ends.
pub(super) struct Noted<'a> {
    pub(super) tree: &'a Tree,
    pub(super) path: &'a Path,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(changes) = self.tree.changes().as_mut() {
            changes.add(self.path, self.offset..self.offset + self.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(changes: Changes) -> Vec<Range<u64>> {
        changes.into_files().flat_map(|(_, runs)| runs).collect()
    }

    #[test]
    fn runs_that_meet_are_one() {
        let mut changes = Changes::default();
        changes.add(Path::new("a"), 0..5);
        changes.add(Path::new("a"), 5..9);
        changes.add(Path::new("a"), 20..30);
        assert_eq!(changes.length(), 19);
        assert_eq!(runs(changes), [0..9, 20..30]);
    }

    #[test]
    fn too_many_runs_become_one_that_covers_all() {
        let mut changes = Changes::default();
        for at in 0..=RUNS as u64 {
            changes.add(Path::new("a"), at * 10..at * 10 + 1);
        }
        assert_eq!(runs(changes), vec![0..RUNS as u64 * 10 + 1; 1]);
    }
}
