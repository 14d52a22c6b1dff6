//! One process at a time works on a torrent in a directory.
//!
//! A session has one file in the state directory, which says which process it is, under the system's advisory lock. That
//! lock ends with the process, however it ends. The right to a torrent in a directory is a further name of that file
//! (a hard link): nobody can make the same name twice, it keeps no file open, and where thousands come and go it makes
//! no file either, which costs a file system much more. A name that is there says who has the torrent, as long as the
//! file that it leads to is locked; else its session is dead, and the name is given to who asks for it.
//!
//! Where a file system knows no hard links, each right is a locked file of its own.

use super::database::{Name, create_folder};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const FOLDER: &str = "locks";
/// Held while a session's file is made, or a name is taken over, so that nobody takes away what another has just made.
const GUARD: &str = "guard";

/// The rights of one session.
#[derive(Debug)]
pub(crate) struct Locks {
    folder: PathBuf,
    token: Mutex<Option<Arc<Token>>>,
}

/// The right to work on a torrent in a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Its name; `None` where that is the token's own.
    path: Option<PathBuf>,
    /// Keeps the lock.
    _token: Arc<Token>,
}

/// A file that is locked as long as it is held.
#[derive(Debug)]
struct Token {
    path: PathBuf,
    _file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another process, or another session of this one, has it.
    Held {
        by: Option<u32>,
    },
    System(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Locks {
    pub(crate) fn new(state_directory: &Path) -> Self {
        Self { folder: state_directory.join(FOLDER), token: Mutex::default() }
    }

    pub(crate) fn take(&self, name: &Name) -> Result<Lock, Refused> {
        let path = self.folder.join(file_name(name));
        let mut token = self.token(None)?;
        let mut linked = std::fs::hard_link(&token.path, &path);
        // It has as many names as the file system lets a file have, or somebody has removed it.
        if let Err(error) = &linked
            && (Errno::from_io_error(error) == Some(Errno::MLINK) || error.kind() == ErrorKind::NotFound)
        {
            token = self.token(Some(&token))?;
            linked = std::fs::hard_link(&token.path, &path);
        }
        match linked {
            Ok(()) => Ok(Lock { path: Some(path), _token: token }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.take_over(&path, Some(&token)),
            Err(_) => self.take_over(&path, None),
        }
    }

    /// The session's file, but for one that is of no use any more.
    fn token(&self, used_up: Option<&Arc<Token>>) -> Result<Arc<Token>, Refused> {
        let mut slot = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |token: &&Arc<Token>| used_up.is_none_or(|used_up| !Arc::ptr_eq(token, used_up));
        if let Some(token) = slot.as_ref().filter(usable) {
            return Ok(Arc::clone(token));
        }
        create_folder(&self.folder)?;
        let _guard = self.guard()?;
        let mut number = 0u32;
        let token = loop {
            let path = self.folder.join(format!("{}-{number}.session", std::process::id()));
            match Token::create(&path) {
                Ok(token) => break Arc::new(token),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
            match clear(&path) {
                Ok(()) => {}
                Err(Refused::Held { .. }) => number += 1,
                Err(error @ Refused::System(_)) => return Err(error),
            }
        };
        *slot = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Takes a name that a dead session may have left. Without a token the name gets a file of its own.
    fn take_over(&self, path: &Path, token: Option<&Arc<Token>>) -> Result<Lock, Refused> {
        let _guard = self.guard()?;
        loop {
            let taken = match token {
                Some(token) => std::fs::hard_link(&token.path, path)
                    .map(|()| Lock { path: Some(path.to_owned()), _token: Arc::clone(token) }),
                None => Token::create(path).map(|token| Lock { path: None, _token: Arc::new(token) }),
            };
            match taken {
                Ok(lock) => return Ok(lock),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => clear(path)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn guard(&self) -> io::Result<File> {
        let guard = File::options().create(true).append(true).open(self.folder.join(GUARD))?;
        guard.lock()?;
        Ok(guard)
    }
}

impl Token {
    /// A file that was not there. For who has the guard.
    fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.lock()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { path: path.to_owned(), _file: file })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // Removed while it is locked, so that nobody's else is. One that stays does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a name that its owner has left. For who has the guard.
fn clear(path: &Path) -> Result<(), Refused> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Refused::Held { by: holder(&mut file) }),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    // An owner that lives removes its names before it gives the file up. So this one is dead, or the name has gone since
    // it was opened, and may be another's.
    let same = |there: std::fs::Metadata, ours: std::fs::Metadata| {
        (there.dev(), there.ino()) == (ours.dev(), ours.ino())
    };
    if path.metadata().is_ok_and(|there| file.metadata().is_ok_and(|ours| same(there, ours))) {
        std::fs::remove_file(path)?;
    }
    Ok(())
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
    use std::sync::Barrier;

    fn name(directory: &str) -> Name {
        Name { info_hash: [7; 20], directory: directory.as_bytes().to_vec() }
    }

    fn path(folder: &Path, directory: &str) -> PathBuf {
        folder.join(FOLDER).join(file_name(&name(directory)))
    }

    /// What the names of a session that is dead lead to.
    fn dead_session(folder: &Path, directories: &[&str]) {
        create_folder(&folder.join(FOLDER)).unwrap();
        let session = folder.join(FOLDER).join("1-0.session");
        std::fs::write(&session, "1\n").unwrap();
        for directory in directories {
            std::fs::hard_link(&session, path(folder, directory)).unwrap();
        }
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let locks = [Locks::new(folder.path()), Locks::new(folder.path())];
        let first = locks[0].take(&name("a")).unwrap();
        for locks in &locks {
            let Err(Refused::Held { by }) = locks.take(&name("a")) else { panic!("not refused") };
            assert_eq!(by, Some(std::process::id()));
        }
        let _other = locks[1].take(&name("b")).unwrap();
        drop(first);
        let again = locks[1].take(&name("a")).unwrap();
        drop(again);
        assert!(!path(folder.path(), "a").exists());
    }

    #[test]
    fn a_right_outlasts_what_gave_it_and_nothing_is_left_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path());
        let lock = locks.take(&name("a")).unwrap();
        drop(locks);
        assert!(matches!(Locks::new(folder.path()).take(&name("a")), Err(Refused::Held { .. })));
        drop(lock);
        let left = std::fs::read_dir(folder.path().join(FOLDER)).unwrap();
        assert_eq!(left.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), [GUARD]);
    }

    #[test]
    fn what_a_dead_process_left_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        dead_session(folder.path(), &["a", "b"]);
        std::fs::write(path(folder.path(), "c"), "1\n").unwrap();
        let locks = Locks::new(folder.path());
        let _locks = ["a", "b", "c"].map(|directory| locks.take(&name(directory)).unwrap());
        assert!(matches!(locks.take(&name("b")), Err(Refused::Held { .. })));
    }

    #[test]
    fn a_dead_process_of_the_same_number_has_nothing_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        dead_session(folder.path(), &["a"]);
        let session = folder.path().join(FOLDER).join(format!("{}-0.session", std::process::id()));
        std::fs::rename(folder.path().join(FOLDER).join("1-0.session"), &session).unwrap();
        let locks = Locks::new(folder.path());
        let _b = locks.take(&name("b")).unwrap();
        let _a = locks.take(&name("a")).unwrap();
    }

    #[test]
    fn of_those_who_take_over_at_once_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            dead_session(folder.path(), &["a"]);
            let start = Barrier::new(4);
            let take = || {
                let locks = Locks::new(folder.path());
                start.wait();
                let lock = locks.take(&name("a"));
                start.wait();
                lock.is_ok()
            };
            let taken = std::thread::scope(|scope| {
                let takers = [(); 4].map(|()| scope.spawn(take));
                takers.map(|taker| taker.join().unwrap())
            });
            assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
        }
    }

    #[test]
    fn a_file_that_somebody_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path());
        drop(locks.take(&name("a")).unwrap());
        std::fs::remove_dir_all(folder.path().join(FOLDER)).unwrap();
        let _a = locks.take(&name("a")).unwrap();
        assert!(matches!(locks.take(&name("a")), Err(Refused::Held { .. })));
    }

    #[test]
    fn without_links_each_right_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path());
        drop(locks.take(&name("b")).unwrap());
        std::fs::write(path(folder.path(), "a"), "1\n").unwrap();
        let of_its_own = |directory| locks.take_over(&path(folder.path(), directory), None);
        let lock = of_its_own("a").unwrap();
        assert!(matches!(of_its_own("a"), Err(Refused::Held { .. })));
        assert!(matches!(locks.take(&name("a")), Err(Refused::Held { .. })));
        drop(lock);
        assert!(!path(folder.path(), "a").exists());
    }
}
