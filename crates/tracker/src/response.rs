//! What a tracker tells us, whichever way it was asked.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// The longest interval that is believed: a day. A longer one is taken for this.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The answer to an announce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnnounceResponse {
    /// When the tracker wants the next regular announce; at most [`MAX_INTERVAL`].
    pub interval: Option<Duration>,
    /// How soon it tolerates one; at most [`MAX_INTERVAL`].
    pub min_interval: Option<Duration>,
    /// Where peers are, at most [`crate::MAX_PEERS`], each with a port and an address where someone can be.
    pub peers: Vec<SocketAddr>,
    /// Peers that are complete.
    pub seeds: Option<u32>,
    /// Peers that are not.
    pub leechers: Option<u32>,
    /// How often the torrent has been downloaded completely.
    pub downloaded: Option<u32>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// To be sent back with later announces ("tracker id").
    pub tracker_id: Option<Vec<u8>>,
    /// A message for the user ("warning message"), cleaned.
    pub warning: Option<String>,
}

/// What a scrape says about one torrent (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwarmCounts {
    /// Peers that are complete.
    pub seeds: u32,
    /// Peers that are not, those that want nothing more included.
    pub leechers: u32,
    /// How often the torrent has been downloaded completely.
    pub downloaded: u32,
    /// Peers that still download, where the tracker tells them from partial seeds (BEP 21).
    pub downloaders: Option<u32>,
}

/// Seconds from a tracker as an interval that is believed.
pub(crate) fn interval(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(MAX_INTERVAL)
}
