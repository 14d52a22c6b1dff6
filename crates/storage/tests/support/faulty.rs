//! The system with a fault in it.

use quelea_storage::LinkFault;
use quelea_storage::file_layer::{FileLayer, Found, Opening, Stamp, System};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub enum Fault {
    None,
    /// The call with this number fails.
    Once(usize, Errno),
    /// Every call from this one on fails: the power is off.
    From(usize),
    /// The file system has room for so many bytes.
    Full(u64),
    /// The first call that copies cancels all of it.
    Cancel(Arc<quelea_storage::Relocating>),
    /// All calls of this name fail.
    Always(&'static str, Errno),
    /// Every other call is interrupted.
    Interrupted,
    /// Reads and writes move no more than this many bytes.
    Short(usize),
}

/// The system with a fault in it.
pub struct Faulty {
    fault: Mutex<Fault>,
    /// Whether every directory is a file system of its own.
    border: bool,
    calls: AtomicUsize,
    fired: AtomicUsize,
}

impl Faulty {
    pub fn new(fault: Fault) -> Arc<Self> {
        Self::with_border(fault, false)
    }

    /// As [`Faulty::new`], but no file can be renamed, as between two file systems.
    pub fn with_border(fault: Fault, border: bool) -> Arc<Self> {
        let fault = Mutex::new(fault);
        Arc::new(Self { fault, border, calls: AtomicUsize::new(0), fired: AtomicUsize::new(0) })
    }

    fn call<T>(&self, name: &'static str, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault.lock().unwrap().clone();
        let errno = match fault {
            Fault::Once(at, errno) if at == number => errno,
            Fault::From(at) if at <= number => Errno::IO,
            Fault::Always(of, errno) if of == name => errno,
            Fault::Interrupted if number.is_multiple_of(2) => Errno::INTR,
            Fault::Cancel(progress) => {
                if name == "copy" {
                    progress.cancel();
                }
                return call();
            }
            Fault::None
            | Fault::Once(..)
            | Fault::From(_)
            | Fault::Full(_)
            | Fault::Always(..)
            | Fault::Interrupted
            | Fault::Short(_) => return call(),
        };
        self.fired.fetch_add(1, Ordering::Relaxed);
        Err(errno.into())
    }

    /// Another fault from here on; calls are counted anew.
    pub fn begin(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.calls.store(0, Ordering::Relaxed);
    }

    /// How many calls were made.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        if let Fault::Short(limit) = *self.fault.lock().unwrap() { limit } else { usize::MAX }
    }

    pub fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Relaxed) > 0
    }

    fn read(
        &self,
        name: &'static str,
        into: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let length = into.len().min(self.limit());
        if length < into.len() {
            self.fired.fetch_add(1, Ordering::Relaxed);
        }
        self.call(name, || read(&mut into[..length]))
    }
}

impl FileLayer for Faulty {
    fn open_root(&self, root: &Path) -> io::Result<OwnedFd> {
        self.call("open_root", || System.open_root(root))
    }
    fn create_root(&self, root: &Path) -> io::Result<()> {
        self.call("create_root", || System.create_root(root))
    }
    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.call("real_path", || System.real_path(path))
    }
    fn resolve(&self, folder: &Path, name: &OsStr) -> io::Result<Result<PathBuf, LinkFault>> {
        self.call("resolve", || System.resolve(folder, name))
    }
    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.call("open_folder", || System.open_folder(path))
    }
    fn open(&self, root: BorrowedFd<'_>, path: &Path, how: Opening) -> io::Result<OwnedFd> {
        self.call("open", || System.open(root, path, how))
    }
    fn create_folders(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        self.call("create_folders", || System.create_folders(root, path))
    }
    fn look(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Found>> {
        self.call("look", || System.look(root, path))
    }
    fn stamp(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Stamp>> {
        self.call("stamp", || System.stamp(root, path))
    }
    fn stamp_of(&self, file: BorrowedFd<'_>) -> io::Result<Option<Stamp>> {
        self.call("stamp_of", || System.stamp_of(file))
    }
    fn now(&self) -> i64 {
        System.now()
    }
    fn describe(&self, file: BorrowedFd<'_>) -> io::Result<Found> {
        self.call("describe", || System.describe(file))
    }
    fn remove(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        self.call("remove", || System.remove(root, path))
    }
    fn remove_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        self.call("remove_folder", || System.remove_folder(root, path))
    }
    fn rename(
        &self,
        root: BorrowedFd<'_>,
        path: &Path,
        goal: BorrowedFd<'_>,
        target: &Path,
        replace: bool,
    ) -> io::Result<()> {
        // Between files and their staging folder there is never a border.
        let staged = [path, target].iter().any(|path| path.to_string_lossy().contains(".moving"));
        if self.border && !staged {
            return Err(Errno::XDEV.into());
        }
        self.call("rename", || System.rename(root, path, goal, target, replace))
    }
    fn sync_folder(&self, _root: BorrowedFd<'_>, _path: &Path) -> io::Result<()> {
        self.call("sync_folder", || Ok(()))
    }
    fn is_same(&self, one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
        self.call("is_same", || System.is_same(one, other))
    }
    fn free_space(&self, root: BorrowedFd<'_>) -> io::Result<u64> {
        if let Fault::Full(free) = *self.fault.lock().unwrap() {
            return Ok(free);
        }
        self.call("free_space", || System.free_space(root))
    }
    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read("read_at", into, |into| System.read_at(file, into, offset))
    }
    fn read_cached_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read("read_cached_at", into, |into| System.read_cached_at(file, into, offset))
    }
    fn write_at(&self, file: BorrowedFd<'_>, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        assert!(from.len() <= 1_024, "more slices than the system takes");
        let mut left = self.limit();
        let mut short = Vec::new();
        for slice in from {
            let some = slice.len().min(left);
            left -= some;
            if some < slice.len() {
                self.fired.fetch_add(1, Ordering::Relaxed);
            }
            short.push(IoSlice::new(&slice[..some]));
        }
        self.call("write_at", || System.write_at(file, &short, offset))
    }
    fn next_data(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
        self.call("next_data", || System.next_data(file, offset))
    }
    fn next_hole(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
        self.call("next_hole", || System.next_hole(file, offset))
    }
    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<u64> {
        let some = length.min(self.limit() as u64);
        if some < length {
            self.fired.fetch_add(1, Ordering::Relaxed);
        }
        self.call("copy", || System.copy(from, to, offset, some))
    }
    fn make_link(&self, root: BorrowedFd<'_>, path: &Path, text: &Path) -> io::Result<()> {
        self.call("make_link", || System.make_link(root, path, text))
    }
    fn copy_mode(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        self.call("copy_mode", || System.copy_mode(from, to))
    }
    fn set_length(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        self.call("set_length", || System.set_length(file, length))
    }
    fn allocate(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        self.call("allocate", || System.allocate(file, length))
    }
    fn sync(&self, _file: BorrowedFd<'_>) -> io::Result<()> {
        // No test can see whether a disk has the data, and thousands of them would wait for it.
        self.call("sync", || Ok(()))
    }
    fn file_system(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<u64>> {
        self.call("file_system", || System.file_system(root, path))
    }
    fn sync_file_system(&self, _file: BorrowedFd<'_>) -> io::Result<()> {
        self.call("sync_file_system", || Ok(()))
    }
    fn will_need(&self, file: BorrowedFd<'_>, offset: u64, length: u64) {
        System.will_need(file, offset, length);
    }
}
