//! Pooled 16 KiB blocks of payload.
//!
//! Owns: the buffers that payload travels in, from the socket through the hash lanes to the disk and back.
//! Does not own: how many may be in flight. That is decided where pieces are opened (the torrent's machine has
//! a limit of open pieces that the session derives from its memory budget), so that taking a buffer never
//! waits and never deadlocks; this crate counts what is out and keeps what comes back for the next taker.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The size of a whole block in bytes: 16 KiB, the unit of requests (BEP 3, "request").
pub const BLOCK_LENGTH: usize = 16 * 1024;

/// A pool of buffers of [`BLOCK_LENGTH`] bytes, shared by cheap clones.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    free: Mutex<Vec<Box<[u8]>>>,
    /// How many free buffers are kept; what comes back beyond that is given back to the allocator.
    keep: usize,
    out: AtomicUsize,
    peak: AtomicUsize,
}

impl Pool {
    /// A pool that keeps at most `keep_bytes` of free buffers for reuse.
    pub fn new(keep_bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                free: Mutex::new(Vec::new()),
                keep: keep_bytes / BLOCK_LENGTH,
                out: AtomicUsize::new(0),
                peak: AtomicUsize::new(0),
            }),
        }
    }

    /// A writable buffer of `length` bytes, at most [`BLOCK_LENGTH`] (longer is cut to that). Its content is
    /// whatever the last user left there.
    pub fn take(&self, length: usize) -> BlockBuf {
        let reused = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = reused.unwrap_or_else(|| vec![0; BLOCK_LENGTH].into_boxed_slice());
        let out = self.shared.out.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.peak.fetch_max(out, Ordering::Relaxed);
        BlockBuf { bytes, length: length.min(BLOCK_LENGTH), shared: Arc::clone(&self.shared) }
    }

    /// Bytes of buffers that are taken and not yet given back.
    pub fn bytes_out(&self) -> usize {
        self.shared.out.load(Ordering::Relaxed) * BLOCK_LENGTH
    }

    /// The most that [`Pool::bytes_out`] has ever been.
    pub fn peak_bytes_out(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed) * BLOCK_LENGTH
    }

    /// Bytes of buffers that lie ready for the next taker.
    pub fn bytes_free(&self) -> usize {
        self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).len() * BLOCK_LENGTH
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("bytes_out", &self.bytes_out()).finish_non_exhaustive()
    }
}

/// A buffer with one owner. Dropping it gives it back to its pool.
pub struct BlockBuf {
    bytes: Box<[u8]>,
    length: usize,
    shared: Arc<Shared>,
}

impl BlockBuf {
    /// Shortens the visible part to `length` bytes; a longer one than it has changes nothing.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Deref for BlockBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for BlockBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl AsRef<[u8]> for BlockBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for BlockBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for BlockBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBuf({} bytes)", self.length)
    }
}

impl Drop for BlockBuf {
    fn drop(&mut self) {
        self.shared.out.fetch_sub(1, Ordering::Relaxed);
        let mut free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.shared.keep {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_reused() {
        let pool = Pool::new(4 * BLOCK_LENGTH);
        let mut first = pool.take(BLOCK_LENGTH);
        first[0] = 7;
        drop(first);
        assert_eq!(pool.bytes_free(), BLOCK_LENGTH);
        assert_eq!(pool.take(1)[0], 7);
    }

    #[test]
    fn what_exceeds_the_kept_amount_is_freed() {
        let pool = Pool::new(2 * BLOCK_LENGTH);
        let taken: Vec<_> = (0..5).map(|_| pool.take(BLOCK_LENGTH)).collect();
        assert_eq!(pool.bytes_out(), 5 * BLOCK_LENGTH);
        drop(taken);
        assert_eq!(pool.bytes_out(), 0);
        assert_eq!(pool.bytes_free(), 2 * BLOCK_LENGTH);
        assert_eq!(pool.peak_bytes_out(), 5 * BLOCK_LENGTH);
    }

    #[test]
    fn lengths_are_cut_to_a_block() {
        let pool = Pool::new(0);
        assert_eq!(pool.take(usize::MAX).len(), BLOCK_LENGTH);
        let mut short = pool.take(100);
        short.truncate(200);
        assert_eq!(short.len(), 100);
        short.truncate(10);
        assert_eq!(short.len(), 10);
    }
}
