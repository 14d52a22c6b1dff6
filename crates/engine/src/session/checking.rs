//! Hashing what lies in a torrent's directory already.

use super::Session;
use crate::driver::TorrentIo;
use crate::driver::torrent::{Published, save_last};
use crate::entry::Entry;
use crate::{Error, Event, Result, Snapshot};
use quelea_metainfo::Info;
use quelea_metainfo::geometry::PieceIndex;
use quelea_resume::{Ending, Record};
use quelea_storage::{CheckJob, CheckOutcome, CheckProgress, StorageError};
use std::sync::{Arc, PoisonError};
use tokio::sync::{broadcast, oneshot};

/// What hashing has found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The pieces that are good.
    pub(super) good: Vec<PieceIndex>,
    /// Whether it was cut short.
    pub(super) cancelled: bool,
}

impl Session {
    /// Hashes these pieces of what lies in the directory already, unless the torrent is to stop.
    pub(super) async fn check(
        &self,
        entry: &Entry,
        info: &Arc<Info>,
        io: &TorrentIo,
        published: &Published,
        events: &broadcast::Sender<Event>,
        pieces: Vec<PieceIndex>,
    ) -> Result<Checked> {
        if pieces.is_empty() {
            return Ok(Checked::default());
        }
        let (done, checked) = oneshot::channel();
        let hashes = Arc::clone(info);
        let (shown, teller) = (Arc::clone(published), events.clone());
        // Those that need not be looked at count as looked at.
        let before = info.geometry.pieces() - pieces.len() as u32;
        let progress = move |progress: CheckProgress| {
            let pieces_checked = before + progress.checked as u32;
            let mut published = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let snapshot = Arc::new(Snapshot { pieces_checked, ..(**published).clone() });
            *published = Arc::clone(&snapshot);
            let _ = teller.send(Event::Progress(snapshot.id, snapshot));
        };
        let check = self.inner.pipeline.check(CheckJob {
            pieces: pieces.clone(),
            store: Arc::clone(&io.store),
            expected: Box::new(move |piece| hashes.piece_hash(piece).copied().unwrap_or_default()),
            progress: Box::new(progress),
            done: Box::new(move |good| {
                let _ = done.send(good);
            }),
        });
        self.shared().checking.insert(entry.id, check);
        // Whoever stopped it before could not reach the check.
        if !self.may_run(entry) {
            self.shared().stop_checking(entry.id);
        }
        let outcome = checked.await;
        self.shared().checking.remove(&entry.id);
        let CheckOutcome { good, trouble, cancelled, .. } = outcome.map_err(|_| Error::Closed)?;
        if let Some(trouble) = trouble {
            tracing::warn!(%trouble, "some data could not be checked and count as missing");
        }
        let is_good = |piece: &PieceIndex| good.get(piece.at()).copied().unwrap_or(false);
        Ok(Checked { good: pieces.into_iter().filter(is_good).collect(), cancelled })
    }

    /// Has it remembered what a check found that was cut short, so that the next one goes on from there.
    ///
    /// # Errors
    /// Always: that it was cancelled.
    pub(super) async fn end_cancelled(&self, record: Option<Arc<Record>>) -> Result<()> {
        if let Some((record, keeper)) = record.zip(self.inner.keeper.as_ref()) {
            save_last(keeper, |done| Ending { record, blocks: None, done }).await;
        }
        Err(StorageError::Cancelled.into())
    }
}
