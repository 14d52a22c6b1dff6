//! A torrent of a session.

use crate::driver::ToTorrent;
use crate::driver::torrent::Published;
use crate::{Snapshot, TorrentId};
use quelea_metainfo::Info;
use std::fmt;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;

/// A handle to a torrent of a session; clones are the same torrent.
#[derive(Clone)]
pub struct Torrent {
    handle: Arc<Handle>,
}

pub(crate) struct Handle {
    pub(crate) id: TorrentId,
    pub(crate) info: Arc<Info>,
    pub(crate) mailbox: mpsc::Sender<ToTorrent>,
    pub(crate) published: Published,
}

impl Torrent {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle: Arc::new(handle) }
    }

    /// Its name within the session.
    pub fn id(&self) -> TorrentId {
        self.handle.id
    }

    /// What it is: name, files, pieces.
    pub fn info(&self) -> &Info {
        &self.handle.info
    }

    /// Its figures, at most a quarter of a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.handle.published.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn info_hash(&self) -> [u8; 20] {
        self.handle.info.hashes.wire()
    }

    pub(crate) fn mailbox(&self) -> &mpsc::Sender<ToTorrent> {
        &self.handle.mailbox
    }
}

impl fmt::Debug for Torrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torrent")
            .field("id", &self.handle.id)
            .field("name", &self.handle.info.name)
            .finish_non_exhaustive()
    }
}
