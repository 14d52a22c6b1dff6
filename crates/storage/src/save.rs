//! Writing a small file so that it is there whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Something is there already.
    #[error("{0:?} is there already")]
    Exists(PathBuf),
    /// The system refused.
    #[error("can't write {path:?}: {source}")]
    System {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl SaveError {
    fn system(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AlreadyExists {
            Self::Exists(path.to_owned())
        } else {
            Self::System { path: path.to_owned(), source }
        }
    }
}

/// Whether a file may be written to `path`: whether something is there already that must not be replaced, and
/// whether the folder takes a file. For asking before work that would be in vain.
///
/// # Errors
/// As [`save`].
pub fn may_save(path: &Path, replace: bool) -> Result<(), SaveError> {
    refuse_existing(path, replace)?;
    Temporary::create(path).map(drop)
}

/// Writes a file whole or not at all: beside `path` first, brought to the disk, then renamed. What is there
/// already stays unless it may be replaced; two who write at once do not undo each other.
///
/// # Errors
/// When there is something at `path`, or the system refuses.
pub fn save(path: &Path, bytes: &[u8], replace: bool) -> Result<(), SaveError> {
    refuse_existing(path, replace)?;
    let mut temporary = Temporary::create(path)?;
    let written = temporary.file.write_all(bytes).and_then(|()| temporary.file.sync_all());
    written.map_err(|error| SaveError::system(path, error))?;
    temporary.rename(path, replace).map_err(|error| SaveError::system(path, error))?;
    // The name is as safe as the bytes once the folder is on the disk too; some file systems can't say.
    if let Ok(folder) = fs::File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn refuse_existing(path: &Path, replace: bool) -> Result<(), SaveError> {
    let error = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => io::Error::from(rustix::io::Errno::ISDIR),
        Ok(_) if !replace => io::Error::from(rustix::io::Errno::EXIST),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
    };
    Err(SaveError::system(path, error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file beside the one that it is to become; gone when it does not.
struct Temporary {
    path: PathBuf,
    file: fs::File,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self, SaveError> {
        let mut number = 0;
        loop {
            let name = format!(".quelea-{}-{number}.tmp", std::process::id());
            let path = folder_of(target).join(name);
            match fs::File::create_new(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1_000 => number += 1,
                Err(error) => return Err(SaveError::system(target, error)),
            }
        }
    }

    fn rename(&self, target: &Path, replace: bool) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        if replace {
            return fs::rename(&self.path, target);
        }
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            // File systems that can't promise it; `target` was not there a moment ago.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(&self.path, target),
            answer => Ok(answer?),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        may_save(&path, false).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
        save(&path, b"one", false).unwrap();
        save(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_is_there_stays_unless_it_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(may_save(&path, false), Err(SaveError::Exists(_))));
        assert!(matches!(save(&path, b"ours", false), Err(SaveError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["a"]);
        may_save(&path, true).unwrap();
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let temporary = Temporary::create(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert_eq!(temporary.rename(&path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(temporary);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(save(&path, b"ours", false).is_err());
        save(&path, b"ours", true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
        assert_eq!(fs::read(&path).unwrap(), b"ours");
    }

    #[test]
    fn folders_and_missing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("no/such")] {
            for replace in [false, true] {
                assert!(matches!(may_save(&path, replace), Err(SaveError::System { .. })), "{path:?}");
                assert!(matches!(save(&path, b"", replace), Err(SaveError::System { .. })), "{path:?}");
            }
        }
    }
}
