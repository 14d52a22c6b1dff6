//! Looking whether a torrent's data on the disk are whole, without a session and without changing anything.
//!
//! SHA-1 pieces of v1 torrents span files, so what can be said of a file has degrees: see [`FileState`]. Bytes
//! that an unfinished download keeps in its part file count for the pieces that they belong to.

use crate::create::Progress;
use crate::naming::found_paths;
use crate::wishes::torrent_links;
use crate::{Error, Result};
use quelea_metainfo::{File, Info};
use quelea_storage::{
    CheckJob, CheckOutcome, Config, FileSpec, LinkState, Options, Pipeline, StorageError, Store,
    part_file_name,
};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How often progress is told.
const PACE: Duration = Duration::from_millis(100);

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// Which pieces are good, one entry a piece.
    pub pieces: Vec<bool>,
    /// What can be said of each file, in the torrent's order, without pad files and links that lead to nothing in it.
    pub files: Vec<VerifiedFile>,
    /// The first refusal of the system while pieces were read, if there was one. Those pieces count as bad.
    pub trouble: Option<StorageError>,
}

/// What was found of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedFile {
    /// Its number in the torrent, from 0, pad files counted.
    pub number: usize,
    /// Where it was found below the directory, or was looked for in vain: by its author's name if it has that, else by
    /// a cleaned one.
    pub path: PathBuf,
    /// Pieces that hold bytes of it.
    pub pieces: u32,
    /// Those of them that are good.
    pub good_pieces: u32,
    /// What it all means.
    pub state: FileState,
}

/// How a file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileState {
    /// It is there with its length, and every piece with bytes of it is good.
    Good,
    /// Nothing is there.
    Missing,
    /// It is shorter than it should be.
    Short {
        /// Its length in bytes.
        found: u64,
    },
    /// It is longer than it should be.
    Long {
        /// Its length in bytes.
        found: u64,
    },
    /// It has its length, but a piece that holds bytes of no other file is bad; or a piece that it shares, with
    /// nothing known against the others.
    Damaged,
    /// It has its length and every piece of its own is good. A piece that it shares with files that are missing
    /// or wrong is bad, so nothing proves or refutes its bytes there.
    Unproven,
    /// Something else has its place: a folder, a device, or a symbolic link to one.
    NotAFile,
    /// It can't be opened; this is the system's answer.
    Unreadable(String),
    /// A symbolic link of the torrent leads elsewhere: to this.
    LeadsElsewhere(PathBuf),
    /// Something that is no link has the place of a symbolic link of the torrent.
    NotALink,
}

impl Verified {
    /// Whether every piece and every file is good.
    pub fn is_complete(&self) -> bool {
        self.pieces.iter().all(|good| *good) && self.files.iter().all(|file| file.state == FileState::Good)
    }
}

/// Reads and hashes what lies of a torrent in the download directory `dir`.
///
/// Blocks; hashes on all cores. `progress` is told several times a second, on the caller's thread; if it breaks,
/// there is no result.
///
/// # Errors
/// [`Error::Unsupported`] for a pure v2 torrent, [`Error::Storage`] when the download directory itself can't be looked
/// into, or a link may not be followed, [`Error::Start`] when the system gives no threads.
pub fn verify(
    info: &Arc<Info>,
    dir: &Path,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<Verified>> {
    if !info.version.has_v1() {
        return Err(Error::Unsupported("it is a pure v2 torrent (BEP 52), which this version can only show"));
    }
    let paths = found_paths(info, dir);
    let there: Vec<There> =
        info.files.iter().zip(&paths).map(|(file, path)| look(dir, &dir.join(path), file)).collect();
    let Some(outcome) = check(info, dir, (&paths, &there), &mut progress)? else { return Ok(None) };
    let mut files = judge(info, &paths, there, &outcome.good);
    files.extend(torrent_links(info).into_iter().map(|link| VerifiedFile {
        number: link.file,
        path: paths.get(link.file).cloned().unwrap_or_default(),
        pieces: 0,
        good_pieces: 0,
        state: match link.look(dir, &paths) {
            LinkState::Good => FileState::Good,
            LinkState::Missing => FileState::Missing,
            LinkState::Elsewhere(found) => FileState::LeadsElsewhere(found),
            LinkState::NotALink | _ => FileState::NotALink,
        },
    }));
    files.sort_by_key(|file| file.number);
    // What is told of a file need not be told twice.
    let told = |file: &VerifiedFile| matches!(file.state, FileState::NotAFile | FileState::Unreadable(_));
    let trouble = outcome.trouble.filter(|_| !files.iter().any(told));
    Ok(Some(Verified { pieces: outcome.good, files, trouble }))
}

/// What stands in a file's place.
enum There {
    /// It is not written: padding, or a link.
    Skipped,
    Nothing,
    File(u64),
    Other,
    Refused(String),
}

fn is_skipped(file: &File) -> bool {
    file.pad || file.link.is_some()
}

fn look(dir: &Path, path: &Path, file: &File) -> There {
    if is_skipped(file) {
        return There::Skipped;
    }
    // A link of the user's own leads to the file; the store has the last word on which may be followed.
    let opened = fs::metadata(path).and_then(|found| {
        // Anything but a file might block when it is opened.
        if found.is_file() { fs::File::open(path).map(|_| Some(found.len())) } else { Ok(None) }
    });
    match opened {
        Ok(Some(length)) => There::File(length),
        Ok(None) => There::Other,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => match broken_link(dir, path) {
            Some(link) => There::Refused(format!("{link:?} is a symbolic link that leads to nothing")),
            None => There::Nothing,
        },
        Err(error) => There::Refused(error.to_string()),
    }
}

/// The link, at a path or above it, that leads to nothing.
fn broken_link<'a>(dir: &Path, path: &'a Path) -> Option<&'a Path> {
    let below = path.ancestors().take_while(|at| *at != dir);
    below.filter(|at| at.is_symlink()).find(|at| at.metadata().is_err())
}

