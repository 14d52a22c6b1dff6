//! What a magnet link leads to: asking peers for a torrent's metadata (BEP 9), and what comes of it.

use crate::driver::metadata::Figures;
use crate::events::TorrentId;
use crate::session::fetching::Heritage;
use crate::{Error, Result, TrackerStatus};
use quelea_metainfo::{Magnet, Metainfo, Selection};
use std::fmt;
use std::net::SocketAddr;
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
