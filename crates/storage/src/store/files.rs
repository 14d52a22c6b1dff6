//! The files of a store as they lie at one moment: where, under which names, which of them wanted.
//!
//! A [`super::Store`] changes all of that while pieces come and go; everything here happens between two changes.

use quelea_metainfo::geometry::{PieceIndex, Span};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gather::Gather;
use crate::error::StorageError;
use crate::file_layer::Found;
use crate::file_pool::What;
use crate::layout::{FileIndex, FileSpan, Layout};
use crate::links::LinkFault;
use crate::part_file::PartFile;
use crate::tree::{Before, Tree};

/// Where each file lies, and whether it is wanted.
pub(super) struct Files {
    pub(super) layout: Arc<Layout>,
    pub(super) tree: Tree,
    /// The part file, if there may be one.
    pub(super) parts: Option<PartFile>,
    pub(super) files: Vec<Place>,
    /// Whether files that were there before have to prove that they are the torrent's; see [`super::foreign`].
    pub(super) proof_needed: bool,
    /// Whether the last run was interrupted, so that an unproven file may hold a part of a piece of ours.
    pub(super) torn: AtomicBool,
}

/// A file of the torrent.
pub(super) struct Place {
    /// Below the root; not looked at for a pad file.
    pub(super) path: PathBuf,
    pub(super) pad: bool,
    pub(super) wanted: bool,
    /// Whether it is to be executed, if we make it.
    pub(super) executable: bool,
    /// Whether it was not there when somebody looked, and has not been written since.
    pub(super) absent: AtomicBool,
    /// Whether it was there and nothing shows that it is the torrent's; see [`super::foreign`].
    pub(super) unproven: AtomicBool,
}

