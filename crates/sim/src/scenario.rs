//! What a world is made of: everything follows from one number.

mod crowd;

pub use crowd::Crowd;

use crate::disk::DiskPlan;
use crate::tracker::TrackerPlan;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;
use core::time::Duration;
use fastrand::Rng;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry};
use quelea_time::Time;
use quelea_wire::Bitfield;

/// Leechers in a world of the tests; there is one seed beside them.
pub const LEECHERS: usize = 20;

/// What goes over the links of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Every byte: encoded, cut anywhere, decoded, hashed.
    Bytes,
    /// Messages as values and blocks as handles, which take as long and cost next to nothing: for worlds of
    /// thousands.
    Handles,
}

/// What a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Everybody has the same uplink, comes at the same time, and nothing goes wrong.
    Even,
    /// Uplinks of all sizes, late comers, a few lost connections.
    Plain,
    /// Connections break all the time, nodes leave and come back, tracker and disks fail.
    Rough,
    /// One node that says it has everything sends spoilt blocks.
    Liar,
    /// The seed goes away once the others together have everything.
    Orphans,
    /// Memory for two open pieces a node.
    Narrow,
    /// Half of the nodes know neither the fast extension nor the extension protocol.
    Old,
    /// Each node wants some of the pieces.
    Picky,
    /// Half of the nodes cannot be dialled, and packets are lost.
    Nat,
    /// Disks are full for a while, write a part, and lose by a crash what was written lately.
    Torn,
    /// Some leechers give nothing.
    Riders,
    /// On some disks pieces turn bad after they were written, and are served so.
    Rotten,
    /// Leechers keep to limits for what they send.
    Limited,
}

impl Kind {
    /// All of them, in the order in which seeds take turns.
    pub const ALL: [Self; 13] = [
        Self::Even,
        Self::Plain,
        Self::Rough,
        Self::Liar,
        Self::Orphans,
        Self::Narrow,
        Self::Old,
        Self::Picky,
        Self::Nat,
        Self::Torn,
        Self::Riders,
        Self::Rotten,
        Self::Limited,
    ];

    /// The kind of the world that grows from this seed.
    pub fn of_seed(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }

    /// The first `count` seeds whose worlds are of this kind.
    pub fn seeds(self, count: u64) -> impl Iterator<Item = u64> {
        (0..count * Self::ALL.len() as u64).filter(move |&seed| Self::of_seed(seed) == self)
    }

    /// Whether every block that is sent is good.
    pub const fn is_honest(self) -> bool {
        !matches!(self, Self::Liar | Self::Rotten)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Plain => "plain",
            Self::Rough => "rough",
            Self::Liar => "liar",
            Self::Orphans => "orphans",
            Self::Narrow => "narrow",
            Self::Old => "old",
            Self::Picky => "picky",
            Self::Nat => "nat",
            Self::Torn => "torn",
            Self::Riders => "riders",
            Self::Rotten => "rotten",
            Self::Limited => "limited",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("there is no kind of world called `{name}`"))
    }
}

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has everything from the beginning.
    Seed,
    /// It begins with nothing.
    Leecher,
    /// It begins with nothing, and gives nothing.
    Rider,
    /// It says that it has everything, and spoils some of the blocks it sends.
    Liar,
    /// It begins with nothing and asks for everything, gives nothing, and need never have anything.
    Staller,
}

/// A time during which a node is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When it leaves.
    pub leaves: Time,
    /// When it is back.
    pub returns: Time,
    /// Whether it says goodbye, or is just gone.
    pub politely: bool,
}

/// What a node is like.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// What it is there for.
    pub role: Role,
    /// Bytes a second that it can send.
    pub uplink: u64,
    /// Bytes a second that it can receive; `None`: as many as come.
    pub downlink: Option<u64>,
    /// Bytes a second that all its torrents may send, and that this one may: limits that it sets itself.
    pub upload_limits: [Option<u64>; 2],
    /// Whether pieces turn bad on its disk.
    pub rots: bool,
    /// Whether others can dial it: it is not behind a router that lets nobody in.
    pub is_dialable: bool,
    /// Whether it speaks the fast extension and the extension protocol (BEP 6, BEP 10).
    pub modern: bool,
    /// The pieces that it wants.
    pub wanted: Bitfield,
    /// Pieces that it opens at a time.
    pub open_pieces: usize,
    /// Peers that it uploads to at a time.
    pub upload_slots: usize,
    /// Connected peers at most.
    pub max_peers: usize,
    /// Whether it shows its peers a piece at a time while it has everything (BEP 16).
    pub super_seeds: bool,
    /// When it comes.
    pub joins: Time,
    /// When it is away for a while.
    pub absences: Vec<Absence>,
}

impl NodePlan {
    /// Bytes a second that it sends at most: by its uplink and by its limits.
    pub fn sends(&self) -> u64 {
        self.upload_limits.into_iter().flatten().fold(self.uplink, u64::min)
    }
}

