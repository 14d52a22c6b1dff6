//! A torrent of the list: what it is and what is wanted of it, whether or not its task runs.

use crate::driver::ToTorrent;
use crate::driver::limiter::Limiter;
use crate::driver::torrent::Published;
use crate::driver::tracker::Carrier;
use crate::events::TorrentId;
use crate::limits::Limits;
use crate::wishes::Wishes;
use quelea_metainfo::Info;
use quelea_swarm::limit::NodeId;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

/// A torrent of a session.
pub(crate) struct Entry {
    pub(crate) id: TorrentId,
    pub(crate) info_hash: [u8; 20],
    pub(crate) info: Arc<Info>,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) wishes: Wishes,
    /// Whether pieces are taken in order.
    pub(crate) sequential: AtomicBool,
    pub(crate) published: Published,
    pub(crate) limiter: Weak<Limiter>,
    /// Its own limits, beside those of the session.
    pub(crate) limits: Mutex<Limits>,
    /// Its task, while it has one.
    pub(crate) running: Mutex<Option<Running>>,
}

/// How to reach a torrent's task.
#[derive(Clone)]
pub(crate) struct Running {
    /// Where it stands in the trees of limits.
    pub(crate) limit: NodeId,
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

    /// Its own limits.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it limits of its own, which hold at once.
    pub(crate) async fn set_limits(&self, limits: Limits, limiter: &Limiter) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        if let Some(running) = self.running() {
            limiter.set(running.limit, limits);
        }
        self.tell_limited(limiter).await;
    }

    /// Tells its task whether a limit holds for what it receives: then slow peers are none of theirs.
    pub(crate) async fn tell_limited(&self, limiter: &Limiter) {
        if let Some(running) = self.running() {
            let limited = limiter.limits_downloads(running.limit);
            // A task that is gone receives nothing.
            let _ = running.mailbox.send(ToTorrent::DownloadLimited(limited)).await;
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
