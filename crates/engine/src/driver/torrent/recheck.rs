//! Hashing a running torrent's files, all or those that another program changed: it pauses, what is good afterwards is
//! what is on the disk, it goes on.

use super::changes::{Changed, Done};
use super::disturbed::Disturbance;
use super::{Running, Time};
use crate::Error;
use crate::driver::ToTorrent;
use crate::events::Event;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::file_layer::Stamp;
use quelea_storage::{CheckHandle, CheckJob, CheckOutcome, Holder, StorageError, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How far a recheck is, and the way to cancel it.
#[derive(Debug, Default)]
pub(crate) struct Rechecking {
    pub(crate) checked: AtomicU32,
    pub(crate) cancelled: AtomicBool,
}

/// Which files are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Those that another program changed.
    Disturbed,
}

/// What is to be hashed, and how the files of it stood before.
pub(crate) struct Looked {
    pieces: Vec<PieceIndex>,
    stood: Vec<(Holder, Option<Stamp>)>,
}

/// A recheck that is going on.
pub(super) struct Recheck {
    scope: Scope,
    stood: Vec<(Holder, Option<Stamp>)>,
    progress: Arc<Rechecking>,
    done: Option<Done>,
    /// Whether pieces that are on their way to the disk are waited for.
    waits: bool,
    check: Option<CheckHandle>,
}

impl Recheck {
    pub(super) fn new(scope: Scope, progress: Arc<Rechecking>, done: Option<Done>) -> Self {
        Self { scope, stood: Vec::new(), progress, done, waits: true, check: None }
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

/// Looks at the files before they are hashed. Waits for the disk.
fn look(store: &Store, scope: Scope) -> Result<Looked, StorageError> {
    store.look_again()?;
    let holders: Vec<Holder> = match scope {
        Scope::All => store.holders().collect(),
        Scope::Disturbed => store.disturbed(),
    };
    let pieces = match scope {
        Scope::All => store.layout().geometry().iter().collect(),
        Scope::Disturbed => store.pieces_in(&holders),
    };
    let stamps: Result<Vec<_>, _> = store.take_stamps(&holders).into_iter().collect();
    stamps?;
    let stood = holders.into_iter().map(|holder| (holder, store.proof(holder))).collect();
    Ok(Looked { pieces, stood })
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
        let Some(recheck) = self.changes.recheck_mut() else { return };
        recheck.waits = false;
        let scope = recheck.scope;
        let (store, torrent) = (Arc::clone(&self.task.io.store), self.task.myself.clone());
        self.task.io.pipeline.run(move || {
            let looked = look(&store, scope);
            let _ = torrent.blocking_send(ToTorrent::Changed(Changed::Looked(looked)));
        });
    }

    pub(super) fn looked(&mut self, now: Time, result: Result<Looked, StorageError>) {
        let is_cancelled =
            self.changes.recheck().is_some_and(|recheck| recheck.progress.cancelled.load(Ordering::Relaxed));
        let result = if is_cancelled { Err(StorageError::Cancelled) } else { result };
        let Looked { pieces, stood } = match result {
            Ok(looked) => looked,
            Err(error) => {
                let Some(recheck) = self.changes.end_recheck() else { return };
                if recheck.scope == Scope::Disturbed {
                    self.note_unsettled();
                    self.fail(now, &error);
                }
                self.end_recheck(now);
                if let Some(done) = recheck.done {
                    let _ = done.send(Err(error.into()));
                }
                return;
            }
        };
        let Some(recheck) = self.changes.recheck_mut() else { return };
        recheck.stood = stood;
        let (hashes, torrent) = (Arc::clone(&self.task.info), self.task.myself.clone());
        let told = Arc::clone(&recheck.progress);
        let check = self.task.io.pipeline.check(CheckJob {
            pieces,
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
        let before = have.count();
        let unwritten: Vec<PieceIndex> = self.trouble.iter().flat_map(|trouble| trouble.pieces()).collect();
        for piece in self.task.info.geometry.iter().filter(|piece| outcome.looked[piece.at()]) {
            if outcome.good[piece.at()] && !unwritten.contains(&piece) {
                have.set(piece);
            } else {
                have.unset(piece);
            }
        }
        if let Some((record, keeper)) = &self.task.keeping {
            record.found_anew(&have, &recheck.stood);
            keeper.hurry();
        }
        self.task.machine.set_have(now, &have);
        self.task.unchecked &= outcome.cancelled || recheck.scope != Scope::All;
        let pieces = self.task.info.geometry.pieces();
        match recheck.scope {
            Scope::All => {
                self.disturbance = Disturbance::default();
                self.tell(Event::Checked { id: self.task.id, good: have.count(), pieces });
            }
            Scope::Disturbed => {
                self.note_settled(now, before.saturating_sub(have.count()), outcome.cancelled);
            }
        }
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
