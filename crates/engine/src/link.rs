//! A magnet link among a session's torrents, whose metadata is still to be fetched.

use crate::driver::metadata::Figures;
use crate::{Snapshot, State};
use quelea_metainfo::Magnet;
use quelea_swarm::queue::Goals;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A magnet link, and what is wanted of it.
pub(crate) struct Link {
    pub(crate) magnet: Magnet,
    state: Mutex<LinkState>,
}

/// What changes of a link.
pub(crate) struct LinkState {
    pub(crate) paused: bool,
    /// Whether the torrent runs whatever the session's limits say.
    pub(crate) forced: bool,
    /// The torrent's own goals.
    pub(crate) goals: Option<Goals>,
    /// The fetch of its metadata, while it is under way.
    pub(crate) fetch: Option<LinkFetch>,
}

/// A fetch of metadata.
pub(crate) struct LinkFetch {
    pub(crate) figures: watch::Receiver<Figures>,
    /// Ends it.
    pub(crate) task: AbortHandle,
}

impl Link {
    pub(crate) const fn new(magnet: Magnet, paused: bool, forced: bool, goals: Option<Goals>) -> Self {
        Self { magnet, state: Mutex::new(LinkState { paused, forced, goals, fetch: None }) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is called until the torrent's own name is known.
    pub(crate) fn name(&self) -> String {
        let hash = || self.magnet.hashes.v1_hex().or_else(|| self.magnet.hashes.v2_hex()).unwrap_or_default();
        self.magnet.name.clone().filter(|name| !name.trim().is_empty()).unwrap_or_else(hash)
    }

    /// How it stands, given whether it has failed.
    pub(crate) fn standing(&self, failed: bool) -> State {
        match (self.state().paused, failed) {
            (true, _) => State::Paused,
            (false, true) => State::Failed,
            (false, false) => State::FetchingMetadata,
        }
    }

    /// Puts what is known of the fetch into a snapshot.
    pub(crate) fn show(&self, snapshot: &mut Snapshot) {
        if let Some(fetch) = &self.state().fetch {
            let figures = fetch.figures.borrow();
            snapshot.peers_connected = figures.progress.connected;
            snapshot.peers_known = figures.progress.known;
        }
    }
}
