//! Renaming files to where they go, all or none.

use std::path::PathBuf;

use super::{Item, Journal, Moved, Plan, Step, note};
use crate::error::StorageError;
use crate::tree::{Refused, Tree};

/// Renames every file that is there from `from` below `tree` to its goal, brings the names to the disk, and has
/// it written down. The files that were moved. After a failure they are back.
pub(super) fn place<'a>(
    tree: &Tree,
    plan: &'a Plan,
    from: impl Fn(&'a Item) -> &'a PathBuf + Copy + 'a,
    journal: &dyn Journal,
) -> Result<Vec<Moved>, Refused> {
    let mut done = Vec::new();
    let moved = try_to_place(tree, plan, from, journal, &mut done);
    if moved.is_err() {
        for item in done.into_iter().rev() {
            // Whatever hinders it, a recovery tries again.
            if plan.goal.rename(&item.to, tree, from(item), false).is_err() {
                tracing::error!(file = ?plan.goal.path_of(&item.to), "can't bring it back to where it was");
            }
        }
        plan.goal.remove_empty_folders(plan.folders(|item| &item.to));
    }
    moved
}

fn try_to_place<'a>(
    tree: &Tree,
    plan: &'a Plan,
    from: impl Fn(&'a Item) -> &'a PathBuf + Copy + 'a,
    journal: &dyn Journal,
    done: &mut Vec<&'a Item>,
) -> Result<Vec<Moved>, Refused> {
    let mut moved = Vec::new();
    for item in &plan.items {
        // Of a copy, what counts is how the original stands: it is known by that.
        let Some(before) = tree.stamp(from(item))? else { continue };
        if tree.rename(from(item), &plan.goal, &item.to, plan.replace)? {
            done.push(item);
            moved.push(Moved { holder: item.holder, before, after: before });
        }
    }
    plan.goal.sync_folders(plan.folders(|item| &item.to))?;
    tree.sync_folders(plan.folders(from))?;
    for (item, moved) in done.iter().zip(&mut moved) {
        let stamp = plan.goal.stamp(&item.to)?;
        moved.after = stamp.ok_or_else(|| StorageError::Vanished(plan.goal.path_of(&item.to)))?;
    }
    note(journal, Step::Placed { moved: &moved })?;
    Ok(moved)
}
