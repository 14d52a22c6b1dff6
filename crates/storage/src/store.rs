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
//! - What was there before is never cut, unless that was allowed. A file that is longer than the torrent's is refused.
//! - Nor is what was there before overwritten, unless it is the torrent's: [`Store::accept`] says what counts as that.
//! - What another store of the session writes, or another process, is neither read nor written; what others read is not
//!   written ([`Claims`]).
//! - Symbolic links of the user's own are followed, as they were when the store looked ([`crate::LinkFault`] has
//!   those that are not); a link that appears later is refused, and nothing is moved through one.
//! - A piece with bytes of unwanted files goes to the part file ([`crate::part_file_name`]). Once such a file
//!   is wanted, its bytes go from there to it, into places that hold nothing yet.
//! - A file that is not wanted any longer stays as it is.
//! - Pad files (BEP 47) are not written; they read as zeros.
//!
//! # What may change while pieces come and go
//! Where the files lie and how they are called ([`Store::relocate`]), and which of them are wanted
//! ([`Store::set_wanted`]). Reads and writes share a lock that such a change takes for itself, for as long as it
//! takes to rename files or to bring the last bytes of a copy over; one change goes on at a time.

mod files;
mod foreign;
mod gather;
mod holders;
mod opening;
mod relocate;
mod rights;
mod wanted;

pub use holders::{Held, Holder};
pub use relocate::{Existing, Goal, Interrupted, Journal, Moved, Relocated, Relocating, Step, recover};

use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::claims::Claims;
use crate::error::StorageError;
use crate::file_layer::{FileLayer, System};
use crate::file_pool::FilePool;
use crate::layout::Layout;
use crate::part_file::{PartFile, is_plain_name};
use crate::torrent_links::{self, LinkLeftOut, TorrentLink};
use crate::tree::Tree;
use files::{Files, Place};
use rights::Rights;

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
    /// Which files are to be executed (BEP 47, `attr` x), one entry a file; `None` for none. Files that are there stay as
    /// they are.
    pub executable: Option<Vec<bool>>,
    /// The torrent's own symbolic links (BEP 47), whose files are pad files to a store. They are made by
    /// [`Store::make_links`].
    pub links: Vec<TorrentLink>,
    /// Whether the space of all wanted files is reserved when the store is opened, so that a disk that is too
    /// small says so at once.
    pub preallocate: bool,
    /// Which files are known to be the torrent's if they are there, one entry a file. The others have to prove it, and
    /// nothing is created before [`Store::accept`]. `None` for all, without any proof.
    pub known: Option<Vec<bool>>,
    /// Whether what is in the place of wanted files may be overwritten and cut, whatever it is. It is when it is accepted.
    pub overwrite: bool,
    /// The claims of the session's stores, and what the torrent is called to others; `None` where nobody else can be.
    pub claims: Option<(Claims, String)>,
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
            executable: None,
            links: Vec::new(),
            preallocate: false,
            known: None,
            overwrite: false,
            claims: None,
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
            .field("known", &self.known)
            .field("overwrite", &self.overwrite)
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
    layout: Arc<Layout>,
    had_data: bool,
    links: Vec<TorrentLink>,
    preallocate: bool,
    overwrite: bool,
    /// The right to the files, where others might be.
    rights: Option<Rights>,
    files: RwLock<Files>,
    /// Held by whoever changes where files are or which are wanted.
    change: Mutex<()>,
}

impl Store {
    /// Opens the store of these files, in the torrent's order, below `root`.
    ///
    /// Looks at what is there and creates the wanted files that are empty; creates nothing else unless space is
    /// to be reserved. `root` need not be there yet. Where not all files are known to be the torrent's
    /// ([`Options::known`]), nothing is created before [`Store::accept`].
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
        if options.known.as_ref().is_some_and(|known| known.len() != files.len()) {
            return Err(StorageError::BadFileList("what is known was not said of each file"));
        }
        opening::check_paths(files.iter().filter(|file| !file.pad).map(|file| file.path.as_path()))?;
        let unwanted = files.iter().zip(&wanted).any(|(file, wanted)| !file.pad && !wanted);
        if unwanted && options.part_file.is_none() {
            return Err(StorageError::BadFileList("there are unwanted files but no name for a part file"));
        }

