//! After a kill or a loss of power in the middle of a relocation: to one end or the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Existing, Goal, Holder, Item, Step};
use crate::error::StorageError;
use crate::file_layer::{FileLayer, Found};
use crate::file_pool::FilePool;
use crate::layout::{FileIndex, Layout};
use crate::tree::{Refused, Tree};

/// A relocation that was interrupted.
#[derive(Debug, Clone, Copy)]
pub struct Interrupted<'a> {
    /// The download directory that the files were in.
    pub root: &'a Path,
    /// Where they were below it, one entry a file; those of pad files mean nothing.
    pub paths: &'a [PathBuf],
    /// Which of them are pad files.
    pub pads: &'a [bool],
    /// The name of the part file.
    pub part_file: &'a Path,
    /// Where they were going.
    pub goal: &'a Goal,
    /// The step that was written down last.
    pub step: Step<'a>,
    /// Whether files were copied: what [`Step::Placing`] said last.
    pub staged: bool,
    /// The torrent's files.
    pub layout: &'a Layout,
    /// The files that are known to have been there.
    pub known: &'a [Holder],
}

/// Brings a relocation that was interrupted to the end of its step. Whether the files are at the goal; else they are
/// where they were, and it is over. Where that was [`Step::Placing`], and they are at the goal, [`Step::Placed`] is to
/// be written down, and this to be called for that. May be interrupted itself, and called again.
///
/// # Errors
/// When the files are in neither place, something is in the way, or the system refuses. Nothing is lost then.
pub fn recover(interrupted: Interrupted<'_>, layer: Arc<dyn FileLayer>) -> Result<bool, StorageError> {
    let Interrupted { root, goal, step, staged, .. } = interrupted;
    let pool = FilePool::default();
    let tree = Tree::new(root.to_owned(), layer, pool, false);
    let new = tree.elsewhere(goal.root.clone());
    let same_root = tree.is_same(&new)?;
    let items: Vec<Item> = items(&interrupted).filter(|item| !same_root || item.from != item.to).collect();
    match step {
        Step::Copying => {
            remove_copies(&new, &items, &goal.staging)?;
            Ok(false)
        }
        Step::Placing { staged } => place(&tree, &new, &items, staged, &interrupted),
        Step::Placed { .. } => {
            // Without a record of which files were adopted, none of the originals may be removed.
            if staged && goal.existing != Existing::Adopt {
                remove_originals(&tree, &new, &items)?;
            }
            tree.remove_empty_folders(items.iter().filter_map(|item| item.from.parent()));
            new.remove_empty_folders([goal.staging.as_path()]);
            Ok(true)
        }
        Step::Over => Ok(true),
    }
}

fn items<'a>(interrupted: &Interrupted<'a>) -> impl Iterator<Item = Item> + 'a {
    let Interrupted { paths, pads, part_file, goal, layout, .. } = *interrupted;
    let real = move |file: &FileIndex| pads.get(file.at()) == Some(&false);
    let item = move |file: FileIndex| {
        let (from, to) = (paths.get(file.at())?, goal.paths.get(file.at())?);
        Some(Item::new(Holder::File(file), from, to, &goal.staging))
    };
    let parts = Item::new(Holder::PartFile, part_file, part_file, &goal.staging);
    layout.files().filter(real).filter_map(item).chain([parts])
}

/// Renames what is not renamed yet. False if that can't be done, because it would have to be copied or a copy is gone:
/// then all of it is back where it was.
fn place(
    tree: &Tree,
    new: &Tree,
    items: &[Item],
    staged: bool,
    interrupted: &Interrupted<'_>,
) -> Result<bool, StorageError> {
    let existing = interrupted.goal.existing;
    let source = |item: &Item| if staged { item.staged.clone() } else { item.from.clone() };
    let here = if staged { new } else { tree };
    if staged && is_copy_gone(tree, new, items)? {
        remove_copies(new, items, &interrupted.goal.staging)?;
        return Ok(false);
    }
    let mut found = false;
    for item in items {
        let (from, at_goal) = (source(item), new.look(&item.to)?.is_some());
        if at_goal && existing == Existing::Adopt {
            found = true;
            continue;
        }
        // Systems may say that it would have to be copied before they look whether it is there.
        let renamed = match here
            .look(&from)?
            .map_or(Ok(false), |_| here.rename(&from, new, &item.to, existing == Existing::Replace))
        {
            Ok(renamed) => renamed,
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::OtherFileSystem) if staged => return Err(StorageError::Lost(new.path_of(&item.to))),
            Err(Refused::OtherFileSystem) => {
                take_back(tree, new, items)?;
                return Ok(false);
            }
        };
        found |= renamed || at_goal;
    }
    // One that was never there is no loss, however many others are that do not move.
    let was_there = |item: &Item| interrupted.known.contains(&item.holder);
    if !found && items.iter().any(was_there) {
        return Err(StorageError::Lost(new.root_path().to_owned()));
    }
    new.sync_folders(items.iter().filter_map(|item| item.to.parent()))?;
    tree.sync_folders(items.iter().filter_map(|item| item.from.parent()))?;
    Ok(true)
}

/// Whether a file that was copied has its copy neither in the staging folder nor at the goal. All files have one when the
/// first is renamed, and all originals are there until the last is, so the move had failed and was being taken back.
fn is_copy_gone(tree: &Tree, new: &Tree, items: &[Item]) -> Result<bool, StorageError> {
    for item in items {
        let is_copied = new.look(&item.staged)?.is_some() || new.look(&item.to)?.is_some();
        if !is_copied && tree.look(&item.from)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_copies(new: &Tree, items: &[Item], staging: &Path) -> Result<(), StorageError> {
    for item in items {
        new.remove(item.holder.what(), &item.staged)?;
    }
    new.remove_empty_folders([staging]);
    Ok(())
}

/// Renames what is at the goal alone back to where it was.
fn take_back(tree: &Tree, new: &Tree, items: &[Item]) -> Result<(), StorageError> {
    for item in items {
        if tree.look(&item.from)?.is_none() && new.look(&item.to)?.is_some() {
            match new.rename(&item.to, tree, &item.from, false) {
                Ok(_) => {}
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::OtherFileSystem) => return Err(StorageError::Lost(tree.path_of(&item.from))),
            }
        }
    }
    Ok(())
}

/// Removes what was copied and is whole at the goal, where pieces may have been written to it since.
fn remove_originals(tree: &Tree, new: &Tree, items: &[Item]) -> Result<(), StorageError> {
    for item in items {
        if let (Some(Found::File(length)), Some(Found::File(copied))) =
            (tree.look(&item.from)?, new.look(&item.to)?)
            && length <= copied
        {
            tree.remove(item.holder.what(), &item.from)?;
        }
    }
    Ok(())
}
