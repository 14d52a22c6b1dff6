//! When the disk refuses: the torrent pauses, keeps what it has, and goes on once the disk is mended.
//!
//! Verified pieces that could not be written wait in memory, within the budget of open pieces. Every ten seconds,
//! or when the user says so, one of them is written again; if that works, the others follow and the torrent goes
//! on. Trouble that was found otherwise is looked into again.

use super::{Running, Time};
use crate::driver::ToTorrent;
use crate::events::Event;
use quelea_block::BlockBuf;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::StorageError;
use std::sync::Arc;
use std::time::Duration;

/// How often it is tried whether the disk is mended.
const RETRY: Duration = Duration::from_secs(10);

/// What the disk refuses, and what waits for it.
pub(super) struct Trouble {
    message: String,
    unwritten: Vec<(PieceIndex, Vec<BlockBuf>)>,
    /// Whether the files' lengths could not be set.
    unfinished: bool,
    trial: Trial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// The next one is due then.
    Due(Time),
    /// This piece is being written.
    Piece(PieceIndex),
    /// The files are being looked at.
    Files,
}

impl Trouble {
    /// What the disk refuses, and what to do about it.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Verified pieces that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.unwritten.len()
    }

    /// Which pieces wait.
    pub(super) fn pieces(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.unwritten.iter().map(|(piece, _)| *piece)
    }

    /// Those pieces.
    pub(super) fn into_unwritten(self) -> Vec<(PieceIndex, Vec<BlockBuf>)> {
        self.unwritten
    }
}

impl Running {
    /// When it should be tried whether the disk is mended.
    pub(super) fn retry_due(&self) -> Option<Time> {
        if self.is_rechecking() {
            return None;
        }
        match self.trouble.as_ref()?.trial {
            Trial::Due(due) => Some(due),
            Trial::Piece(_) | Trial::Files => None,
        }
    }

    /// The disk refuses: pause, keep what there is, and say why.
    pub(super) fn fail(&mut self, now: Time, error: &StorageError) {
        if self.trouble.is_none() {
            self.task.machine.stop(now);
        }
        let message = error.to_string();
        let due = Trial::Due(now + RETRY);
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            message: String::new(),
            unwritten: Vec::new(),
            unfinished: false,
            trial: due,
        });
        // The same trouble is told once, however often it is met.
        if trouble.message != message {
            trouble.message.clone_from(&message);
            // Whoever hears of it finds it in the figures.
            self.publish();
            self.tell(Event::Failed { id: self.task.id, message });
        }
    }

    /// A verified piece could not be written.
    pub(super) fn not_written(
        &mut self,
        now: Time,
        piece: PieceIndex,
        blocks: Vec<BlockBuf>,
        error: &StorageError,
    ) {
        self.fail(now, error);
        if let Some(trouble) = &mut self.trouble {
            trouble.unwritten.push((piece, blocks));
            if trouble.trial == Trial::Piece(piece) {
                trouble.trial = Trial::Due(now + RETRY);
            }
        }
    }

    /// The files could not get their lengths.
    pub(super) fn not_finished(&mut self, now: Time, error: &StorageError) {
        self.fail(now, error);
        if let Some(trouble) = &mut self.trouble {
            trouble.unfinished = true;
        }
    }

    /// Tries whether the disk is mended.
    pub(super) fn retry(&mut self) {
        let Some(trouble) = &mut self.trouble else { return };
        if !matches!(trouble.trial, Trial::Due(_)) || self.changes.recheck().is_some() {
            return;
        }
        if let Some((piece, blocks)) = trouble.unwritten.pop() {
            trouble.trial = Trial::Piece(piece);
            self.task.machine.handle_write_failed(piece, blocks);
            return;
        }
        trouble.trial = Trial::Files;
        let record = self.task.keeping.as_ref().map(|(record, _)| Arc::clone(record));
        let (store, torrent) = (Arc::clone(&self.task.io.store), self.task.myself.clone());
        let unfinished = trouble.unfinished;
        self.task.io.pipeline.run(move || {
            let finished = if unfinished { store.finish(false) } else { Ok(()) };
            let mended = finished
                .and_then(|()| record.map_or(Ok(()), |record| record.is_mended()))
                .and_then(|()| store.are_back())
                .and_then(|()| if store.disturbed().is_empty() { Ok(()) } else { store.look_again() });
            let _ = torrent.blocking_send(ToTorrent::Mended(mended));
        });
    }

    /// A piece was written after all, or came out as bad.
    pub(super) fn tried(&mut self, now: Time, piece: PieceIndex) {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.trial == Trial::Piece(piece)) {
            self.go_on(now);
        }
    }

    /// The files were looked at.
    pub(super) fn handle_mended(&mut self, now: Time, result: Result<(), StorageError>) {
        let Some(trouble) = &mut self.trouble else { return };
        trouble.trial = Trial::Due(now + RETRY);
        match result {
            Ok(()) if trouble.unwritten.is_empty() => {
                self.look_for_disturbance();
                self.go_on(now);
            }
            // A piece that came in between is tried next.
            Ok(()) => self.retry(),
            Err(error) => self.fail(now, &error),
        }
    }

    fn go_on(&mut self, now: Time) {
        let Some(trouble) = self.trouble.take() else { return };
        for (piece, blocks) in trouble.unwritten {
            self.task.machine.handle_write_failed(piece, blocks);
        }
        self.look_into_disturbance(now);
        if !self.is_rechecking() {
            self.go_on_with_peers(now);
        }
        self.tell(Event::Resumed(self.task.id));
        if trouble.unfinished {
            self.finish();
        }
    }
}
