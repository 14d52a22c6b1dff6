//! Files that existed before the torrent was added: the torrent's own, or foreign ones that must not be touched.
//!
//! A file counts as the torrent's if the caller says that it is known, if a piece with bytes of it is good, or if it holds
//! nothing but zeros. There are two kinds of other files:
//!
//! - Foreign: the file contains a whole piece, and all pieces with bytes of it are bad; or its length is not the torrent's
//!   and no piece of the torrent is good. The torrent is refused.
//! - Unproven: every piece with bytes of the file has bytes of other files too, and those may be why the pieces are bad; or
//!   the last run was interrupted in the middle of a write. A verified piece is written to the file only where the file
//!   holds the same bytes or zeros; any other byte makes it foreign, elsewhere in the file too unless it was a write of
//!   our own that was interrupted. Foreign bytes are never lost this way, and our own
//!   interrupted download is never refused.

use quelea_metainfo::geometry::PieceIndex;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::files::Files;
use super::{Holder, Store};
use crate::error::StorageError;
use crate::file_layer::Found;
use crate::file_pool::What;
use crate::layout::{FileIndex, FileSpan};

/// Length of a read, in bytes.
const CHUNK: usize = 64 * 1024;

impl Store {
    /// Accepts the existing files as the torrent's or refuses foreign ones, takes the right to read them (or to write them
    /// if pieces are missing), creates the wanted files that are empty, and reserves space if [`Options`](super::Options)
    /// ask for it. `good` tells which pieces are good. If all are, an empty file that the system forbids to create is left
    /// out. `torn` says that the last run was interrupted, so files may hold bytes of pieces that are not good.
    ///
    /// # Errors
    /// [`StorageError::ForeignFile`], [`StorageError::OtherTorrent`], [`StorageError::OtherProcess`], or the system
    /// refuses.
    pub fn accept(&self, good: &dyn Fn(PieceIndex) -> bool, torn: bool) -> Result<(), StorageError> {
        if self.overwrite {
            self.begin_writing()?;
            self.files().take_over()?;
        }
        self.files().torn.store(torn, Ordering::Relaxed);
        self.files().judge(good)?;
        let is_complete = self.files().are_complete(good);
        if is_complete {
            self.end_writing()?;
        } else {
            self.begin_writing()?;
        }
        let files = self.files();
        files.create_empty_files(is_complete && files.proof_needed)?;
        if self.preallocate {
            files.preallocate()?;
        }
        Ok(())
    }

    /// Whether an existing file is not proven to be the torrent's.
    pub fn is_unproven(&self, holder: Holder) -> bool {
        match holder {
            Holder::File(file) => self.files().is_unproven(file),
            Holder::PartFile => false,
        }
    }
}

impl Files {
    fn is_unproven(&self, file: FileIndex) -> bool {
        self.files[file.at()].unproven.load(Ordering::Relaxed)
    }

    /// Whether all pieces with bytes of wanted files are good.
    fn are_complete(&self, good: &dyn Fn(PieceIndex) -> bool) -> bool {
        let wanted: Vec<bool> = self.files.iter().map(|place| place.wanted && !place.pad).collect();
        let wanted = self.layout.wanted_pieces(&wanted);
        self.layout.geometry().iter().all(|piece| !wanted[piece.at()] || good(piece))
    }

    fn prove(&self, file: FileIndex) {
        self.files[file.at()].unproven.store(false, Ordering::Relaxed);
    }

    /// Declares all wanted files the torrent's, and truncates longer ones.
    fn take_over(&self) -> Result<(), StorageError> {
        for file in self.layout.files().filter(|file| self.is_wanted_file(*file)) {
            let (path, length) = (self.path_of(file), self.layout.length_of(file));
            if !self.files[file.at()].absent.load(Ordering::Relaxed)
                && matches!(self.tree.look(path)?, Some(Found::File(found)) if found > length)
            {
                let opened = self.tree.create_apart(path, false)?;
                self.tree.set_length(&opened, path, length)?;
            }
            self.prove(file);
        }
        Ok(())
    }

