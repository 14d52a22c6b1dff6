//! The memory for payload, divided among the torrents that run.

use super::Session;
use crate::driver::ToTorrent;
use crate::events::TorrentId;
use quelea_block::BLOCK_LENGTH;
use quelea_metainfo::geometry::Geometry;
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// The memory is divided so long after a torrent has come: once for all that come meanwhile.
const SOON: Duration = Duration::from_millis(20);

/// The torrents that share the memory.
#[derive(Default)]
pub(super) struct Parts {
    of: BTreeMap<TorrentId, Part>,
    /// Whether it is about to be divided.
    dividing: bool,
}

/// What one that runs has of the memory.
struct Part {
    /// Weak, so that no mailbox lives because of it.
    mailbox: mpsc::WeakSender<ToTorrent>,
    geometry: Geometry,
    /// The pieces that it was last told it may have open.
    told: usize,
}

impl Session {
    /// How many pieces one more torrent may have open.
    pub(super) fn open_pieces(&self, geometry: &Geometry) -> usize {
        let torrents = self.parts().of.len() + 1;
        open_pieces(self.inner.settings.memory, geometry, torrents)
    }

    /// A torrent has begun: every running one is told its part.
    pub(super) fn share_memory(&self, id: TorrentId, geometry: Geometry, mailbox: &mpsc::Sender<ToTorrent>) {
        let mut parts = self.parts();
        parts.of.insert(id, Part { mailbox: mailbox.downgrade(), geometry, told: 0 });
        if std::mem::replace(&mut parts.dividing, true) {
            return;
        }
        drop(parts);
        let inner = std::sync::Arc::downgrade(&self.inner);
        self.inner.workers.home().spawn(async move {
            tokio::time::sleep(SOON).await;
            if let Some(session) = inner.upgrade().map(|inner| Self { inner }) {
                session.tell_parts().await;
            }
        });
    }

    /// A torrent's task has ended.
    pub(super) fn return_memory(&self, id: TorrentId) {
        self.parts().of.remove(&id);
    }

    async fn tell_parts(&self) {
        let mut changed = Vec::new();
        {
            let mut parts = self.parts();
            parts.dividing = false;
            let torrents = parts.of.len();
            for part in parts.of.values_mut() {
                let pieces = open_pieces(self.inner.settings.memory, &part.geometry, torrents);
                // Most of thousands have the least that one can have, whoever comes or goes.
                if std::mem::replace(&mut part.told, pieces) != pieces {
                    changed.push((part.mailbox.clone(), pieces));
                }
            }
        }
        for (mailbox, pieces) in changed {
            if let Some(mailbox) = mailbox.upgrade() {
                let _ = mailbox.send(ToTorrent::OpenPieces(pieces)).await;
            }
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many pieces a torrent may have open while it shares the memory with `torrents` in all.
fn open_pieces(memory: usize, geometry: &Geometry, torrents: usize) -> usize {
    let piece = (geometry.piece_length() as usize).next_multiple_of(BLOCK_LENGTH);
    (memory / torrents.max(1) / piece.max(1)).max(2)
}
