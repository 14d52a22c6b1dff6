//! One torrent's pieces in its files.
//!
//! # Why positional and synchronous
//! Every call says where it reads or writes, so threads share a store without taking turns, and no call leaves
//! anything behind that a kill could tear: a verified piece goes out in one vectored write a file. The calls
//! block, because files do; [`crate::Pipeline`] has the threads for that.
//!
//! # What happens on the disk
//! - A file is created by its first write, as a sparse file, so that a torrent of 5,000 files costs three
//!   system calls a file. Empty files are created at once, since nothing will ever be written to them.
//! - What was there before is never cut. A file that is longer than the torrent's is refused.
//! - No symbolic link below the download directory is followed.
//! - A piece with bytes of unwanted files goes to the part file ([`crate::part_file_name`]). Once such a file
//!   is wanted, its bytes go from there to it, into places that hold nothing yet.
//! - Pad files (BEP 47) are not written; they read as zeros.

mod holders;

pub use holders::{Held, Holder};

use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StorageError;
use crate::file_layer::{FileLayer, Found, System};
use crate::file_pool::{FilePool, What};
use crate::layout::{FileIndex, FileSpan, Layout};
use crate::part_file::{PartFile, is_plain_name};
use crate::tree::{Before, Tree};

/// A file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Its path below the download directory; not looked at for a pad file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it is a pad file (BEP 47, `attr` p), which only fills a piece up with zeros.
    pub pad: bool,
}

/// How a store works.
#[derive(Clone)]
pub struct Options {
    /// Which files are wanted, one entry a file; `None` for all.
    pub wanted: Option<Vec<bool>>,
    /// Whether the space of all wanted files is reserved when the store is opened, so that a disk that is too
    /// small says so at once.
    pub preallocate: bool,
    /// Whether nothing may be created or changed on the disk.
    pub read_only: bool,
    /// The plain name of the part file in the download directory; must be there when a file is unwanted.
    pub part_file: Option<PathBuf>,
    /// The open files, with those of other stores.
    pub pool: FilePool,
    /// The system calls.
    pub layer: Arc<dyn FileLayer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wanted: None,
            preallocate: false,
            read_only: false,
            part_file: None,
            pool: FilePool::default(),
            layer: Arc::new(System),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("wanted", &self.wanted)
            .field("preallocate", &self.preallocate)
            .field("read_only", &self.read_only)
            .field("part_file", &self.part_file)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// One torrent's pieces in its files; see the module's head. Threads share it in an [`Arc`].
///
/// Two calls may not write the same piece at the same time; everything else may happen at the same time.
pub struct Store {
    layout: Layout,
    files: Vec<FileSpec>,
    wanted: Vec<bool>,
    /// Whether a file was not there when the store was opened, and has not been written since.
    absent: Vec<AtomicBool>,
    had_data: bool,
    parts: Option<PartFile>,
    tree: Tree,
}

impl Store {
    /// Opens the store of these files, in the torrent's order, below `root`.
    ///
    /// Looks at what is there and creates the wanted files that are empty; creates nothing else unless space is
    /// to be reserved. `root` need not be there yet.
    ///
    /// # Errors
    /// When the files and the geometry do not fit together, a path is none that a torrent may have, something
    /// stands in a wanted file's place that is not it, or the system refuses.
    pub fn open(
        root: &Path,
        files: Vec<FileSpec>,
        geometry: Geometry,
        options: Options,
    ) -> Result<Self, StorageError> {
        let layout = Layout::new(files.iter().map(|file| file.length), geometry)
            .ok_or(StorageError::BadFileList("its lengths do not sum up to the torrent's"))?;
        let wanted = options.wanted.unwrap_or_else(|| vec![true; files.len()]);
        if wanted.len() != files.len() {
            return Err(StorageError::BadFileList("what is wanted was not said of each file"));
        }
        check_paths(&files)?;
        let unwanted = files.iter().zip(&wanted).any(|(file, wanted)| !file.pad && !wanted);
        if unwanted && options.part_file.is_none() {
            return Err(StorageError::BadFileList("there are unwanted files but no name for a part file"));
        }

        let tree = Tree::new(root.to_owned(), options.layer, options.pool, options.read_only);
        let lengths = look_around(&tree, &files, &wanted)?;
        let parts = match options.part_file {
            Some(path) if !is_plain_name(&path) => return Err(StorageError::BadPath(path)),
            Some(path) => Some(PartFile::open(&tree, path, geometry)?),
            None => None,
        };
        let had_data = lengths.iter().flatten().any(|&length| length > 0)
            || parts.as_ref().is_some_and(|parts| !parts.is_empty());
        let absent = lengths.iter().map(|length| AtomicBool::new(length.is_none())).collect();
        let store = Self { layout, files, wanted, absent, had_data, parts, tree };
        if !options.read_only {
            store.move_in_from_parts()?;
            store.create_empty_files()?;
            if options.preallocate {
                store.preallocate()?;
            }
        }
        Ok(store)
    }

