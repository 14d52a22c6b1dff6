//! A torrent of a session.

use crate::{Snapshot, TorrentId};
use std::sync::Arc;

/// A handle to a torrent of a session; clones are the same torrent.
#[derive(Debug, Clone)]
pub struct Torrent {}

impl Torrent {
    /// Its name within the session.
    pub fn id(&self) -> TorrentId {
        unimplemented!()
    }

    /// Its figures, at most a quarter of a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        unimplemented!()
    }
}
