//! The few system calls that storage makes, behind one trait, so that tests can let each of them fail.
//!
//! A path is relative to the download directory, or to a folder that a link of the user's own leads to, and no call
//! that opens or changes anything follows a symbolic link below it. The links that are followed are resolved once,
//! by [`FileLayer::resolve`].

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use crate::links::{self, LinkFault};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To read what is there.
    Read,
    /// To read and write what is there, or an empty file in its place.
    Write,
    /// To read and write a file that must not have been there.
    CreateNew,
    /// The same, to be executed by whom the user's mask lets execute it.
    CreateExecutable,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// An ordinary file of this many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link, wherever it points.
    SymbolicLink,
    /// A socket, a device, a pipe.
    Other,
}

/// What tells one state of a file from another: whoever writes to a file changes one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its length in bytes.
    pub length: u64,
    /// When its bytes were written last (`mtime`), in nanoseconds since 1970. Programs can set it.
    pub modified: i64,
    /// When the system last saw a change of it (`ctime`), in nanoseconds since 1970. No program can set it, so
    /// that a file that was put in another's place with its length and time is still told from it.
    pub changed: i64,
}

impl Stamp {
    /// How long a change may leave the stamp of another, in nanoseconds: two ticks of the slowest clock that Linux
    /// stamps files by (100 a second), with a margin.
    const TICK: i64 = 25_000_000;
    /// The same where a file system keeps no more than seconds; FAT has every other one.
    const COARSE_TICK: i64 = 2_100_000_000;

    /// Whether the file system seems to keep whole seconds alone.
    pub(crate) const fn is_coarse(&self) -> bool {
        self.changed % 1_000_000_000 == 0
    }

    /// Whether a change from `now` on, in nanoseconds since 1970, will have another stamp (as git's "racy" entries of
    /// its index have not).
    pub(crate) const fn is_settled(&self, now: i64) -> bool {
        let tick = if self.is_coarse() { Self::COARSE_TICK } else { Self::TICK };
        now.saturating_sub(self.changed) > tick
    }
}

