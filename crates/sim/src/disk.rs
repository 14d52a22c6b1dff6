//! A node's disk: what was written, how long it takes, and what goes wrong.

use crate::content::{Block, Content};
use core::time::Duration;
use fastrand::Rng;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_time::Time;
use quelea_wire::Bitfield;
use std::collections::{BTreeSet, VecDeque};

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
    /// How often only a part of a piece is written at the first try.
    pub short_writes: u32,
    /// What was written in this time before a crash is lost by it: the system had not put it on the disk yet.
    pub forgets: Duration,
    /// How many of a thousand disks are full for a while.
    pub full: u32,
    /// How long a disk is full at most.
    pub full_for: Duration,
    /// How many of a thousand pieces turn bad after they were written, on disks that rot.
    pub rot: u32,
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
    /// Pieces of which a part was written: no machine may call them good.
    pub(crate) torn: BTreeSet<PieceIndex>,
    /// Whether pieces turn bad here.
    rots: bool,
    /// Pieces that have turned bad, which nobody knows until somebody looks.
    rotten: BTreeSet<PieceIndex>,
    /// Pieces that ever did.
    pub(crate) rotted: u64,
    /// Writes that took about as long as one can.
    pub(crate) slow_writes: u64,
    /// What was written lately, oldest first.
    unsynced: VecDeque<(Time, PieceIndex)>,
    /// When it is full.
    full: Option<(Time, Time)>,
    rng: Rng,
}

/// What became of a piece that was to be hashed and written.
#[derive(Debug)]
pub(crate) enum Outcome {
    Written(Vec<[u8; 20]>),
    Mismatch(Vec<[u8; 20]>),
    /// The blocks are given back.
    Failed(Vec<Block>, WriteFault),
}

/// Why a piece could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFault {
    Refused,
    Short,
    Full,
}

impl Disk {
    pub(crate) fn new(written: Bitfield, spoils: u32, rots: bool, plan: &DiskPlan, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let full = (rng.u32(0..1_000) < plan.full).then(|| {
            let from = Time::from_millis(rng.u64(0..20_000));
            (from, from + Duration::from_nanos(rng.u64(0..=plan.full_for.as_nanos() as u64)))
        });
        Self {
            written,
            spoils,
            spoilt: 0,
            torn: BTreeSet::new(),
            rots,
            rotten: BTreeSet::new(),
            rotted: 0,
            slow_writes: 0,
            unsynced: VecDeque::new(),
            full,
            rng,
        }
    }

    /// Somebody looks at every piece, as at a start: those that have turned bad are missing. How many that are.
    pub(crate) fn check(&mut self) -> u64 {
        let rotten = core::mem::take(&mut self.rotten);
        rotten.into_iter().map(|piece| u64::from(self.written.unset(piece))).sum()
    }

    /// The node crashed: what was written lately is lost. How many pieces that are.
    pub(crate) fn crash(&mut self, now: Time, plan: &DiskPlan) -> u64 {
        self.torn.clear();
        let mut lost = 0;
        for (at, piece) in self.unsynced.drain(..) {
            if now.since(at) < plan.forgets && self.written.unset(piece) {
                lost += 1;
            }
        }
        lost
    }

    /// Whether what is read of a block is good.
    pub(crate) fn reads_well(&mut self, piece: PieceIndex) -> bool {
        let lie = self.spoils > 0 && self.rng.u32(0..1_000) < self.spoils;
        let spoilt = lie || self.rotten.contains(&piece);
        self.spoilt += u64::from(spoilt);
        !spoilt
    }

    /// Appends the bytes of a span.
    pub(crate) fn read(&mut self, content: &Content, span: Span, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(content.span(span));
        if !self.reads_well(span.piece) {
            let at = self.rng.usize(from..out.len());
            if let Some(byte) = out.get_mut(at) {
                *byte ^= 1 << self.rng.u32(0..8);
            }
        }
    }

    /// How long a read takes, or that it fails.
    pub(crate) fn read_time(&mut self, plan: &DiskPlan) -> (Duration, bool) {
        (self.time(plan.slowest_read), self.rng.u32(0..1_000) < plan.failing_reads)
    }

    /// How long it takes to hash and write a piece: mostly little, at times all of it.
    pub(crate) fn write_time(&mut self, plan: &DiskPlan) -> Duration {
        let time = self.time(plan.slowest_write);
        self.slow_writes += u64::from(time > plan.slowest_write / 2);
        time
    }

    fn time(&mut self, slowest: Duration) -> Duration {
        if slowest.is_zero() {
            return slowest;
        }
        let slowest = slowest.as_nanos() as u64;
        let most = if self.rng.u8(0..8) == 0 { slowest } else { slowest / 20 };
        Duration::from_nanos(self.rng.u64(0..=most))
    }

    /// Hashes the blocks, and writes them if they are the piece.
    pub(crate) fn verify(
        &mut self,
        now: Time,
        plan: &DiskPlan,
        content: &Content,
        piece: PieceIndex,
        blocks: Vec<Block>,
        digest_blocks: bool,
    ) -> Outcome {
        let digests = || blocks.iter().map(Block::digest).collect();
        if !content.is_piece(piece, &blocks) {
            return Outcome::Mismatch(digests());
        }
        if self.full.is_some_and(|(from, until)| (from..until).contains(&now)) {
            return Outcome::Failed(blocks, WriteFault::Full);
        }
        if self.rng.u32(0..1_000) < plan.failing_writes {
            return Outcome::Failed(blocks, WriteFault::Refused);
        }
        if plan.short_writes > 0 && self.rng.u32(0..1_000) < plan.short_writes {
            self.torn.insert(piece);
            return Outcome::Failed(blocks, WriteFault::Short);
        }
        self.torn.remove(&piece);
        self.written.set(piece);
        if self.rots && self.rng.u32(0..1_000) < plan.rot {
            self.rotten.insert(piece);
            self.rotted += 1;
        }
        if plan.forgets > Duration::ZERO {
            while self.unsynced.front().is_some_and(|(at, _)| now.since(*at) >= plan.forgets) {
                self.unsynced.pop_front();
            }
            self.unsynced.push_back((now, piece));
        }
        Outcome::Written(if digest_blocks { digests() } else { Vec::new() })
    }
}
