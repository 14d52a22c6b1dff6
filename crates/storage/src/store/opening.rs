//! Looking at what is there before a store is used, and making what must be there from the beginning.

use quelea_metainfo::geometry::PieceIndex;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::IoSlice;
use std::path::{Component, Path};
use std::sync::atomic::Ordering;

use super::files::Files;
use crate::error::StorageError;
use crate::file_layer::Found;
use crate::file_pool::What;
use crate::layout::{FileIndex, FileSpan};
use crate::part_file::PartFile;
use crate::tree::Tree;

/// How much is compared and copied at a time, in bytes.
const CHUNK: usize = 64 * 1024;

impl Files {
    /// Brings bytes from the part file to files that have become wanted. Of pieces that are `trusted` the part file
    /// has the right bytes; of others only places that hold nothing are filled, so that no data are lost should
    /// the part file be the one that is wrong. The files that were written to.
    pub(super) fn move_in_from_parts(
        &self,
        trusted: &dyn Fn(PieceIndex) -> bool,
    ) -> Result<BTreeSet<FileIndex>, StorageError> {
        let mut filled = BTreeSet::new();
        let Some(parts) = &self.parts else { return Ok(filled) };
        let mut unneeded = Vec::new();
        for piece in parts.pieces() {
            let mut begin = 0;
            let mut needed = false;
            for run in self.layout.spans_of_piece(piece) {
                let place = &self.files[run.file.at()];
                // It may be somebody else's; then the bytes stay where they are.
                let unproven = place.unproven.load(Ordering::Relaxed) && !trusted(piece);
                needed |= !place.pad && (!place.wanted || unproven);
                if self.is_wanted_file(run.file)
                    && !unproven
                    && self.fill(parts, piece, begin, run, trusted(piece))?
                {
                    filled.insert(run.file);
                }
                begin += run.length;
            }
            if !needed {
                unneeded.push(piece);
            }
        }
        // The bytes may be forgotten in one place only once they are safe in the other.
        for &file in &filled {
            let path = self.path_of(file);
            let opened = self.open_to_read(file)?.ok_or_else(|| self.tree.missing(path, 0))?;
            self.tree.sync(&opened, path)?;
        }
        for piece in unneeded {
            parts.forget(&self.tree, piece)?;
        }
        parts.remove_if_empty(&self.tree)?;
        Ok(filled)
    }

    /// Brings the bytes of a run from the part file to the run's file. Whether there was anything to write.
    fn fill(
        &self,
        parts: &PartFile,
        piece: PieceIndex,
        begin: u64,
        run: FileSpan,
        trusted: bool,
    ) -> Result<bool, StorageError> {
        let mut chunk = vec![0; CHUNK.min(run.length as usize)];
        let mut there = chunk.clone();
        let (mut done, mut written) = (0, false);
        while done < run.length {
            let some = chunk.len().min((run.length - done) as usize);
            let (chunk, there) = (&mut chunk[..some], &mut there[..some]);
            let at = FileSpan { file: run.file, offset: run.offset + done, length: some as u64 };
            let whole = self.read_what_is_there(at, there)?;
            let differs = part_of(parts, &self.tree, piece, begin + done, chunk)? && *chunk != *there;
            if (differs && (trusted || is_blank(there))) || (trusted && !whole) {
                self.write_file(at, &mut [IoSlice::new(chunk)])?;
                written = true;
            }
            done += some as u64;
        }
        Ok(written)
    }

    /// Reads what a file holds here, and zeros where it ends. Whether it reaches so far.
    fn read_what_is_there(&self, at: FileSpan, buffer: &mut [u8]) -> Result<bool, StorageError> {
        buffer.fill(0);
        let Some(file) = self.open_to_read(at.file)? else { return Ok(false) };
        let path = self.path_of(at.file);
        let length = self.tree.length_of(&file, path)?;
        let there = length.saturating_sub(at.offset).min(at.length) as usize;
        self.tree.read_exact(&file, path, &mut buffer[..there], at.offset)?;
        Ok(there == buffer.len())
    }

    /// Looks at the files anew; see [`super::Store::look_again`].
    pub(super) fn look_again(&mut self) -> Result<(), StorageError> {
        self.tree.close_all();
        self.tree.forget_links();
        let mut folders = HashMap::new();
        for (file, place) in self.layout.files().zip(&self.files).filter(|(_, place)| !place.pad) {
            let length = self.layout.length_of(file);
            let there = length_there(&self.tree, &place.path, length, place.wanted, &mut folders)?;
            // Somebody may have put it there since.
            if place.absent.swap(there.is_none(), Ordering::Relaxed) {
                let is_unproven = self.proof_needed && there.is_some_and(|length| length > 0);
                place.unproven.store(is_unproven, Ordering::Relaxed);
            } else if there.is_none() {
                place.unproven.store(false, Ordering::Relaxed);
            }
        }
        match &mut self.parts {
            Some(parts) => parts.look_again(&self.tree),
            None => Ok(()),
        }
    }

