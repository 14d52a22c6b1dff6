//! A node: the machines that run in production, a disk and an uplink.

use crate::content::Block;
use crate::disk::Disk;
use crate::limiter::Limiter;
use crate::link::{Downlink, LinkId, Side, Uplink};
use crate::memory::Memory;
use crate::scenario::{NodePlan, Role, Scenario};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use fastrand::Rng;
use quelea_swarm::peers::PeerKey;
use quelea_swarm::torrent::{Config, Torrent};
use quelea_time::Time;
use quelea_tracker::{Announcer, Identity, Stats};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Handshake, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The port that every node listens on.
const PORT: u16 = 6_881;
/// The hash of the torrent of every world.
const INFO_HASH: [u8; 20] = *b"the torrent of sim\0\0";
/// With fewer peers than this a node that misses something asks the tracker early, as the engine does.
const FEW_PEERS: usize = 5;
/// The ways to the tracker of every world.
const TRACKERS: [&str; 2] = ["http://one.tracker.test/announce", "http://other.tracker.test/announce"];

/// A node, present or away.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Rc<str>,
    pub(crate) plan: NodePlan,
    pub(crate) address: SocketAddr,
    pub(crate) disk: Disk,
    pub(crate) uplink: Uplink,
    pub(crate) downlink: Downlink,
    pub(crate) present: Option<Present>,
    /// Counts its comings, so that what was begun in an earlier presence is not mistaken.
    pub(crate) life: u32,
    /// The wake-up that is planned.
    pub(crate) wake: Option<Time>,
    pub(crate) steps: u64,
    /// When it had all that it wants.
    pub(crate) completed: Option<Time>,
    /// When a block came last, and the longest that it waited for one.
    pub(crate) served: Option<Time>,
    pub(crate) longest_wait: Duration,
    /// Payload that came in each second since the beginning.
    pub(crate) received_by_second: Vec<u32>,
    pub(crate) banned: BTreeSet<IpAddr>,
    /// Others with whom it was ever connected.
    pub(crate) met: BTreeSet<usize>,
    /// Pieces that failed their hash.
    pub(crate) failed: u64,
    pub(crate) past: Figures,
    next_port: u16,
}

/// A node's machines while it is present.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) machine: Torrent<Block>,
    pub(crate) announcer: Announcer,
    pub(crate) identity: Identity,
    /// What its blocks take.
    pub(crate) memory: Memory,
    /// What it may send, if it has limits.
    pub(crate) limiter: Option<Limiter>,
    /// The links that its machine knows.
    pub(crate) links: BTreeMap<PeerKey, (LinkId, Side)>,
    /// All links it has an open end of.
    pub(crate) ends: BTreeSet<(LinkId, Side)>,
}

/// Bytes that a node has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Payload received, useful or not.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload received that was of no use.
    pub wasted: u64,
}

impl Node {
    pub(crate) fn new(scenario: &Scenario, number: usize, rng: &mut Rng) -> Self {
        let plan = scenario.nodes[number].clone();
        let (name, spoils) = match plan.role {
            Role::Seed => ("seed".to_owned(), 0),
            Role::Leecher => (format!("n{number:02}"), 0),
            Role::Rider => (format!("r{number:02}"), 0),
            Role::Liar => ("liar".to_owned(), rng.u32(100..=1_000)),
            Role::Staller => (format!("s{number:02}"), 0),
        };
        let pieces = scenario.geometry.pieces();
        let written = match plan.role {
            Role::Seed | Role::Liar => Bitfield::all(pieces),
            Role::Leecher | Role::Rider | Role::Staller => Bitfield::none(pieces),
        };
        Self {
            name: name.into(),
            address: SocketAddr::new(
                IpAddr::V4(Ipv4Addr::new(10, 1 + (number >> 8) as u8, number as u8, 1)),
                PORT,
            ),
            disk: Disk::new(written, spoils, plan.rots, &scenario.disks, rng.u64(..)),
            uplink: Uplink::new(plan.uplink),
            downlink: Downlink::new(plan.downlink),
            plan,
            present: None,
            life: 0,
            wake: None,
            steps: 0,
            completed: None,
            served: None,
            longest_wait: Duration::ZERO,
            received_by_second: Vec::new(),
            banned: BTreeSet::new(),
            met: BTreeSet::new(),
            failed: 0,
            past: Figures::default(),
            next_port: 40_000,
        }
    }

