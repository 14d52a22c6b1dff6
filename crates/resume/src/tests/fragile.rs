//! A disk whose power fails: what was not brought to it is lost in parts, and times need not match the bytes.

use quelea_storage::LinkFault;
use quelea_storage::file_layer::{FileLayer, Found, Opening, Stamp, System};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// What reaches the disk as one.
const PAGE: u64 = 512;

pub(super) struct Fragile {
    root: PathBuf,
    disk: Mutex<Disk>,
}

struct Disk {
    files: HashMap<u64, Held>,
    times: HashMap<PathBuf, i64>,
    tick: i64,
    /// Calls until the power fails.
    left: usize,
    rng: fastrand::Rng,
    /// Whether a sync only says that it was done.
    lying: bool,
    lost: usize,
}

/// A file that was opened.
struct Held {
    path: PathBuf,
    /// What stood where it was written to since the last sync.
    before: Vec<(u64, Vec<u8>)>,
    durable_length: Option<u64>,
    durable_time: i64,
}

impl Fragile {
    pub(super) fn new(root: &Path, seed: u64, lying: bool) -> Self {
        let disk = Disk {
            files: HashMap::new(),
            times: HashMap::new(),
            tick: now(),
            left: 0,
            rng: fastrand::Rng::with_seed(seed),
            lying,
            lost: 0,
        };
        Self { root: root.to_owned(), disk: Mutex::new(disk) }
    }

    /// As if its files had been written long ago.
    pub(super) fn of_old(root: &Path) -> Self {
        let old = Self::new(root, 1, false);
        old.disk().tick = 1;
        old
    }

    /// Power for this many calls.
    pub(super) fn power(&self, calls: usize) {
        self.disk().left = calls;
    }

    pub(super) fn is_on(&self) -> bool {
        self.disk().left > 0
    }

    /// Pages that were lost.
    pub(super) fn lost(&self) -> usize {
        self.disk().lost
    }

