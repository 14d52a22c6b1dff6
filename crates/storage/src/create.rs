//! Making torrents: finding the files that one is made of, and hashing their pieces on all cores.
//!
//! Hashing goes as checking does (`pipeline::check`): a thread takes a group of consecutive pieces, reads a chunk
//! of each in turn, small enough to stay in the second-level cache, and advances their digests side by side.
//! What the page cache does not have is asked for a long stretch ahead.
//!
//! # What becomes part of a torrent
//! Ordinary files, sorted by the bytes of their names, folder by folder: the order that BEP 52 demands of a file
//! tree. Empty folders do not exist in a torrent. Symbolic links are followed, which is told ([`Followed`]), as a
//! store follows them. Left out, and told ([`LeftOut`]): hidden files and folders unless they are asked for, links
//! that lead to nothing or to what is in the torrent anyway, and what is no file at all. Names that are not UTF-8 are
//! refused.

use quelea_digest::{Kernel, Sha1State, sha1_advance};
use quelea_metainfo::geometry::{Geometry, PieceIndex};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use crate::error::{Action, StorageError};
use crate::links;
use crate::store::{FileSpec, Options, Store};

/// How much of a piece is read at a time, in bytes. A multiple of a SHA-1 block.
const CHUNK: u32 = 64 * 1024;

/// How far ahead the system is told what will be read, in bytes. A multiple of [`CHUNK`].
const AHEAD: u32 = 1024 * 1024;

/// How often progress is told.
const PACE: Duration = Duration::from_millis(100);

/// Why no torrent can be made of these files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The system refused.
    #[error("can't {action} {path:?}: {source}")]
    System {
        /// What was tried.
        action: Action,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Storage refused for another reason.
    #[error(transparent)]
    Storage(StorageError),
    /// A torrent's names are UTF-8; this one is not.
    #[error("the name of {0:?} is not UTF-8, which a torrent needs; rename it")]
    NotUtf8(PathBuf),
    /// The content has no name of its own.
    #[error("{0:?} has no name that a torrent could have; name the file or folder itself")]
    NoName(PathBuf),
    /// It is neither a file nor a folder.
    #[error("{0:?} is neither a file nor a folder")]
    NotAFile(PathBuf),
    /// A file was changed while it was hashed.
    #[error("{0:?} was changed while it was read; try again when nobody writes to it")]
    Changed(PathBuf),
}

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// Whether files and folders are taken whose names begin with a dot.
    pub hidden: bool,
    /// A file that is not taken, wherever it lies: the torrent file itself, if it is there already.
    pub except: Option<PathBuf>,
}

/// The files of a torrent to be made, as they were when somebody looked.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    root: PathBuf,
    single: bool,
    files: Vec<SourceFile>,
    left_out: Vec<LeftOut>,
    followed: Vec<Followed>,
}

/// A symbolic link that was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The link.
    pub link: PathBuf,
    /// The file or folder that became part of the torrent under the link's name.
    pub target: PathBuf,
}

/// A file of a torrent to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its folders below the torrent's own, and its name. A single file has its name alone.
    pub elements: Vec<String>,
    /// In bytes.
    pub length: u64,
    stamp: Stamp,
}

/// Tells whether a file was changed or replaced since it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    /// Device and inode, and the time of the last change of any kind in seconds and nanoseconds: a program can set back
    /// the time of modification, but not this one.
    #[cfg(unix)]
    changed: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: found.modified().ok(),
            #[cfg(unix)]
            changed: (found.dev(), found.ino(), found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Something that does not become part of the torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it lies. What a folder holds is not named again.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// Why something does not become part of the torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its name begins with a dot.
    Hidden,
    /// It is a symbolic link to something that is in the torrent, or that the torrent is in.
    SymbolicLink,
    /// It is a symbolic link to nothing, or one of another user.
    DeadLink,
    /// It is a socket, a pipe or a device.
    Special,
    /// It is the torrent file that is to be written.
    Excepted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hidden => "hidden",
            Self::SymbolicLink => "a symbolic link to what is taken anyway",
            Self::DeadLink => "a symbolic link that can't be followed",
            Self::Special => "not a file",
            Self::Excepted => "the torrent file itself",
        })
    }
}

