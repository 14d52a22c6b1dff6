//! What we keep for others, for as long as they say so again.

mod items;
mod peers;

pub use items::{Items, Refused};
pub use peers::Peers;

/// How many entries of each kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Torrents whose peers are known.
    pub torrents: usize,
    /// Peers of one torrent.
    pub peers: usize,
    /// Peers in all.
    pub all_peers: usize,
    /// Items, of about 1 KiB.
    pub items: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { torrents: 4_000, peers: 2_000, all_peers: 100_000, items: 2_000 }
    }
}
