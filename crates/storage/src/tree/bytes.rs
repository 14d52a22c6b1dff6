//! The bytes of open files: read, written and extended whole, whatever the system does by halves.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::changes::Noted;
use super::{Tree, is_unsupported, uninterrupted};
use crate::error::{Action, StorageError};
use crate::file_pool::What;

/// The most slices that one vectored write takes (IOV_MAX of POSIX on Linux, the BSDs and macOS).
const SLICES_A_WRITE: usize = 1_024;

impl Tree {
    /// Writes all slices, end to end from `offset` on.
    pub(crate) fn write_all(
        &self,
        what: What,
        file: &OwnedFd,
        path: &Path,
        slices: &mut [IoSlice<'_>],
        offset: u64,
    ) -> Result<(), StorageError> {
        self.change(what, file, || self.write_slices(file, path, slices, offset))
    }

    fn write_slices(
        &self,
        file: &OwnedFd,
        path: &Path,
        mut slices: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> Result<(), StorageError> {
        // Whether or not it succeeds, and before anybody hears of it.
        let length = slices.iter().map(|slice| slice.len() as u64).sum();
        let _noted = Noted { tree: self, path, offset, length };
        while !slices.is_empty() {
            let some = &slices[..slices.len().min(SLICES_A_WRITE)];
            match uninterrupted(|| self.layer.write_at(file.as_fd(), some, offset)) {
                Ok(0) => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return Err(self.refused(Action::Write, path, error));
                }
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) => return Err(self.refused(Action::Write, path, error)),
            }
        }
        Ok(())
    }

    /// Fills `into` from `offset` on. A file that ends before that is an error for which
    /// [`StorageError::is_missing`] holds.
    pub(crate) fn read_exact(
        &self,
        file: &OwnedFd,
        path: &Path,
        into: &mut [u8],
        offset: u64,
    ) -> Result<(), StorageError> {
        let mut filled = 0;
        while filled < into.len() {
            let at = offset + filled as u64;
            match uninterrupted(|| self.layer.read_at(file.as_fd(), &mut into[filled..], at)) {
                Ok(0) => return Err(self.missing(path, at)),
                Ok(read) => filled += read,
                Err(error) => return Err(self.refused(Action::Read, path, error)),
            }
        }
        Ok(())
    }

    /// Fills `into` if all of it lies in the page cache.
    pub(crate) fn read_cached(&self, file: &OwnedFd, into: &mut [u8], offset: u64) -> bool {
        let mut filled = 0;
        while filled < into.len() {
            let at = offset + filled as u64;
            match self.layer.read_cached_at(file.as_fd(), &mut into[filled..], at) {
                Ok(0) | Err(_) => return false,
                Ok(read) => filled += read,
            }
        }
        true
    }

    /// Whether there are no data in `offset .. offset + length` of a file, so that it reads as zeros or ends.
    pub(crate) fn is_hole(
        &self,
        file: &OwnedFd,
        path: &Path,
        offset: u64,
        length: u64,
    ) -> Result<bool, StorageError> {
        match uninterrupted(|| self.layer.next_data(file.as_fd(), offset)) {
            Ok(next) => Ok(next.is_none_or(|at| at >= offset + length)),
            Err(error) => Err(self.refused(Action::Inspect, path, error)),
        }
    }

    pub(crate) fn will_need(&self, file: BorrowedFd<'_>, offset: u64, length: u64) {
        self.layer.will_need(file, offset, length);
    }

    /// Makes a file at least `length` bytes long, with a hole.
    pub(crate) fn extend(
        &self,
        what: What,
        file: &OwnedFd,
        path: &Path,
        length: u64,
    ) -> Result<(), StorageError> {
        if self.length_of(file, path)? >= length {
            return Ok(());
        }
        let _noted = Noted { tree: self, path, offset: length, length: 0 };
        self.change(what, file, || self.set_length(file, path, length))
    }

    /// Reserves the space of `length` bytes; where the file system can't, only the length is set.
    pub(crate) fn allocate(
        &self,
        what: What,
        file: &OwnedFd,
        path: &Path,
        length: u64,
    ) -> Result<(), StorageError> {
        let _noted = Noted { tree: self, path, offset: length, length: 0 };
        let allocated =
            self.change(what, file, || match uninterrupted(|| self.layer.allocate(file.as_fd(), length)) {
                Ok(()) => Ok(true),
                Err(error) if is_unsupported(&error) => Ok(false),
                Err(error) => Err(self.refused(Action::Allocate, path, error)),
            });
        if allocated? { Ok(()) } else { self.extend(what, file, path, length) }
    }
}
