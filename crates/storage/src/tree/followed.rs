//! The user's own links that a tree follows: those that were there when its files were looked at, each with the place
//! it led to at that moment. See [`crate::links`] for which are followed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Tree, uninterrupted};
use crate::error::{Action, StorageError};
use crate::file_layer::Found;
use crate::links::LinkFault;

/// Links below the root, by path, and the link-free absolute path that each leads to.
#[derive(Debug, Default)]
pub(super) struct Followed(RwLock<BTreeMap<PathBuf, PathBuf>>);

/// A folder that is open, and a path below it without links that are followed.
pub(super) enum Base<'p> {
    Root(Arc<OwnedFd>, &'p Path),
    Elsewhere(OwnedFd, PathBuf),
}

impl Base<'_> {
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root, _) => root.as_fd(),
            Self::Elsewhere(folder, _) => folder.as_fd(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Root(_, path) => path,
            Self::Elsewhere(_, path) => path,
        }
    }
}

impl Followed {
    fn insert(&self, link: &Path, target: PathBuf) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(link.to_owned(), target);
    }

    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The innermost link at or above `path`, and where it leads.
    fn above(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let followed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if followed.is_empty() {
            return None;
        }
        path.ancestors().find_map(|at| Some((at.to_owned(), followed.get(at)?.clone())))
    }
}

impl Tree {
    /// Follows the link at `path`, if it may be followed, from now on. What it leads to.
    pub(crate) fn follow(&self, path: &Path) -> Result<Found, StorageError> {
        let fault = |fault| StorageError::Link { path: self.path_of(path), fault };
        let refused = |error| StorageError::system(Action::Inspect, &self.path_of(path), error);
        let (above, name) = match (path.parent(), path.file_name()) {
            (Some(above), Some(name)) => (above, name),
            (_, _) => return Err(StorageError::BadPath(path.to_owned())),
        };
        let folder = match self.followed.above(above) {
            Some((link, target)) => target.join(above.strip_prefix(&link).unwrap_or(Path::new(""))),
            None => self.layer.real_path(&self.root).map_err(refused)?.join(above),
        };
        let target = uninterrupted(|| self.layer.resolve(&folder, name)).map_err(refused)?.map_err(fault)?;
        let found = match (target.parent(), target.file_name()) {
            (Some(above), Some(name)) => {
                let folder = uninterrupted(|| self.layer.open_folder(above)).map_err(refused)?;
                uninterrupted(|| self.layer.look(folder.as_fd(), Path::new(name))).map_err(refused)?
            }
            (_, _) => Some(Found::Folder),
        };
        match found {
            Some(Found::File(_) | Found::Folder | Found::Other) => {}
            // Swapped in since it was resolved.
            Some(Found::SymbolicLink) => return Err(fault(LinkFault::New)),
            None => return Err(fault(LinkFault::Dangling(target))),
        }
        self.followed.insert(path, target);
        found.ok_or_else(|| StorageError::Vanished(self.path_of(path)))
    }

    /// Follows the link at `path` to the file or folder that belongs there.
    pub(crate) fn follow_to(&self, path: &Path, folder: bool) -> Result<Found, StorageError> {
        let found = self.follow(path)?;
        let target = || self.followed.above(path).map(|(_, target)| target).unwrap_or_default();
        let fault = match (found, folder) {
            (Found::Folder, true) | (Found::File(_), false) => return Ok(found),
            (Found::Folder, false) => LinkFault::Folder(target()),
            (Found::File(_) | Found::SymbolicLink | Found::Other, true) => LinkFault::NoFolder(target()),
            (Found::SymbolicLink | Found::Other, false) => LinkFault::NotAFile(target()),
        };
        Err(StorageError::Link { path: self.path_of(path), fault })
    }

    /// Forgets the links that were followed.
    pub(crate) fn forget_links(&self) {
        self.followed.clear();
    }

    /// The link at or above `path` that is followed, if there is one.
    pub(crate) fn link_above(&self, path: &Path) -> Option<PathBuf> {
        self.followed.above(path).map(|(link, _)| self.path_of(&link))
    }

    /// Where `path` begins without a link; `None` where there is no download directory.
    pub(super) fn base<'p>(&self, path: &'p Path) -> Result<Option<Base<'p>>, StorageError> {
        let Some((link, target)) = self.followed.above(path) else {
            return Ok(self.root()?.map(|root| Base::Root(root, path)));
        };
        let rest = path.strip_prefix(&link).unwrap_or(Path::new(""));
        let (folder, rest) = match (target.parent(), target.file_name()) {
            (Some(above), Some(name)) if rest.as_os_str().is_empty() => (above, PathBuf::from(name)),
            (_, _) => (target.as_path(), rest.to_owned()),
        };
        match uninterrupted(|| self.layer.open_folder(folder)) {
            Ok(folder) => Ok(Some(Base::Elsewhere(folder, rest))),
            Err(error) => {
                let path = self.path_of(&link);
                let is_gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
                Err(if is_gone {
                    StorageError::Link { path, fault: LinkFault::Dangling(target) }
                } else if super::is_link(&error) {
                    StorageError::Link { path, fault: LinkFault::New }
                } else {
                    StorageError::system(Action::Open, &path, error)
                })
            }
        }
    }
}