/// System calls on files. Each method may fail with any error of the system, may be interrupted
/// ([`io::ErrorKind::Interrupted`]), and may move fewer bytes than it was given; storage copes with all of it.
pub trait FileLayer: Send + Sync {
    /// Opens the download directory itself, which may be reached through links: the user named it.
    fn open_root(&self, root: &Path) -> io::Result<OwnedFd>;
    /// Creates the download directory and what is missing above it.
    fn create_root(&self, root: &Path) -> io::Result<()>;
    /// The absolute path of a directory that the user named, without links.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf>;
    /// Where the link `name` in the folder at this absolute path leads; the answer has no links.
    fn resolve(&self, folder: &Path, name: &OsStr) -> io::Result<Result<PathBuf, LinkFault>>;
    /// Opens the folder at an absolute path to find files below it. A link on the way is `ELOOP`.
    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd>;
    /// Opens a file below `root`. A link on the way is `ELOOP`.
    fn open(&self, root: BorrowedFd<'_>, path: &Path, how: Opening) -> io::Result<OwnedFd>;
    /// Creates the folders above the file `path`.
    fn create_folders(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()>;
    /// What stands at `path`; `None` where nothing does. Links above it are followed.
    fn look(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Found>>;
    /// The stamp of the ordinary file at `path`; `None` where there is none. Links above it are followed.
    fn stamp(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Stamp>>;
    /// The stamp of an open file; `None` if it is no ordinary one.
    fn stamp_of(&self, file: BorrowedFd<'_>) -> io::Result<Option<Stamp>>;
    /// The time of the system's clock, by which stamps are made: nanoseconds since 1970.
    fn now(&self) -> i64;
    /// What was opened.
    fn describe(&self, file: BorrowedFd<'_>) -> io::Result<Found>;
    /// Removes the file `path`.
    fn remove(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()>;
    /// Removes the folder `path`, if there is nothing in it.
    fn remove_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()>;
    /// Moves the file `path` below `root` to `target` below `goal`, whose folder is there. What is at `target` is
    /// replaced if `replace`, else the answer is `EEXIST`. `EXDEV` where the two are on different file systems.
    fn rename(
        &self,
        root: BorrowedFd<'_>,
        path: &Path,
        goal: BorrowedFd<'_>,
        target: &Path,
        replace: bool,
    ) -> io::Result<()>;
    /// Brings the names in the folder `path` to the disk; the download directory's own for an empty path.
    fn sync_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()>;
    /// Whether both are the same folder.
    fn is_same(&self, one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool>;
    /// Bytes that may still be written below `root`.
    fn free_space(&self, root: BorrowedFd<'_>) -> io::Result<u64>;
    /// Reads at `offset`; 0 means the end of the file.
    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As [`FileLayer::read_at`], but fails with `EAGAIN` (or `EOPNOTSUPP`) where a disk would be waited for.
    fn read_cached_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at `offset`; at most 1,024 slices.
    fn write_at(&self, file: BorrowedFd<'_>, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Where the next data begin at or after `offset`; `None` when there is a hole up to the end of the file.
    fn next_data(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>>;
    /// Where the next hole begins at or after `offset`, which lies in data; at the latest at the end of the file.
    fn next_hole(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<u64>;
    /// Copies bytes of one file to the same place of another within the system, sharing them where the file
    /// system can. `EXDEV`, `EINVAL` or `EOPNOTSUPP` where it can't be done so, or 0.
    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<u64>;
    /// Makes the link `path` with this text; its folder is there. `EEXIST` if anything is at `path`.
    fn make_link(&self, root: BorrowedFd<'_>, path: &Path, text: &Path) -> io::Result<()>;
    /// Gives the second file the permissions of the first.
    fn copy_mode(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()>;
    /// Sets the length of a file.
    fn set_length(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()>;
    /// Reserves space from the beginning up to `length` and makes the file at least that long.
    fn allocate(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()>;
    /// Brings data and length to the disk.
    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()>;
    /// The number of the file system that `path` lies on; `None` where nothing is at `path`, or it is not known.
    fn file_system(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<u64>>;
    /// Brings everything that was written to the file system of `file` to the disk, whoever wrote it.
    fn sync_file_system(&self, file: BorrowedFd<'_>) -> io::Result<()>;
    /// Says that these bytes will be read soon. Has no result: it is advice.
    fn will_need(&self, file: BorrowedFd<'_>, offset: u64, length: u64);
}

/// The system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl FileLayer for System {
    fn open_root(&self, root: &Path) -> io::Result<OwnedFd> {
        // An empty path is the current directory to everyone but the system.
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        Ok(rustix::fs::open(root, FOLDER, Mode::empty())?)
    }

    fn create_root(&self, root: &Path) -> io::Result<()> {
        std::fs::create_dir_all(root)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path })
    }

    fn resolve(&self, folder: &Path, name: &OsStr) -> io::Result<Result<PathBuf, LinkFault>> {
        links::resolve(folder, name)
    }

    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(links::open_folder(path)?)
    }

    fn open(&self, root: BorrowedFd<'_>, path: &Path, how: Opening) -> io::Result<OwnedFd> {
        // Without NONBLOCK, opening a pipe that somebody put in a file's place would wait for its other end.
        let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags
            | match how {
                Opening::Read => OFlags::RDONLY,
                Opening::Write => OFlags::RDWR | OFlags::CREATE,
                Opening::CreateNew | Opening::CreateExecutable => {
                    OFlags::RDWR | OFlags::CREATE | OFlags::EXCL
                }
            };
        // The user's mask takes away what the user does not want to give.
        let mode = Mode::from_raw_mode(match how {
            Opening::Read => 0,
            Opening::Write | Opening::CreateNew => 0o666,
            Opening::CreateExecutable => 0o777,
        });
        match open_in_one_call(root, path, flags, mode) {
            // Systems and sandboxes that do not know the call answer with these.
            Err(Errno::NOSYS | Errno::PERM) => Ok(open_step_by_step(root, path, flags, mode)?),
            answer => Ok(answer?),
        }
    }

    fn create_folders(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        let mut opened: Option<OwnedFd> = None;
        for name in path.parent().into_iter().flat_map(names) {
            let above = opened.as_ref().map_or(root, AsFd::as_fd);
            match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            opened = Some(rustix::fs::openat(above, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
        }
        Ok(())
    }

    fn look(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Found>> {
        match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(found(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn stamp(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Stamp>> {
        match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(stamp(&stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn stamp_of(&self, file: BorrowedFd<'_>) -> io::Result<Option<Stamp>> {
        Ok(stamp(&rustix::fs::fstat(file)?))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "stamps are made by the system's clock; tests replace the layer"
    )]
    fn now(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
    }

    fn describe(&self, file: BorrowedFd<'_>) -> io::Result<Found> {
        Ok(found(&rustix::fs::fstat(file)?))
    }

    fn remove(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        let (folder, name) = (Folder::above(root, path)?, name_of(path)?);
        Ok(rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::empty())?)
    }

    fn remove_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        let (folder, name) = (Folder::above(root, path)?, name_of(path)?);
        Ok(rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::REMOVEDIR)?)
    }

    fn rename(
        &self,
        root: BorrowedFd<'_>,
        path: &Path,
        goal: BorrowedFd<'_>,
        target: &Path,
        replace: bool,
    ) -> io::Result<()> {
        use rustix::fs::{RenameFlags, renameat, renameat_with};
        let (from, name) = (Folder::above(root, path)?, name_of(path)?);
        let (to, new_name) = (Folder::above(goal, target)?, name_of(target)?);
        if replace {
            return Ok(renameat(from.as_fd(), name, to.as_fd(), new_name)?);
        }
        match renameat_with(from.as_fd(), name, to.as_fd(), new_name, RenameFlags::NOREPLACE) {
            // File systems that can't promise it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            answer => return Ok(answer?),
        }
        match rustix::fs::statat(to.as_fd(), new_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(renameat(from.as_fd(), name, to.as_fd(), new_name)?),
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_folder(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        // A descriptor that is opened for its path alone can't be synced.
        let folder = if path.as_os_str().is_empty() {
            rustix::fs::openat(root, ".", FOLDER, Mode::empty())?
        } else {
            open_folder(root, path)?
        };
        match rustix::fs::fsync(folder) {
            // File systems that know no such thing.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            answer => Ok(answer?),
        }
    }

    fn is_same(&self, one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
        let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }

    fn free_space(&self, root: BorrowedFd<'_>) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn read_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(file, into, offset)?)
    }

    fn read_cached_at(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let slices = &mut [IoSliceMut::new(into)];
        Ok(rustix::io::preadv2(file, slices, offset, rustix::io::ReadWriteFlags::NOWAIT)?)
    }

    fn write_at(&self, file: BorrowedFd<'_>, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match from {
            [one] => Ok(rustix::io::pwrite(file, one, offset)?),
            many => Ok(rustix::io::pwritev(file, many, offset)?),
        }
    }

    fn next_data(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
            Err(error) => Err(error.into()),
        }
    }

    fn next_hole(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<u64> {
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(offset)) {
            Ok(at) => Ok(at),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                Ok(u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<u64> {
        let (mut there, mut here) = (offset, offset);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(rustix::fs::copy_file_range(from, Some(&mut there), to, Some(&mut here), length)? as u64)
    }

    fn make_link(&self, root: BorrowedFd<'_>, path: &Path, text: &Path) -> io::Result<()> {
        let (folder, name) = (Folder::above(root, path)?, name_of(path)?);
        Ok(rustix::fs::symlinkat(text, folder.as_fd(), name)?)
    }

    fn copy_mode(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        let mode = Mode::from_raw_mode(rustix::fs::fstat(from)?.st_mode & 0o777);
        Ok(rustix::fs::fchmod(to, mode)?)
    }

    fn set_length(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(file, length)?)
    }

    fn allocate(&self, file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?)
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(file)?)
    }

    fn file_system(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<u64>> {
        match rustix::fs::statat(root, path, AtFlags::empty()) {
            Ok(stat) => Ok(Some(stat.st_dev)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_file_system(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(rustix::fs::syncfs(file)?)
    }

    fn will_need(&self, file: BorrowedFd<'_>, offset: u64, length: u64) {
        if let Some(length) = std::num::NonZeroU64::new(length) {
            // Advice that is not taken costs nothing but time.
            let _ = rustix::fs::fadvise(file, offset, Some(length), rustix::fs::Advice::WillNeed);
        }
    }
}

fn open_in_one_call(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, mode, resolve)
}

/// The folder that a file lies in, reached through no link.
enum Folder<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl<'a> Folder<'a> {
    fn above(root: BorrowedFd<'a>, path: &Path) -> Result<Self, Errno> {
        match path.parent() {
            None => Ok(Self::Root(root)),
            Some(above) if above.as_os_str().is_empty() => Ok(Self::Root(root)),
            Some(above) => Ok(Self::Below(open_folder(root, above)?)),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => *root,
            Self::Below(folder) => folder.as_fd(),
        }
    }
}

fn open_folder(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = FOLDER | OFlags::NOFOLLOW;
    match open_in_one_call(root, path, flags, Mode::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(root, path, flags, Mode::empty()),
        answer => answer,
    }
}

fn name_of(path: &Path) -> Result<&OsStr, Errno> {
    path.file_name().ok_or(Errno::INVAL)
}

/// One folder after the other, none of them through a link.
fn open_step_by_step(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let mut opened: Option<OwnedFd> = None;
    for folder in path.parent().into_iter().flat_map(names) {
        let above = opened.as_ref().map_or(root, AsFd::as_fd);
        let next = rustix::fs::openat(above, folder, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        opened = Some(next.map_err(|error| link_or(error, above, folder))?);
    }
    let above = opened.as_ref().map_or(root, AsFd::as_fd);
    rustix::fs::openat(above, name, flags, mode)
}

/// A link that is opened as a folder answers "not a folder"; it shall say that it is a link.
fn link_or(error: Errno, above: BorrowedFd<'_>, name: &OsStr) -> Errno {
    if error != Errno::NOTDIR {
        return error;
    }
    match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if found(&stat) == Found::SymbolicLink => Errno::LOOP,
        Ok(_) | Err(_) => error,
    }
}

/// The plain names in a path; it has no others, which `Store::open` makes sure of.
fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    })
}

fn found(stat: &rustix::fs::Stat) -> Found {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File(u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Directory => Found::Folder,
        FileType::Symlink => Found::SymbolicLink,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Found::Other,
    }
}

fn stamp(stat: &rustix::fs::Stat) -> Option<Stamp> {
    let Found::File(length) = found(stat) else { return None };
    // Wraps in the year 2262, to another stamp; all that is asked of one is to differ.
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    Some(Stamp {
        length,
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
        changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    type Open = fn(BorrowedFd<'_>, &Path, OFlags, Mode) -> Result<OwnedFd, Errno>;
    const WAYS: [Open; 2] = [open_in_one_call, open_step_by_step];

    #[test]
    fn both_ways_of_opening_refuse_links_and_take_files() {
        for (number, open) in WAYS.into_iter().enumerate() {
            let root = tempfile::tempdir().unwrap();
            let outside = tempfile::tempdir().unwrap();
            std::fs::write(outside.path().join("file"), "theirs").unwrap();
            std::fs::create_dir_all(root.path().join("a/b")).unwrap();
            std::fs::write(root.path().join("a/b/file"), "ours").unwrap();
            symlink(outside.path(), root.path().join("a/link")).unwrap();
            symlink(outside.path().join("file"), root.path().join("a/b/link")).unwrap();

            let root = System.open_root(root.path()).unwrap();
            let flags = OFlags::RDWR | OFlags::NOFOLLOW;
            let open = |path: &str| open(root.as_fd(), Path::new(path), flags, Mode::empty());
            assert!(open("a/b/file").is_ok(), "way {number}");
            assert_eq!(open("a/link/file").unwrap_err(), Errno::LOOP, "way {number}");
            assert_eq!(open("a/b/link").unwrap_err(), Errno::LOOP, "way {number}");
            assert_eq!(open("a/c/file").unwrap_err(), Errno::NOENT, "way {number}");
            assert_eq!(open("a/b/file/file").unwrap_err(), Errno::NOTDIR, "way {number}");
        }
    }

    #[test]
    fn folders_are_not_created_through_links() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        let opened = System.open_root(root.path()).unwrap();
        assert!(System.create_folders(opened.as_fd(), Path::new("link/a/file")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        System.create_folders(opened.as_fd(), Path::new("a/b/c/file")).unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        assert!(!root.path().join("a/b/c/file").exists());
    }

    #[test]
    fn a_pipe_in_a_files_place_does_not_block() {
        let root = tempfile::tempdir().unwrap();
        let opened = System.open_root(root.path()).unwrap();
        rustix::fs::mknodat(opened.as_fd(), "pipe", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let pipe = System.open(opened.as_fd(), Path::new("pipe"), Opening::Read).unwrap();
        assert_eq!(System.describe(pipe.as_fd()).unwrap(), Found::Other);
    }
}