impl Source {
    /// Finds what a torrent of `path`, a file or a folder, is made of.
    ///
    /// # Errors
    /// When a name is not UTF-8, the path is neither file nor folder or has no name, a file can't be read, or the system
    /// refuses otherwise.
    pub fn scan(path: &Path, options: &ScanOptions) -> Result<Self, SourceError> {
        let refused = |error| SourceError::system(Action::Inspect, path, error);
        let real = fs::canonicalize(path).map_err(refused)?;
        let name = path.file_name().or(real.file_name()).ok_or_else(|| SourceError::NoName(path.into()))?;
        let name = name.to_str().ok_or_else(|| SourceError::NotUtf8(path.into()))?.to_owned();
        let found = fs::metadata(&real).map_err(refused)?;
        if found.is_file() {
            let own = real.file_name().and_then(|own| own.to_str());
            let elements = vec![own.ok_or_else(|| SourceError::NotUtf8(real.clone()))?.to_owned()];
            let root = real.parent().unwrap_or(Path::new("/")).to_owned();
            let files = vec![SourceFile::new(elements, &found)];
            is_readable(&real)?;
            return Ok(Self { name, root, single: true, files, left_out: Vec::new(), followed: Vec::new() });
        }
        if !found.is_dir() {
            return Err(SourceError::NotAFile(path.into()));
        }
        let except = options.except.as_ref().and_then(|path| fs::canonicalize(path).ok());
        let mut walk = Walk {
            root: real.clone(),
            hidden: options.hidden,
            except,
            files: Vec::new(),
            left_out: Vec::new(),
            followed: Vec::new(),
            taken: [real.clone()].into(),
        };
        walk.folders()?;
        let Walk { mut files, mut left_out, mut followed, .. } = walk;
        files.sort_unstable_by(|one, other| one.elements.cmp(&other.elements));
        files.iter().try_for_each(|file| is_readable(&real.join(file.path())))?;
        left_out.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        followed.sort_unstable_by(|one, other| one.link.cmp(&other.link));
        Ok(Self { name, root: real, single: false, files, left_out, followed })
    }

    /// The torrent's name: that of the file or folder, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is one file without a folder.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// The files in the torrent's order.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// What was found beside them, sorted by path.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The symbolic links that were followed, sorted by path.
    pub fn followed(&self) -> &[Followed] {
        &self.followed
    }

    /// The SHA-1 of each piece, hashed on all cores.
    ///
    /// `progress` is told several times a second how many bytes are hashed, on the caller's thread; if it breaks,
    /// hashing stops and there is no result.
    ///
    /// # Errors
    /// [`SourceError::Changed`] when a file is not what it was when it was found, or the system refuses.
    pub fn hash(
        &self,
        geometry: Geometry,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Vec<[u8; 20]>>, SourceError> {
        let files =
            self.files.iter().map(|file| FileSpec { path: file.path(), length: file.length, pad: false });
        let options = Options { read_only: true, ..Options::default() };
        let store = Store::open(&self.root, files.collect(), geometry, options)?;
        let hashing = Hashing::new(&store, threads());
        if hashing.run(progress)?.is_break() {
            return Ok(None);
        }
        let digests = hashing.finish()?;
        self.compare()?;
        Ok(Some(digests))
    }

    /// Whether every file is still what it was when it was found.
    fn compare(&self) -> Result<(), SourceError> {
        for file in &self.files {
            let path = self.root.join(file.path());
            let found = fs::metadata(&path);
            if !found.is_ok_and(|found| found.is_file() && file.is_still(&found)) {
                return Err(SourceError::Changed(path));
            }
        }
        Ok(())
    }
}

impl SourceFile {
    fn new(elements: Vec<String>, found: &Metadata) -> Self {
        Self { elements, length: found.len(), stamp: Stamp::of(found) }
    }

    fn path(&self) -> PathBuf {
        self.elements.iter().collect()
    }

