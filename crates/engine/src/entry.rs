//! A torrent of the list: what it is and what is wanted of it, whether or not its task runs.

use crate::driver::ToTorrent;
use crate::driver::torrent::Published;
use crate::driver::tracker::Carrier;
use crate::events::TorrentId;
use crate::wishes::Wishes;
use quelea_metainfo::Info;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

/// A torrent of a session.
pub(crate) struct Entry {
    pub(crate) id: TorrentId,
    pub(crate) info_hash: [u8; 20],
    pub(crate) info: Arc<Info>,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) wishes: Wishes,
    pub(crate) published: Published,
    /// Its task, while it has one.
    pub(crate) running: Mutex<Option<Running>>,
}

/// How to reach a torrent's task.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) mailbox: mpsc::Sender<ToTorrent>,
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) worker: Runtime,
}

impl Entry {
    /// How to reach its task, if it has one.
    pub(crate) fn running(&self) -> Option<Running> {
        self.task().clone()
    }

    pub(crate) fn mailbox(&self) -> Option<mpsc::Sender<ToTorrent>> {
        self.task().as_ref().map(|running| running.mailbox.clone())
    }

    pub(crate) fn set_running(&self, running: Running) {
        *self.task() = Some(running);
    }

    pub(crate) fn take_running(&self) -> Option<Running> {
        self.task().take()
    }

    fn task(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