/// Hashes all pieces.
fn check(
    info: &Arc<Info>,
    dir: &Path,
    (paths, there): (&[PathBuf], &[There]),
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<CheckOutcome>> {
    let geometry = info.geometry;
    // A file that is not as it should be is no reason to refuse all, and where there is none its bytes may be in
    // the part file: both is what a store does with files that are not wanted.
    let as_it_should_be =
        |file: &File, there: &There| matches!(there, There::File(length) if *length <= file.length);
    let wanted = info.files.iter().zip(there).map(|(file, there)| as_it_should_be(file, there)).collect();
    let specs = info.files.iter().zip(paths).map(|(file, path)| FileSpec {
        path: path.clone(),
        length: file.length,
        pad: is_skipped(file),
    });
    let options = Options {
        wanted: Some(wanted),
        read_only: true,
        part_file: Some(part_file_name(&info.name, &info.hashes.wire())),
        ..Options::default()
    };
    let store = Arc::new(Store::open(dir, specs.collect(), geometry, options)?);
    let pipeline = Pipeline::start(&Config::default()).map_err(Error::Start)?;
    let (done, outcome) = mpsc::sync_channel(1);
    let hashes = Arc::clone(info);
    let handle = pipeline.check(CheckJob {
        store,
        pieces: geometry.iter().collect(),
        expected: Box::new(move |piece| hashes.piece_hash(piece).copied().unwrap_or_default()),
        progress: Box::new(|_| ()),
        done: Box::new(move |outcome| {
            // Nobody listens when nobody wants to know any more.
            let _ = done.send(outcome);
        }),
    });
    let total = geometry.total_length();
    let mut flow = ControlFlow::Continue(());
    let outcome = loop {
        let got = outcome.recv_timeout(PACE);
        if flow.is_continue() {
            let checked = handle.progress().checked as u64 * u64::from(geometry.piece_length());
            flow = progress(Progress { done: checked.min(total), total });
        }
        match got {
            Ok(outcome) => break outcome,
            Err(mpsc::RecvTimeoutError::Timeout) if flow.is_break() => handle.cancel(),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Error::Closed),
        }
    };
    Ok(flow.is_continue().then_some(outcome))
}

/// What the good pieces, and what stands in the files' places, say of each file.
fn judge(info: &Info, paths: &[PathBuf], there: Vec<There>, good: &[bool]) -> Vec<VerifiedFile> {
    let bad: Vec<u32> = (0..info.geometry.pieces()).filter(|piece| !good[*piece as usize]).collect();
    let touched = |file: &File| info.geometry.pieces_touching(file.offset, file.length);
    // Pieces whose badness is explained by a file that is not there as it should be, or that is damaged for sure.
    let mut explained = vec![false; good.len()];
    let mut files = Vec::new();
    for (number, ((file, path), there)) in info.files.iter().zip(paths).zip(there).enumerate() {
        let pieces = touched(file);
        let own_is_bad = bad_in(&bad, &pieces).iter().any(|piece| is_own(info, file, *piece));
        let state = match there {
            There::Skipped => continue,
            There::Nothing => FileState::Missing,
            There::Other => FileState::NotAFile,
            There::Refused(answer) => FileState::Unreadable(answer),
            There::File(found) if found < file.length => FileState::Short { found },
            There::File(found) if found > file.length => FileState::Long { found },
            There::File(_) if own_is_bad => FileState::Damaged,
            There::File(_) if bad_in(&bad, &pieces).is_empty() => FileState::Good,
            There::File(_) => FileState::Unproven,
        };
        if !matches!(state, FileState::Good | FileState::Unproven) {
            explained[pieces.start as usize..pieces.end as usize].fill(true);
        }
        let bad_pieces = bad_in(&bad, &pieces).len() as u32;
        let (pieces, good_pieces) = (pieces.len() as u32, pieces.len() as u32 - bad_pieces);
        files.push(VerifiedFile { number, path: path.clone(), pieces, good_pieces, state });
    }
    for file in files.iter_mut().filter(|file| file.state == FileState::Unproven) {
        let pieces = touched(&info.files[file.number]);
        if bad_in(&bad, &pieces).iter().any(|piece| !explained[*piece as usize]) {
            file.state = FileState::Damaged;
        }
    }
    files
}

/// Those of the bad pieces, which are sorted, that lie in a range.
fn bad_in<'a>(bad: &'a [u32], pieces: &std::ops::Range<u32>) -> &'a [u32] {
    let start = bad.partition_point(|piece| *piece < pieces.start);
    let end = bad.partition_point(|piece| *piece < pieces.end);
    &bad[start..end.max(start)]
}

/// Whether a piece that touches this file holds bytes of no other file, padding left out.
fn is_own(info: &Info, file: &File, piece: u32) -> bool {
    let Some(piece) = info.geometry.piece(piece) else { return false };
    let start = info.geometry.offset_of(piece);
    let end = start + u64::from(info.geometry.length_of(piece));
    let first = info.files.partition_point(|other| other.offset + other.length <= start);
    let others = info.files[first..].iter().take_while(|other| other.offset < end);
    others.filter(|other| other.length > 0 && !is_skipped(other)).all(|other| other.offset == file.offset)
}