    fn is_still(&self, found: &Metadata) -> bool {
        found.len() == self.length && Stamp::of(found) == self.stamp
    }
}

impl SourceError {
    pub(crate) fn system(action: Action, path: &Path, source: io::Error) -> Self {
        Self::System { action, path: path.to_owned(), source }
    }
}

impl From<StorageError> for SourceError {
    /// That a file has another length or kind than a moment ago has one reason. Advice about a download
    /// directory is left behind.
    fn from(error: StorageError) -> Self {
        if let StorageError::Missing { path, .. }
        | StorageError::LongerFile { path, .. }
        | StorageError::Vanished(path)
        | StorageError::SymbolicLink(path)
        | StorageError::Link { path, .. }
        | StorageError::NotAFile(path) = error
        {
            Self::Changed(path)
        } else if let StorageError::System { action, path, source } = error {
            Self::System { action, path, source }
        } else {
            Self::Storage(error)
        }
    }
}

/// Whether a file can be read: asked of all before the first is hashed, which may take hours.
fn is_readable(path: &Path) -> Result<(), SourceError> {
    match fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(SourceError::system(Action::Open, path, error)),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A walk through folders.
struct Walk {
    root: PathBuf,
    hidden: bool,
    except: Option<PathBuf>,
    files: Vec<SourceFile>,
    left_out: Vec<LeftOut>,
    followed: Vec<Followed>,
    /// The content itself, and what links in it lead to.
    taken: BTreeSet<PathBuf>,
}

impl Walk {
    fn folders(&mut self) -> Result<(), SourceError> {
        let mut open: Vec<(PathBuf, Vec<String>)> = vec![(self.root.clone(), Vec::new())];
        while let Some((folder, elements)) = open.pop() {
            let refused = |error| SourceError::system(Action::Read, &folder, error);
            for entry in fs::read_dir(&folder).map_err(refused)? {
                let entry = entry.map_err(refused)?;
                let (mut path, name) = (entry.path(), entry.file_name());
                let mut kind = entry.file_type().map_err(refused)?;
                let mut reason = self.reason_against(&path, name.as_encoded_bytes(), kind);
                if kind.is_symlink() && reason.is_none() {
                    match self.follow(&folder, &name).map_err(refused)? {
                        Ok(target) => {
                            kind = fs::symlink_metadata(&target).map_err(refused)?.file_type();
                            reason = self.reason_against(&target, b"", kind);
                            if reason.is_none() {
                                self.followed.push(Followed { link: path.clone(), target: target.clone() });
                                path = target;
                            }
                        }
                        Err(against) => reason = Some(against),
                    }
                }
                if let Some(reason) = reason {
                    self.left_out.push(LeftOut { path, reason });
                    continue;
                }
                let name = name.into_string().map_err(|_| SourceError::NotUtf8(path.clone()))?;
                let elements = elements.iter().cloned().chain([name]).collect();
                if kind.is_dir() {
                    open.push((path, elements));
                } else {
                    let refused = |error| SourceError::system(Action::Inspect, &path, error);
                    let found = fs::symlink_metadata(&path).map_err(refused)?;
                    self.files.push(SourceFile::new(elements, &found));
                }
            }
        }
        Ok(())
    }

    /// Where the link `name` in `folder` leads, if that becomes part of the torrent. What is in the torrent anyway does
    /// not, whether by itself or by another link, so that no circle is walked.
    fn follow(&mut self, folder: &Path, name: &OsStr) -> io::Result<Result<PathBuf, Reason>> {
        let Ok(target) = links::resolve(folder, name)? else { return Ok(Err(Reason::DeadLink)) };
        let around = target.ancestors().any(|at| self.taken.contains(at));
        // Paths below another follow it in this order.
        let inside = self.taken.range(target.clone()..).next().is_some_and(|at| at.starts_with(&target));
        if around || inside {
            return Ok(Err(Reason::SymbolicLink));
        }
        self.taken.insert(target.clone());
        Ok(Ok(target))
    }

    fn reason_against(&self, path: &Path, name: &[u8], kind: fs::FileType) -> Option<Reason> {
        if self.except.as_deref() == Some(path) {
            Some(Reason::Excepted)
        } else if name.starts_with(b".") && !self.hidden {
            Some(Reason::Hidden)
        } else if kind.is_dir() || kind.is_file() || kind.is_symlink() {
            None
        } else {
            Some(Reason::Special)
        }
    }
}

/// Pieces that are being hashed, shared by threads. Each takes the next group until none is left.
struct Hashing<'a> {
    store: &'a Store,
    geometry: Geometry,
    threads: usize,
    group: u32,
    next: AtomicU32,
    /// In bytes.
    hashed: AtomicU64,
    stopped: AtomicBool,
    results: Mutex<Results>,
}

struct Results {
    digests: Vec<[u8; 20]>,
    trouble: Option<SourceError>,
}

/// A piece of a group.
struct Stream {
    piece: PieceIndex,
    length: u32,
    at: u32,
    /// How much of its chunk is filled.
    filled: usize,
}

impl<'a> Hashing<'a> {
    fn new(store: &'a Store, threads: usize) -> Self {
        let geometry = store.layout().geometry();
        // Few and long pieces: better a group for each thread than all lanes of one.
        let share = geometry.pieces().div_ceil(threads as u32);
        let digests = vec![[0; 20]; geometry.pieces() as usize];
        Self {
            store,
            geometry,
            threads,
            group: share.clamp(1, Kernel::best().lanes() as u32),
            next: AtomicU32::new(0),
            hashed: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            results: Mutex::new(Results { digests, trouble: None }),
        }
    }

