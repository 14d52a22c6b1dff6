//! What a magnet link leads to: asking peers for a torrent's metadata (BEP 9), and what comes of it.

use crate::driver::metadata::Figures;
use crate::events::TorrentId;
use crate::session::fetching::Heritage;
use crate::{Error, Limits, Result, TrackerStatus};
use quelea_metainfo::{Magnet, Metainfo, Selection};
use quelea_swarm::queue::Goals;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::{oneshot, watch};

/// A magnet link to follow.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MagnetRequest {
    /// The link. Its trackers are asked and its peers (`x.pe`) called.
    pub magnet: Magnet,
    /// Peers to call, beside those of the link.
    pub peers: Vec<SocketAddr>,
}

impl MagnetRequest {
    /// This link, with nobody to call but whom it names.
    pub const fn new(magnet: Magnet) -> Self {
        Self { magnet, peers: Vec::new() }
    }

    /// The link that this text is.
    ///
    /// # Errors
    /// [`Error::Metainfo`] when it is none.
    pub fn parse(link: &str) -> Result<Self> {
        Ok(Self::new(Magnet::parse(link)?))
    }
}

/// A magnet link to add to a session, with wishes for the torrent that it leads to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AddMagnet {
    /// The link. Its trackers are asked and its peers (`x.pe`) called; of the torrent, the files that it selects (`so`)
    /// are wanted.
    pub magnet: Magnet,
    /// Peers to call, beside those of the link. They are remembered with it.
    pub peers: Vec<SocketAddr>,
    /// Where to write, when not to the session's directory.
    pub output_dir: Option<PathBuf>,
    /// Where to write until all wanted files are complete, when not to the session's
    /// [`incomplete_dir`](crate::Settings::incomplete_dir).
    pub incomplete_dir: Option<PathBuf>,
    /// Take pieces in order, rather than rarest first.
    pub sequential: bool,
    /// Show each peer a piece at a time while it seeds (BEP 16).
    pub super_seeding: bool,
    /// Reserve the files' space before downloading.
    pub preallocate: bool,
    /// Limits of its own, beside those of the session.
    pub limits: Limits,
    /// Whether it is added without fetching its metadata yet.
    pub paused: bool,
    /// Whether the torrent runs whatever the session's limits say.
    pub forced: bool,
    /// Words that a person sorts it by.
    pub labels: Vec<String>,
    /// What it seeds for; `None` for what the session says.
    pub goals: Option<Goals>,
}

impl AddMagnet {
    /// This link, with usual wishes.
    pub const fn new(magnet: Magnet) -> Self {
        Self {
            magnet,
            peers: Vec::new(),
            output_dir: None,
            incomplete_dir: None,
            sequential: false,
            super_seeding: false,
            preallocate: false,
            limits: Limits::NONE,
            paused: false,
            forced: false,
            labels: Vec::new(),
            goals: None,
        }
    }

    /// The link that this text is, with usual wishes.
    ///
    /// # Errors
    /// [`Error::Metainfo`] when it is none.
    pub fn parse(link: &str) -> Result<Self> {
        Ok(Self::new(Magnet::parse(link)?))
    }
}

/// A torrent's metadata on its way. Dropping it ends the fetch; it ends with the session as well.
#[derive(Debug)]
pub struct Fetching {
    pub(crate) id: TorrentId,
    pub(crate) figures: watch::Receiver<Figures>,
    pub(crate) result: oneshot::Receiver<Result<Fetched>>,
}

/// How far the fetch of a torrent's metadata is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FetchProgress {
    /// Connected peers.
    pub peers_connected: usize,
    /// Peers that are being connected to.
    pub peers_connecting: usize,
    /// Addresses that are known.
    pub peers_known: usize,
    /// Bytes of the metadata, as far as peers can be believed.
    pub size: Option<u32>,
    /// Bytes of it that are here and not yet verified.
    pub received: u32,
    /// How the link's trackers stand.
    pub trackers: Vec<TrackerStatus>,
}

impl Fetching {
    /// The name of the fetch in events. The torrent that comes of it may have the same.
    pub const fn id(&self) -> TorrentId {
        self.id
    }

    /// How far it is at this moment.
    pub fn progress(&self) -> FetchProgress {
        let figures = self.figures.borrow();
        FetchProgress {
            peers_connected: figures.progress.connected,
            peers_connecting: figures.progress.connecting,
            peers_known: figures.progress.known,
            size: figures.progress.size,
            received: figures.progress.received,
            trackers: figures.trackers.clone(),
        }
    }

    /// Waits for the metadata. Waiting may be broken off and begun again, until it has ended.
    ///
    /// # Errors
    /// [`Error::Metainfo`] when the metadata is the right one and no valid torrent, [`Error::MagnetContradiction`],
    /// [`Error::Closed`].
    pub async fn finished(&mut self) -> Result<Fetched> {
        (&mut self.result).await.unwrap_or(Err(Error::Closed))
    }
}

/// A torrent that was only known by a magnet link, with its metadata.
pub struct Fetched {
    pub(crate) metainfo: Metainfo,
    pub(crate) select_only: Option<Selection>,
    pub(crate) heritage: Heritage,
}

impl Fetched {
    /// The torrent, with the link's trackers, web seeds and nodes.
    pub const fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    /// The files that the link wants, by their numbers from 0 (BEP 53); `None` when it does not say.
    pub const fn select_only(&self) -> Option<&Selection> {
        self.select_only.as_ref()
    }

    /// The peers that are known by now, of a private torrent those that its trackers named (BEP 27).
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        self.heritage.peers.iter().map(|(address, _)| *address)
    }

    pub(crate) fn into_parts(self) -> (Metainfo, Heritage) {
        (self.metainfo, self.heritage)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("name", &self.metainfo.info.name).finish_non_exhaustive()
    }
}
