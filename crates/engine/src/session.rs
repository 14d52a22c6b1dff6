//! A session: its threads, its listening port, its torrents.

use crate::{AddTorrent, Events, Result, Settings, Torrent};

/// A running engine. A cheap handle: clones are the same session.
#[derive(Debug, Clone)]
pub struct Session {}

impl Session {
    /// Starts threads and listens.
    ///
    /// # Errors
    /// [`Error::Listen`](crate::Error::Listen) when no address could be listened on,
    /// [`Error::Start`](crate::Error::Start) when threads could not be made.
    pub fn start(settings: Settings) -> Result<Self> {
        unimplemented!("{settings:?}")
    }

    /// The port that peers can connect to.
    pub fn port(&self) -> u16 {
        unimplemented!()
    }

    /// What happens from here on.
    pub fn events(&self) -> Events {
        unimplemented!()
    }

    /// Adds a torrent: opens its files, checks data that lies there already, and starts.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported), [`Error::Duplicate`](crate::Error::Duplicate),
    /// [`Error::NothingSelected`](crate::Error::NothingSelected) or [`Error::Storage`](crate::Error::Storage).
    pub async fn add(&self, torrent: AddTorrent) -> Result<Torrent> {
        unimplemented!("{torrent:?}")
    }

    /// The torrents of the session, in the order they were added.
    pub fn torrents(&self) -> Vec<Torrent> {
        unimplemented!()
    }

    /// Tells the trackers goodbye (for a few seconds at most), finishes what is being written, and ends.
    pub async fn close(&self) {
        unimplemented!()
    }
}