    /// The download directory.
    pub fn root(&self) -> &Path {
        self.tree.root_path()
    }

    /// Where the bytes of the torrent lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which files are wanted, one entry a file.
    pub fn wanted(&self) -> &[bool] {
        &self.wanted
    }

    /// Whether there were data when the store was opened, so that checking them is worthwhile.
    pub fn has_data(&self) -> bool {
        self.had_data
    }

    /// Writes a whole verified piece, given as its blocks in order: one vectored write for each file it touches.
    ///
    /// # Errors
    /// When the system refuses; then some of the piece may be on the disk, and writing it again is safe.
    pub fn write_piece(&self, piece: PieceIndex, blocks: &[impl AsRef<[u8]>]) -> Result<(), StorageError> {
        let expected = u64::from(self.layout.geometry().length_of(piece));
        let found = blocks.iter().map(|block| block.as_ref().len() as u64).sum();
        if found != expected {
            return Err(StorageError::WrongLength { piece, found, expected });
        }
        if self.tree.is_read_only() {
            return Err(StorageError::ReadOnly(self.root().to_owned()));
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

    /// Fills `into`, which has the span's length, with the span's bytes.
    ///
    /// # Errors
    /// When the bytes are not there ([`StorageError::is_missing`]), or the system refuses. A file with a hole
    /// in this place gives zeros.
    pub fn read(&self, span: Span, into: &mut [u8]) -> Result<(), StorageError> {
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

    /// As [`Store::read`], but only if nothing has to be waited for: the files are open and the bytes in the
    /// page cache. Whether it was so; if not, `into` holds anything. Errors are left for [`Store::read`].
    pub fn try_read_cached(&self, span: Span, into: &mut [u8]) -> bool {
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

    /// Says that a span will be read soon, so that the system brings it from the disk. Costs little and waits
    /// for nothing but the opening of files.
    pub fn will_need(&self, span: Span) {
        for run in self.layout.spans_of(span) {
            if !self.files[run.file.at()].pad
                && let Ok(Some(file)) = self.open_to_read(run.file)
            {
                self.tree.will_need(file.as_fd(), run.offset, run.length);
            }
        }
    }

    /// Whether a piece has no data at all: its files are not there, end before it, or have a hole in its place.
    /// Then it reads as zeros or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn is_hole(&self, piece: PieceIndex) -> Result<bool, StorageError> {
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

    /// To be called once all wanted pieces are written: every wanted file gets exactly its length. With `sync`
    /// it also comes back only after the data are on the disk.
    ///
    /// # Errors
    /// When a file is not there or longer than it should be, or the system refuses.
    pub fn finish(&self, sync: bool) -> Result<(), StorageError> {
        for file in self.layout.files().filter(|file| self.is_wanted_file(*file)) {
            let path = self.path_of(file);
            let length = self.layout.length_of(file);
            let found = match self.tree.look(path)? {
                Some(Found::File(found)) => found,
                Some(Found::Folder | Found::Other) => {
                    return Err(StorageError::NotAFile(self.tree.path_of(path)));
                }
                Some(Found::SymbolicLink) => return Err(StorageError::SymbolicLink(self.tree.path_of(path))),
                None => return Err(self.tree.missing(path, 0)),
            };
            if found > length {
                let path = self.tree.path_of(path);
                return Err(StorageError::LongerFile { path, found, expected: length });
            }
            if found < length {
                let opened = self.open_to_write(file, true)?;
                self.tree.extend(&opened, path, length)?;
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

    fn write_file(&self, span: FileSpan, slices: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        // A file that is written whole will hardly be written again, and shall push no other out of the pool.
        let keep = span.length < self.layout.length_of(span.file);
        let file = self.open_to_write(span.file, keep)?;
        self.tree.write_all(&file, self.path_of(span.file), slices, span.offset)
    }

    fn open_to_write(&self, file: FileIndex, keep: bool) -> Result<Arc<OwnedFd>, StorageError> {
        let absent = &self.absent[file.at()];
        let before = if absent.load(Ordering::Relaxed) { Before::Absent } else { Before::Unknown };
        let length = self.layout.length_of(file);
        let opened =
            self.tree.open_to_write(What::File(file.at()), self.path_of(file), before, length, keep)?;
        absent.store(false, Ordering::Relaxed);
        Ok(opened)
    }

    fn open_to_read(&self, file: FileIndex) -> Result<Option<Arc<OwnedFd>>, StorageError> {
        if self.absent[file.at()].load(Ordering::Relaxed) {
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
        if !self.wanted[run.file.at()]
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
    fn in_parts(&self, piece: PieceIndex, file: FileIndex) -> bool {
        !self.wanted[file.at()] && self.parts.as_ref().is_some_and(|parts| parts.has(piece))
    }

    fn path_of(&self, file: FileIndex) -> &Path {
        &self.files[file.at()].path
    }

    fn is_wanted_file(&self, file: FileIndex) -> bool {
        self.wanted[file.at()] && !self.files[file.at()].pad
    }

    /// Brings bytes from the part file to files that have become wanted. Only places that hold nothing are filled,
    /// so that no data are lost should the part file be the one that is wrong.
    fn move_in_from_parts(&self) -> Result<(), StorageError> {
        let Some(parts) = &self.parts else { return Ok(()) };
        let mut chunk = vec![0; 64 * 1024];
        let mut there = vec![0; chunk.len()];
        for piece in parts.pieces() {
            let mut begin = 0;
            let mut needed = false;
            for run in self.layout.spans_of_piece(piece) {
                let file = run.file;
                needed |= !self.files[file.at()].pad && !self.wanted[file.at()];
                let mut done = 0;
                while self.is_wanted_file(file) && done < run.length {
                    let some = chunk.len().min((run.length - done) as usize);
                    let (chunk, there) = (&mut chunk[..some], &mut there[..some]);
                    let at = FileSpan { file, offset: run.offset + done, length: some as u64 };
                    if self.is_blank(at, there)? && part_of(parts, &self.tree, piece, begin + done, chunk)? {
                        self.write_file(at, &mut [IoSlice::new(chunk)])?;
                    }
                    done += some as u64;
                }
                begin += run.length;
            }
            if !needed {
                parts.forget(&self.tree, piece)?;
            }
        }
        parts.remove_if_empty(&self.tree)
    }

    /// Whether a file holds nothing but zeros here, or ends before; reads into `buffer`.
    fn is_blank(&self, at: FileSpan, buffer: &mut [u8]) -> Result<bool, StorageError> {
        let Some(file) = self.open_to_read(at.file)? else { return Ok(true) };
        let path = self.path_of(at.file);
        let length = self.tree.length_of(&file, path)?;
        let there = length.saturating_sub(at.offset).min(at.length) as usize;
        self.tree.read_exact(&file, path, &mut buffer[..there], at.offset)?;
        Ok(buffer[..there].iter().all(|&byte| byte == 0))
    }

    fn create_empty_files(&self) -> Result<(), StorageError> {
        for file in self.layout.files() {
            let absent = self.absent[file.at()].load(Ordering::Relaxed);
            if self.is_wanted_file(file) && self.layout.length_of(file) == 0 && absent {
                self.open_to_write(file, false)?;
            }
        }
        Ok(())
    }

    fn preallocate(&self) -> Result<(), StorageError> {
        for file in self.layout.files().filter(|file| self.is_wanted_file(*file)) {
            let length = self.layout.length_of(file);
            if length > 0 {
                let opened = self.open_to_write(file, false)?;
                self.tree.allocate(&opened, self.path_of(file), length)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.root())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// Reads a run from the part file; false when it has nothing but zeros there, or ends before.
fn part_of(
    parts: &PartFile,
    tree: &Tree,
    piece: PieceIndex,
    begin: u64,
    into: &mut [u8],
) -> Result<bool, StorageError> {
    match parts.read(tree, piece, begin, into) {
        Ok(found) => Ok(found && into.iter().any(|&byte| byte != 0)),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

fn check_length(span: Span, into: &[u8]) -> Result<(), StorageError> {
    if into.len() == span.length as usize {
        return Ok(());
    }
    let (found, expected) = (into.len() as u64, u64::from(span.length));
    Err(StorageError::WrongLength { piece: span.piece, found, expected })
}

fn check_paths(files: &[FileSpec]) -> Result<(), StorageError> {
    let mut seen = HashSet::new();
    for file in files.iter().filter(|file| !file.pad) {
        let plain = file.path.components().all(|component| matches!(component, Component::Normal(_)));
        let named = file.path.file_name().is_some();
        if !plain || !named || !seen.insert(&file.path) {
            return Err(StorageError::BadPath(file.path.clone()));
        }
    }
    Ok(())
}

/// The lengths of the files that are there, and errors for what stands in a wanted file's place.
fn look_around(tree: &Tree, files: &[FileSpec], wanted: &[bool]) -> Result<Vec<Option<u64>>, StorageError> {
    let mut folders = HashMap::new();
    let mut lengths = Vec::with_capacity(files.len());
    for (file, &wanted) in files.iter().zip(wanted) {
        let length = if file.pad { None } else { length_there(tree, file, wanted, &mut folders)? };
        lengths.push(length);
    }
    Ok(lengths)
}

fn length_there<'a>(
    tree: &Tree,
    file: &'a FileSpec,
    wanted: bool,
    folders: &mut HashMap<&'a Path, bool>,
) -> Result<Option<u64>, StorageError> {
    let above = file.path.parent().unwrap_or(Path::new(""));
    if !folder_there(tree, above, folders)? {
        return Ok(None);
    }
    let full = || tree.path_of(&file.path);
    match tree.look(&file.path)? {
        None => Ok(None),
        Some(Found::File(found)) if wanted && found > file.length => {
            Err(StorageError::LongerFile { path: full(), found, expected: file.length })
        }
        Some(Found::File(found)) => Ok(Some(found)),
        Some(Found::Folder | Found::SymbolicLink | Found::Other) if !wanted => Ok(None),
        Some(Found::SymbolicLink) => Err(StorageError::SymbolicLink(full())),
        Some(Found::Folder | Found::Other) => Err(StorageError::NotAFile(full())),
    }
}

/// Whether a folder is there, asking the system once a folder; a fresh download asks about its top folder alone.
fn folder_there<'a>(
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
            Some(Found::SymbolicLink) => return Err(StorageError::SymbolicLink(tree.path_of(folder))),
            Some(Found::File(_) | Found::Other) => {
                let error = std::io::Error::from(rustix::io::Errno::NOTDIR);
                let path = tree.path_of(folder);
                return Err(StorageError::system(crate::error::Action::CreateFolder, &path, error));
            }
        };
    known.insert(folder, there);
    Ok(there)
}

/// The bytes of blocks, taken off in runs of any length.
struct Gather<'a, B> {
    blocks: &'a [B],
    /// How much of the first block is taken.
    taken: usize,
}

impl<'a, B: AsRef<[u8]>> Gather<'a, B> {
    fn new(blocks: &'a [B]) -> Self {
        Self { blocks, taken: 0 }
    }

    fn take(&mut self, length: u64) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::new();
        self.run(length, |slice| slices.push(IoSlice::new(slice)));
        slices
    }

    fn skip(&mut self, length: u64) {
        self.run(length, |_| ());
    }

    fn run(&mut self, mut length: u64, mut each: impl FnMut(&'a [u8])) {
        while let Some((first, others)) = self.blocks.split_first() {
            let left = &first.as_ref()[self.taken..];
            if left.is_empty() {
                (self.blocks, self.taken) = (others, 0);
                continue;
            }
            if length == 0 {
                return;
            }
            let some = usize::try_from(length).unwrap_or(usize::MAX).min(left.len());
            each(&left[..some]);
            self.taken += some;
            length -= some as u64;
        }
    }
}
