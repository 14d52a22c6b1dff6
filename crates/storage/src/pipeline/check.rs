//! Checking what is on the disk: reading pieces and comparing their SHA-1 with the torrent's.
//!
//! A lane takes a group of consecutive pieces, reads a chunk of each in turn, and advances their digests side
//! by side. Chunks are small enough that a group's chunks stay in the second-level cache between reading and
//! hashing. Where the page cache does not have them, the system is told of the whole round before the first
//! chunk is waited for, so that the disk always has work.

use quelea_digest::{Kernel, Sha1State, sha1_advance};
use quelea_metainfo::geometry::{PieceIndex, Span};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::StorageError;
use crate::store::Store;

/// How much of a piece is read at a time, in bytes. A multiple of a SHA-1 block.
const CHUNK: u32 = 64 * 1024;

/// The memory that a lane takes while it checks, in bytes: a chunk for each piece that the widest kernel hashes side
/// by side.
pub const LANE_BYTES: usize = 16 * CHUNK as usize;

/// A check to be done.
pub struct CheckJob {
    /// What is read.
    pub store: Arc<Store>,
    /// Which pieces; each at most once.
    pub pieces: Vec<PieceIndex>,
    /// The SHA-1 that the torrent has for a piece.
    pub expected: Box<dyn Fn(PieceIndex) -> [u8; 20] + Send + Sync>,
    /// Told now and then how far it is, from several threads.
    pub progress: Box<dyn Fn(CheckProgress) + Send + Sync>,
    /// Told when it is over, also when it was cancelled.
    pub done: Box<dyn FnOnce(CheckOutcome) + Send>,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckProgress {
    /// Pieces looked at.
    pub checked: usize,
    /// Those of them that are good.
    pub good: usize,
    /// Pieces in all.
    pub pieces: usize,
}

/// What a check has found.
#[derive(Debug)]
pub struct CheckOutcome {
    /// Which pieces are good, one entry for each piece of the torrent; false for what was not looked at.
    pub good: Vec<bool>,
    /// Which pieces were looked at, one entry for each piece of the torrent.
    pub looked: Vec<bool>,
    /// Whether it was cut short.
    pub cancelled: bool,
    /// The first refusal of the system, if there was one. Pieces that could not be read count as bad; pieces
    /// that are not there do too, and are no trouble.
    pub trouble: Option<StorageError>,
}

/// A check that is going on.
#[derive(Clone)]
pub struct CheckHandle {
    check: Arc<Check>,
}

impl CheckHandle {
    pub(super) fn new(check: Arc<Check>) -> Self {
        Self { check }
    }

    /// Cuts the check short; its `done` is told soon.
    pub fn cancel(&self) {
        self.check.cancel();
    }

    /// How far it is.
    pub fn progress(&self) -> CheckProgress {
        self.check.progress()
    }
}

impl fmt::Debug for CheckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CheckHandle").field(&self.progress()).finish()
    }
}

/// A check in progress, shared by the lanes. Each takes the next group of pieces until none is left; the one
/// that ends the last group tells the outcome.
pub(super) struct Check {
    job: Job,
    group: usize,
    next: AtomicUsize,
    checked: AtomicUsize,
    good_count: AtomicUsize,
    cancelled: AtomicBool,
    /// The digest of a whole piece of zeros, which is what a hole may rightly be.
    zeros: OnceLock<[u8; 20]>,
    found: Mutex<Found>,
}

struct Job {
    store: Arc<Store>,
    pieces: Vec<PieceIndex>,
    expected: Box<dyn Fn(PieceIndex) -> [u8; 20] + Send + Sync>,
    progress: Box<dyn Fn(CheckProgress) + Send + Sync>,
}

struct Found {
    outcome: CheckOutcome,
    done: Option<Box<dyn FnOnce(CheckOutcome) + Send>>,
}

/// A lane's buffers, kept from group to group.
#[derive(Default)]
pub(super) struct Scratch {
    chunks: Vec<Box<[u8]>>,
}

/// A piece of a group.
struct Stream {
    piece: PieceIndex,
    length: u32,
    at: u32,
    /// How much of its chunk is filled.
    filled: usize,
    verdict: Option<bool>,
}

impl Check {
    pub(super) fn new(job: CheckJob) -> Self {
        let CheckJob { store, pieces, expected, progress, done } = job;
        let none = vec![false; store.layout().geometry().pieces() as usize];
        let outcome = CheckOutcome { good: none.clone(), looked: none, cancelled: false, trouble: None };
        Self {
            job: Job { store, pieces, expected, progress },
            group: Kernel::best().lanes(),
            next: AtomicUsize::new(0),
            checked: AtomicUsize::new(0),
            good_count: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            zeros: OnceLock::new(),
            found: Mutex::new(Found { outcome, done: Some(done) }),
        }
    }

    /// Ends a check of nothing at once.
    pub(super) fn end_if_empty(&self) -> bool {
        if self.job.pieces.is_empty() {
            self.end();
        }
        self.job.pieces.is_empty()
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.job.pieces.len()
    }

    /// Whether all pieces were looked at, or given up.
    pub(super) fn is_over(&self) -> bool {
        self.checked.load(Ordering::Acquire) >= self.job.pieces.len()
    }

    pub(super) fn progress(&self) -> CheckProgress {
        CheckProgress {
            checked: self.checked.load(Ordering::Relaxed),
            good: self.good_count.load(Ordering::Relaxed),
            pieces: self.job.pieces.len(),
        }
    }

