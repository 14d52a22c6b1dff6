//! Hashing all of a running torrent's files: it pauses, what is good afterwards is what is on the disk, it goes on.

use super::changes::{Changed, Done};
use super::{Running, Time};
use crate::Error;
use crate::driver::ToTorrent;
use crate::events::Event;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::{CheckHandle, CheckJob, CheckOutcome, StorageError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How far a recheck is, and the way to cancel it.
#[derive(Debug, Default)]
pub(crate) struct Rechecking {
    pub(crate) checked: AtomicU32,
    pub(crate) cancelled: AtomicBool,
}

/// A recheck that is going on.
pub(super) struct Recheck {
    progress: Arc<Rechecking>,
    done: Option<Done>,
    /// Whether pieces that are on their way to the disk are waited for.
    waits: bool,
    check: Option<CheckHandle>,
}

impl Recheck {
    pub(super) fn new(progress: Arc<Rechecking>, done: Option<Done>) -> Self {
        Self { progress, done, waits: true, check: None }
    }

    /// Pieces that were looked at.
    pub(super) fn checked(&self) -> u32 {
        self.progress.checked.load(Ordering::Relaxed)
    }

    pub(super) fn cancel(&self) {
        self.progress.cancelled.store(true, Ordering::Relaxed);
        if let Some(check) = &self.check {
            check.cancel();
        }
    }
}

impl Running {
    pub(super) fn begin_recheck(&mut self, now: Time) {
        self.task.machine.stop(now);
        self.publish();
        self.go_on_with_recheck(now);
    }

    /// Looks at the files once nothing is being written any more.
    pub(super) fn go_on_with_recheck(&mut self, now: Time) {
        if self.changes.recheck().is_none_or(|recheck| !recheck.waits) || self.is_writing(now) {
            return;
        }
        if let Some(recheck) = self.changes.recheck_mut() {
            recheck.waits = false;
        }
        let (store, torrent) = (Arc::clone(&self.task.io.store), self.task.myself.clone());
        self.task.io.pipeline.run(move || {
            let looked = store.look_again();
            let _ = torrent.blocking_send(ToTorrent::Changed(Changed::Looked(looked)));
        });
    }

    pub(super) fn looked(&mut self, now: Time, result: Result<(), StorageError>) {
        let is_cancelled =
            self.changes.recheck().is_some_and(|recheck| recheck.progress.cancelled.load(Ordering::Relaxed));
        if let Err(error) = result.and(if is_cancelled { Err(StorageError::Cancelled) } else { Ok(()) }) {
            let Some(recheck) = self.changes.end_recheck() else { return };
            self.end_recheck(now);
            if let Some(done) = recheck.done {
                let _ = done.send(Err(error.into()));
            }
            return;
        }
        let Some(recheck) = self.changes.recheck_mut() else { return };
        let (hashes, torrent) = (Arc::clone(&self.task.info), self.task.myself.clone());
        let told = Arc::clone(&recheck.progress);
        let check = self.task.io.pipeline.check(CheckJob {
            pieces: self.task.info.geometry.iter().collect(),
            store: Arc::clone(&self.task.io.store),
            expected: Box::new(move |piece| hashes.piece_hash(piece).copied().unwrap_or_default()),
            progress: Box::new(move |progress| {
                told.checked.store(progress.checked as u32, Ordering::Relaxed);
            }),
            done: Box::new(move |outcome| {
                let _ = torrent.blocking_send(ToTorrent::Changed(Changed::Checked(outcome)));
            }),
        });
        recheck.check = Some(check);
    }

    /// Somebody may have cancelled it.
    pub(super) fn look_after_recheck(&self) {
        if let Some(recheck) = self.changes.recheck()
            && recheck.progress.cancelled.load(Ordering::Relaxed)
        {
            recheck.cancel();
        }
    }

    pub(super) fn rechecked(&mut self, now: Time, outcome: &CheckOutcome) {
        let Some(recheck) = self.changes.end_recheck() else { return };
        if let Some(trouble) = &outcome.trouble {
            self.tell(Event::Warning(format!(
                "some data could not be checked and count as missing: {trouble}"
            )));
        }
        let mut have = self.task.machine.have().clone();
        let unwritten: Vec<PieceIndex> = self.trouble.iter().flat_map(|trouble| trouble.pieces()).collect();
        for piece in self.task.info.geometry.iter().filter(|piece| outcome.looked[piece.at()]) {
            if outcome.good[piece.at()] && !unwritten.contains(&piece) {
                have.set(piece);
            } else {
                have.unset(piece);
            }
        }
        if let Some((record, keeper)) = &self.task.keeping {
            record.found_anew(&have);
            keeper.hurry();
        }
        self.task.machine.set_have(now, &have);
        self.task.unchecked &= outcome.cancelled;
        let pieces = self.task.info.geometry.pieces();
        self.tell(Event::Checked { id: self.task.id, good: have.count(), pieces });
        self.end_recheck(now);
        if let Some(done) = recheck.done {
            let _ = done.send(if outcome.cancelled {
                Err(Error::Storage(StorageError::Cancelled))
            } else {
                Ok(())
            });
        }
    }

    fn end_recheck(&mut self, now: Time) {
        if self.trouble.is_none() {
            self.go_on_with_peers(now);
        } else {
            self.retry();
        }
        self.publish();
    }

    /// Has the machine go on, unless the torrent may not run.
    pub(super) fn go_on_with_peers(&mut self, now: Time) {
        if self.task.apart.is_none() {
            self.task.machine.resume(now);
        }
    }

    /// Whether the torrent pauses because its files are being hashed.
    pub(super) fn is_rechecking(&self) -> bool {
        self.changes.recheck().is_some()
    }
}