    /// Sorts the existing wanted files into the torrent's own, unproven and foreign ones.
    fn judge(&self, good: &dyn Fn(PieceIndex) -> bool) -> Result<(), StorageError> {
        let geometry = self.layout.geometry();
        let unproven =
            self.layout.files().filter(|file| !self.files[file.at()].pad && self.is_unproven(*file));
        let mut any_good = None;
        for file in unproven {
            let pieces = || self.layout.pieces_of(file).filter_map(|piece| geometry.piece(piece));
            let is_wanted = self.is_wanted_file(file);
            // A piece in the part file says nothing about the file.
            if pieces().any(|piece| good(piece) && !self.in_parts(piece, file))
                || (is_wanted && self.is_blank(file)?)
            {
                self.prove(file);
            } else if is_wanted && !self.torn.load(Ordering::Relaxed) {
                let is_whole =
                    || self.found_length(file).map(|found| found == Some(self.layout.length_of(file)));
                let is_refuted = pieces().any(|piece| self.is_own(file, piece))
                    || (!*any_good.get_or_insert_with(|| geometry.iter().any(good)) && !is_whole()?);
                if is_refuted {
                    return Err(StorageError::ForeignFile(self.tree.path_of(self.path_of(file))));
                }
            }
        }
        Ok(())
    }

    /// Whether a piece has bytes of this file alone, apart from pad files.
    fn is_own(&self, file: FileIndex, piece: PieceIndex) -> bool {
        self.layout.spans_of_piece(piece).all(|run| run.file == file || self.files[run.file.at()].pad)
    }

    fn found_length(&self, file: FileIndex) -> Result<Option<u64>, StorageError> {
        Ok(match self.tree.look(self.path_of(file))? {
            Some(Found::File(length)) => Some(length),
            Some(Found::Folder | Found::SymbolicLink | Found::Other) | None => None,
        })
    }

    /// Whether a file holds nothing but zeros.
    fn is_blank(&self, file: FileIndex) -> Result<bool, StorageError> {
        self.is_blank_besides(file, &(0..0))
    }

    /// Whether a file holds nothing but zeros outside of these bytes.
    fn is_blank_besides(&self, file: FileIndex, besides: &Range<u64>) -> Result<bool, StorageError> {
        let path = self.path_of(file);
        let Some(opened) = self.tree.open_apart(path)? else { return Ok(true) };
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while let Some(run) = self.tree.next_run(&opened, path, at)? {
            at = run.start;
            while at < run.end {
                let some = buffer.len().min(usize::try_from(run.end - at).unwrap_or(usize::MAX));
                self.tree.read_exact(&opened, path, &mut buffer[..some], at)?;
                let mut bytes = (at..).zip(&buffer[..some]);
                if bytes.any(|(place, &byte)| byte != 0 && !besides.contains(&place)) {
                    return Ok(false);
                }
                at += some as u64;
            }
        }
        Ok(true)
    }

    /// Fails if writing this verified run to an unproven file would overwrite a foreign byte.
    pub(super) fn make_sure_it_fits(
        &self,
        span: FileSpan,
        slices: &[IoSlice<'_>],
    ) -> Result<(), StorageError> {
        let (file, path) = (span.file, self.path_of(span.file));
        // The user may have moved the file away, as the error suggests.
        self.tree.close(What::File(file.at()));
        let Some(opened) = self.tree.open_apart(path)? else {
            self.files[file.at()].absent.store(true, Ordering::Relaxed);
            self.prove(file);
            return Ok(());
        };
        let end = self.tree.length_of(&opened, path)?;
        let mut same = end >= span.offset + span.length;
        let mut buffer = vec![0; CHUNK];
        let mut at = span.offset;
        for chunk in slices.iter().flat_map(|slice| slice.chunks(CHUNK)) {
            let there = chunk.len().min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
            self.tree.read_exact(&opened, path, &mut buffer[..there], at)?;
            for (&found, &given) in buffer[..there].iter().zip(chunk) {
                same &= found == given;
                if found != given && found != 0 {
                    return Err(StorageError::ForeignFile(self.tree.path_of(path)));
                }
            }
            at += chunk.len() as u64;
        }
        // Once this run is written, its piece makes the whole file the torrent's, with whatever else is in it.
        if !same
            && !self.torn.load(Ordering::Relaxed)
            && !self.is_blank_besides(file, &(span.offset..span.offset + span.length))?
        {
            return Err(StorageError::ForeignFile(self.tree.path_of(path)));
        }
        // Zeros prove nothing.
        if same && slices.iter().any(|slice| slice.iter().any(|&byte| byte != 0)) {
            self.prove(file);
        }
        Ok(())
    }
}
