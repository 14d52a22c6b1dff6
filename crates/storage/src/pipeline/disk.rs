//! Disk threads and what waits for them.

use quelea_metainfo::geometry::Span;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{PieceJob, PieceOutcome, PieceVerdict};
use crate::store::Store;

/// How far the system is told to read on behind a block, in bytes.
const READ_AHEAD: u32 = 512 * 1024;

/// A verified piece.
pub(super) struct Write {
    pub(super) job: PieceJob,
    pub(super) block_digests: Vec<[u8; 20]>,
}

pub(super) type Task = Box<dyn FnOnce() + Send>;

/// What waits for a disk thread. Pieces and everything else take turns, so that neither a flood of requests nor
/// a fast download holds up the other.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    writes: VecDeque<Write>,
    tasks: VecDeque<Task>,
    task_is_next: bool,
    stopping: bool,
}

enum Work {
    Write(Write),
    Task(Task),
}

impl Queue {
    pub(super) fn write(&self, writes: impl IntoIterator<Item = Write>) {
        let mut state = self.lock();
        let before = state.writes.len();
        state.writes.extend(writes);
        let added = state.writes.len() - before;
        drop(state);
        for _ in 0..added {
            self.changed.notify_one();
        }
    }

    pub(super) fn run(&self, task: Task) {
        self.lock().tasks.push_back(task);
        self.changed.notify_one();
    }

    /// Works until [`Queue::stop`] was called and nothing is left.
    pub(super) fn serve(&self) {
        while let Some(work) = self.next() {
            match work {
                Work::Write(write) => finish(write),
                Work::Task(task) => task(),
            }
        }
    }

    /// Works off what is left if the disk threads have been stopped: a callback on a lane may have dropped the
    /// pipeline, and then that lane outlives them.
    pub(super) fn serve_rest(&self) {
        if self.lock().stopping {
            self.serve();
        }
    }

    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.take() {
                return Some(work);
            }
            if state.stopping {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<Work> {
        self.task_is_next = !self.task_is_next;
        if self.task_is_next {
            self.tasks.pop_front().map(Work::Task).or_else(|| self.writes.pop_front().map(Work::Write))
        } else {
            self.writes.pop_front().map(Work::Write).or_else(|| self.tasks.pop_front().map(Work::Task))
        }
    }
}

fn finish(write: Write) {
    let Write { job, block_digests } = write;
    let PieceJob { store, piece, mut blocks, done, .. } = job;
    let verdict = match store.write_piece(piece, &blocks) {
        Ok(()) => {
            // Before anyone is told: who hears of it may want the buffers.
            blocks.clear();
            PieceVerdict::Written
        }
        Err(error) => PieceVerdict::Failed(error),
    };
    done(PieceOutcome { piece, verdict, block_digests, blocks });
}

/// What is worth reading after this span: the rest of its piece, up to a limit.
pub(super) fn read_ahead(store: &Store, span: Span) -> Option<Span> {
    let geometry = store.layout().geometry();
    let begin = span.begin + span.length;
    let left = geometry.length_of(span.piece).saturating_sub(begin);
    geometry.span(span.piece.get(), begin, left.min(READ_AHEAD))
}
