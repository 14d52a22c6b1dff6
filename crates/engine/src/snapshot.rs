//! A torrent's figures at one moment.

use crate::TorrentId;
use std::fmt;
use std::time::Duration;

/// What a torrent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It waits until the session has a place for it.
    Queued,
    /// Paused by a person, or because it has reached its goal.
    Paused,
    /// Data that lies in the directory already is being hashed.
    Checking,
    /// A magnet link whose metadata is being fetched: there is no more of it than its name, which may be its hash.
    FetchingMetadata,
    /// Wanted pieces are missing.
    Downloading,
    /// All wanted pieces are there; it uploads.
    Seeding,
    /// Paused by an error. One of its disk is tried again every ten seconds; one at its start waits for
    /// [`Torrent::resume`](crate::Torrent::resume).
    Failed,
}

/// Why nothing arrives at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// The trackers have not answered yet.
    Trackers,
    /// No tracker knows a peer, or every tracker failed.
    Peers,
    /// Addresses are known; connections are being made.
    Connections,
    /// Connected peers have nothing that is wanted.
    Pieces,
    /// Connected peers have it but do not upload to us yet.
    Unchoke,
    /// Everything is received; the last pieces are being hashed and written.
    Disk,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trackers => "waiting for trackers",
            Self::Peers => "waiting for peers",
            Self::Connections => "connecting to peers",
            Self::Pieces => "peers lack the missing pieces",
            Self::Unchoke => "waiting for peers to unchoke",
            Self::Disk => "writing the last pieces",
        })
    }
}

/// How one tracker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerStatus {
    /// Its address.
    pub url: String,
    /// Its tier, from 0.
    pub tier: usize,
    /// How it stands.
    pub state: TrackerState,
    /// Seeds it knows, when it said so.
    pub seeds: Option<u32>,
    /// Leechers it knows, when it said so.
    pub leechers: Option<u32>,
    /// Addresses that its last answer named.
    pub peers: usize,
}

/// How a tracker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackerState {
    /// It was not asked yet.
    Idle,
    /// An announce is under way.
    Announcing,
    /// The last announce was answered.
    Working,
    /// The last announce failed, for this reason.
    Failed(String),
}

/// What one tracker says about the size of the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrape {
    /// The tracker.
    pub url: String,
    /// Its counts, or why there are none.
    pub counts: Result<SwarmSize, String>,
}

/// How large a swarm is, as a tracker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmSize {
    /// Peers that have everything.
    pub seeds: u32,
    /// Peers that do not.
    pub leechers: u32,
    /// Downloads that were completed since the tracker counts.
    pub downloaded: u32,
}

/// A torrent's figures at one moment. Bytes are bytes, rates are bytes a second.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// The torrent.
    pub id: TorrentId,
    /// Its name.
    pub name: String,
    /// Its place in the queue, from 0.
    pub position: usize,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it is doing.
    pub state: State,
    /// Why nothing arrives, when nothing does.
    pub waiting: Option<Waiting>,
    /// Bytes of all files.
    pub total_length: u64,
    /// Bytes of the wanted pieces.
    pub wanted_length: u64,
    /// Bytes of wanted pieces that are verified and written.
    pub wanted_have: u64,
    /// Bytes of wanted pieces received, whether or not their piece is verified yet: what a bar shows.
    pub wanted_received: u64,
    /// Pieces in all.
    pub pieces: u32,
    /// Pieces that are verified and written.
    pub pieces_have: u32,
    /// Pieces looked at so far, while checking.
    pub pieces_checked: u32,
    /// While its files go to another directory: bytes that were brought over, and that are to be.
    pub moving: Option<(u64, u64)>,
    /// Payload received in this session.
    pub downloaded: u64,
    /// Payload sent in this session.
    pub uploaded: u64,
    /// Payload received in this and all remembered sessions.
    pub downloaded_ever: u64,
    /// Payload sent in this and all remembered sessions.
    pub uploaded_ever: u64,
    /// Payload received that was of no use: failed its hash or came twice.
    pub wasted: u64,
    /// Payload received a second, lately.
    pub download_rate: u64,
    /// Payload sent a second, lately.
    pub upload_rate: u64,
    /// Time until the wanted pieces are complete at the present rate.
    pub eta: Option<Duration>,
    /// Peers whose handshake is done.
    pub peers_connected: usize,
    /// Of those, peers that have every piece.
    pub seeds_connected: usize,
    /// Addresses that are known.
    pub peers_known: usize,
    /// How the trackers stand.
    pub trackers: Vec<TrackerStatus>,
    /// What made it pause, in [`State::Failed`], and what to do about it.
    pub error: Option<String>,
}

impl Snapshot {
    /// A torrent of these bytes, in all and wanted, of which nothing more is known.
    pub(crate) fn new(
        id: TorrentId,
        name: &str,
        state: State,
        [total_length, wanted_length]: [u64; 2],
        pieces: u32,
    ) -> Self {
        Self {
            id,
            name: name.to_owned(),
            position: 0,
            labels: Vec::new(),
            state,
            waiting: None,
            total_length,
            wanted_length,
            wanted_have: 0,
            wanted_received: 0,
            pieces,
            pieces_have: 0,
            pieces_checked: 0,
            moving: None,
            downloaded: 0,
            uploaded: 0,
            downloaded_ever: 0,
            uploaded_ever: 0,
            wasted: 0,
            download_rate: 0,
            upload_rate: 0,
            eta: None,
            peers_connected: 0,
            seeds_connected: 0,
            peers_known: 0,
            trackers: Vec::new(),
            error: None,
        }
    }

    /// The share of the wanted bytes that is verified and written, from 0 to 1; 0 while there is no metadata.
    pub fn fraction(&self) -> f64 {
        match self.wanted_length {
            // Nothing is known of a torrent that has no pieces.
            0 if self.pieces == 0 => 0.0,
            0 => 1.0,
            wanted => self.wanted_have as f64 / wanted as f64,
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.1} % ({} of {} bytes), down {} B/s, up {} B/s, {} of {} peers",
            self.name,
            self.fraction() * 100.0,
            self.wanted_have,
            self.wanted_length,
            self.download_rate,
            self.upload_rate,
            self.peers_connected,
            self.peers_known
        )
    }
}
