//! Which files on the disk hold a piece, whether they changed, and bringing them to the disk: what is needed to
//! remember between two runs which pieces are good.

use quelea_metainfo::geometry::PieceIndex;
use std::path::Path;

use super::Store;
use super::files::Files;
use crate::error::StorageError;
use crate::file_layer::Stamp;
use crate::layout::{FileIndex, FileSpan};

/// A file on the disk that holds bytes of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A file of the torrent, never a pad file.
    File(FileIndex),
    /// The part file ([`crate::part_file_name`]).
    PartFile,
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

    /// Whether no piece has bytes in the part file, so that it need not be there.
    pub fn is_part_file_empty(&self) -> bool {
        self.files().parts.as_ref().is_none_or(|parts| parts.is_empty())
    }

    /// The error for a file that was written to and is there no more.
    pub fn vanished(&self, holder: Holder) -> StorageError {
        let files = self.files();
        StorageError::Vanished(files.tree.path_of(files.path_of_holder(holder).unwrap_or(Path::new(""))))
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

impl Files {
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