        let tree = Tree::new(root.to_owned(), options.layer, options.pool, options.read_only);
        let layout = Arc::new(layout);
        let is_executable =
            |number: usize| options.executable.as_ref().and_then(|all| all.get(number)) == Some(&true);
        let place = |(number, (file, wanted)): (usize, (FileSpec, bool))| Place {
            path: file.path,
            pad: file.pad,
            executable: is_executable(number),
            wanted,
            absent: AtomicBool::new(false),
            unproven: AtomicBool::new(false),
        };
        let places = files.into_iter().zip(wanted).enumerate().map(place).collect();
        let proof_needed = options.known.is_some();
        let mut all = Files {
            layout: Arc::clone(&layout),
            tree,
            parts: None,
            files: places,
            proof_needed,
            torn: AtomicBool::new(false),
        };
        let claims = options.claims.filter(|_| !options.read_only);
        let rights = claims.map(|(claims, name)| Rights::new(claims, &name));
        if let Some(rights) = &rights {
            // The user's links are followed from the first look on, and the right is to what they lead to. What counts is how
            // the files are once nobody else may change them.
            let looked = opening::look_around(&all, options.overwrite);
            match (rights.claim(&all), looked) {
                // What stands in the way is another torrent's, or another process has it: that says more.
                (Err(error @ (StorageError::OtherTorrent { .. } | StorageError::OtherProcess { .. })), _)
                | (_, Err(error))
                | (Err(error), _) => return Err(error),
                (Ok(()), Ok(_)) => {}
            }
        }
        let lengths = opening::look_around(&all, options.overwrite)?;
        for (number, (place, length)) in all.files.iter_mut().zip(&lengths).enumerate() {
            let is_known = options.known.as_ref().is_none_or(|known| known[number]);
            *place.absent.get_mut() = length.is_none();
            *place.unproven.get_mut() = !is_known && length.is_some_and(|length| length > 0);
        }
        all.parts = match options.part_file {
            Some(path) if !is_plain_name(&path) => return Err(StorageError::BadPath(path)),
            Some(path) => Some(PartFile::open(&all.tree, path, geometry)?),
            None => None,
        };
        let had_data = lengths.iter().flatten().any(|&length| length > 0)
            || all.parts.as_ref().is_some_and(|parts| !parts.is_empty());
        if !options.read_only {
            all.move_in_from_parts(&|_| false)?;
        }
        let store = Self {
            layout,
            had_data,
            links: options.links,
            preallocate: options.preallocate,
            overwrite: options.overwrite,
            rights,
            files: RwLock::new(all),
            change: Mutex::default(),
        };
        if !options.read_only && options.known.is_none() {
            store.accept(&|_| true, false)?;
        }
        Ok(store)
    }

    /// The download directory.
    pub fn root(&self) -> PathBuf {
        self.files().tree.root_path().to_owned()
    }

    /// Where the files are below the download directory, one entry a file; those of pad files mean nothing.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files().files.iter().map(|file| file.path.clone()).collect()
    }

    /// Where the bytes of the torrent lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which files are wanted, one entry a file.
    pub fn wanted(&self) -> Vec<bool> {
        self.files().files.iter().map(|file| file.wanted).collect()
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
        self.begin_writing()?;
        self.files().write_piece(piece, blocks)
    }

    /// Fills `into`, which has the span's length, with the span's bytes.
    ///
    /// # Errors
    /// When the bytes are not there ([`StorageError::is_missing`]), or the system refuses. A file with a hole
    /// in this place gives zeros.
    pub fn read(&self, span: Span, into: &mut [u8]) -> Result<(), StorageError> {
        self.files().read(span, into)
    }

    /// As [`Store::read`], but only if nothing has to be waited for: the files are open, not just being moved, and
    /// the bytes in the page cache. Whether it was so; if not, `into` holds anything. Errors are left for
    /// [`Store::read`].
    pub fn try_read_cached(&self, span: Span, into: &mut [u8]) -> bool {
        match self.files.try_read() {
            Ok(files) => files.try_read_cached(span, into),
            Err(TryLockError::Poisoned(files)) => files.into_inner().try_read_cached(span, into),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// As [`Store::read`], for bytes that are given to others: a file that somebody else changed since our last write,
    /// or since it was hashed, is not read. Files are looked up once a second for that, however much is read.
    ///
    /// # Errors
    /// As [`Store::read`]; [`StorageError::Disturbed`] and [`StorageError::Vanished`].
    pub fn give(&self, span: Span, into: &mut [u8]) -> Result<(), StorageError> {
        let files = self.files();
        files::check_length(span, into)?;
        files.look_before_giving(span)?;
        files.read(span, into)
    }

    /// As [`Store::try_read_cached`], for bytes that are given to others; false also when a file must be looked up
    /// first.
    pub fn try_give_cached(&self, span: Span, into: &mut [u8]) -> bool {
        let give = |files: &Files, into| !files.is_look_due(span) && files.try_read_cached(span, into);
        match self.files.try_read() {
            Ok(files) => give(&files, into),
            Err(TryLockError::Poisoned(files)) => give(&files.into_inner(), into),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// Says that a span will be read soon, so that the system brings it from the disk. Costs little and waits
    /// for nothing but the opening of files.
    pub fn will_need(&self, span: Span) {
        self.files().will_need(span);
    }

    /// Whether a piece has no data at all: its files are not there, end before it, or have a hole in its place.
    /// Then it reads as zeros or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn is_hole(&self, piece: PieceIndex) -> Result<bool, StorageError> {
        self.files().is_hole(piece)
    }

    /// To be called once all wanted pieces are written: every wanted file gets exactly its length. With `sync`
    /// it also comes back only after the data are on the disk.
    ///
    /// # Errors
    /// When a file is not there or longer than it should be, or the system refuses.
    pub fn finish(&self, sync: bool) -> Result<(), StorageError> {
        self.files().finish(sync)
    }

    /// Makes the torrent's own symbolic links that are wanted and not there: once everything is complete. Those that
    /// can't be made; that is no reason not to go on.
    pub fn make_links(&self) -> Vec<LinkLeftOut> {
        if self.links.is_empty() {
            return Vec::new();
        }
        let wanted = self.wanted();
        let is_wanted = |link: &&TorrentLink| wanted.get(link.file) == Some(&true);
        let links: Vec<TorrentLink> = self.links.iter().filter(is_wanted).copied().collect();
        torrent_links::make(&self.root(), &self.paths(), &links)
    }

    /// Forgets what is known of the files, so that what is read next is what their names lead to at that moment:
    /// before a check, since somebody may have removed or replaced them.
    ///
    /// # Errors
    /// When something stands in a wanted file's place that is not it, or the system refuses.
    pub fn look_again(&self) -> Result<(), StorageError> {
        let _change = self.begin_change();
        self.files_alone().look_again()
    }

    fn files(&self) -> RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files, while nobody reads or writes them.
    fn files_alone(&self) -> RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_change(&self) -> std::sync::MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.disclaim();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files();
        f.debug_struct("Store")
            .field("root", &files.tree.root_path())
            .field("files", &files.files.len())
            .finish_non_exhaustive()
    }
}