    /// Starts the machines with what is on the disk.
    pub(crate) fn come(&mut self, now: Time, scenario: &Scenario, rng: &mut Rng) {
        self.life += 1;
        self.banned.clear();
        self.failed = 0;
        let peer_id = PeerId::own(rng);
        let mut machine = Torrent::new(
            now,
            Config {
                geometry: scenario.geometry,
                info_hash: INFO_HASH,
                peer_id,
                client: "Quelea".to_owned(),
                port: Some(PORT),
                metadata: [].into(),
                private: false,
                pex: scenario.pex,
                wanted: self.plan.wanted.clone(),
                have: self.disk.written.clone(),
                max_peers: self.plan.max_peers,
                max_half_open: 8,
                upload_slots: match self.plan.role {
                    Role::Rider | Role::Staller => 0,
                    Role::Seed | Role::Leecher | Role::Liar => self.plan.upload_slots,
                },
                open_pieces: self.plan.open_pieces,
                seed: rng.u64(..),
            },
        );
        machine.set_super_seeding(now, self.plan.super_seeds);
        let mut announcer = Announcer::new(vec![TRACKERS.map(str::to_owned).to_vec()], rng.u64(..));
        announcer.start(now, machine.is_complete());
        // A disk may have lost since what its node had when it left.
        self.completed = machine.is_complete().then(|| self.completed.unwrap_or(now));
        let identity = Identity { info_hash: INFO_HASH, peer_id: peer_id.0, port: PORT, key: rng.u32(..) };
        let (links, ends) = (BTreeMap::new(), BTreeSet::new());
        let (memory, limiter) = (Memory::default(), Limiter::new(now, self.plan.upload_limits));
        self.present = Some(Present { machine, announcer, identity, memory, limiter, links, ends });
    }

    /// Bytes that its blocks may take.
    pub(crate) fn budget(&self, scenario: &Scenario) -> u64 {
        self.plan.open_pieces as u64 * u64::from(scenario.geometry.piece_length())
    }

    /// Takes the machines down; what they have counted is kept.
    pub(crate) fn leave(&mut self, now: Time) {
        self.past = self.figures(now);
        self.present = None;
        self.wake = None;
        self.uplink.waiting.clear();
        self.uplink.light.clear();
    }

    /// A block has come.
    pub(crate) fn note_served(&mut self, now: Time, bytes: u32) {
        let second = now.since(Time::ZERO).as_secs() as usize;
        self.received_by_second.resize(self.received_by_second.len().max(second + 1), 0);
        self.received_by_second[second] += bytes;
        if self.completed.is_none() {
            let since = self.served.replace(now).unwrap_or(self.plan.joins);
            self.longest_wait = self.longest_wait.max(now.since(since));
        }
    }

    /// What it has carried in all its presences.
    pub(crate) fn figures(&mut self, now: Time) -> Figures {
        let Some(present) = &mut self.present else { return self.past };
        let stats = present.machine.stats(now);
        Figures {
            downloaded: self.past.downloaded + stats.downloaded,
            uploaded: self.past.uploaded + stats.uploaded,
            wasted: self.past.wasted + stats.wasted,
        }
    }

    /// The handshake that it sends.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        let peer_id = PeerId(self.present.as_ref()?.identity.peer_id);
        Some(Handshake { reserved: self.reserved(), info_hash: INFO_HASH, peer_id })
    }

    fn reserved(&self) -> Reserved {
        if self.plan.modern {
            Reserved::NONE.with(Feature::Fast).with(Feature::ExtensionProtocol)
        } else {
            Reserved::NONE
        }
    }

    /// What both this node and a peer support.
    pub(crate) fn shared(&self, theirs: Reserved) -> Reserved {
        let mut both = self.reserved();
        for (ours, theirs) in both.0.iter_mut().zip(theirs.0) {
            *ours &= theirs;
        }
        both
    }

    /// The address that its next call comes from.
    pub(crate) fn calls_from(&mut self) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::new(self.address.ip(), self.next_port)
    }
}

impl Present {
    /// When it is to be woken next.
    pub(crate) fn timeout(&self) -> Option<Time> {
        [self.machine.timeout(), self.announcer.timeout()].into_iter().flatten().min()
    }

    /// Whether it misses something and has few peers.
    pub(crate) fn is_hungry(&self) -> bool {
        !self.machine.is_complete() && self.links.len() < FEW_PEERS
    }

    /// What it tells the tracker.
    pub(crate) fn stats(&mut self, now: Time, scenario: &Scenario) -> Stats {
        let stats = self.machine.stats(now);
        let left = u64::from(stats.pieces_missing) * u64::from(scenario.geometry.piece_length());
        Stats { uploaded: stats.uploaded, downloaded: stats.downloaded, left }
    }
}