/// What connections are like. Chances are in thousandths.
#[derive(Debug, Clone)]
pub struct LinkPlan {
    /// One-way delays in milliseconds, one of which each connection has.
    pub latency: RangeInclusive<u64>,
    /// How many of a thousand connections break at some time.
    pub breaks: u32,
    /// How long one that breaks has lasted at most.
    pub lasts: Duration,
    /// How many of a thousand attempts to connect fail.
    pub failing_connects: u32,
    /// Packets of a thousand that are lost: one of these each connection has.
    pub loss: RangeInclusive<u32>,
    /// Bytes that a connection has under way to a peer that does not take them, at most (large worlds); `None`: as many
    /// as are sent.
    pub window: Option<usize>,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The number that everything follows from.
    pub seed: u64,
    /// What it is about.
    pub kind: Kind,
    /// What goes over the links.
    pub payload: Payload,
    /// The torrent.
    pub geometry: Geometry,
    /// The seed, the leechers, and the liar if there is one.
    pub nodes: Vec<NodePlan>,
    /// Connections.
    pub links: LinkPlan,
    /// The tracker.
    pub tracker: TrackerPlan,
    /// Disks.
    pub disks: DiskPlan,
    /// Whether nodes tell each other of others (BEP 11).
    pub pex: bool,
    /// Whether the seed leaves once the others together have everything.
    pub seed_leaves: bool,
    /// Machines are checked for contradictions at every this many steps.
    pub checks_every: u64,
}

impl Scenario {
    /// The world that grows from `seed`.
    pub fn of_seed(seed: u64) -> Self {
        Self::of_kind(Kind::of_seed(seed), seed)
    }

    /// A world of this kind.
    pub fn of_kind(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let pieces = rng.u64(24..=64);
        let blocks = rng.u32(1..=4);
        // Some pieces end with a short block.
        let piece_length = blocks * BLOCK_LENGTH - if rng.bool() { rng.u32(0..BLOCK_LENGTH / 2) } else { 0 };
        let last = rng.u64(1..=u64::from(piece_length));
        let scenario =
            Self::with_length((pieces - 1) * u64::from(piece_length) + last, piece_length, kind, seed);
        scenario.furnish(&mut rng)
    }

    /// A world in which everybody is alike, with a torrent of this many pieces of 64 KiB: to measure with.
    pub fn even(pieces: u32, seed: u64) -> Self {
        let length = 4 * BLOCK_LENGTH;
        let scenario = Self::with_length(u64::from(pieces) * u64::from(length), length, Kind::Even, seed);
        scenario.furnish(&mut Rng::with_seed(seed))
    }

    fn with_length(total: u64, piece_length: u32, kind: Kind, seed: u64) -> Self {
        // Neither can be refused: the piece length is not 0 and the pieces are few.
        let geometry = Geometry::new(total, piece_length).unwrap_or_else(|| unreachable!());
        Self {
            seed,
            kind,
            payload: Payload::Bytes,
            geometry,
            nodes: Vec::new(),
            links: LinkPlan {
                latency: 5..=200,
                breaks: 30,
                lasts: Duration::from_secs(60),
                failing_connects: 30,
                loss: 0..=0,
                window: None,
            },
            tracker: TrackerPlan {
                interval: Duration::from_secs(120),
                min_interval: Duration::from_secs(60),
                peers: 30,
                silence: 0,
                names: None,
                refusals: 0,
                garbage: 0,
                remembers: matches!(kind, Kind::Plain | Kind::Rough | Kind::Old),
            },
            disks: DiskPlan {
                slowest_write: Duration::from_millis(400),
                slowest_read: Duration::from_millis(60),
                failing_reads: 0,
                failing_writes: 0,
                short_writes: 0,
                forgets: Duration::ZERO,
                full: 0,
                full_for: Duration::ZERO,
                rot: 0,
            },
            pex: false,
            seed_leaves: false,
            checks_every: 1,
        }
    }

    fn furnish(mut self, rng: &mut Rng) -> Self {
        let all = Bitfield::all(self.geometry.pieces());
        let rate = rng.u64(50..=800) * 1_000;
        let node = |role, uplink| NodePlan {
            role,
            uplink,
            downlink: None,
            upload_limits: [None; 2],
            rots: false,
            is_dialable: true,
            modern: true,
            wanted: all.clone(),
            open_pieces: 64,
            upload_slots: 5,
            max_peers: 50,
            super_seeds: false,
            joins: Time::ZERO,
            absences: Vec::new(),
        };
        self.nodes.push(node(Role::Seed, rate));
        for _ in 0..LEECHERS {
            let mut leecher = node(Role::Leecher, rate);
            if self.kind != Kind::Even {
                leecher.uplink = rate * rng.u64(20..=200) / 100;
                leecher.upload_slots = rng.usize(3..=8);
                leecher.max_peers = rng.usize(8..=50);
                leecher.joins = Time::from_millis(if rng.u8(0..4) == 0 { rng.u64(0..20_000) } else { 0 });
            }
            self.nodes.push(leecher);
        }
        match self.kind {
            Kind::Even => {
                self.links.breaks = 0;
                self.links.failing_connects = 0;
            }
            Kind::Plain => {}
            Kind::Rough => self.roughen(rng),
            Kind::Liar => {
                let liar = node(Role::Liar, rate * 2);
                self.nodes.push(liar);
            }
            Kind::Orphans => self.seed_leaves = true,
            Kind::Narrow => self.leechers().for_each(|leecher| leecher.open_pieces = 2),
            Kind::Old => {
                for node in &mut self.nodes {
                    node.modern = rng.bool();
                }
            }
            Kind::Picky => self.choose(rng),
            Kind::Nat => {
                self.links.loss = 0..=20;
                for leecher in self.leechers() {
                    leecher.is_dialable = rng.bool();
                    leecher.downlink = Some(leecher.uplink * rng.u64(1..=10));
                }
            }
            Kind::Torn => self.tear(rng),
            Kind::Riders => {
                let riders = rng.usize(1..=LEECHERS / 4);
                for rider in self.leechers().take(riders) {
                    rider.role = Role::Rider;
                }
            }
            Kind::Rotten => self.rot(rng),
            Kind::Limited => {
                for leecher in self.leechers() {
                    let mut limit = || rng.bool().then(|| leecher.uplink * rng.u64(20..=150) / 100);
                    leecher.upload_limits = [limit(), limit()];
                }
            }
        }
        self
    }