impl Files {
    pub(super) fn write_piece(
        &self,
        piece: PieceIndex,
        blocks: &[impl AsRef<[u8]>],
    ) -> Result<(), StorageError> {
        let expected = u64::from(self.layout.geometry().length_of(piece));
        let found = blocks.iter().map(|block| block.as_ref().len() as u64).sum();
        if found != expected {
            return Err(StorageError::WrongLength { piece, found, expected });
        }
        if self.tree.is_read_only() {
            return Err(StorageError::ReadOnly(self.tree.root_path().to_owned()));
        }
        let mut bytes = Gather::new(blocks);
        let mut to_parts = false;
        for run in self.layout.spans_of_piece(piece) {
            if self.is_wanted_file(run.file) {
                self.write_file(run, &mut bytes.take(run.length))?;
            } else {
                bytes.skip(run.length);
                to_parts |= !self.files[run.file.at()].pad;
            }
        }
        match &self.parts {
            Some(parts) if to_parts => {
                parts.write(&self.tree, piece, &mut Gather::new(blocks).take(expected))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn read(&self, span: Span, into: &mut [u8]) -> Result<(), StorageError> {
        check_length(span, into)?;
        let mut begin = u64::from(span.begin);
        let mut rest = into;
        for run in self.layout.spans_of(span) {
            let (now, later) = rest.split_at_mut(run.length as usize);
            self.read_file(span.piece, begin, run, now)?;
            begin += run.length;
            rest = later;
        }
        Ok(())
    }

    /// Whether some file of this span must be looked at before it is given to others.
    pub(super) fn is_look_due(&self, span: Span) -> bool {
        self.own_runs(span).any(|run| self.tree.is_look_due(What::File(run.file.at())))
    }

    /// Looks at the files of this span before it is given to others, those that this is due for.
    pub(super) fn look_before_giving(&self, span: Span) -> Result<(), StorageError> {
        self.own_runs(span).try_for_each(|run| {
            self.tree.look_before_giving(What::File(run.file.at()), self.path_of(run.file))
        })
    }

    /// The runs of a span that lie in the torrent's own files.
    fn own_runs(&self, span: Span) -> impl Iterator<Item = FileSpan> + '_ {
        let runs = self.layout.spans_of(span);
        runs.filter(move |run| !self.files[run.file.at()].pad && !self.in_parts(span.piece, run.file))
    }

    pub(super) fn try_read_cached(&self, span: Span, into: &mut [u8]) -> bool {
        if check_length(span, into).is_err() {
            return false;
        }
        let mut rest = into;
        for run in self.layout.spans_of(span) {
            let (now, later) = rest.split_at_mut(run.length as usize);
            if self.files[run.file.at()].pad {
                now.fill(0);
            } else {
                if self.in_parts(span.piece, run.file) {
                    return false;
                }
                let Some(file) = self.tree.opened(What::File(run.file.at())) else { return false };
                if !self.tree.read_cached(&file, now, run.offset) {
                    return false;
                }
            }
            rest = later;
        }
        true
    }

    pub(super) fn will_need(&self, span: Span) {
        for run in self.layout.spans_of(span) {
            if !self.files[run.file.at()].pad
                && let Ok(Some(file)) = self.open_to_read(run.file)
            {
                self.tree.will_need(file.as_fd(), run.offset, run.length);
            }
        }
    }

    pub(super) fn is_hole(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        for run in self.layout.spans_of_piece(piece) {
            if self.files[run.file.at()].pad {
                continue;
            }
            if self.in_parts(piece, run.file) {
                return Ok(false);
            }
            let Some(file) = self.open_to_read(run.file)? else { continue };
            let path = self.path_of(run.file);
            if !self.tree.is_hole(&file, path, run.offset, run.length)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn finish(&self, sync: bool) -> Result<(), StorageError> {
        for file in self.layout.files().filter(|file| self.is_wanted_file(*file)) {
            let path = self.path_of(file);
            let length = self.layout.length_of(file);
            let found = match self.tree.look(path)? {
                Some(Found::File(found)) => found,
                Some(Found::Folder | Found::Other) => {
                    return Err(StorageError::NotAFile(self.tree.path_of(path)));
                }
                Some(Found::SymbolicLink) => {
                    return Err(StorageError::Link { path: self.tree.path_of(path), fault: LinkFault::New });
                }
                None if length == 0 => {
                    self.files[file.at()].absent.store(true, Ordering::Relaxed);
                    self.create_empty_file(file, true)?;
                    continue;
                }
                None => return Err(self.tree.missing(path, 0)),
            };
            if found > length {
                let path = self.tree.path_of(path);
                return Err(StorageError::LongerFile { path, found, expected: length });
            }
            if found < length {
                let opened = self.open_to_write(file, true)?;
                self.tree.extend(What::File(file.at()), &opened, path, length)?;
            }
            if sync {
                let opened = self.open_to_read(file)?.ok_or_else(|| self.tree.missing(path, 0))?;
                self.tree.sync(&opened, path)?;
            }
        }
        match &self.parts {
            Some(parts) if sync && !parts.is_empty() => parts.sync(&self.tree),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn write_file(&self, span: FileSpan, slices: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        if self.files[span.file.at()].unproven.load(Ordering::Relaxed) {
            self.make_sure_it_fits(span, slices)?;
        }
        // A file that is written whole will hardly be written again, and shall push no other out of the pool.
        let keep = span.length < self.layout.length_of(span.file);
        let file = self.open_to_write(span.file, keep)?;
        let what = What::File(span.file.at());
        self.tree.write_all(what, &file, self.path_of(span.file), slices, span.offset)
    }

    pub(super) fn open_to_write(&self, file: FileIndex, keep: bool) -> Result<Arc<OwnedFd>, StorageError> {
        let absent = &self.files[file.at()].absent;
        let executable = self.files[file.at()].executable;
        let before = if absent.load(Ordering::Relaxed) {
            Before::Absent { executable, alone: self.proof_needed }
        } else {
            Before::Present
        };
        let length = self.layout.length_of(file);
        let opened =
            self.tree.open_to_write(What::File(file.at()), self.path_of(file), before, length, keep)?;
        absent.store(false, Ordering::Relaxed);
        Ok(opened)
    }

    pub(super) fn open_to_read(&self, file: FileIndex) -> Result<Option<Arc<OwnedFd>>, StorageError> {
        if self.files[file.at()].absent.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.tree.open_to_read(What::File(file.at()), self.path_of(file))
    }

    fn read_file(
        &self,
        piece: PieceIndex,
        begin: u64,
        run: FileSpan,
        into: &mut [u8],
    ) -> Result<(), StorageError> {
        if self.files[run.file.at()].pad {
            into.fill(0);
            return Ok(());
        }
        if !self.files[run.file.at()].wanted
            && let Some(parts) = &self.parts
            && parts.read(&self.tree, piece, begin, into)?
        {
            return Ok(());
        }
        let path = self.path_of(run.file);
        let file = self.open_to_read(run.file)?.ok_or_else(|| self.tree.missing(path, run.offset))?;
        self.tree.read_exact(&file, path, into, run.offset)
    }

    /// Whether a file's bytes in this piece are to be had from the part file.
    pub(super) fn in_parts(&self, piece: PieceIndex, file: FileIndex) -> bool {
        !self.files[file.at()].wanted && self.parts.as_ref().is_some_and(|parts| parts.has(piece))
    }

    pub(super) fn path_of(&self, file: FileIndex) -> &Path {
        &self.files[file.at()].path
    }

    pub(super) fn is_wanted_file(&self, file: FileIndex) -> bool {
        self.files[file.at()].wanted && !self.files[file.at()].pad
    }
}

pub(super) fn check_length(span: Span, into: &[u8]) -> Result<(), StorageError> {
    if into.len() == span.length as usize {
        return Ok(());
    }
    let (found, expected) = (into.len() as u64, u64::from(span.length));
    Err(StorageError::WrongLength { piece: span.piece, found, expected })
}