    /// Creates the wanted files that are empty and not there, as [`Self::create_empty_file`] does.
    pub(super) fn create_empty_files(&self, if_allowed: bool) -> Result<(), StorageError> {
        for file in self.layout.files() {
            let absent = self.files[file.at()].absent.load(Ordering::Relaxed);
            if self.is_wanted_file(file) && self.layout.length_of(file) == 0 && absent {
                self.create_empty_file(file, if_allowed)?;
            }
        }
        Ok(())
    }

    /// Creates an empty file. With `if_allowed`, one that the system forbids to create is left out: no reason not to give
    /// away the others.
    pub(super) fn create_empty_file(&self, file: FileIndex, if_allowed: bool) -> Result<(), StorageError> {
        match self.open_to_write(file, false) {
            Err(error) if if_allowed && error.is_forbidden() => {
                tracing::warn!(%error, "an empty file is not created");
                Ok(())
            }
            created => created.map(drop),
        }
    }

    /// Reserves the space of all wanted files, or of none: where there is not enough room, or the system refuses one,
    /// the files get back the lengths that they had.
    pub(super) fn preallocate(&self) -> Result<(), StorageError> {
        let is_proven = |file: &FileIndex| !self.files[file.at()].unproven.load(Ordering::Relaxed);
        let real = |file: &FileIndex| {
            self.is_wanted_file(*file) && self.layout.length_of(*file) > 0 && is_proven(file)
        };
        let files: Vec<FileIndex> = self.layout.files().filter(real).collect();
        self.is_there_room(&files)?;
        let mut reserved = Vec::new();
        for &file in &files {
            if let Err(error) = self.reserve(file, &mut reserved) {
                self.give_back(&reserved);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether the file system has room for what these files lack. Asked first, because space that is reserved in the
    /// holes of a file cannot be given back without a risk for its data.
    fn is_there_room(&self, files: &[FileIndex]) -> Result<(), StorageError> {
        let mut needed: u64 = 0;
        for &file in files {
            needed += self.layout.length_of(file).saturating_sub(self.bytes_there(file)?);
        }
        let free = self.tree.free_space()?;
        if needed > free {
            return Err(StorageError::NoRoom { path: self.tree.root_path().to_owned(), needed, free });
        }
        Ok(())
    }

    /// Bytes of a file that are no hole.
    fn bytes_there(&self, file: FileIndex) -> Result<u64, StorageError> {
        let Some(opened) = self.open_to_read(file)? else { return Ok(0) };
        let (mut at, mut bytes) = (0, 0);
        while let Some(run) = self.tree.next_run(&opened, self.path_of(file), at)? {
            bytes += run.end - run.start;
            at = run.end;
        }
        Ok(bytes)
    }

    /// Reserves a file's space, and notes how long it was before.
    fn reserve(&self, file: FileIndex, reserved: &mut Vec<Reserved>) -> Result<(), StorageError> {
        let path = self.path_of(file);
        let absent = self.files[file.at()].absent.load(Ordering::Relaxed);
        let opened = self.open_to_write(file, false)?;
        let length = self.tree.length_of(&opened, path)?;
        reserved.push(Reserved { file, length, is_new: absent && length == 0 });
        self.tree.allocate(What::File(file.at()), &opened, path, self.layout.length_of(file))
    }

    /// Removes the files that were made to reserve space, and cuts the others back. What can't be cut stays longer,
    /// with zeros at its end.
    fn give_back(&self, reserved: &[Reserved]) {
        let mut folders = Vec::new();
        for &Reserved { file, length, is_new } in reserved {
            let path = self.path_of(file);
            let given_back = if is_new {
                folders.extend(path.parent());
                self.files[file.at()].absent.store(true, Ordering::Relaxed);
                self.tree.remove(What::File(file.at()), path)
            } else {
                self.open_to_write(file, false).and_then(|opened| self.tree.set_length(&opened, path, length))
            };
            if let Err(error) = given_back {
                tracing::warn!(%error, "reserved space could not be given back");
            }
        }
        self.tree.remove_empty_folders(folders);
    }
}

/// A file whose space was reserved.
struct Reserved {
    file: FileIndex,
    /// Its length before, in bytes.
    length: u64,
    /// Whether it was not there before.
    is_new: bool,
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Reads a run from the part file; false when it has none of this piece, or ends before.
fn part_of(
    parts: &PartFile,
    tree: &Tree,
    piece: PieceIndex,
    begin: u64,
    into: &mut [u8],
) -> Result<bool, StorageError> {
    match parts.read(tree, piece, begin, into) {
        Ok(found) => Ok(found),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes sure that these can be the paths of a torrent's files: below the root, each its own, and none of them in
/// the place of a folder that another needs.
pub(super) fn check_paths<'a>(paths: impl Iterator<Item = &'a Path> + Clone) -> Result<(), StorageError> {
    let mut seen = HashSet::new();
    for path in paths.clone() {
        let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
        if !plain || path.file_name().is_none() || !seen.insert(path) {
            return Err(StorageError::BadPath(path.to_owned()));
        }
    }
    for path in paths {
        if path.ancestors().skip(1).any(|above| seen.contains(above)) {
            return Err(StorageError::BadPath(path.to_owned()));
        }
    }
    Ok(())
}

/// The lengths of the files that are there, and errors for what stands in a wanted file's place.
pub(super) fn look_around(files: &Files, overwrite: bool) -> Result<Vec<Option<u64>>, StorageError> {
    let mut folders = HashMap::new();
    let mut lengths = Vec::with_capacity(files.files.len());
    for (file, place) in files.layout.files().zip(&files.files) {
        let longest = if overwrite { u64::MAX } else { files.layout.length_of(file) };
        let length = match place.pad {
            true => None,
            false => length_there(&files.tree, &place.path, longest, place.wanted, &mut folders)?,
        };
        lengths.push(length);
    }
    Ok(lengths)
}

/// The length of the file that stands there; an error for what can't be the torrent's file of this length.
pub(super) fn length_there<'a>(
    tree: &Tree,
    path: &'a Path,
    expected: u64,
    wanted: bool,
    folders: &mut HashMap<&'a Path, bool>,
) -> Result<Option<u64>, StorageError> {
    let above = path.parent().unwrap_or(Path::new(""));
    let found = match folder_there(tree, above, folders) {
        Ok(true) => tree.look(path),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    match found {
        // A file that is not wanted is neither read nor written, so nothing about its place stands in the way.
        Err(_) if !wanted => Ok(None),
        Err(error) => Err(error),
        Ok(found) => length_of_found(tree, path, found, expected, wanted),
    }
}

/// The length of what stands in a file's place; an error for what can't be the torrent's file of this length.
fn length_of_found(
    tree: &Tree,
    path: &Path,
    found: Option<Found>,
    expected: u64,
    wanted: bool,
) -> Result<Option<u64>, StorageError> {
    let full = || tree.path_of(path);
    match found {
        None => Ok(None),
        Some(Found::File(found)) if wanted && found > expected => {
            Err(StorageError::LongerFile { path: full(), found, expected })
        }
        Some(Found::File(found)) => Ok(Some(found)),
        Some(Found::Folder | Found::Other) if !wanted => Ok(None),
        Some(Found::Folder | Found::Other) => Err(StorageError::NotAFile(full())),
        Some(Found::SymbolicLink) => match tree.follow_to(path, false) {
            Ok(Found::File(found)) if wanted && found > expected => {
                Err(StorageError::LongerFile { path: full(), found, expected })
            }
            Ok(Found::File(found)) => Ok(Some(found)),
            Ok(Found::Folder | Found::SymbolicLink | Found::Other) => Ok(None),
            Err(_) if !wanted => Ok(None),
            Err(error) => Err(error),
        },
    }
}

/// Whether a folder is there, asking the system once a folder; a fresh download asks about its top folder alone.
pub(super) fn folder_there<'a>(
    tree: &Tree,
    folder: &'a Path,
    known: &mut HashMap<&'a Path, bool>,
) -> Result<bool, StorageError> {
    let Some(above) = folder.parent() else { return Ok(true) };
    if let Some(&there) = known.get(folder) {
        return Ok(there);
    }
    let there = folder_there(tree, above, known)?
        && match tree.look(folder)? {
            None => false,
            Some(Found::Folder) => true,
            Some(Found::SymbolicLink) => tree.follow_to(folder, true).map(|_| true)?,
            Some(Found::File(_) | Found::Other) => {
                let error = std::io::Error::from(rustix::io::Errno::NOTDIR);
                let path = tree.path_of(folder);
                return Err(StorageError::system(crate::error::Action::CreateFolder, &path, error));
            }
        };
    known.insert(folder, there);
    Ok(there)
}