    /// Checks the next group of pieces; `between` is called between two rounds of reading.
    pub(super) fn step(&self, scratch: &mut Scratch, between: impl FnMut()) {
        let Some(group) = self.claim() else { return };
        let pieces = &self.job.pieces[group];
        if !self.is_cancelled() {
            let good = self.check_group(pieces, scratch, between);
            if !self.is_cancelled() {
                self.good_count.fetch_add(good.len(), Ordering::Relaxed);
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                for piece in pieces {
                    found.outcome.looked[piece.at()] = true;
                }
                for piece in good {
                    found.outcome.good[piece.at()] = true;
                }
            }
        }
        let checked = self.checked.fetch_add(pieces.len(), Ordering::AcqRel) + pieces.len();
        (self.job.progress)(self.progress());
        if checked == self.job.pieces.len() {
            self.end();
        }
    }

    /// The next group, as a range of the job's list; all that is left when the check is cancelled.
    fn claim(&self) -> Option<Range<usize>> {
        let total = self.job.pieces.len();
        let size = if self.is_cancelled() { total } else { self.group };
        let take = |next: usize| (next < total).then(|| next.saturating_add(size).min(total));
        let start = self.next.try_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(start..start.saturating_add(size).min(total))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn end(&self) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(done) = found.done.take() else { return };
        let good = std::mem::take(&mut found.outcome.good);
        let looked = std::mem::take(&mut found.outcome.looked);
        let trouble = found.outcome.trouble.take();
        drop(found);
        done(CheckOutcome { good, looked, cancelled: self.is_cancelled(), trouble });
    }

    /// The good ones of these pieces.
    fn check_group(
        &self,
        pieces: &[PieceIndex],
        scratch: &mut Scratch,
        mut between: impl FnMut(),
    ) -> Vec<PieceIndex> {
        let geometry = self.job.store.layout().geometry();
        let stream = |&piece: &PieceIndex| {
            let verdict = if self.is_bad_hole(piece) { Some(false) } else { None };
            Stream { piece, length: geometry.length_of(piece), at: 0, filled: 0, verdict }
        };
        let mut streams: Vec<Stream> = pieces.iter().map(stream).collect();
        let mut states = vec![Sha1State::new(); streams.len()];
        scratch.chunks.resize_with(streams.len().max(scratch.chunks.len()), || {
            vec![0; CHUNK as usize].into_boxed_slice()
        });
        while streams.iter().any(|stream| stream.verdict.is_none()) && !self.is_cancelled() {
            self.read_round(&mut streams, &mut scratch.chunks);
            let filled = streams.iter().zip(&scratch.chunks).map(|(stream, chunk)| &chunk[..stream.filled]);
            let (inputs, tails): (Vec<_>, Vec<_>) = filled.map(<[u8]>::as_chunks::<64>).unzip();
            sha1_advance(&mut states, &inputs);
            for ((stream, state), tail) in streams.iter_mut().zip(&states).zip(tails) {
                if stream.verdict.is_none() && stream.at == stream.length {
                    stream.verdict = Some(state.finish(tail) == (self.job.expected)(stream.piece));
                }
            }
            between();
        }
        streams.iter().filter(|stream| stream.verdict == Some(true)).map(|stream| stream.piece).collect()
    }

    /// Reads the next chunk of each stream that goes on.
    fn read_round(&self, streams: &mut [Stream], chunks: &mut [Box<[u8]>]) {
        let store = &self.job.store;
        let mut announced = false;
        for number in 0..streams.len() {
            streams[number].filled = 0;
            let Some(span) = self.next_span(&streams[number]) else { continue };
            let chunk = &mut chunks[number][..span.length as usize];
            if !store.try_read_cached(span, chunk) {
                if !announced {
                    let later = streams[number + 1..].iter().filter_map(|stream| self.next_span(stream));
                    later.for_each(|span| store.will_need(span));
                    announced = true;
                }
                if let Err(error) = store.read(span, chunk) {
                    streams[number].verdict = Some(false);
                    self.note(error);
                    continue;
                }
            }
            streams[number].filled = chunk.len();
            streams[number].at += span.length;
        }
    }

    fn next_span(&self, stream: &Stream) -> Option<Span> {
        if stream.verdict.is_some() {
            return None;
        }
        let geometry = self.job.store.layout().geometry();
        geometry.span(stream.piece.get(), stream.at, (stream.length - stream.at).min(CHUNK))
    }

    /// Whether there is nothing in a piece's place, although it is not made of zeros.
    fn is_bad_hole(&self, piece: PieceIndex) -> bool {
        match self.job.store.is_hole(piece) {
            Ok(true) => (self.job.expected)(piece) != self.digest_of_zeros(piece),
            Ok(false) => false,
            Err(error) => {
                self.note(error);
                false
            }
        }
    }

    fn digest_of_zeros(&self, piece: PieceIndex) -> [u8; 20] {
        let geometry = self.job.store.layout().geometry();
        let length = geometry.length_of(piece);
        if length == geometry.piece_length() {
            *self.zeros.get_or_init(|| digest_of_zeros(length))
        } else {
            digest_of_zeros(length)
        }
    }

    fn note(&self, error: StorageError) {
        if !error.is_missing() {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.outcome.trouble.get_or_insert(error);
        }
    }
}

fn digest_of_zeros(length: u32) -> [u8; 20] {
    let mut state = Sha1State::new();
    let zeros = [0; 4_096];
    for _ in 0..length / 4_096 {
        state.update(&zeros);
    }
    state.finish(&zeros[..length as usize % 4_096])
}
