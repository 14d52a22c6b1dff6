//! Files below one download directory, opened through the pool.
//!
//! What the system does by halves (short writes, interruptions) is completed here and in the submodules, and what it refuses
//! becomes an error that names the file.

mod bytes;
mod changes;
mod followed;
mod stamps;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) use changes::Changes;
use followed::{Base, Followed};
pub(crate) use stamps::Stamps;
pub use stamps::Standing;

use crate::error::{Action, StorageError};
use crate::file_layer::{FileLayer, Found, Opening, Stamp};
use crate::file_pool::{FilePool, Key, What};
use crate::links::LinkFault;

pub(crate) struct Tree {
    root: PathBuf,
    layer: Arc<dyn FileLayer>,
    pool: FilePool,
    store: u64,
    read_only: bool,
    /// What was written since somebody asked to be told of it.
    changes: Mutex<Option<Changes>>,
    /// The user's own links.
    followed: Followed,
    /// How each file was left.
    stamps: Stamps,
}

/// What is known of a file before it is opened to be written.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    /// It was not there when somebody looked.
    Absent {
        /// Whether it is to be executed.
        executable: bool,
        /// Whether a file that others have put there since is refused, unless it is empty.
        alone: bool,
    },
    /// It was there, or has been written: when it is there no more, its bytes are lost, and an empty one in its place
    /// would hide that.
    Present,
    Unknown,
}

impl Tree {
    pub(crate) fn new(root: PathBuf, layer: Arc<dyn FileLayer>, pool: FilePool, read_only: bool) -> Self {
        let store = pool.register_store();
        let (changes, followed, stamps) = (Mutex::default(), Followed::default(), Stamps::default());
        Self { root, layer, pool, store, read_only, changes, followed, stamps }
    }

    /// The same kind of tree below another root.
    pub(crate) fn elsewhere(&self, root: PathBuf) -> Self {
        Self::new(root, Arc::clone(&self.layer), self.pool.clone(), self.read_only)
    }

