//! The right to work on a store's files, against other stores of the session ([`Claims`]) and against other processes.
//!
//! Processes exclude each other by advisory locks (`flock`) on the files themselves, so the locks work whatever state the
//! processes keep and by whatever path they reach a file. A lock ends with its process and leaves nothing behind. A store
//! that checks holds shared locks, a store that writes holds exclusive ones, and a store that reads or rests holds none.
//! Each lock keeps a file open, so a torrent of more than four files locks its folder instead:
//!
//! | | the directory | the torrent's folder | its files |
//! |---|---|---|---|
//! | up to four files | shared | shared | exclusive |
//! | more | shared | exclusive | |
//!
//! A missing file or folder is created for its lock, and removed again if nothing was written to it. File systems without
//! such locks are used without them.

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::collections::HashMap;
#[cfg(target_os = "linux")]
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Store;
use super::files::Files;
use crate::claims::{Below, Claim, Claimed, Claims, Clash, Purpose};
use crate::error::StorageError;
use crate::file_pool::What;
use crate::layout::FileIndex;

/// The most files that are locked one by one; a torrent of more files locks its folder.
const FILES_LOCKED: usize = 4;

/// The most reads of the system's list of locks in search of a lock's owner.
const READS_OF_LOCKS: usize = 5;

/// A store's rights.
pub(super) struct Rights {
    claims: Claims,
    owner: Arc<str>,
    is_writing: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    claim: Option<(Claim, Purpose)>,
    locks: Vec<Lock>,
    /// Whether the rights were given up for good.
    is_over: bool,
}

impl Held {
    fn set_purpose(&mut self, wanted: Purpose) -> Result<(), StorageError> {
        if self.is_over {
            return Err(StorageError::Cancelled);
        }
        if let Some((claim, purpose)) = &mut self.claim {
            claim.set_purpose(wanted)?;
            *purpose = wanted;
        }
        Ok(())
    }
}

/// A locked file or folder.
struct Lock {
    goal: Goal,
    opened: OwnedFd,
    /// Whether it was created for the lock.
    made: bool,
    /// Whether the lock was ever had.
    held: bool,
}

/// A file or folder to lock.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    /// The download directory or the torrent's folder in it, by its path below the directory, and whether the lock is
    /// exclusive when the files are written.
    Folder(PathBuf, bool),
    File(FileIndex),
}

/// The strength of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Checking,
    Writing,
}

impl Rights {
    pub(super) fn new(claims: Claims, owner: &str) -> Self {
        Self { claims, owner: owner.into(), is_writing: AtomicBool::new(false), held: Mutex::default() }
    }

