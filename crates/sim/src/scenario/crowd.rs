//! Flash crowds: one seed, and many who want what it has at the same moment.

use super::{Kind, NodePlan, Payload, Role, Scenario};
use core::time::Duration;
use fastrand::Rng;
use quelea_time::Time;
use quelea_wire::Bitfield;

/// What a flash crowd is made of.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// Nodes that want everything and give.
    pub leechers: usize,
    /// Nodes that want everything and give nothing.
    pub riders: usize,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// Bytes of a piece.
    pub piece_length: u32,
    /// Bytes a second that the seed can send.
    pub seed_uplink: u64,
    /// Bytes a second that leechers can send: one after the other, and from the beginning again.
    pub uplinks: Vec<u64>,
    /// How many times as much as it sends a node can receive.
    pub downlink_factor: u64,
    /// All come within this time.
    pub joins_within: Duration,
    /// How many of a thousand leechers cannot be dialled.
    pub natted: u32,
    /// Packets of a thousand that are lost at most.
    pub loss: u32,
    /// Whether the seed leaves once the others together have everything.
    pub seed_leaves: bool,
    /// Whether the seed gives each piece out once before it gives one twice (BEP 16).
    pub super_seed: bool,
    /// Peers that a node has at most.
    pub max_peers: usize,
    /// Peers that a node uploads to at a time.
    pub slots: usize,
    /// Peers in an answer of the tracker.
    pub tracker_peers: usize,
}

impl Crowd {
    /// Leechers alike, with eight times as much down as up, and a seed like them.
    pub fn even(leechers: usize, pieces: u32, piece_length: u32) -> Self {
        Self {
            leechers,
            riders: 0,
            pieces,
            piece_length,
            seed_uplink: 1_000_000,
            uplinks: vec![1_000_000],
            downlink_factor: 8,
            joins_within: Duration::from_secs(2),
            natted: 0,
            loss: 0,
            seed_leaves: false,
            super_seed: false,
            max_peers: 80,
            slots: 8,
            tracker_peers: 50,
        }
    }
}

impl Scenario {
    /// The world of a flash crowd.
    pub fn crowd(crowd: &Crowd, seed: u64) -> Self {
        let total = u64::from(crowd.pieces) * u64::from(crowd.piece_length);
        let mut scenario = Self::with_length(total, crowd.piece_length, Kind::Even, seed);
        let mut rng = Rng::with_seed(seed);
        scenario.payload = Payload::Handles;
        scenario.links.breaks = 0;
        scenario.links.failing_connects = 0;
        scenario.links.latency = 5..=100;
        scenario.links.loss = 0..=crowd.loss;
        scenario.tracker.peers = crowd.tracker_peers;
        scenario.disks.slowest_read = Duration::ZERO;
        scenario.disks.slowest_write = Duration::from_millis(50);
        scenario.seed_leaves = crowd.seed_leaves;
        scenario.checks_every = 50_000;
        let all = Bitfield::all(crowd.pieces);
        let node = |role, uplink: u64| NodePlan {
            role,
            uplink,
            downlink: Some(uplink * crowd.downlink_factor),
            upload_limits: [None; 2],
            rots: false,
            is_dialable: true,
            modern: true,
            wanted: all.clone(),
            open_pieces: 32,
            upload_slots: crowd.slots,
            max_peers: crowd.max_peers,
            super_seeds: false,
            joins: Time::ZERO,
            absences: Vec::new(),
        };
        let seed = node(Role::Seed, crowd.seed_uplink);
        scenario.nodes.push(NodePlan { super_seeds: crowd.super_seed, ..seed });
        let uplinks = crowd.uplinks.iter().copied().cycle();
        for (number, uplink) in uplinks.take(crowd.leechers + crowd.riders).enumerate() {
            let role = if number < crowd.riders { Role::Rider } else { Role::Leecher };
            let mut leecher = node(role, uplink);
            leecher.joins =
                Time::ZERO + Duration::from_nanos(rng.u64(0..=crowd.joins_within.as_nanos() as u64));
            leecher.is_dialable = rng.u32(0..1_000) >= crowd.natted;
            scenario.nodes.push(leecher);
        }
        scenario
    }
}
