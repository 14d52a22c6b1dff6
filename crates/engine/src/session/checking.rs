//! Hashing what lies in a torrent's directory already.

use super::Session;
use crate::driver::TorrentIo;
use crate::driver::torrent::Published;
use crate::{Error, Event, Result, Snapshot};
use quelea_metainfo::Info;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::{CheckJob, CheckOutcome, CheckProgress};
use std::sync::{Arc, PoisonError};
use tokio::sync::{broadcast, oneshot};

impl Session {
    /// Hashes these pieces of what lies in the directory already. The good ones.
    pub(super) async fn check(
        &self,
        info: &Arc<Info>,
        io: &TorrentIo,
        published: &Published,
        events: &broadcast::Sender<Event>,
        pieces: Vec<PieceIndex>,
    ) -> Result<Vec<PieceIndex>> {
        if pieces.is_empty() {
            return Ok(pieces);
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
        self.inner.pipeline.check(CheckJob {
            pieces: pieces.clone(),
            store: Arc::clone(&io.store),
            expected: Box::new(move |piece| hashes.piece_hash(piece).copied().unwrap_or_default()),
            progress: Box::new(progress),
            done: Box::new(move |good| {
                let _ = done.send(good);
            }),
        });
        let CheckOutcome { good, trouble, .. } = checked.await.map_err(|_| Error::Closed)?;
        if let Some(trouble) = trouble {
            tracing::warn!(%trouble, "some data could not be checked and count as missing");
        }
        let good = |piece: &PieceIndex| good.get(piece.at()).copied().unwrap_or(false);
        Ok(pieces.into_iter().filter(good).collect())
    }
}
