//! Which files on the disk hold a piece, whether they changed, and bringing them to the disk: what is needed to
//! remember between two runs which pieces are good.

use quelea_metainfo::geometry::PieceIndex;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Store;
use super::files::Files;
use crate::error::StorageError;
use crate::file_layer::Stamp;
use crate::file_pool::What;
use crate::layout::{FileIndex, FileSpan};
use crate::tree::Standing;

/// After this a change of a file has another stamp than one before.
const SETTLING: Duration = Duration::from_millis(30);

/// So many files are synced one by one.
const APART: usize = 32;

/// A file on the disk that holds bytes of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A file of the torrent, never a pad file.
    File(FileIndex),
    /// The part file ([`crate::part_file_name`]).
    PartFile,
}

impl Holder {
    pub(super) const fn what(self) -> What {
        match self {
            Self::File(file) => What::File(file.at()),
            Self::PartFile => What::Parts,
        }
    }
}

/// A run of a piece's bytes in a file of the torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The file.
    pub file: FileIndex,
    /// Where the run ends, in bytes from the file's beginning: a shorter file does not hold it.
    pub end: u64,
    /// Whether the file is wanted. If not, the part file may hold the run in its place.
    pub wanted: bool,
}

impl Store {
    /// All files that may hold bytes: those of the torrent, whether or not they are there, and the part file
    /// where there may be one.
    pub fn holders(&self) -> impl Iterator<Item = Holder> + use<> {
        let files = self.files();
        let all: Vec<Holder> = files.holders().collect();
        all.into_iter()
    }

    /// Where the bytes of a piece lie, pad files left out.
    pub fn held(&self, piece: PieceIndex) -> impl Iterator<Item = Held> + use<> {
        let files = self.files();
        let runs = self.layout.spans_of_piece(piece).filter(|run| !files.files[run.file.at()].pad);
        let held = |run: FileSpan| Held {
            file: run.file,
            end: run.offset + run.length,
            wanted: files.files[run.file.at()].wanted,
        };
        let held: Vec<Held> = runs.map(held).collect();
        held.into_iter()
    }

    /// The files that a write of this piece changes.
    pub fn written_with(&self, piece: PieceIndex) -> impl Iterator<Item = Holder> + use<> {
        self.held(piece).map(|held| if held.wanted { Holder::File(held.file) } else { Holder::PartFile })
    }

