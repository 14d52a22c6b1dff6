//! Which files on the disk hold a piece, whether they changed, and bringing them to the disk: what is needed to
//! remember between two runs which pieces are good.

use quelea_metainfo::geometry::PieceIndex;
use std::path::Path;

use super::Store;
use crate::error::StorageError;
use crate::file_layer::Stamp;
use crate::layout::FileIndex;

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
    pub fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        let files = self.layout.files().filter(|file| !self.files[file.at()].pad).map(Holder::File);
        files.chain(self.parts.as_ref().map(|_| Holder::PartFile))
    }

    /// Where the bytes of a piece lie, pad files left out.
    pub fn held(&self, piece: PieceIndex) -> impl Iterator<Item = Held> + '_ {
        let runs = self.layout.spans_of_piece(piece).filter(|run| !self.files[run.file.at()].pad);
        runs.map(|run| Held {
            file: run.file,
            end: run.offset + run.length,
            wanted: self.wanted[run.file.at()],
        })
    }

    /// The files that a write of this piece changes.
    pub fn written_with(&self, piece: PieceIndex) -> impl Iterator<Item = Holder> + '_ {
        self.held(piece).map(|held| if held.wanted { Holder::File(held.file) } else { Holder::PartFile })
    }

    /// How a file stands on the disk; `None` where there is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stamp(&self, holder: Holder) -> Result<Option<Stamp>, StorageError> {
        match (holder, &self.parts) {
            (Holder::File(file), _) => self.tree.stamp(self.path_of(file)),
            (Holder::PartFile, Some(parts)) => self.tree.stamp(parts.path()),
            (Holder::PartFile, None) => Ok(None),
        }
    }

    /// The error for a file that was written to and is there no more.
    pub fn vanished(&self, holder: Holder) -> StorageError {
        let path = match (holder, &self.parts) {
            (Holder::File(file), _) => self.path_of(file),
            (Holder::PartFile, Some(parts)) => parts.path(),
            (Holder::PartFile, None) => Path::new(""),
        };
        StorageError::Vanished(self.tree.path_of(path))
    }

    /// Comes back once everything written to this file so far is on the disk and outlasts a loss of power.
    ///
    /// # Errors
    /// When it is not there, or the system refuses; then what was written may be lost, although another call
    /// may succeed.
    pub fn sync(&self, holder: Holder) -> Result<(), StorageError> {
        match (holder, &self.parts) {
            (Holder::File(file), _) => {
                let path = self.path_of(file);
                let opened = self.open_to_read(file)?.ok_or_else(|| self.tree.missing(path, 0))?;
                self.tree.sync(&opened, path)
            }
            (Holder::PartFile, Some(parts)) => parts.sync(&self.tree),
            (Holder::PartFile, None) => Ok(()),
        }
    }
}
