//! A node's disk: what was written, how long it takes, and what goes wrong.

use crate::content::{Block, Content};
use core::time::Duration;
use fastrand::Rng;
use quelea_digest::sha1;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_wire::Bitfield;

/// How disks behave in a world. Chances are in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct DiskPlan {
    /// The longest time that hashing and writing a piece takes.
    pub slowest_write: Duration,
    /// The longest time that reading a block takes.
    pub slowest_read: Duration,
    /// How often a block cannot be read.
    pub failing_reads: u32,
    /// How often a verified piece cannot be written at the first try.
    pub failing_writes: u32,
}

/// A node's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The pieces that were verified and written.
    pub(crate) written: Bitfield,
    /// How many of a thousand blocks are spoilt when they are read: the lies of a liar.
    spoils: u32,
    /// Blocks that were spoilt.
    pub(crate) spoilt: u64,
    rng: Rng,
}

/// What became of a piece that was to be hashed and written.
#[derive(Debug)]
pub(crate) enum Outcome {
    Written(Vec<[u8; 20]>),
    Mismatch(Vec<[u8; 20]>),
    /// The blocks are given back.
    Failed(Vec<Block>),
}

impl Disk {
    pub(crate) fn new(written: Bitfield, spoils: u32, seed: u64) -> Self {
        Self { written, spoils, spoilt: 0, rng: Rng::with_seed(seed) }
    }

    /// Appends the bytes of a span.
    pub(crate) fn read(&mut self, content: &Content, span: Span, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(content.span(span));
        if self.spoils > 0 && self.rng.u32(0..1_000) < self.spoils {
            let at = self.rng.usize(from..out.len());
            if let Some(byte) = out.get_mut(at) {
                *byte ^= 1 << self.rng.u32(0..8);
                self.spoilt += 1;
            }
        }
    }

    /// How long a read takes, or that it fails.
    pub(crate) fn read_time(&mut self, plan: &DiskPlan) -> (Duration, bool) {
        (self.time(plan.slowest_read), self.rng.u32(0..1_000) < plan.failing_reads)
    }

    /// How long it takes to hash and write a piece: mostly little, at times all of it.
    pub(crate) fn write_time(&mut self, plan: &DiskPlan) -> Duration {
        self.time(plan.slowest_write)
    }

    fn time(&mut self, slowest: Duration) -> Duration {
        let slowest = slowest.as_nanos() as u64;
        let most = if self.rng.u8(0..8) == 0 { slowest } else { slowest / 20 };
        Duration::from_nanos(self.rng.u64(0..=most))
    }

    /// Hashes the blocks, and writes them if they are the piece.
    pub(crate) fn verify(
        &mut self,
        plan: &DiskPlan,
        content: &Content,
        piece: PieceIndex,
        blocks: Vec<Block>,
        digest_blocks: bool,
    ) -> Outcome {
        let digests = || blocks.iter().map(|block| sha1(block.as_ref())).collect();
        if !content.is_piece(piece, &blocks) {
            return Outcome::Mismatch(digests());
        }
        if self.rng.u32(0..1_000) < plan.failing_writes {
            return Outcome::Failed(blocks);
        }
        self.written.set(piece);
        Outcome::Written(if digest_blocks { digests() } else { Vec::new() })
    }
}
