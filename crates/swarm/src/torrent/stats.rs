//! A torrent's figures.

use super::Torrent;
use crate::peers::PeerKey;
use alloc::string::String;
use core::net::SocketAddr;
use quelea_time::Time;

/// A torrent's figures at one moment; bytes, and bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Payload received, useful or not.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload received that was of no use.
    pub wasted: u64,
    /// Payload received a second.
    pub download_rate: u64,
    /// Payload sent a second.
    pub upload_rate: u64,
    /// Connected peers.
    pub connected: usize,
    /// Of those, peers that have everything.
    pub seeds: usize,
    /// Of those, peers that have something that is missing here.
    pub useful: usize,
    /// Of those, useful peers that do not choke us.
    pub unchoked_by: usize,
    /// Of those, peers that want something of us.
    pub interested: usize,
    /// Of those, peers that we do not choke.
    pub unchoked: usize,
    /// Of those, peers that ask for something and take it, but for as many as the uplink idles for.
    pub slots_used: usize,
    /// Connections under way.
    pub connecting: usize,
    /// Addresses known.
    pub known: usize,
    /// Pieces verified and written.
    pub pieces_have: u32,
    /// Wanted pieces that are not.
    pub pieces_missing: u32,
    /// Pieces being hashed and written.
    pub pieces_verifying: usize,
    /// Bytes of wanted pieces.
    pub bytes_wanted: u64,
    /// Bytes of wanted pieces that are not verified and written; never more than `bytes_wanted`.
    pub bytes_missing: u64,
    /// Bytes of all pieces, wanted or not, that are not verified and written: `left` of BEP 3.
    pub bytes_left: u64,
    /// Bytes received of wanted pieces that are not verified yet.
    pub bytes_unverified: u64,
}

/// A connected peer's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStats {
    /// Its key.
    pub key: PeerKey,
    /// Its address.
    pub address: SocketAddr,
    /// Its client's name, when it told.
    pub client: Option<String>,
    /// Whether it connected to us.
    pub incoming: bool,
    /// Pieces it has.
    pub pieces: u32,
    /// Payload received from it.
    pub downloaded: u64,
    /// Payload sent to it.
    pub uploaded: u64,
    /// Whether it chokes us.
    pub it_chokes_us: bool,
    /// Whether we choke it.
    pub we_choke_it: bool,
    /// Requests outstanding at it.
    pub outstanding: usize,
}

impl<B> Torrent<B> {
    /// Whether a connected peer has given a block that it was asked for.
    pub fn has_delivered(&self, key: PeerKey) -> bool {
        self.peers.get(key).is_some_and(|peer| peer.delivered)
    }

    /// The figures at `now`.
    pub fn stats(&mut self, now: Time) -> Stats {
        let mut stats = Stats {
            downloaded: self.downloaded,
            uploaded: self.uploaded,
            wasted: self.wasted,
            download_rate: self.download_rate.per_second(now),
            upload_rate: self.upload_rate.per_second(now),
            connected: self.peers.len(),
            connecting: self.door.connecting(),
            known: self.door.list.len(),
            pieces_have: self.picker.have().count(),
            pieces_missing: self.picker.missing_wanted(),
            pieces_verifying: self.picker.verifying(),
            bytes_wanted: self.picker.bytes_wanted(),
            bytes_missing: self.picker.bytes_needed(),
            bytes_left: self.picker.bytes_left(),
            bytes_unverified: self.picker.bytes_received(),
            ..Stats::default()
        };
        let patience = self.patience_with_takers(now);
        for (_, peer) in self.peers.iter() {
            stats.seeds += usize::from(peer.is_seed);
            stats.interested += usize::from(peer.it_is_interested);
            stats.unchoked += usize::from(!peer.we_choke_it);
            stats.slots_used += usize::from(peer.uses_slot(now, patience));
            stats.useful += usize::from(peer.useful > 0);
            stats.unchoked_by += usize::from(peer.useful > 0 && !peer.it_chokes_us);
        }
        stats.slots_used = stats.slots_used.saturating_sub(self.lending.lent());
        stats
    }

    /// The connected peers' figures.
    pub fn peer_stats(&self) -> impl Iterator<Item = PeerStats> + '_ {
        self.peers.iter().map(|(key, peer)| PeerStats {
            key,
            address: peer.address,
            client: peer.client.clone(),
            incoming: peer.incoming,
            pieces: peer.has.count(),
            downloaded: peer.downloaded,
            uploaded: peer.uploaded,
            it_chokes_us: peer.it_chokes_us,
            we_choke_it: peer.we_choke_it,
            outstanding: peer.pipeline.len(),
        })
    }
}
