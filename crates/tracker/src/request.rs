//! What a tracker is told about us (BEP 3, "trackers"; BEP 15, "Announce").

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

/// What to say is left, in bytes, while the torrent's length is unknown (a magnet link without metadata).
///
/// All that a tracker decides by it is that we are not a seed, so it is a number that every tracker can hold.
pub const LEFT_UNKNOWN: u64 = 16 * 1024;

/// What has happened to the torrent (BEP 3, "event"). A regular announce has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first announce.
    Started,
    /// The download has just become complete.
    Completed,
    /// We are leaving the swarm.
    Stopped,
    /// We want nothing more without being complete (BEP 21); over UDP it is a regular announce.
    Paused,
}

/// Payload carried since the torrent was started, and what is missing, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Sent to peers.
    pub uploaded: u64,
    /// Received from peers.
    pub downloaded: u64,
    /// Missing to complete the torrent; 0 for a seed, [`LEFT_UNKNOWN`] before the metadata is here.
    pub left: u64,
}

/// Who announces: the same for every tracker of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// SHA-1 of the info dictionary, or the first 20 bytes of its SHA-256 (BEP 52).
    pub info_hash: [u8; 20],
    /// Our name in this swarm.
    pub peer_id: [u8; 20],
    /// Where we take connections.
    pub port: u16,
    /// Random, the same over all addresses and for the whole session: tells a tracker that two announces from
    /// different addresses come from one client (BEP 7).
    pub key: u32,
}

/// One announce, complete but for the address it is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// SHA-1 of the info dictionary, or the first 20 bytes of its SHA-256 (BEP 52).
    pub info_hash: [u8; 20],
    /// Our name in this swarm.
    pub peer_id: [u8; 20],
    /// Where we take connections.
    pub port: u16,
    /// Bytes of payload sent since the torrent was started.
    pub uploaded: u64,
    /// Bytes of payload received since the torrent was started.
    pub downloaded: u64,
    /// Bytes missing; [`LEFT_UNKNOWN`] before the metadata is here.
    pub left: u64,
    /// What has happened; `None` for a regular announce.
    pub event: Option<Event>,
    /// How many peers we would like; `None` leaves it to the tracker.
    pub num_want: Option<u32>,
    /// See [`Identity::key`].
    pub key: u32,
    /// An IPv4 address to announce besides the one the tracker sees. BEP 7 discourages it, so it is only for
    /// people who set one.
    pub ipv4: Option<Ipv4Addr>,
    /// An IPv6 address to announce besides the one the tracker sees; HTTP only, and discouraged like the other.
    pub ipv6: Option<Ipv6Addr>,
    /// What the tracker called itself in an earlier answer ("tracker id").
    pub tracker_id: Option<Vec<u8>>,
}

impl AnnounceRequest {
    /// A regular announce of `identity` that leaves the number of peers to the tracker.
    pub const fn new(identity: &Identity, stats: Stats) -> Self {
        Self {
            info_hash: identity.info_hash,
            peer_id: identity.peer_id,
            port: identity.port,
            uploaded: stats.uploaded,
            downloaded: stats.downloaded,
            left: stats.left,
            event: None,
            num_want: None,
            key: identity.key,
            ipv4: None,
            ipv6: None,
            tracker_id: None,
        }
    }
}
