//! Files that were there before the torrent: whether they are its own, or somebody else's that must not be touched.
//!
//! A file counts as the torrent's when whoever opens the store knows it, when a piece with bytes of it is good, or when
//! there is nothing in it but zeros. Of other files there are two kinds:
//!
//! - It holds a whole piece and that is bad, as all others with bytes of it are; or it has another length than the
//!   torrent's file, and nothing of the whole torrent is good. Then it is somebody else's, and the torrent is refused.
//! - It is so small that every piece with bytes of it has bytes of other files too, which may be what makes the piece bad;
//!   or the torrent was ended in the middle of a write. Then it stays unproven: a verified piece is written to it only
//!   where it holds the same bytes already, or zeros, and anything else is the error that a file of the first kind is. So
//!   neither somebody else's bytes are lost nor is a download of our own refused.

use quelea_metainfo::geometry::PieceIndex;
use std::io::IoSlice;
use std::sync::atomic::Ordering;

use super::files::Files;
use super::{Holder, Store};
use crate::error::StorageError;
use crate::file_layer::Found;
use crate::file_pool::What;
use crate::layout::{FileIndex, FileSpan};

/// How much is read at a time, in bytes.
const CHUNK: usize = 64 * 1024;

impl Store {
    /// Accepts the files that are there as the torrent's, or refuses somebody else's; takes the right to read them, or to
    /// write them if pieces are missing; then creates the wanted files that are empty, and reserves space if that is asked
    /// for. `good` says which pieces are good. If nothing else is missing, an empty file that may not be created is left
    /// out. With `torn` the last run was ended in the middle, so that files may hold what is in no good piece.
    ///
    /// # Errors
    /// [`StorageError::ForeignFile`], [`StorageError::OtherTorrent`], [`StorageError::OtherProcess`], or the system
    /// refuses.
    pub fn accept(&self, good: &dyn Fn(PieceIndex) -> bool, torn: bool) -> Result<(), StorageError> {
        if self.overwrite {
            self.begin_writing()?;
            self.files().take_over()?;
        }
        self.files().judge(good, torn)?;
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

    /// Whether a file is there that nothing shows to be the torrent's.
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

    /// Makes all wanted files the torrent's, and cuts those that are longer.
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

    /// Looks which of the wanted files that are there are the torrent's.
    fn judge(&self, good: &dyn Fn(PieceIndex) -> bool, torn: bool) -> Result<(), StorageError> {
        let geometry = self.layout.geometry();
        let unproven =
            self.layout.files().filter(|file| !self.files[file.at()].pad && self.is_unproven(*file));
        let mut any_good = None;
        for file in unproven {
            let pieces = || self.layout.pieces_of(file).filter_map(|piece| geometry.piece(piece));
            let is_wanted = self.is_wanted_file(file);
            // What the part file has proves nothing.
            if pieces().any(|piece| good(piece) && !self.in_parts(piece, file))
                || (is_wanted && self.is_blank(file)?)
            {
                self.prove(file);
            } else if is_wanted && !torn {
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

    /// Whether a piece has bytes of no other file, pad files left out.
    fn is_own(&self, file: FileIndex, piece: PieceIndex) -> bool {
        self.layout.spans_of_piece(piece).all(|run| run.file == file || self.files[run.file.at()].pad)
    }

    fn found_length(&self, file: FileIndex) -> Result<Option<u64>, StorageError> {
        Ok(match self.tree.look(self.path_of(file))? {
            Some(Found::File(length)) => Some(length),
            Some(Found::Folder | Found::SymbolicLink | Found::Other) | None => None,
        })
    }

    /// Whether there is nothing in a file but zeros.
    fn is_blank(&self, file: FileIndex) -> Result<bool, StorageError> {
        let path = self.path_of(file);
        let Some(opened) = self.tree.open_apart(path)? else { return Ok(true) };
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while let Some(run) = self.tree.next_run(&opened, path, at)? {
            at = run.start;
            while at < run.end {
                let some = buffer.len().min(usize::try_from(run.end - at).unwrap_or(usize::MAX));
                self.tree.read_exact(&opened, path, &mut buffer[..some], at)?;
                if buffer[..some].iter().any(|&byte| byte != 0) {
                    return Ok(false);
                }
                at += some as u64;
            }
        }
        Ok(true)
    }

    /// Makes sure that a verified run of an unproven file may be written: no byte would be lost by it.
    pub(super) fn make_sure_it_fits(
        &self,
        span: FileSpan,
        slices: &[IoSlice<'_>],
    ) -> Result<(), StorageError> {
        let (file, path) = (span.file, self.path_of(span.file));
        // The user may have moved it away, as the error said.
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
        // Zeros prove nothing.
        if same && slices.iter().any(|slice| slice.iter().any(|&byte| byte != 0)) {
            self.prove(file);
        }
        Ok(())
    }
}