    /// Claims and locks the files for checking.
    pub(super) fn claim(&self, files: &Files) -> Result<(), StorageError> {
        let paths: Vec<&Path> = files.claimed_paths(|place| place.wanted && !place.pad).collect();
        let claimed = claimed(files.tree.root_path(), &paths);
        let mut held = self.held();
        held.claim = Some((self.claims.enter(&self.owner, &claimed, None)?, Purpose::Checking));
        files.lock(&mut held.locks, Mode::Checking)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Takes the exclusive right to the files before they are written; does nothing if the store has it already.
    /// [`Store::write_piece`] calls it.
    ///
    /// # Errors
    /// [`StorageError::OtherTorrent`] and [`StorageError::OtherProcess`], or the system refuses.
    pub fn begin_writing(&self) -> Result<(), StorageError> {
        let Some(rights) = &self.rights else { return Ok(()) };
        if rights.is_writing.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut held = rights.held();
        held.set_purpose(Purpose::Writing)?;
        if let Err(error) = self.files().lock(&mut held.locks, Mode::Writing) {
            held.set_purpose(Purpose::Checking)?;
            return Err(error);
        }
        rights.is_writing.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the store has the right to write. A store without claims has it unless it is read-only.
    pub fn is_writing(&self) -> bool {
        match &self.rights {
            Some(rights) => rights.is_writing.load(Ordering::Acquire),
            None => !self.files().tree.is_read_only(),
        }
    }

    /// Gives up the exclusive right: from here on the files are read.
    ///
    /// # Errors
    /// [`StorageError::OtherTorrent`], if the store did not have the right to write and another one has it.
    pub fn end_writing(&self) -> Result<(), StorageError> {
        let Some(rights) = &self.rights else { return Ok(()) };
        let mut held = rights.held();
        rights.is_writing.store(false, Ordering::Release);
        held.set_purpose(Purpose::Reading)?;
        self.files().unlock(&mut held.locks);
        Ok(())
    }

    /// Claims further files, or the files at another place. With `moved`, the claim fails if another store reads or writes
    /// one of them, here or there.
    pub(super) fn claim_anew(
        &self,
        root: &Path,
        paths: &[&Path],
        moved: bool,
    ) -> Result<Option<Reclaimed>, StorageError> {
        let Some(rights) = &self.rights else { return Ok(None) };
        let held = rights.held();
        let Some((own, _)) = &held.claim else { return Ok(None) };
        if moved {
            own.make_sure_it_is_alone()?;
        }
        let claim = rights.claims.enter(&rights.owner, &claimed(root, paths), Some(own))?;
        if moved {
            claim.make_sure_it_is_alone()?;
        }
        Ok(Some(Reclaimed(claim)))
    }

    /// Replaces the claim once the files are as `claim` says.
    pub(super) fn reclaimed(&self, claim: Option<Reclaimed>) {
        let (Some(rights), Some(Reclaimed(claim))) = (&self.rights, claim) else { return };
        let mut held = rights.held();
        let purpose = held.claim.as_ref().map_or(Purpose::Checking, |(_, purpose)| *purpose);
        // The old claim is dropped after the new one has its purpose, so no other store gets in between.
        let mut kept = claim.set_purpose(purpose).map_err(StorageError::from);
        held.claim = Some((claim, purpose));
        let files = self.files();
        files.unlock(&mut held.locks);
        if purpose == Purpose::Writing && kept.is_ok() {
            kept = files.lock(&mut held.locks, Mode::Writing);
        }
        if let Err(error) = kept {
            tracing::warn!(%error, "the right to the files was lost; the next write asks for it again");
            rights.is_writing.store(false, Ordering::Release);
            held.claim.as_mut().into_iter().for_each(|(_, purpose)| *purpose = Purpose::Checking);
        }
    }

    /// Gives up all rights for good: later writes fail. Dropping the store does the same.
    pub fn disclaim(&self) {
        let Some(rights) = &self.rights else { return };
        let mut held = rights.held();
        rights.is_writing.store(false, Ordering::Release);
        held.is_over = true;
        self.files().unlock(&mut held.locks);
        held.claim = None;
    }
}

/// A claim that is to replace the present one.
pub(super) struct Reclaimed(Claim);

impl Files {
    /// The paths of the files to claim.
    pub(super) fn claimed_paths(
        &self,
        mut is_claimed: impl FnMut(&super::files::Place) -> bool,
    ) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(move |place| is_claimed(place)).map(|place| place.path.as_path())
    }

    /// The files and folders to lock, folders first, in an order that all processes share.
    fn goals(&self) -> Vec<Goal> {
        let wanted = |file: &FileIndex| self.is_wanted_file(*file) && self.layout.length_of(*file) > 0;
        let mut files: Vec<FileIndex> = self.layout.files().filter(wanted).take(FILES_LOCKED + 1).collect();
        let is_few = files.len() <= FILES_LOCKED;
        let mut folders: Vec<PathBuf> = self
            .layout
            .files()
            .filter(wanted)
            .filter_map(|file| {
                let mut components = self.path_of(file).components();
                let first = components.next()?;
                components.next().map(|_| PathBuf::from(first.as_os_str()))
            })
            .collect();
        folders.sort();
        folders.dedup();
        // Renamed files may lie in many folders.
        folders.truncate(FILES_LOCKED);
        files.sort_by(|a, b| self.path_of(*a).cmp(self.path_of(*b)));
        files.truncate(if is_few || folders.is_empty() { FILES_LOCKED } else { 0 });
        let root = Goal::Folder(PathBuf::new(), false);
        let folders = folders.into_iter().map(|folder| Goal::Folder(folder, !is_few));
        [root].into_iter().chain(folders).chain(files.into_iter().map(Goal::File)).collect()
    }

    /// Locks existing files and folders; to write, also creates and locks the missing ones.
    fn lock(&self, locks: &mut Vec<Lock>, mode: Mode) -> Result<(), StorageError> {
        if self.tree.is_read_only() {
            return Ok(());
        }
        let result = self.goals().iter().try_for_each(|goal| self.lock_one(locks, goal, mode));
        if result.is_err() {
            self.unlock(locks);
        }
        result
    }

    fn lock_one(&self, locks: &mut Vec<Lock>, goal: &Goal, mode: Mode) -> Result<(), StorageError> {
        let at = match locks.iter().position(|lock| lock.goal == *goal) {
            Some(at) => at,
            None => {
                let Some((opened, made)) = self.open_to_lock(goal, mode)? else { return Ok(()) };
                locks.push(Lock { goal: goal.clone(), opened, made, held: false });
                locks.len() - 1
            }
        };
        let alone = mode == Mode::Writing && !matches!(goal, Goal::Folder(_, false));
        let operation = if alone {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        loop {
            match rustix::fs::flock(&locks[at].opened, operation) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let process = holder(&locks[at].opened);
                    let path = self.tree.path_of(self.path_to_lock(goal));
                    return Err(StorageError::OtherProcess { path, process });
                }
                Ok(()) => {
                    locks[at].held = true;
                    return self.make_sure_it_is_there(goal, &locks[at].opened);
                }
                // The file system has no such locks.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Fails if another file took the place of a locked one: its lock keeps nobody out.
    fn make_sure_it_is_there(&self, goal: &Goal, opened: &OwnedFd) -> Result<(), StorageError> {
        let Goal::File(file) = goal else { return Ok(()) };
        let path = self.path_of(*file);
        if self.tree.is_at(opened, path) || self.tree.look(path)?.is_none() {
            return Ok(());
        }
        Err(StorageError::OtherProcess { path: self.tree.path_of(path), process: None })
    }

    fn path_to_lock<'a>(&'a self, goal: &'a Goal) -> &'a Path {
        match goal {
            Goal::Folder(path, _) => path,
            Goal::File(file) => self.path_of(*file),
        }
    }

    /// Opens a file or folder to lock it, and tells whether it was created. `None` if it is missing and need not exist, or
    /// if the system refuses.
    fn open_to_lock(&self, goal: &Goal, mode: Mode) -> Result<Option<(OwnedFd, bool)>, StorageError> {
        let opened = match goal {
            Goal::Folder(path, _) => {
                let opened = self.tree.open_folder(path, mode == Mode::Writing);
                opened.map(|opened| opened.map(|opened| (opened, false)))
            }
            Goal::File(file)
                if mode == Mode::Writing && self.files[file.at()].absent.load(Ordering::Relaxed) =>
            {
                self.create_to_lock(*file)
            }
            Goal::File(file) => {
                self.tree.open_apart(self.path_of(*file)).map(|opened| opened.map(|opened| (opened, false)))
            }
        };
        match opened {
            // The first write meets the same error, if there is a write at all.
            Err(StorageError::System { .. }) => Ok(None),
            opened => opened,
        }
    }

    fn create_to_lock(&self, file: FileIndex) -> Result<Option<(OwnedFd, bool)>, StorageError> {
        let path = self.path_of(file);
        // The rest of the store treats the file as absent until it is written to.
        if let Some(opened) =
            self.tree.create_to_lock(What::File(file.at()), path, self.files[file.at()].executable)?
        {
            return Ok(Some((opened, true)));
        }
        // Another process created the file in the meantime. If it still works on it, taking the lock fails.
        let Some(opened) = self.tree.open_apart(path)? else { return Ok(None) };
        let is_locked =
            rustix::fs::flock(&opened, FlockOperation::NonBlockingLockShared) == Err(Errno::AGAIN);
        if !is_locked && self.tree.length_of(&opened, path)? > 0 {
            return Err(StorageError::ForeignFile(self.tree.path_of(path)));
        }
        Ok(Some((opened, false)))
    }

    /// Releases the locks, and removes files that were created for them and are still empty.
    fn unlock(&self, locks: &mut Vec<Lock>) {
        for Lock { goal, opened, made, held } in locks.drain(..) {
            if let (Goal::File(file), true) = (goal, made && held)
                && self.files[file.at()].absent.load(Ordering::Relaxed)
                && matches!(self.tree.length_of(&opened, self.path_of(file)), Ok(0))
                && self.tree.is_at(&opened, self.path_of(file))
            {
                // The lock is still held, so no other process uses the file. A file that stays is harmless.
                let _ = self.tree.remove(What::File(file.at()), self.path_of(file));
                self.tree.remove_empty_folders(self.path_of(file).parent());
            }
        }
    }
}

impl From<Clash> for StorageError {
    fn from(clash: Clash) -> Self {
        let Clash { path, owner, reads } = clash;
        Self::OtherTorrent { path, name: owner.to_string(), reads }
    }
}

/// The process that holds a lock on this file, according to the system.
fn holder(file: &OwnedFd) -> Option<u32> {
    let found = rustix::fs::fstat(file).ok()?;
    let (dev, inode) = (found.st_dev, found.st_ino.to_string());
    let device = format!("{:02x}:{:02x}", rustix::fs::major(dev), rustix::fs::minor(dev));
    // The list is read in several parts; a line is missed if locks are taken or released in between.
    (0..READS_OF_LOCKS).find_map(|_| {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        // 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
        let of_file = locks.lines().filter_map(|line| {
            let mut fields = line.split_whitespace().skip_while(|field| *field != "FLOCK").skip(3);
            let (process, place) = (fields.next()?, fields.next()?);
            let (place, number) = place.rsplit_once(':')?;
            let process = process.parse().ok().filter(|process| *process > 0);
            (number == inode).then_some((place == device, process))
        });
        // Some file systems report another device in this list.
        let of_file: Vec<(bool, Option<u32>)> = of_file.collect();
        let exact = of_file.iter().find(|(exact, _)| *exact).or(of_file.first());
        exact.and_then(|(_, process)| *process)
    })
}

/// Identifies files, and the folders between them and `root`.
fn claimed(root: &Path, paths: &[&Path]) -> Vec<Claimed> {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let above = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let real = match above {
        Some((above, real)) => real.join(absolute.strip_prefix(above).unwrap_or(Path::new(""))),
        None => absolute,
    };
    let mut folders = Folders { folds: folds_case(&real), known: HashMap::new() };
    let mut claimed = Vec::with_capacity(paths.len());
    let mut seen = std::collections::BTreeSet::new();
    for path in paths {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if !seen.insert(folder) {
                break;
            }
            claimed.push(folders.claimed(root, &real, folder, true));
        }
        claimed.push(folders.claimed(root, &real, path, false));
    }
    claimed
}

/// A cache of the folders that were looked up.
struct Folders {
    /// Whether the file system folds case.
    folds: bool,
    /// For each folder, the existing folders at and above it, each with the path from there.
    known: HashMap<PathBuf, Arc<[Below]>>,
}

impl Folders {
    fn claimed(&mut self, root: &Path, real: &Path, path: &Path, is_folder: bool) -> Claimed {
        let whole = real.join(path);
        let name = self.name(whole.components().next_back());
        let below = self.below(whole.parent().unwrap_or(Path::new("/")));
        let inode = (!is_folder).then(|| whole.symlink_metadata().ok()).flatten();
        let inode = inode
            .filter(|found| found.is_file() && found.nlink() > 1)
            .map(|found| (found.dev(), found.ino()));
        Claimed { path: root.join(path), is_folder, below, name, inode }
    }

    fn below(&mut self, folder: &Path) -> Arc<[Below]> {
        if let Some(known) = self.known.get(folder) {
            return Arc::clone(known);
        }
        let there = folder.metadata().ok().filter(std::fs::Metadata::is_dir);
        let mut all: Vec<Below> =
            there.map(|found| ((found.dev(), found.ino()), Vec::new())).into_iter().collect();
        if let Some(above) = folder.parent() {
            let name = self.name(folder.components().next_back());
            let outer = self.below(above);
            all.extend(outer.iter().map(|(inode, rest)| (*inode, [&rest[..], &name[..]].join(&b'/'))));
        }
        let all: Arc<[_]> = all.into();
        self.known.insert(folder.to_owned(), Arc::clone(&all));
        all
    }

    fn name(&self, component: Option<Component<'_>>) -> Vec<u8> {
        let name = component.map_or(&b""[..], |component| component.as_os_str().as_bytes());
        match std::str::from_utf8(name) {
            Ok(name) if self.folds => name.to_lowercase().into_bytes(),
            Ok(_) | Err(_) => name.to_vec(),
        }
    }
}

/// Whether the file system of a path folds case. The path need not exist.
#[cfg(target_os = "linux")]
fn folds_case(path: &Path) -> bool {
    /// FAT, exFAT, CIFS, SMB2 and HFS+, as `statfs` names them.
    const FOLDING: [i64; 5] = [0x4d44, 0x2011_bab0, 0xff53_4d42, 0xfe53_4d42, 0x482b];
    let Some(there) = path.ancestors().find(|above| above.exists()) else { return false };
    let of_system =
        rustix::fs::statfs(there).is_ok_and(|found| FOLDING.contains(&(found.f_type & 0xffff_ffff)));
    let of_folder = || -> io::Result<bool> {
        let flags = rustix::fs::ioctl_getflags(std::fs::File::open(there)?)?;
        /// `FS_CASEFOLD_FL`, of ext4 and F2FS.
        const CASEFOLD: u32 = 0x4000_0000;
        Ok(flags.bits() & CASEFOLD != 0)
    };
    of_system || of_folder().unwrap_or(false)
}

#[cfg(not(target_os = "linux"))]
fn folds_case(_path: &Path) -> bool {
    cfg!(target_vendor = "apple")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_where_the_file_system_folds_case() {
        let root = tempfile::tempdir().unwrap();
        let claimed = |folds, path: &str| {
            let mut folders = Folders { folds, known: HashMap::new() };
            let claimed = folders.claimed(root.path(), root.path(), Path::new(path), false);
            (claimed.below.to_vec(), claimed.name)
        };
        assert_eq!(claimed(true, "Sub/FILE"), claimed(true, "sub/file"));
        assert_ne!(claimed(false, "Sub/FILE"), claimed(false, "sub/file"));
        assert_ne!(claimed(true, "sub/file"), claimed(true, "sub/other"));
    }
}