    fn tear(&mut self, rng: &mut Rng) {
        self.disks.short_writes = 50;
        self.disks.full = 300;
        self.disks.full_for = Duration::from_secs(15);
        self.disks.forgets = Duration::from_secs(5);
        for node in self.leechers() {
            if rng.bool() {
                continue;
            }
            let leaves = node.joins + Duration::from_millis(rng.u64(2_000..15_000));
            let returns = leaves + Duration::from_millis(rng.u64(100..5_000));
            node.absences.push(Absence { leaves, returns, politely: false });
        }
    }

    /// A few disks rot. Half of their nodes start anew after a while, and find it out.
    fn rot(&mut self, rng: &mut Rng) {
        self.disks.rot = 100;
        let few = rng.usize(1..=LEECHERS / 4);
        for node in self.leechers().take(few) {
            node.rots = true;
            if rng.bool() {
                let leaves = node.joins + Duration::from_millis(rng.u64(2_000..15_000));
                let returns = leaves + Duration::from_millis(rng.u64(100..5_000));
                node.absences.push(Absence { leaves, returns, politely: rng.bool() });
            }
        }
    }

    fn leechers(&mut self) -> impl Iterator<Item = &mut NodePlan> {
        self.nodes.iter_mut().filter(|node| node.role == Role::Leecher)
    }

    fn roughen(&mut self, rng: &mut Rng) {
        self.links.breaks = 600;
        self.links.lasts = Duration::from_secs(30);
        self.links.failing_connects = 200;
        self.tracker.silence = 200;
        self.tracker.refusals = 50;
        self.tracker.garbage = 50;
        self.disks.failing_reads = 10;
        self.disks.failing_writes = 50;
        for node in self.leechers() {
            if rng.bool() {
                continue;
            }
            let leaves = node.joins + Duration::from_millis(rng.u64(500..15_000));
            let returns = leaves + Duration::from_millis(rng.u64(100..40_000));
            node.absences.push(Absence { leaves, returns, politely: rng.bool() });
        }
    }

    fn choose(&mut self, rng: &mut Rng) {
        let geometry = self.geometry;
        for node in self.leechers() {
            node.wanted = Bitfield::none(geometry.pieces());
            let share = rng.u32(1..=100);
            for piece in geometry.iter().filter(|_| rng.u32(0..100) < share) {
                node.wanted.set(piece);
            }
        }
    }

    /// The least time that any way of sharing takes: until the seed has sent everything once, until the slowest
    /// has received everything, and until all uplinks together have sent everything to everybody. Who gives
    /// nothing is served last: it does not count.
    pub fn fluid_limit(&self) -> Duration {
        let total = u128::from(self.geometry.total_length());
        let uplinks = |role| self.nodes.iter().filter(move |node| node.role == role).map(NodePlan::sends);
        let seed: u128 = uplinks(Role::Seed).map(u128::from).sum();
        let leechers: u128 = uplinks(Role::Leecher).map(u128::from).sum();
        let slowest = self.nodes.iter().filter(|node| node.role == Role::Leecher);
        let slowest = slowest.filter_map(|node| node.downlink).min().map_or(u128::MAX, u128::from);
        let nanos = |bytes: u128, rate: u128| {
            Duration::from_nanos((bytes.saturating_mul(1_000_000_000) / rate.max(1)) as u64)
        };
        let everybody = uplinks(Role::Leecher).count() as u128;
        nanos(total, seed).max(nanos(total, slowest)).max(nanos(total * everybody, seed + leechers))
    }

    /// When everybody must have what it wants: when the last one has come, ten times the least time, and four
    /// minutes for turns of the choker and waits between attempts to connect.
    pub fn deadline(&self) -> Time {
        let comings = self
            .nodes
            .iter()
            .flat_map(|node| node.absences.iter().map(|absence| absence.returns).chain([node.joins]));
        comings.max().unwrap_or(Time::ZERO) + 10 * self.fluid_limit() + Duration::from_secs(240)
    }
}
