//! How we left each file, so that a change by somebody else is noticed while the torrent runs.
//!
//! A file's stamp is taken right after each of our own writes and compared right before the next one, when the state is
//! saved, and once a second while the file is given to peers. A stamp that differs then is somebody else's doing. Two
//! kinds of change leave no trace: one within the same tick of the file system's clock as our own last write (a few
//! milliseconds; on file systems that count whole seconds no stamp of ours is a proof, see [`Left::is_proof`]), and
//! bytes that another process changes through a mapping whose pages were dirty already (`mmap(2)`, `MAP_SHARED`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Tree, uninterrupted};
use crate::error::{Action, StorageError};
use crate::file_layer::{Opening, Stamp};
use crate::file_pool::What;

/// Locks that writers to a file take turns by; files share them.
const TURNS: usize = 16;
/// A name is looked up this often while its file is given to peers, in nanoseconds.
const LOOK_EVERY: i64 = 1_000_000_000;

/// A file on the disk beside what our own last write left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Absent,
    /// As we left it, and whoever changes it from here on changes the stamp.
    Ours(Stamp),
    /// As we left it, but so recently that a change might leave the same stamp. It will be [`Standing::Ours`] soon.
    Unsettled,
    /// As we left it as far as can be told, which is not far enough to trust it without hashing.
    Unproven,
    /// Somebody else changed, replaced or removed it.
    Disturbed,
}

/// The files of a tree, as they were left.
#[derive(Default)]
pub(crate) struct Stamps {
    files: Mutex<BTreeMap<What, Left>>,
    turns: [Mutex<()>; TURNS],
}

/// A file as our last write left it, or as it stood when its stamp was taken.
#[derive(Debug, Clone, Copy)]
struct Left {
    /// `None`: there was none, or it could not be found out.
    stamp: Option<Stamp>,
    /// Whether nobody can have changed the file without changing the stamp.
    is_proof: bool,
    state: State,
    /// When its name was looked up last.
    looked: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untouched,
    Disturbed,
    Vanished,
}

impl Stamps {
    fn turn(&self, what: What) -> MutexGuard<'_, ()> {
        let number = match what {
            What::Root => 0,
            What::Parts => 1,
            What::File(file) => file,
        };
        self.turns[number % TURNS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<What, Left>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same files after some went elsewhere, with their stamps before and after that.
    pub(crate) fn moved(&self, moved: impl Iterator<Item = (What, Stamp, Stamp)>) -> Self {
        let mut files = self.files().clone();
        for (what, before, after) in moved {
            let Some(left) = files.get_mut(&what) else { continue };
            if left.stamp != Some(before) {
                left.state = State::Disturbed;
            }
            left.stamp = Some(after);
        }
        Self { files: Mutex::new(files), turns: Default::default() }
    }

    /// Forgets how a file was left.
    pub(crate) fn forget(&self, what: What) {
        self.files().remove(&what);
    }
}

impl Tree {
    /// Takes over how another tree left its files, some of which went elsewhere with these stamps before and after.
    pub(crate) fn take_over_stamps(&mut self, of: &Self, moved: impl Iterator<Item = (What, Stamp, Stamp)>) {
        self.stamps = of.stamps.moved(moved);
    }

    /// The stamp of a file. A change by others is one of what stands there at this moment.
    pub(crate) fn take_stamp(&self, what: What, path: &Path) -> Result<Option<Stamp>, StorageError> {
        let _turn = self.stamps.turn(what);
        let now = self.layer.now();
        let stamp = self.stamp(path)?;
        let is_proof = stamp.is_none_or(|stamp| stamp.is_settled(now));
        let left = Left { stamp, is_proof, state: State::Untouched, looked: now };
        self.stamps.files().insert(what, left);
        Ok(stamp)
    }

    /// The stamp that was taken of a file, if nobody can have changed the file since without being noticed.
    pub(crate) fn proof(&self, what: What) -> Option<Stamp> {
        let left = *self.stamps.files().get(&what)?;
        left.stamp.filter(|_| left.is_proof && left.state == State::Untouched)
    }

    /// Whether the file was created or written by this tree, or was there when its stamp was taken.
    pub(super) fn is_ours(&self, what: What) -> bool {
        let _turn = self.stamps.turn(what);
        self.stamps.files().get(&what).is_some_and(|left| left.stamp.is_some())
    }

    /// Creates a file that must not have been there, to be locked: `None` where it was.
    pub(crate) fn create_to_lock(
        &self,
        what: What,
        path: &Path,
        executable: bool,
    ) -> Result<Option<OwnedFd>, StorageError> {
        let how = if executable { Opening::CreateExecutable } else { Opening::CreateNew };
        match self.create_new(what, path, how) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(self.refused(Action::Create, path, error)),
        }
    }

