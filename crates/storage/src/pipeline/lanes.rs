//! Hash lanes: gathering pieces into batches, and what else lanes do while none wait.

use quelea_block::BlockBuf;
use quelea_digest::sha1_batch;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::check::{Check, CheckHandle, CheckJob, Scratch};
use super::disk::{Queue, Write};
use super::{Config, PieceJob, PieceOutcome, PieceVerdict};

/// How often a lane lingers for one batch while company comes.
const LINGERS: usize = 6;

pub(super) struct Lanes {
    batch_pieces: usize,
    batch_bytes: usize,
    linger: Duration,
    state: Mutex<State>,
    /// Wakes the lane that gathers a batch.
    batch_ready: Condvar,
    /// Wakes a lane that has nothing to do.
    idle: Condvar,
    disk: Arc<Queue>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<PieceJob>,
    waiting_bytes: usize,
    /// Whether a lane waits for the batch to fill. The others sleep meanwhile.
    gathering: bool,
    checks: VecDeque<Arc<Check>>,
    stopping: bool,
}

enum Work {
    Batch(Vec<PieceJob>),
    Check(Arc<Check>),
}

impl Lanes {
    pub(super) fn new(config: &Config, disk: Arc<Queue>) -> Self {
        Self {
            batch_pieces: config.batch_pieces.max(1),
            batch_bytes: config.batch_bytes,
            linger: config.linger,
            state: Mutex::default(),
            batch_ready: Condvar::new(),
            idle: Condvar::new(),
            disk,
        }
    }

    pub(super) fn submit(&self, job: PieceJob) {
        let mut state = self.lock();
        state.waiting_bytes += length_of(&job.blocks);
        state.waiting.push_back(job);
        let (gathering, ready) = (state.gathering, self.is_ready(&state));
        drop(state);
        if !gathering {
            self.idle.notify_one();
        } else if ready {
            self.batch_ready.notify_one();
        }
    }

    pub(super) fn check(&self, job: CheckJob) -> CheckHandle {
        let check = Arc::new(Check::new(job));
        if !check.end_if_empty() {
            self.lock().checks.push_back(Arc::clone(&check));
            self.idle.notify_all();
        }
        CheckHandle::new(check)
    }

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.checks.iter().for_each(|check| check.cancel());
        drop(state);
        self.batch_ready.notify_all();
        self.idle.notify_all();
    }

    /// Works until [`Lanes::stop`] was called and nothing is left.
    pub(super) fn serve(&self) {
        let mut scratch = Scratch::default();
        while let Some(work) = self.next() {
            match work {
                Work::Batch(batch) => self.verify(batch),
                Work::Check(check) => {
                    check.step(&mut scratch, || self.verify_waiting());
                    if !check.has_more() {
                        scratch = Scratch::default();
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            // With anything else to do there is no point in waiting for more: while it is done, more come.
            let hurry = state.stopping || !state.checks.is_empty();
            if self.is_ready(&state) || (hurry && !state.waiting.is_empty()) {
                return Some(Work::Batch(self.take_batch(&mut state)));
            }
            // Those of which other lanes have the last pieces in hand stay, so that they can be cut short.
            state.checks.retain(|check| !check.is_over());
            if let Some(check) = state.checks.iter().find(|check| check.has_more()) {
                return Some(Work::Check(Arc::clone(check)));
            }
            if state.stopping {
                return None;
            }
            if state.waiting.is_empty() || state.gathering {
                state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.gathering = true;
            state = self.gather(state);
            state.gathering = false;
            // Another lane may have come by, with a check in hand, and taken them.
            if !state.waiting.is_empty() {
                return Some(Work::Batch(self.take_batch(&mut state)));
            }
        }
    }

    /// Waits for the batch to fill: once the time to linger, and again as long as each time brings company, so
    /// that a fast download fills its lanes and a lone piece is not kept.
    fn gather<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        for _ in 0..LINGERS {
            let before = state.waiting.len();
            let more = |state: &mut State| {
                !self.is_ready(state)
                    && !state.stopping
                    && state.checks.is_empty()
                    && !state.waiting.is_empty()
            };
            let waited = self.batch_ready.wait_timeout_while(state, self.linger, more);
            let ended;
            (state, ended) = waited.unwrap_or_else(PoisonError::into_inner);
            if !ended.timed_out() || state.waiting.len() <= before {
                break;
            }
        }
        state
    }

    fn is_ready(&self, state: &State) -> bool {
        !state.waiting.is_empty()
            && (state.waiting.len() >= self.batch_pieces || state.waiting_bytes >= self.batch_bytes)
    }

    fn take_batch(&self, state: &mut State) -> Vec<PieceJob> {
        let count = state.waiting.len().min(self.batch_pieces);
        let batch: Vec<PieceJob> = state.waiting.drain(..count).collect();
        state.waiting_bytes -= batch.iter().map(|job| length_of(&job.blocks)).sum::<usize>();
        if !state.waiting.is_empty() && !state.gathering {
            self.idle.notify_one();
        }
        batch
    }

    /// Verifies what waits, if anything does: for a lane that is busy with a check.
    fn verify_waiting(&self) {
        let mut state = self.lock();
        while !state.waiting.is_empty() {
            let batch = self.take_batch(&mut state);
            drop(state);
            self.verify(batch);
            state = self.lock();
        }
    }

    fn verify(&self, batch: Vec<PieceJob>) {
        let messages: Vec<&[BlockBuf]> = batch.iter().map(|job| job.blocks.as_slice()).collect();
        let digests = sha1_batch(&messages);
        let mut good = Vec::with_capacity(batch.len());
        let mut bad = Vec::new();
        for (job, digest) in batch.into_iter().zip(digests) {
            let holds = digest == job.expected;
            let block_digests =
                if !holds || job.digest_blocks { digest_blocks(&job.blocks) } else { Vec::new() };
            let list = if holds { &mut good } else { &mut bad };
            list.push(Write { job, block_digests });
        }
        self.disk.write(good);
        for Write { job, block_digests } in bad {
            let PieceJob { piece, blocks, done, .. } = job;
            drop(blocks);
            done(PieceOutcome {
                piece,
                verdict: PieceVerdict::HashMismatch,
                block_digests,
                blocks: Vec::new(),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_blocks(blocks: &[BlockBuf]) -> Vec<[u8; 20]> {
    let each: Vec<&[BlockBuf]> = blocks.chunks(1).collect();
    sha1_batch(&each)
}

fn length_of(blocks: &[BlockBuf]) -> usize {
    blocks.iter().map(|block| block.len()).sum()
}