    /// Hashes until all is done, something fails, or `progress` breaks.
    fn run(&self, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<ControlFlow<()>, SourceError> {
        std::thread::scope(|scope| {
            // Nothing is sent: that no thread holds it any more says that all have ended.
            let (working, ended) = mpsc::sync_channel::<()>(1);
            for number in 0..self.threads {
                let working = working.clone();
                let work = move || {
                    self.work();
                    drop(working);
                };
                let thread = std::thread::Builder::new().name("quelea-hash".to_owned());
                match thread.spawn_scoped(scope, work) {
                    Ok(_) => {}
                    // Fewer threads take longer.
                    Err(error) if number > 0 => tracing::debug!(%error, "hashing on {number} threads"),
                    Err(error) => {
                        return Err(SourceError::system(Action::Read, &self.store.root(), error));
                    }
                }
            }
            drop(working);
            let mut flow = ControlFlow::Continue(());
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(PACE) {
                if flow.is_continue() {
                    flow = progress(self.hashed.load(Ordering::Relaxed));
                }
                if flow.is_break() {
                    self.stopped.store(true, Ordering::Relaxed);
                }
            }
            if flow.is_continue() {
                flow = progress(self.hashed.load(Ordering::Relaxed));
            }
            Ok(flow)
        })
    }

    fn finish(self) -> Result<Vec<[u8; 20]>, SourceError> {
        let results = self.results.into_inner().unwrap_or_else(PoisonError::into_inner);
        match results.trouble {
            None => Ok(results.digests),
            Some(trouble) => Err(trouble),
        }
    }

    fn work(&self) {
        let mut chunks = vec![vec![0; CHUNK as usize].into_boxed_slice(); self.group as usize];
        while let Some(group) = self.claim() {
            let digests = self.hash_group(group.clone(), &mut chunks);
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            match digests {
                Ok(digests) => {
                    results.digests[group.start as usize..][..digests.len()].copy_from_slice(&digests);
                }
                Err(error) => {
                    results.trouble.get_or_insert(error.into());
                    self.stopped.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn claim(&self) -> Option<Range<u32>> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let pieces = self.geometry.pieces();
        let end = |start: u32| start.saturating_add(self.group).min(pieces);
        let take = |next: u32| (next < pieces).then(|| end(next));
        let start = self.next.try_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(start..end(start))
    }

    /// The digests of a group; of fewer when hashing was stopped.
    fn hash_group(&self, group: Range<u32>, chunks: &mut [Box<[u8]>]) -> Result<Vec<[u8; 20]>, StorageError> {
        let stream = |piece| Stream { piece, length: self.geometry.length_of(piece), at: 0, filled: 0 };
        let mut streams: Vec<Stream> =
            group.filter_map(|number| self.geometry.piece(number)).map(stream).collect();
        let mut states = vec![Sha1State::new(); streams.len()];
        let mut digests = vec![[0; 20]; streams.len()];
        while streams.iter().any(|stream| stream.at < stream.length) {
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            let going = streams.iter().map(|stream| stream.at < stream.length).collect::<Vec<_>>();
            self.read_round(&mut streams, chunks)?;
            let filled = streams.iter().zip(&*chunks).map(|(stream, chunk)| &chunk[..stream.filled]);
            let (inputs, tails): (Vec<_>, Vec<_>) = filled.map(<[u8]>::as_chunks::<64>).unzip();
            sha1_advance(&mut states, &inputs);
            for (number, stream) in streams.iter().enumerate() {
                if going[number] && stream.at == stream.length {
                    digests[number] = states[number].finish(tails[number]);
                }
            }
            let bytes: usize = streams.iter().map(|stream| stream.filled).sum();
            self.hashed.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Ok(digests)
    }

    /// Reads the next chunk of each stream that goes on.
    fn read_round(&self, streams: &mut [Stream], chunks: &mut [Box<[u8]>]) -> Result<(), StorageError> {
        let mut announced = false;
        for number in 0..streams.len() {
            let stream = &streams[number];
            let Some(span) = self.geometry.span(stream.piece.get(), stream.at, stream.left().min(CHUNK))
            else {
                streams[number].filled = 0;
                continue;
            };
            let chunk = &mut chunks[number][..span.length as usize];
            if !self.store.try_read_cached(span, chunk) {
                if !announced && stream.at.is_multiple_of(AHEAD) {
                    self.announce(&streams[number..]);
                    announced = true;
                }
                self.store.read(span, chunk)?;
            }
            streams[number].filled = chunk.len();
            streams[number].at += span.length;
        }
        Ok(())
    }

    /// Has the system bring the next stretch of these streams from the disk.
    fn announce(&self, streams: &[Stream]) {
        for stream in streams {
            let length = stream.left().min(AHEAD);
            if let Some(span) = self.geometry.span(stream.piece.get(), stream.at, length) {
                self.store.will_need(span);
            }
        }
    }
}

impl Stream {
    fn left(&self) -> u32 {
        self.length - self.at
    }
}