    /// Creates a file that must not have been there. Another writer that finds it there waits until it is known as ours.
    pub(super) fn create_new(&self, what: What, path: &Path, how: Opening) -> io::Result<OwnedFd> {
        let _turn = self.stamps.turn(what);
        let file = self.create(path, how)?;
        let stamp = self.stamp_of(&file);
        let left = Left { stamp, is_proof: true, state: State::Untouched, looked: self.layer.now() };
        self.stamps.files().insert(what, left);
        Ok(file)
    }

    /// Changes a file: what others did to it before is noticed, and what it is like afterwards is our doing.
    pub(super) fn change<T>(
        &self,
        what: What,
        file: &OwnedFd,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let _turn = self.stamps.turn(what);
        let before = self.stamp_of(file);
        let disturbed = {
            let files = self.stamps.files();
            files.get(&what).is_some_and(|left| left.stamp != before)
        };
        let changed = change();
        let (after, now) = (self.stamp_of(file), self.layer.now());
        let mut files = self.stamps.files();
        let left = files.entry(what).or_insert(Left {
            stamp: None,
            is_proof: true,
            state: State::Untouched,
            looked: now,
        });
        left.stamp = after;
        left.is_proof &= after.is_some_and(|stamp| !stamp.is_coarse());
        if disturbed && left.state == State::Untouched {
            left.state = State::Disturbed;
        }
        changed
    }

    /// How a file stands beside what we left.
    pub(crate) fn standing(&self, what: What, path: &Path) -> Result<Standing, StorageError> {
        let _turn = self.stamps.turn(what);
        let now = self.layer.now();
        let stamp = self.stamp(path)?;
        let mut files = self.stamps.files();
        let (Some(left), Some(stamp)) = (files.get_mut(&what), stamp) else {
            return Ok(if stamp.is_some() { Standing::Unproven } else { Standing::Absent });
        };
        if left.state != State::Untouched || left.stamp != Some(stamp) {
            left.state = State::Disturbed;
            return Ok(Standing::Disturbed);
        }
        Ok(match (left.is_proof, stamp.is_settled(now)) {
            (false, _) => Standing::Unproven,
            (true, false) => Standing::Unsettled,
            (true, true) => Standing::Ours(stamp),
        })
    }

    /// Whether a file must be looked at before it is given to others.
    pub(crate) fn is_look_due(&self, what: What) -> bool {
        let now = self.layer.now();
        let files = self.stamps.files();
        let fresh = |left: &Left| (0..LOOK_EVERY).contains(&now.saturating_sub(left.looked));
        files.get(&what).is_none_or(|left| left.state != State::Untouched || !fresh(left))
    }

    /// Looks at a file before it is given to others, if that is due.
    ///
    /// # Errors
    /// [`StorageError::Disturbed`] or [`StorageError::Vanished`] when somebody else changed or removed it.
    pub(crate) fn look_before_giving(&self, what: What, path: &Path) -> Result<(), StorageError> {
        if !self.is_look_due(what) {
            return Ok(());
        }
        let _turn = self.stamps.turn(what);
        let now = self.layer.now();
        let stamp = self.stamp(path)?;
        let mut files = self.stamps.files();
        let left = files.entry(what).or_insert(Left {
            stamp,
            is_proof: stamp.is_some_and(|stamp| stamp.is_settled(now)),
            state: State::Untouched,
            looked: now,
        });
        left.looked = now;
        if stamp.is_none() {
            left.state = State::Vanished;
            return Err(StorageError::Vanished(self.path_of(path)));
        }
        if left.state != State::Untouched || left.stamp != stamp {
            left.state = State::Disturbed;
            return Err(StorageError::Disturbed(self.path_of(path)));
        }
        Ok(())
    }

    /// The files that somebody else changed since their stamps were taken.
    pub(crate) fn disturbed(&self) -> Vec<What> {
        let files = self.stamps.files();
        files.iter().filter(|(_, left)| left.state == State::Disturbed).map(|(what, _)| *what).collect()
    }

    /// The files that were gone when they were looked at.
    pub(crate) fn vanished(&self) -> Vec<What> {
        let files = self.stamps.files();
        files.iter().filter(|(_, left)| left.state == State::Vanished).map(|(what, _)| *what).collect()
    }

    /// A file that was gone is there again; whether it is the same has to be seen.
    pub(crate) fn is_back(&self, what: What) {
        if let Some(left) = self.stamps.files().get_mut(&what) {
            left.state = State::Disturbed;
        }
    }

    /// The stamp of an open file; `None` where the system does not say.
    fn stamp_of(&self, file: &OwnedFd) -> Option<Stamp> {
        uninterrupted(|| self.layer.stamp_of(file.as_fd())).ok().flatten()
    }
}
