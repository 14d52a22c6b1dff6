//! The threads between memory and disk: hash lanes that verify pieces, disk threads that write and read them.
//!
//! # A piece's way down
//! ```text
//! submit -> [waiting pieces] -> hash lane -> hash holds?  no -> done(HashMismatch)
//!                                               | yes
//!                                               v
//!                              [pieces to write] -> disk thread -> one pwritev a file -> done(Written)
//! ```
//! A lane hashes up to sixteen pieces in lockstep ([`quelea_digest::sha1_batch`]). So that there are several to
//! hash although hashing is faster than any network, it waits a little: until there is one piece for each
//! lane of the kernel, or [`Config::batch_bytes`] are there, or [`Config::linger`] has passed since it found
//! the first. So a piece is verified at most `linger` later than it could have been.
//!
//! # What is bounded
//! The queues have no bound of their own: each entry holds memory that its submitter took from a budget (the
//! blocks of a piece, the buffer of a read), and nothing is submitted without it. Waiting for room here would
//! only hide from the submitter that it must stop reading from its sockets.
//!
//! # Rules for callbacks
//! They run on the threads of the pipeline: they must not block and not panic. Each is called exactly once.

mod check;
mod disk;
mod lanes;

pub use check::{CheckHandle, CheckJob, CheckOutcome, CheckProgress, LANE_BYTES};

use quelea_block::BlockBuf;
use quelea_digest::Kernel;
use quelea_metainfo::geometry::{PieceIndex, Span};
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StorageError;
use crate::store::Store;
use crate::threads::Threads;

/// The longest that the end of the threads is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many threads, and how long lanes wait for company.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that hash.
    pub hash_lanes: NonZeroUsize,
    /// Threads that write and read. More than cores: they wait for the disk.
    pub disk_threads: NonZeroUsize,
    /// A lane starts once so many pieces wait. As many as the kernel takes side by side; 1 means at once.
    pub batch_pieces: usize,
    /// A lane starts once so many bytes wait: enough to fill lanes of pieces of usual length, few enough to
    /// stay in the third-level cache and to be a small part of the memory budget.
    pub batch_bytes: usize,
    /// A lane starts once a piece has waited so long; while others join it meanwhile, up to six times as long.
    pub linger: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hash_lanes: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            disk_threads: const { NonZeroUsize::new(4).unwrap() },
            batch_pieces: Kernel::best().lanes(),
            batch_bytes: 16 * 1024 * 1024,
            linger: Duration::from_millis(10),
        }
    }
}

/// A piece that is whole in memory, to be verified and written.
pub struct PieceJob {
    /// Where it is written.
    pub store: Arc<Store>,
    /// Which piece.
    pub piece: PieceIndex,
    /// Its blocks in order.
    pub blocks: Vec<BlockBuf>,
    /// Its SHA-1, from the torrent ("pieces", BEP 3).
    pub expected: [u8; 20],
    /// Whether the outcome shall have the digests of the blocks even if the piece is good: to find out which
    /// blocks of an earlier, bad try were wrong.
    pub digest_blocks: bool,
    /// Told once the piece is written, or can't be.
    pub done: Box<dyn FnOnce(PieceOutcome) + Send>,
}

/// What became of a piece.
#[derive(Debug)]
pub struct PieceOutcome {
    /// Which piece.
    pub piece: PieceIndex,
    /// How it ended.
    pub verdict: PieceVerdict,
    /// The SHA-1 of each block, if the piece was bad or they were asked for; else empty.
    pub block_digests: Vec<[u8; 20]>,
    /// The blocks of a good piece that could not be written, so that nothing is lost and it can be submitted
    /// again; else empty, the buffers are back in their pool.
    pub blocks: Vec<BlockBuf>,
}

/// How a piece ended.
#[derive(Debug)]
pub enum PieceVerdict {
    /// Verified, and written: others may be told.
    Written,
    /// Its SHA-1 is another one; nothing was written.
    HashMismatch,
    /// Verified, but not or not wholly written.
    Failed(StorageError),
}

/// The threads between memory and disk, for all torrents of a session; see the module's head.
///
/// Dropping it finishes what was submitted, cuts checks short, and waits for the threads to end; for ten seconds at
/// most, since a disk may never answer. Threads that have not ended by then go on by themselves.
pub struct Pipeline {
    lanes: Arc<lanes::Lanes>,
    disk: Arc<disk::Queue>,
    lane_threads: Threads,
    disk_threads: Threads,
}

impl Pipeline {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(config: &Config) -> io::Result<Self> {
        let disk = Arc::new(disk::Queue::default());
        let lanes = Arc::new(lanes::Lanes::new(config, Arc::clone(&disk)));
        let mut pipeline =
            Self { lanes, disk, lane_threads: Threads::default(), disk_threads: Threads::default() };
        for _ in 0..config.disk_threads.get() {
            let disk = Arc::clone(&pipeline.disk);
            pipeline.disk_threads.spawn("quelea-disk", move || disk.serve())?;
        }
        for _ in 0..config.hash_lanes.get() {
            let lanes = Arc::clone(&pipeline.lanes);
            let disk = Arc::clone(&pipeline.disk);
            let work = move || {
                lanes.serve();
                disk.serve_rest();
            };
            pipeline.lane_threads.spawn("quelea-hash", work)?;
        }
        Ok(pipeline)
    }

    /// Verifies a piece and writes it if it is good.
    pub fn submit(&self, job: PieceJob) {
        self.lanes.submit(job);
    }

    /// Reads a span that is given to others into `buffer`, which is cut to its length, on a disk thread; has the system read on in the
    /// same piece, since whoever asks for one block asks for its neighbours next.
    pub fn read(
        &self,
        store: Arc<Store>,
        span: Span,
        mut buffer: BlockBuf,
        done: impl FnOnce(Result<BlockBuf, StorageError>) + Send + 'static,
    ) {
        self.disk.run(Box::new(move || {
            buffer.truncate(span.length as usize);
            let result = store.give(span, &mut buffer);
            if let Some(next) = disk::read_ahead(&store, span) {
                store.will_need(next);
            }
            done(result.map(|()| buffer));
        }));
    }

    /// Runs what blocks on files, such as [`Store::open`] or [`Store::finish`], on a disk thread.
    pub fn run(&self, task: impl FnOnce() + Send + 'static) {
        self.disk.run(Box::new(task));
    }

    /// Checks the data on the disk against their hashes, on all lanes; pieces that come in meanwhile go first.
    /// Dropping the handle changes nothing.
    pub fn check(&self, job: CheckJob) -> CheckHandle {
        self.lanes.check(job)
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("hash_lanes", &self.lane_threads.len())
            .field("disk_threads", &self.disk_threads.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // What lanes verify goes to the disk threads, so they end first. A lane that ends later works off by itself
        // what it has for the disk.
        self.lanes.stop();
        let hashed = self.lane_threads.join(PATIENCE);
        self.disk.stop();
        if !(hashed & self.disk_threads.join(PATIENCE)) {
            tracing::warn!("the disk does not answer: what is being read and written is left to itself");
        }
    }
}
