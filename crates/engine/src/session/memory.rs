//! The memory for payload, divided among the torrents that run.

use super::Session;
use crate::driver::ToTorrent;
use crate::entry::Running;
use quelea_block::BLOCK_LENGTH;
use quelea_metainfo::geometry::Geometry;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The memory is divided so long after a torrent has come: once for all that come meanwhile.
const SOON: Duration = Duration::from_millis(20);

impl Session {
    /// How many pieces a torrent may have open while it shares the memory with `torrents` in all.
    pub(super) fn open_pieces(&self, geometry: &Geometry, torrents: usize) -> usize {
        let piece = (geometry.piece_length() as usize).next_multiple_of(BLOCK_LENGTH);
        (self.inner.settings.memory / torrents.max(1) / piece.max(1)).max(2)
    }

    /// How many torrents run.
    pub(super) fn running(&self) -> usize {
        self.inner.running.load(Ordering::Relaxed)
    }

    /// A torrent has begun: every running one is told its part.
    pub(super) fn divide_memory(&self) {
        if self.inner.dividing.swap(true, Ordering::Relaxed) {
            return;
        }
        let inner = std::sync::Arc::downgrade(&self.inner);
        self.inner.workers.home().spawn(async move {
            tokio::time::sleep(SOON).await;
            if let Some(session) = inner.upgrade().map(|inner| Self { inner }) {
                session.inner.dividing.store(false, Ordering::Relaxed);
                session.tell_parts().await;
            }
        });
    }

    async fn tell_parts(&self) {
        let running: Vec<_> = self
            .entries()
            .into_iter()
            .filter_map(|entry| {
                let running = entry.running()?;
                Some((running, entry.info().ok()?.geometry))
            })
            .collect();
        self.inner.running.store(running.len(), Ordering::Relaxed);
        for (Running { mailbox, open_pieces, .. }, geometry) in &running {
            let pieces = self.open_pieces(geometry, running.len());
            // Most of thousands have the least that one can have, whoever comes or goes.
            if open_pieces.swap(pieces, Ordering::Relaxed) != pieces {
                let _ = mailbox.send(ToTorrent::OpenPieces(pieces)).await;
            }
        }
    }
}
