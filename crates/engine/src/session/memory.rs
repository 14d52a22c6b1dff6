//! The memory for payload, divided among the torrents that run.

use super::Session;
use crate::driver::ToTorrent;
use crate::entry::Running;
use quelea_block::BLOCK_LENGTH;
use quelea_metainfo::geometry::Geometry;
use std::sync::atomic::Ordering;

impl Session {
    /// How many pieces a torrent may have open while it shares the memory with `torrents` in all.
    pub(super) fn open_pieces(&self, geometry: &Geometry, torrents: usize) -> usize {
        let piece = (geometry.piece_length() as usize).next_multiple_of(BLOCK_LENGTH);
        (self.inner.settings.memory / torrents.max(1) / piece.max(1)).max(2)
    }

    /// Tells every running torrent its part.
    pub(super) async fn divide_memory(&self) {
        let running: Vec<_> = self
            .entries()
            .into_iter()
            .filter_map(|entry| {
                let running = entry.running()?;
                Some((running, entry.info().ok()?.geometry))
            })
            .collect();
        for (Running { mailbox, open_pieces, .. }, geometry) in &running {
            let pieces = self.open_pieces(geometry, running.len());
            // Most of thousands have the least that one can have, whoever comes or goes.
            if open_pieces.swap(pieces, Ordering::Relaxed) != pieces {
                let _ = mailbox.send(ToTorrent::OpenPieces(pieces)).await;
            }
        }
    }
}