    /// The power fails: of what was not synced, some is lost.
    pub(super) fn cut(&self) {
        let mut disk = self.disk();
        let Disk { files, times, rng, lost, .. } = &mut *disk;
        for held in std::mem::take(files).into_values() {
            let path = self.root.join(&held.path);
            if held.durable_length.is_none() && rng.u8(..3) == 0 {
                let _ = std::fs::remove_file(&path);
                times.remove(&held.path);
                *lost += 1;
                continue;
            }
            let Ok(file) = File::options().write(true).open(&path) else { continue };
            for (offset, bytes) in held.before.iter().rev() {
                for (at, page) in (*offset..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize)) {
                    if rng.bool() {
                        file.write_all_at(page, at).unwrap();
                        *lost += 1;
                    }
                }
            }
            if rng.bool() {
                let length = file.metadata().unwrap().len();
                file.set_len(held.durable_length.unwrap_or(0).min(length)).unwrap();
            }
            if rng.bool() {
                times.insert(held.path, held.durable_time);
            }
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Counts a call; whether it is the last one.
    fn call(&self) -> io::Result<bool> {
        let mut disk = self.disk();
        if disk.left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        disk.left -= 1;
        Ok(disk.left == 0)
    }

    /// Takes down that a file is changed from `offset` on, in so many bytes.
    fn changes(&self, file: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<()> {
        let file = File::from(file.try_clone_to_owned()?);
        let mut before = vec![0; length];
        let mut filled = 0;
        while let Ok(some) = file.read_at(&mut before[filled..], offset + filled as u64)
            && some > 0
        {
            filled += some;
        }
        let mut disk = self.disk();
        disk.tick += 1;
        let tick = disk.tick;
        let held = disk.files.get_mut(&file.metadata()?.ino()).unwrap();
        held.before.push((offset, before));
        let path = held.path.clone();
        disk.times.insert(path, tick);
        Ok(())
    }
}

/// Nanoseconds since 1970: what is written stands as if it was written at this moment.
#[allow(clippy::disallowed_methods, reason = "files are asked whether they were written a moment ago")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

impl FileLayer for Fragile {
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
        if how != Opening::Read {
            self.call()?;
        }
        let was_there = self.root.join(path).exists();
        let opened = System.open(root, path, how)?;
        let file = File::from(opened.try_clone()?).metadata()?;
        let mut disk = self.disk();
        disk.tick += 1;
        let tick = disk.tick;
        let time = *disk.times.entry(path.to_owned()).or_insert(tick);
        let durable_length = was_there.then_some(file.len());
        let held = Held { path: path.to_owned(), before: Vec::new(), durable_length, durable_time: time };
        disk.files.entry(file.ino()).or_insert(held);
        Ok(opened)
    }
    fn create_folders(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        System.create_folders(root, path)
    }
    fn look(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Found>> {
        System.look(root, path)
    }
    fn stamp(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Stamp>> {
        let Some(stamp) = System.stamp(root, path)? else { return Ok(None) };
        let time = self.disk().times.get(path).copied().unwrap_or(0);
        Ok(Some(Stamp { modified: time, changed: time, ..stamp }))
    }
    fn stamp_of(&self, file: BorrowedFd<'_>) -> io::Result<Option<Stamp>> {
        let Some(stamp) = System.stamp_of(file)? else { return Ok(None) };
        let inode = File::from(file.try_clone_to_owned()?).metadata()?.ino();
        let disk = self.disk();
        let time = disk.files.get(&inode).and_then(|held| disk.times.get(&held.path)).copied().unwrap_or(0);
        Ok(Some(Stamp { modified: time, changed: time, ..stamp }))
    }
    fn now(&self) -> i64 {
        System.now()
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
    fn sync_folder(&self, _root: BorrowedFd<'_>, _path: &Path) -> io::Result<()> {
        Ok(())
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
        let last = self.call()?;
        let mut bytes: Vec<u8> = from.iter().flat_map(|slice| slice.iter().copied()).collect();
        if last {
            // The power fails in the middle of it.
            let some = self.disk().rng.usize(..=bytes.len());
            bytes.truncate(some);
        }
        self.changes(file, offset, bytes.len())?;
        File::from(file.try_clone_to_owned()?).write_all_at(&bytes, offset)?;
        if last { Err(io::Error::other("the power is off")) } else { Ok(bytes.len()) }
    }
    fn next_data(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
        System.next_data(file, offset)
    }
    fn next_hole(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
        System.next_hole(file, offset)
    }
    fn copy(
        &self,
        _from: BorrowedFd<'_>,
        _to: BorrowedFd<'_>,
        _offset: u64,
        _length: u64,
    ) -> io::Result<u64> {
        // So that copies are written as everything else.
        Ok(0)
    }
    fn make_link(&self, root: BorrowedFd<'_>, path: &Path, text: &Path) -> io::Result<()> {
        System.make_link(root, path, text)
    }
    fn copy_mode(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        System.copy_mode(from, to)
    }
    fn set_length(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        self.call()?;
        self.changes(file, length, 0)?;
        System.set_length(file, length)
    }
    fn allocate(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        self.set_length(file, length)
    }
    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let last = self.call()?;
        let metadata = File::from(file.try_clone_to_owned()?).metadata()?;
        let mut disk = self.disk();
        if last {
            return Err(io::Error::other("the power is off"));
        }
        if disk.lying {
            return Ok(());
        }
        // The time of the last write need not be brought along (`fdatasync`).
        let time = disk.rng.bool();
        let Disk { files, times, .. } = &mut *disk;
        let held = files.get_mut(&metadata.ino()).unwrap();
        held.before.clear();
        held.durable_length = Some(metadata.len());
        if time {
            held.durable_time = times[&held.path];
        }
        Ok(())
    }
    fn file_system(&self, _root: BorrowedFd<'_>, _path: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
    fn sync_file_system(&self, _file: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::Error::other("files are synced one by one"))
    }
    fn will_need(&self, _file: BorrowedFd<'_>, _offset: u64, _length: u64) {}
}
