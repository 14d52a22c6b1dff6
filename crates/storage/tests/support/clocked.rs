//! The system with a clock that goes when a test says so, by which files are stamped.

use quelea_storage::LinkFault;
use quelea_storage::file_layer::{FileLayer, Found, Opening, Stamp, System};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The system with a clock of the test's own.
pub struct Clocked {
    now: AtomicI64,
    /// Times are cut to a multiple of this.
    grain: AtomicI64,
    /// When files were changed, by their inode: `mtime` and `ctime`.
    times: Mutex<HashMap<u64, (i64, i64)>>,
    looks: AtomicUsize,
}

impl Clocked {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicI64::new(1_500_000_007),
            grain: AtomicI64::new(4_000_000),
            times: Mutex::default(),
            looks: AtomicUsize::new(0),
        })
    }

    /// The clock goes on by this many nanoseconds.
    pub fn pass(&self, nanoseconds: i64) {
        self.now.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Stamps are multiples of this from here on, in nanoseconds.
    pub fn set_grain(&self, grain: i64) {
        self.grain.store(grain, Ordering::Relaxed);
    }

    /// How often a name was looked up.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// Another program writes to a file.
    pub fn others_write(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        self.touch(file.as_fd()).unwrap();
    }

    /// Another program sets a file's `mtime`; its `ctime` becomes that of this moment.
    pub fn set_modified(&self, path: &Path, modified: i64) {
        let inode = std::fs::metadata(path).unwrap().ino();
        self.times.lock().unwrap().insert(inode, (modified, self.stamp_time()));
    }

    fn stamp_time(&self) -> i64 {
        let grain = self.grain.load(Ordering::Relaxed);
        self.now() / grain * grain
    }

    fn touch(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let inode = File::from(file.try_clone_to_owned()?).metadata()?.ino();
        let time = self.stamp_time();
        self.times.lock().unwrap().insert(inode, (time, time));
        Ok(())
    }

    fn stamped(&self, stamp: Option<Stamp>, inode: u64) -> Option<Stamp> {
        let (modified, changed) = self.times.lock().unwrap().get(&inode).copied().unwrap_or((1, 1));
        stamp.map(|stamp| Stamp { modified, changed, ..stamp })
    }
}

impl FileLayer for Clocked {
    fn open_root(&self, root: &Path) -> io::Result<OwnedFd> {
        System.open_root(root)
    }
    fn create_root(&self, root: &Path) -> io::Result<()> {
        System.create_root(root)
    }
    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        System.real_path(path)
    }
    fn resolve(&self, folder: &Path, name: &OsStr) -> io::Result<Result<PathBuf, LinkFault>> {
        System.resolve(folder, name)
    }
    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        System.open_folder(path)
    }
    fn open(&self, root: BorrowedFd<'_>, path: &Path, how: Opening) -> io::Result<OwnedFd> {
        let opened = System.open(root, path, how)?;
        if matches!(how, Opening::CreateNew | Opening::CreateExecutable) {
            self.touch(opened.as_fd())?;
        }
        Ok(opened)
    }
    fn create_folders(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        System.create_folders(root, path)
    }
    fn look(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Found>> {
        System.look(root, path)
    }
    fn stamp(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Stamp>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let Some(stamp) = System.stamp(root, path)? else { return Ok(None) };
        let inode = rustix::fs::statat(root, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        Ok(self.stamped(Some(stamp), inode))
    }
    fn stamp_of(&self, file: BorrowedFd<'_>) -> io::Result<Option<Stamp>> {
        let inode = File::from(file.try_clone_to_owned()?).metadata()?.ino();
        Ok(self.stamped(System.stamp_of(file)?, inode))
    }
    fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }
    fn describe(&self, file: BorrowedFd<'_>) -> io::Result<Found> {
        System.describe(file)
    }
    fn remove(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        System.remove(root, path)
    }
    fn remove_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        System.remove_folder(root, path)
    }
    fn rename(
        &self,
        root: BorrowedFd<'_>,
        path: &Path,
        goal: BorrowedFd<'_>,
        target: &Path,
        replace: bool,
    ) -> io::Result<()> {
        System.rename(root, path, goal, target, replace)
    }
    fn sync_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        System.sync_folder(root, path)
    }
    fn is_same(&self, one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
        System.is_same(one, other)
    }
    fn free_space(&self, root: BorrowedFd<'_>) -> io::Result<u64> {
        System.free_space(root)
    }
    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        System.read_at(file, into, offset)
    }
    fn read_cached_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        System.read_at(file, into, offset)
    }
    fn write_at(&self, file: BorrowedFd<'_>, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let written = System.write_at(file, from, offset)?;
        self.touch(file)?;
        Ok(written)
    }
    fn next_data(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
        System.next_data(file, offset)
    }
    fn next_hole(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
        System.next_hole(file, offset)
    }
    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<u64> {
        System.copy(from, to, offset, length)
    }
    fn make_link(&self, root: BorrowedFd<'_>, path: &Path, text: &Path) -> io::Result<()> {
        System.make_link(root, path, text)
    }
    fn copy_mode(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        System.copy_mode(from, to)
    }
    fn set_length(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        System.set_length(file, length)?;
        self.touch(file)
    }
    fn allocate(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        System.allocate(file, length)?;
        self.touch(file)
    }
    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        System.sync(file)
    }
    fn file_system(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<u64>> {
        System.file_system(root, path)
    }
    fn sync_file_system(&self, _file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }
    fn will_need(&self, file: BorrowedFd<'_>, offset: u64, length: u64) {
        System.will_need(file, offset, length);
    }
}
