//! Deleting a torrent's files.

use crate::error::{Action, StorageError};
use crate::store::FileSpec;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Deletes these files below `root`, the part file there, and those of the folders above the files that are empty
/// then, `root` itself left out. What is not there is no error. Nothing but ordinary files is deleted, and no
/// symbolic link is followed.
///
/// # Errors
/// The first that the system refuses; the others are deleted all the same.
pub fn remove_files(root: &Path, files: &[FileSpec], parts: &Path) -> Result<(), StorageError> {
    let mut result = Ok(());
    let mut folders = BTreeSet::new();
    let wanted = files.iter().filter(|file| !file.pad).map(|file| file.path.as_path());
    for path in wanted.chain([parts]) {
        if let Err(error) = remove_file(root, path) {
            result = result.and(Err(error));
        }
        folders.extend(path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()));
    }
    // What lies deeper comes later in this order.
    for folder in folders.into_iter().rev() {
        if leads_through_folders(root, folder).is_ok_and(|through| through) {
            // One that is not empty stays.
            let _ = std::fs::remove_dir(root.join(folder));
        }
    }
    result
}

fn remove_file(root: &Path, path: &Path) -> Result<(), StorageError> {
    let whole = root.join(path);
    let failed = |error| StorageError::system(Action::Remove, &whole, error);
    if !leads_through_folders(root, path.parent().unwrap_or(Path::new(""))).map_err(failed)? {
        return Ok(());
    }
    match whole.symlink_metadata() {
        Ok(found) if found.is_file() => std::fs::remove_file(&whole).map_err(failed),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether every element of `path` below `root` is a folder and no link to one.
fn leads_through_folders(root: &Path, path: &Path) -> std::io::Result<bool> {
    let mut at = PathBuf::from(root);
    for element in path {
        at.push(element);
        match at.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