    /// How a file stands on the disk; `None` where there is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stamp(&self, holder: Holder) -> Result<Option<Stamp>, StorageError> {
        let files = self.files();
        files.path_of_holder(holder).map_or(Ok(None), |path| files.tree.stamp(path))
    }

    /// The stamps of files, in the same order; `None` where there is none. From here on a change of them by others is
    /// noticed. To be taken before their pieces are hashed or trusted; waits a moment for files that were changed just
    /// now.
    pub fn take_stamps(&self, holders: &[Holder]) -> Vec<Result<Option<Stamp>, StorageError>> {
        let take = |holder: Holder| {
            let files = self.files();
            files.path_of_holder(holder).map_or(Ok(None), |path| files.tree.take_stamp(holder.what(), path))
        };
        let mut stamps: Vec<_> = holders.iter().map(|&holder| take(holder)).collect();
        let recent = |stamp: &Result<Option<Stamp>, _>, holder| {
            matches!(stamp, Ok(Some(stamp)) if !stamp.is_coarse()) && self.proof(holder).is_none()
        };
        let mut waited = false;
        for (stamp, &holder) in stamps.iter_mut().zip(holders) {
            if recent(stamp, holder) {
                if !std::mem::replace(&mut waited, true) {
                    std::thread::sleep(SETTLING);
                }
                *stamp = take(holder);
            }
        }
        stamps
    }

    /// The stamp that was taken of a file or that our last write left; `None` if the file may have changed since without
    /// another stamp, because that was too recent.
    pub fn proof(&self, holder: Holder) -> Option<Stamp> {
        self.files().tree.proof(holder.what())
    }

    /// How a file stands beside what we left.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn standing(&self, holder: Holder) -> Result<Standing, StorageError> {
        let files = self.files();
        let path = files.path_of_holder(holder);
        path.map_or(Ok(Standing::Absent), |path| files.tree.standing(holder.what(), path))
    }

    /// The files that somebody else changed since we left them.
    pub fn disturbed(&self) -> Vec<Holder> {
        let disturbed = self.files().tree.disturbed();
        disturbed.into_iter().filter_map(|what| self.holder_of(what)).collect()
    }

    /// Whether all files are there again that were gone when they were to be given to others. What they hold then is to
    /// be seen: they are among [`Store::disturbed`].
    ///
    /// # Errors
    /// [`StorageError::Vanished`] for one that is not, or when the system refuses.
    pub fn are_back(&self) -> Result<(), StorageError> {
        let files = self.files();
        for holder in files.tree.vanished().into_iter().filter_map(|what| self.holder_of(what)) {
            let Some(path) = files.path_of_holder(holder) else { continue };
            if files.tree.stamp(path)?.is_none() {
                return Err(StorageError::Vanished(files.tree.path_of(path)));
            }
            files.tree.is_back(holder.what());
        }
        Ok(())
    }

    /// The pieces that have bytes in one of these files.
    pub fn pieces_in(&self, holders: &[Holder]) -> Vec<PieceIndex> {
        let files = self.files();
        let of_holder = |holder: &Holder| -> Vec<PieceIndex> {
            match (holder, &files.parts) {
                (Holder::File(file), _) => {
                    let geometry = self.layout.geometry();
                    self.layout.pieces_of(*file).filter_map(move |piece| geometry.piece(piece)).collect()
                }
                (Holder::PartFile, Some(parts)) => parts.pieces(),
                (Holder::PartFile, None) => Vec::new(),
            }
        };
        let pieces: BTreeSet<PieceIndex> = holders.iter().flat_map(of_holder).collect();
        pieces.into_iter().collect()
    }

    fn holder_of(&self, what: What) -> Option<Holder> {
        match what {
            What::File(file) => self.layout.file(file).map(Holder::File),
            What::Parts => Some(Holder::PartFile),
            What::Root => None,
        }
    }

    /// Whether no piece has bytes in the part file, so that it need not be there.
    pub fn is_part_file_empty(&self) -> bool {
        self.files().parts.as_ref().is_none_or(|parts| parts.is_empty())
    }

    /// Where a file is.
    pub fn path_of(&self, holder: Holder) -> PathBuf {
        let files = self.files();
        files.tree.path_of(files.path_of_holder(holder).unwrap_or(Path::new("")))
    }

    /// The error for a file that was written to and is there no more.
    pub fn vanished(&self, holder: Holder) -> StorageError {
        StorageError::Vanished(self.path_of(holder))
    }

    /// Comes back once everything written to this file so far is on the disk and outlasts a loss of power.
    ///
    /// # Errors
    /// When it is not there, or the system refuses; then what was written may be lost, although another call
    /// may succeed.
    pub fn sync(&self, holder: Holder) -> Result<(), StorageError> {
        let files = self.files();
        match (holder, &files.parts) {
            (Holder::File(file), _) => {
                let path = files.path_of(file);
                let opened = files.open_to_read(file)?.ok_or_else(|| files.tree.missing(path, 0))?;
                files.tree.sync(&opened, path)
            }
            (Holder::PartFile, Some(parts)) => parts.sync(&files.tree),
            (Holder::PartFile, None) => Ok(()),
        }
    }
}

impl Store {
    /// As [`Store::sync`] of each of these files, in their order. Many are brought to the disk with their whole file
    /// system: that waits for the disk once and not thousands of times.
    pub fn sync_all(&self, holders: &[Holder]) -> Vec<Result<(), StorageError>> {
        let safe =
            if holders.len() > APART { self.files().sync_file_systems(holders) } else { HashSet::new() };
        let each = holders.iter();
        each.map(|holder| if safe.contains(holder) { Ok(()) } else { self.sync(*holder) }).collect()
    }
}

impl Files {
    /// Syncs the file systems that these files lie on. Those of the files that are on the disk by that; the others are
    /// not there, or the system cannot do it.
    fn sync_file_systems(&self, holders: &[Holder]) -> HashSet<Holder> {
        let mut systems: HashMap<u64, Vec<Holder>> = HashMap::new();
        for &holder in holders {
            // What the part file holds beside the bytes is for itself to bring to the disk.
            if let Holder::File(file) = holder
                && let Some(system) = self.tree.file_system(self.path_of(file))
            {
                systems.entry(system).or_default().push(holder);
            }
        }
        let is_synced = |holders: &Vec<Holder>| {
            let opened = holders.iter().find_map(|holder| match holder {
                Holder::File(file) => self.open_to_read(*file).ok().flatten(),
                Holder::PartFile => None,
            });
            opened.is_some_and(|file| self.tree.sync_file_system(&file))
        };
        systems.into_values().filter(is_synced).flatten().collect()
    }

    /// All files that may hold bytes.
    pub(super) fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        let files = self.layout.files().filter(|file| !self.files[file.at()].pad).map(Holder::File);
        files.chain(self.parts.as_ref().map(|_| Holder::PartFile))
    }

    /// Where such a file is, below the root.
    pub(super) fn path_of_holder(&self, holder: Holder) -> Option<&Path> {
        match (holder, &self.parts) {
            (Holder::File(file), _) => Some(self.path_of(file)),
            (Holder::PartFile, Some(parts)) => Some(parts.path()),
            (Holder::PartFile, None) => None,
        }
    }
}