    pub(crate) fn root_path(&self) -> &Path {
        &self.root
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn path_of(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// The download directory; `None` where there is none.
    fn root(&self) -> Result<Option<Arc<OwnedFd>>, StorageError> {
        let key = self.key(What::Root);
        if let Some(root) = self.pool.find(key, false) {
            return Ok(Some(root));
        }
        match uninterrupted(|| self.layer.open_root(&self.root)) {
            Ok(root) => {
                let root = Arc::new(root);
                self.pool.keep(key, false, Arc::clone(&root));
                Ok(Some(root))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::system(Action::Open, &self.root, error)),
        }
    }

    fn root_created(&self) -> Result<Arc<OwnedFd>, StorageError> {
        if let Some(root) = self.root()? {
            return Ok(root);
        }
        uninterrupted(|| self.layer.create_root(&self.root))
            .map_err(|error| StorageError::system(Action::Create, &self.root, error))?;
        self.root()?.ok_or_else(|| {
            StorageError::system(Action::Open, &self.root, io::Error::from(io::ErrorKind::NotFound))
        })
    }

    /// What stands at `path`; `None` where nothing does.
    pub(crate) fn look(&self, path: &Path) -> Result<Option<Found>, StorageError> {
        let Some(base) = self.base(path)? else { return Ok(None) };
        match uninterrupted(|| self.layer.look(base.folder(), base.path())) {
            Ok(found) => Ok(found),
            Err(error) => Err(self.refused(Action::Inspect, path, error)),
        }
    }

    /// The stamp of the ordinary file at `path`; `None` where there is none.
    pub(crate) fn stamp(&self, path: &Path) -> Result<Option<Stamp>, StorageError> {
        let Some(base) = self.base(path)? else { return Ok(None) };
        uninterrupted(|| self.layer.stamp(base.folder(), base.path()))
            .map_err(|error| self.refused(Action::Inspect, path, error))
    }

    /// An open file if it is in the pool; does not open it.
    pub(crate) fn opened(&self, what: What) -> Option<Arc<OwnedFd>> {
        self.pool.find(self.key(what), false)
    }

    /// The file, open to be read; `None` where there is none.
    pub(crate) fn open_to_read(&self, what: What, path: &Path) -> Result<Option<Arc<OwnedFd>>, StorageError> {
        if let Some(file) = self.opened(what) {
            return Ok(Some(file));
        }
        let Some(base) = self.base(path)? else { return Ok(None) };
        let file = match uninterrupted(|| self.layer.open(base.folder(), base.path(), Opening::Read)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.refused(Action::Open, path, error)),
        };
        self.length_of(&file, path)?;
        self.pool.keep(self.key(what), false, Arc::clone(&file));
        Ok(Some(file))
    }

    /// The file, open to be written, created with the folders above it where it is not there. A file that was
    /// there and is longer than `longest` is refused. It stays open in the pool if `keep`.
    pub(crate) fn open_to_write(
        &self,
        what: What,
        path: &Path,
        before: Before,
        longest: u64,
        keep: bool,
    ) -> Result<Arc<OwnedFd>, StorageError> {
        if let Some(file) = self.pool.find(self.key(what), true) {
            return Ok(file);
        }
        if self.read_only {
            return Err(StorageError::ReadOnly(self.path_of(path)));
        }
        let file = match before {
            Before::Absent { executable, alone } => {
                let how = if executable { Opening::CreateExecutable } else { Opening::CreateNew };
                match self.create_new(what, path, how) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        let file = self.open_existing(path, longest)?;
                        if alone && !self.is_ours(what) && self.length_of(&file, path)? > 0 {
                            return Err(StorageError::ForeignFile(self.path_of(path)));
                        }
                        file
                    }
                    Err(error) => return Err(self.refused(Action::Create, path, error)),
                }
            }
            Before::Present if self.look(path)?.is_none() => {
                return Err(StorageError::Vanished(self.path_of(path)));
            }
            Before::Present | Before::Unknown => self.open_existing(path, longest)?,
        };
        let file = Arc::new(file);
        if keep {
            self.pool.keep(self.key(what), true, Arc::clone(&file));
        }
        Ok(file)
    }

    fn open_existing(&self, path: &Path, longest: u64) -> Result<OwnedFd, StorageError> {
        let file =
            self.create(path, Opening::Write).map_err(|error| self.refused(Action::Open, path, error))?;
        let found = self.length_of(&file, path)?;
        if found > longest {
            return Err(StorageError::LongerFile { path: self.path_of(path), found, expected: longest });
        }
        Ok(file)
    }

    fn create(&self, path: &Path, how: Opening) -> io::Result<OwnedFd> {
        let base = self.base_created(path).map_err(into_io)?;
        match uninterrupted(|| self.layer.open(base.folder(), base.path(), how)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => return answer,
        }
        // A folder is missing, or the download directory itself was taken away under our hands.
        drop(base);
        self.pool.close(self.key(What::Root));
        let base = self.base_created(path).map_err(into_io)?;
        uninterrupted(|| self.layer.create_folders(base.folder(), base.path()))?;
        uninterrupted(|| self.layer.open(base.folder(), base.path(), how))
    }

    fn base_created<'p>(&self, path: &'p Path) -> Result<Base<'p>, StorageError> {
        match self.base(path)? {
            Some(base) => Ok(base),
            None => Ok(Base::Root(self.root_created()?, path)),
        }
    }

    /// The length of an open file in bytes, if it is an ordinary one.
    pub(crate) fn length_of(&self, file: &OwnedFd, path: &Path) -> Result<u64, StorageError> {
        match uninterrupted(|| self.layer.describe(file.as_fd())) {
            Ok(Found::File(length)) => Ok(length),
            Ok(Found::Folder | Found::SymbolicLink | Found::Other) => {
                Err(StorageError::NotAFile(self.path_of(path)))
            }
            Err(error) => Err(self.refused(Action::Inspect, path, error)),
        }
    }

    pub(crate) fn sync(&self, file: &OwnedFd, path: &Path) -> Result<(), StorageError> {
        uninterrupted(|| self.layer.sync(file.as_fd()))
            .map_err(|error| self.refused(Action::Sync, path, error))
    }

    /// The number of the file system that a file lies on, if it is known.
    pub(crate) fn file_system(&self, path: &Path) -> Option<u64> {
        let root = self.root().ok()??;
        uninterrupted(|| self.layer.file_system(root.as_fd(), path)).ok()?
    }

    /// Brings all that was written to the file system of a file to the disk: whether that was done.
    pub(crate) fn sync_file_system(&self, file: &OwnedFd) -> bool {
        uninterrupted(|| self.layer.sync_file_system(file.as_fd())).is_ok()
    }

    /// Closes and removes a file, if it is there.
    pub(crate) fn remove(&self, what: What, path: &Path) -> Result<(), StorageError> {
        self.pool.close(self.key(what));
        self.stamps.forget(what);
        let Some(root) = self.root()? else { return Ok(()) };
        match uninterrupted(|| self.layer.remove(root.as_fd(), path)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.refused(Action::Remove, path, error)),
        }
    }

    /// Opens the folder `path`, the root itself for an empty path, creating it if `create`. `None` where there is none.
    pub(crate) fn open_folder(&self, path: &Path, create: bool) -> Result<Option<OwnedFd>, StorageError> {
        if create {
            let root = self.root_created()?;
            uninterrupted(|| self.layer.create_folders(root.as_fd(), &path.join("_")))
                .map_err(|error| self.refused(Action::CreateFolder, path, error))?;
        }
        match uninterrupted(|| self.layer.open_root(&self.path_of(path))) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.refused(Action::Open, path, error)),
        }
    }

    /// Whether this file is what stands at `path`.
    pub(crate) fn is_at(&self, file: &OwnedFd, path: &Path) -> bool {
        let there = self.open_apart(path).ok().flatten();
        there.is_some_and(|there| self.layer.is_same(there.as_fd(), file.as_fd()).unwrap_or(false))
    }

    /// Closes a file, so that what is opened next is what the name leads to.
    pub(crate) fn close(&self, what: What) {
        self.pool.close(self.key(what));
    }

    /// Closes all files, so that what is opened next is what the names lead to.
    pub(crate) fn close_all(&self) {
        self.pool.close_store(self.store);
    }

    /// Whether both trees have the same root, by whatever name; not if one of them is not there.
    pub(crate) fn is_same(&self, other: &Self) -> Result<bool, StorageError> {
        let (Some(ours), Some(theirs)) = (self.root()?, other.root()?) else {
            return Ok(self.root == other.root);
        };
        uninterrupted(|| self.layer.is_same(ours.as_fd(), theirs.as_fd()))
            .map_err(|error| StorageError::system(Action::Inspect, &other.root, error))
    }

    /// Bytes that may still be written below the root, which is created if it is not there.
    pub(crate) fn free_space(&self) -> Result<u64, StorageError> {
        let root = self.root_created()?;
        uninterrupted(|| self.layer.free_space(root.as_fd()))
            .map_err(|error| StorageError::system(Action::Measure, &self.root, error))
    }

    /// Moves a file to another tree, creating the folders above it. False if it is not there.
    pub(crate) fn rename(
        &self,
        path: &Path,
        goal: &Self,
        target: &Path,
        replace: bool,
    ) -> Result<bool, Refused> {
        let Some(root) = self.root()? else { return Ok(false) };
        let goal_root = goal.root_created()?;
        let (from, to) = (root.as_fd(), goal_root.as_fd());
        let rename = || uninterrupted(|| self.layer.rename(from, path, to, target, replace));
        let mut answer = rename();
        if is_not_found(&answer) {
            if self.look(path)?.is_none() {
                return Ok(false);
            }
            uninterrupted(|| self.layer.create_folders(to, target))
                .map_err(|error| goal.refused(Action::CreateFolder, target, error))?;
            answer = rename();
        }
        match answer {
            Ok(()) => Ok(true),
            Err(error) if is_errno(&error, rustix::io::Errno::XDEV) => Err(Refused::OtherFileSystem),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StorageError::Exists(goal.path_of(target)).into())
            }
            Err(error) => Err(goal.refused(Action::Move, target, error).into()),
        }
    }

    /// Creates a folder directly below the root that must not have been there, or must be empty.
    pub(crate) fn create_empty_folder(&self, path: &Path) -> Result<(), StorageError> {
        let root = self.root_created()?;
        match uninterrupted(|| self.layer.remove_folder(root.as_fd(), path)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                return Err(StorageError::Exists(self.path_of(path)));
            }
            Err(error) => return Err(self.refused(Action::CreateFolder, path, error)),
        }
        uninterrupted(|| self.layer.create_folders(root.as_fd(), &path.join("_")))
            .map_err(|error| self.refused(Action::CreateFolder, path, error))
    }

    /// Removes those of these folders that are empty, and then those above them; never the root.
    pub(crate) fn remove_empty_folders<'a>(&self, folders: impl IntoIterator<Item = &'a Path>) {
        let Ok(Some(root)) = self.root() else { return };
        let mut all = std::collections::BTreeSet::new();
        for folder in folders {
            all.extend(folder.ancestors().filter(|at| !at.as_os_str().is_empty()));
        }
        // What lies deeper comes later in this order. What is not empty stays, and so does what is above it.
        for folder in all.into_iter().rev() {
            let _ = uninterrupted(|| self.layer.remove_folder(root.as_fd(), folder));
        }
    }

    /// Brings the names in these folders, and the names of the folders themselves, to the disk.
    pub(crate) fn sync_folders<'a>(
        &self,
        folders: impl IntoIterator<Item = &'a Path>,
    ) -> Result<(), StorageError> {
        let Some(root) = self.root()? else { return Ok(()) };
        let all: std::collections::BTreeSet<&Path> = folders.into_iter().flat_map(Path::ancestors).collect();
        for folder in all {
            match uninterrupted(|| self.layer.sync_folder(root.as_fd(), folder)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.refused(Action::Sync, folder, error)),
            }
        }
        Ok(())
    }

    /// Opens a file that is in no pool: to be read.
    pub(crate) fn open_apart(&self, path: &Path) -> Result<Option<OwnedFd>, StorageError> {
        let Some(base) = self.base(path)? else { return Ok(None) };
        match uninterrupted(|| self.layer.open(base.folder(), base.path(), Opening::Read)) {
            Ok(file) => {
                self.length_of(&file, path)?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.refused(Action::Open, path, error)),
        }
    }

    /// Opens a file that is in no pool: to be written, and new if `new`.
    pub(crate) fn create_apart(&self, path: &Path, new: bool) -> Result<OwnedFd, StorageError> {
        let how = if new { Opening::CreateNew } else { Opening::Write };
        self.create(path, how).map_err(|error| self.refused(Action::Create, path, error))
    }

    /// Gives a copy the permissions of the original, where the file system has any.
    pub(crate) fn copy_mode(&self, from: &OwnedFd, to: &OwnedFd) {
        if let Err(error) = uninterrupted(|| self.layer.copy_mode(from.as_fd(), to.as_fd())) {
            tracing::debug!(%error, "a copy has other permissions than the original");
        }
    }

    /// Sets a file's length.
    pub(crate) fn set_length(&self, file: &OwnedFd, path: &Path, length: u64) -> Result<(), StorageError> {
        uninterrupted(|| self.layer.set_length(file.as_fd(), length))
            .map_err(|error| self.refused(Action::Write, path, error))
    }

    /// The next run of data in a file at or after `offset`, as it is at this moment.
    pub(crate) fn next_run(
        &self,
        file: &OwnedFd,
        path: &Path,
        offset: u64,
    ) -> Result<Option<std::ops::Range<u64>>, StorageError> {
        let refused = |error| self.refused(Action::Inspect, path, error);
        let next = uninterrupted(|| self.layer.next_data(file.as_fd(), offset)).map_err(refused)?;
        let Some(start) = next else { return Ok(None) };
        match uninterrupted(|| self.layer.next_hole(file.as_fd(), start)) {
            Ok(end) => Ok((end > start).then_some(start..end)),
            // It was cut in between.
            Err(error) if is_errno(&error, rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Copies bytes within the system. 0 where it can't be done so.
    pub(crate) fn copy(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &Path,
        run: std::ops::Range<u64>,
    ) -> Result<u64, StorageError> {
        let length = run.end - run.start;
        match uninterrupted(|| self.layer.copy(from.as_fd(), to.as_fd(), run.start, length)) {
            Ok(copied) => Ok(copied),
            Err(error) if is_unsupported(&error) || is_errno(&error, rustix::io::Errno::XDEV) => Ok(0),
            Err(error) => Err(self.refused(Action::Copy, path, error)),
        }
    }

    pub(crate) fn missing(&self, path: &Path, offset: u64) -> StorageError {
        StorageError::Missing { path: self.path_of(path), offset }
    }

    /// The error for a refusal, which names the link where a link was the reason.
    fn refused(&self, action: Action, path: &Path, error: io::Error) -> StorageError {
        let error = match error.downcast::<StorageError>() {
            Ok(ours) => return ours,
            Err(error) => error,
        };
        if is_link(&error) {
            let is_link = |at: &&Path| matches!(self.look(at), Ok(Some(Found::SymbolicLink)));
            let mut above: Vec<&Path> = path.ancestors().filter(|at| !at.as_os_str().is_empty()).collect();
            above.reverse();
            let link = above.into_iter().find(is_link).unwrap_or(path);
            return StorageError::Link { path: self.path_of(link), fault: LinkFault::New };
        }
        StorageError::system(action, &self.path_of(path), error)
    }

    fn key(&self, what: What) -> Key {
        Key { store: self.store, what }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.pool.close_store(self.store);
    }
}

/// Why a file could not be given another place.
pub(crate) enum Refused {
    /// It must be copied.
    OtherFileSystem,
    Failed(StorageError),
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// Repeats a call that a signal interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// Carries our own error through a function that speaks the system's; `refused` takes it out again.
fn into_io(error: StorageError) -> io::Error {
    io::Error::other(error)
}

fn is_link(error: &io::Error) -> bool {
    is_errno(error, rustix::io::Errno::LOOP)
}

fn is_errno(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn is_not_found<T>(answer: &io::Result<T>) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unsupported = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    unsupported.iter().any(|errno| is_errno(error, *errno))
}
