//! One process at a time works on a torrent in a directory.
//!
//! The lock is the system's advisory lock on a file in the state directory; it ends with the process that holds
//! it, however that ends, so a file that is left behind is no obstacle. The file says which process holds it.

use super::database::{Name, create_folder};
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FOLDER: &str = "locks";

/// The right to work on a torrent in a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another process, or another session of this one, has it.
    Held {
        by: Option<u32>,
    },
    System(std::io::Error),
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

impl Lock {
    pub(crate) fn take(state_directory: &Path, name: &Name) -> Result<Self, Refused> {
        let folder = state_directory.join(FOLDER);
        create_folder(&folder)?;
        let path = folder.join(file_name(name));
        loop {
            let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Refused::Held { by: holder(&mut file) }),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // Whoever had it may have removed the file between our opening and our locking it.
            let same = |there: std::fs::Metadata, ours: std::fs::Metadata| {
                (there.dev(), there.ino()) == (ours.dev(), ours.ino())
            };
            if path.metadata().is_ok_and(|there| file.metadata().is_ok_and(|ours| same(there, ours))) {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is locked, so that nobody's else is. One that stays does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn file_name(name: &Name) -> String {
    let digest = quelea_digest::sha1(&[&name.info_hash[..], &name.directory].concat());
    digest.iter().map(|byte| format!("{byte:02x}")).chain([".lock".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(directory: &str) -> Name {
        Name { info_hash: [7; 20], directory: directory.as_bytes().to_vec() }
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), &name("a")).unwrap();
        let Err(Refused::Held { by }) = Lock::take(folder.path(), &name("a")) else { panic!("not refused") };
        assert_eq!(by, Some(std::process::id()));
        let _other = Lock::take(folder.path(), &name("b")).unwrap();
        drop(first);
        let again = Lock::take(folder.path(), &name("a")).unwrap();
        drop(again);
        assert_eq!(std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_a_dead_process_left_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        create_folder(&folder.path().join(FOLDER)).unwrap();
        std::fs::write(folder.path().join(FOLDER).join(file_name(&name("a"))), "1\n").unwrap();
        Lock::take(folder.path(), &name("a")).unwrap();
    }
}
