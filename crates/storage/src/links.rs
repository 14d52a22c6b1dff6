//! The user's own symbolic links below a download directory: where each leads, and whether it may be followed.
//!
//! A link is followed if only the user can have made it: it belongs to the user that this process runs as, to root,
//! or to whoever owns the folder that it lies in (the rule of Linux's `protected_symlinks`). The links on the way to
//! its end are held to the same rule. What comes out is a path without any link, and files are opened by that path
//! through no link at all: a link that is swapped in later is refused, not followed.

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// The most links on the way to one end, as in Linux.
const MAX_LINKS: u32 = 40;

/// Why a symbolic link is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkFault {
    /// It leads to this path, where nothing is.
    Dangling(PathBuf),
    /// It leads to itself, or through too many links.
    Loop,
    /// It leads to a folder, but a file belongs in its place.
    Folder(PathBuf),
    /// It leads to a file or something else, but a folder belongs in its place.
    NoFolder(PathBuf),
    /// It leads to something that is no ordinary file.
    NotAFile(PathBuf),
    /// Another user made it: the one with this number.
    Foreign(u32),
    /// It was not there when the torrent's files were looked at.
    New,
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dangling(target) => write!(
                f,
                "leads to {target:?}, which is not there; bring that back (is its disk mounted?), or remove the link"
            ),
            Self::Loop => f.write_str("leads in a circle; remove it, or choose another download directory"),
            Self::Folder(target) => write!(
                f,
                "leads to the folder {target:?}, but a file belongs there; remove the link, or choose another \
                 download directory"
            ),
            Self::NoFolder(target) => write!(
                f,
                "leads to {target:?}, but a folder belongs there; remove the link, or choose another download \
                 directory"
            ),
            Self::NotAFile(target) => write!(
                f,
                "leads to {target:?}, which is not an ordinary file; remove the link, or choose another download \
                 directory"
            ),
            Self::Foreign(user) => write!(
                f,
                "belongs to another user (number {user}), so it is not followed; make it yourself, or choose \
                 another download directory"
            ),
            Self::New => f.write_str(
                "was not there when the torrent's files were looked at; if it is yours, check the torrent again \
                 or start it again to have it followed",
            ),
        }
    }
}

/// Where the link `name` in `folder` leads; `folder` is an absolute path that no link is in, and so is the answer.
pub(crate) fn resolve(folder: &Path, name: &OsStr) -> io::Result<Result<PathBuf, LinkFault>> {
    let mut at = folder.to_owned();
    let mut left: VecDeque<OsString> = [name.to_owned()].into();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let opened = match open_folder(&at) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Err(LinkFault::Dangling(at))),
            // Somebody swapped a link in.
            Err(Errno::LOOP) => return Ok(Err(LinkFault::New)),
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&opened, &name, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Err(LinkFault::Dangling(at.join(name)))),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            at.push(name);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Ok(Err(LinkFault::Loop));
        }
        let owners = [0, rustix::process::geteuid().as_raw(), rustix::fs::fstat(&opened)?.st_uid];
        if !owners.contains(&stat.st_uid) {
            return Ok(Err(LinkFault::Foreign(stat.st_uid)));
        }
        // Of the very link that was looked at, whatever has its name by now.
        let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for component in target.components().rev() {
            match component {
                Component::Normal(name) => left.push_front(name.to_owned()),
                Component::ParentDir => left.push_front("..".into()),
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            }
        }
    }
    Ok(Ok(at))
}

/// Opens the folder at an absolute path, through no link.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve) {
        // Systems and sandboxes that do not know the call answer with these.
        Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(path),
        answer => answer,
    }
}

fn open_step_by_step(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open("/", flags, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        at = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR) if is_link(at.as_fd(), name) => return Err(Errno::LOOP),
            opened => opened?,
        };
    }
    Ok(at)
}

fn is_link(folder: std::os::fd::BorrowedFd<'_>, name: &OsStr) -> bool {
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn resolved(folder: &Path, name: &str) -> Result<PathBuf, LinkFault> {
        resolve(folder, OsStr::new(name)).unwrap()
    }

    #[test]
    fn links_lead_to_a_path_without_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a", root.join("one")).unwrap();
        symlink("../one/./b/", root.join("a/two")).unwrap();
        symlink(root.join("a/two"), root.join("three")).unwrap();
        assert_eq!(resolved(&root, "one"), Ok(root.join("a")));
        assert_eq!(resolved(&root, "three"), Ok(root.join("a/b")));
        assert_eq!(resolved(&root, "a"), Ok(root.join("a")));
    }

    #[test]
    fn circles_and_links_to_nothing_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        symlink("gone/x", root.join("c")).unwrap();
        assert_eq!(resolved(&root, "a"), Err(LinkFault::Loop));
        assert_eq!(resolved(&root, "c"), Err(LinkFault::Dangling(root.join("gone"))));
        assert_eq!(resolved(&root, "d"), Err(LinkFault::Dangling(root.join("d"))));
    }

    #[test]
    fn both_ways_of_opening_a_folder_refuse_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a", root.join("link")).unwrap();
        for open in [open_folder, open_step_by_step] {
            assert!(open(&root.join("a/b")).is_ok());
            assert_eq!(open(&root.join("link")).unwrap_err(), Errno::LOOP);
            assert_eq!(open(&root.join("link/b")).unwrap_err(), Errno::LOOP);
            assert_eq!(open(&root.join("a/c")).unwrap_err(), Errno::NOENT);
        }
    }
}
