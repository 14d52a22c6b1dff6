//! What to download, and how.

use crate::session::fetching::Heritage;
use crate::{Error, Fetched, Limits, Priority, Result};
use quelea_metainfo::{MAX_TORRENT_LENGTH, Metainfo};
use quelea_swarm::queue::{Goals, Move};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A torrent to add to a session, with its own wishes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AddTorrent {
    /// The torrent.
    pub metainfo: Metainfo,
    /// Where to write, when not to the session's directory.
    pub output_dir: Option<PathBuf>,
    /// Where to write until all wanted files are complete, when not to the session's
    /// [`incomplete_dir`](crate::Settings::incomplete_dir). A torrent whose files are in their directory already is not
    /// brought there.
    pub incomplete_dir: Option<PathBuf>,
    /// Which files are wanted, one entry a file in the torrent's order; `None` for those that were wanted when it ran
    /// last, if that was changed while it ran ([`set_file_priorities`](crate::Torrent::set_file_priorities)), else
    /// for all.
    pub wanted: Option<Vec<bool>>,
    /// How much each file is wanted of those that are, one entry a file in the torrent's order; `None` for the usual.
    pub priorities: Option<Vec<Priority>>,
    /// Take pieces in order, rather than rarest first.
    pub sequential: bool,
    /// Show each peer a piece at a time while it seeds (BEP 16): for the only seed of a swarm, so that it needs to send
    /// little more than one copy before there is another.
    pub super_seeding: bool,
    /// Reserve the files' space before downloading; otherwise they grow as pieces arrive.
    pub preallocate: bool,
    /// Whether its wanted files take the place of files that are not this torrent's: those are overwritten, and cut where
    /// they are longer. Without it they are refused
    /// ([`StorageError::ForeignFile`](quelea_storage::StorageError::ForeignFile)). It holds for the first start in this
    /// session.
    pub overwrite: bool,
    /// Limits of its own, beside those of the session.
    pub limits: Limits,
    /// Peers to connect to, beside those that trackers name.
    pub peers: Vec<SocketAddr>,
    /// Whether it is added without being started.
    pub paused: bool,
    /// Whether it runs whatever the session's limits say.
    pub forced: bool,
    /// Its place in the queue.
    pub position: Move,
    /// Words that a person sorts it by.
    pub labels: Vec<String>,
    /// What it seeds for; `None` for what the session says.
    pub goals: Option<Goals>,
    /// What is left of the fetching of its metadata.
    pub(crate) heritage: Option<Arc<Heritage>>,
}

impl AddTorrent {
    /// This torrent, with usual wishes.
    pub fn new(metainfo: Metainfo) -> Self {
        Self {
            metainfo,
            output_dir: None,
            incomplete_dir: None,
            wanted: None,
            priorities: None,
            sequential: false,
            super_seeding: false,
            preallocate: false,
            overwrite: false,
            limits: Limits::NONE,
            peers: Vec::new(),
            paused: false,
            forced: false,
            position: Move::Bottom,
            labels: Vec::new(),
            goals: None,
            heritage: None,
        }
    }

    /// The torrent of a magnet link, with usual wishes. It begins with the peers that were found meanwhile, and goes on
    /// announcing where the fetch did.
    pub fn from_magnet(fetched: Fetched) -> Self {
        let (metainfo, heritage) = fetched.into_parts();
        Self { heritage: Some(Arc::new(heritage)), ..Self::new(metainfo) }
    }

    /// A torrent from the bytes of its file.
    ///
    /// # Errors
    /// [`Error::Metainfo`] when they are not a valid torrent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self::new(Metainfo::parse(bytes)?))
    }

    /// A torrent from its file.
    ///
    /// # Errors
    /// [`Error::ReadTorrent`] or [`Error::Metainfo`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = || {
            let mut bytes = Vec::new();
            // One byte more than is accepted, so that a longer file is refused and not cut.
            File::open(path)?.take(MAX_TORRENT_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| Error::ReadTorrent { path: path.to_path_buf(), source })?;
        Self::from_bytes(&bytes)
    }
}
