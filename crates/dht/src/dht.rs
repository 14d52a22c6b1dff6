//! A node of the network, on one address of each family.

mod answer;
mod ask;
mod block;
mod external;
mod proven;
mod search;
mod upkeep;

pub use block::Blocks;

use crate::gate::{Allowance, Gate};
use crate::store::{Capacity, Items, Peers};
use crate::table::Table;
use crate::token::Tokens;
use crate::{Id, Item};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use ask::{Deadlines, Pending, Why};
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use external::Votes;
use fastrand::Rng;
use proven::Proven;
use quelea_time::Time;
use search::{Running, Search};

/// Addresses of nodes that others named, of each family.
const MAX_NAMED: usize = 128;
/// Datagrams that wait for the driver.
const MAX_TRANSMITS: usize = 4_096;

/// The families of addresses that a node has a socket for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// What a node is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which families it takes part in (BEP 32).
    pub families: Families,
    /// The seed of every random choice that need not be secret.
    pub seed: u64,
    /// What tokens and transactions are made with; nobody else may know it.
    pub secret: [u8; 32],
    /// Answers nobody: for who cannot be reached (BEP 43).
    pub read_only: bool,
    /// Nodes whose ids do not fit their addresses are left aside (BEP 42), instead of coming second. That begins once
    /// eight are known whose ids fit: in a network in which nobody has learnt his address yet nobody could begin else.
    /// At addresses of the local network any id fits.
    pub enforce_ids: bool,
    /// What strangers may cost.
    pub allowance: Allowance,
    /// How much is kept for others.
    pub capacity: Capacity,
    /// What an earlier run knew.
    pub saved: Saved,
}

impl Config {
    /// A usual node in both families that knows nobody.
    pub fn new(seed: u64, secret: [u8; 32]) -> Self {
        Self {
            families: Families { v4: true, v6: true },
            seed,
            secret,
            read_only: false,
            enforce_ids: false,
            allowance: Allowance::default(),
            capacity: Capacity::default(),
            saved: Saved::default(),
        }
    }
}

/// What a node keeps between two runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Its ids, IPv4 first.
    pub ids: [Option<Id>; 2],
    /// Nodes that answered lately.
    pub nodes: Vec<(Id, SocketAddr)>,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// The name of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchId(u64);

/// How a torrent is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Where we listen; `None` for the port of the socket that datagrams leave from.
    pub port: Option<u16>,
    /// Whether we have all of it (BEP 33).
    pub seed: bool,
}

/// What a search came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The nearest nodes that answered, of both families.
    pub nodes: Vec<(Id, SocketAddr)>,
    /// How many of them took what was written.
    pub written: usize,
    /// About how many seeds there are, where it was asked for (BEP 33).
    pub seeds: Option<f64>,
    /// About how many other peers there are.
    pub peers: Option<f64>,
    /// Queries that it took.
    pub queries: usize,
    /// How many nodes had to be asked one after the other to reach the nearest one.
    pub steps: usize,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Peers of the torrent that is searched for, each told once.
    Peers(SearchId, Vec<SocketAddr>),
    /// The item that is searched for; again when a newer one is found.
    Item(SearchId, Item),
    /// Torrents that a node knows (BEP 51).
    Samples(SearchId, SocketAddr, Vec<Id>),
    /// A search has ended.
    Done(SearchId, Found),
    /// Enough nodes agree that this is our address.
    External(IpAddr),
}

/// Figures of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Our ids, IPv4 first.
    pub ids: [Option<Id>; 2],
    /// Nodes in the tables, IPv4 first.
    pub nodes: [usize; 2],
    /// Searches under way.
    pub searches: usize,
    /// Torrents that others announced to us.
    pub torrents: usize,
    /// Their peers.
    pub peers: usize,
    /// Items that others had us store.
    pub items: usize,
    /// Queries that came.
    pub queries_in: u64,
    /// Queries that were answered.
    pub answered: u64,
    /// Queries that were dropped because their sender asks too much.
    pub refused: u64,
    /// Queries of ours.
    pub queries_out: u64,
    /// Those that were answered.
    pub answers_in: u64,
}

/// A node's part in one family.
#[derive(Debug)]
struct Side {
    table: Table,
    /// Addresses to begin at when nobody is known.
    routers: Vec<SocketAddr>,
    /// Others of which it was said that nodes are there, the latest last.
    named: VecDeque<SocketAddr>,
    votes: Votes,
    /// When to join again, should too few be known.
    next_join: Time,
    join_pause: Duration,
}

/// A node of the network, on one address of each family.
///
/// # Contract
/// The driver calls a `handle_…` or a wish with the moment, then drains [`Dht::poll_transmit`] and
/// [`Dht::poll_event`] until `None`. [`Dht::timeout`] tells when [`Dht::handle_timeout`] is due. `now` never goes
/// back. A datagram to an IPv4 address leaves from the IPv4 socket, and one to an IPv6 address from the other.
pub struct Dht {
    sides: [Option<Side>; 2],
    read_only: bool,
    enforce_ids: bool,
    secret: [u8; 32],
    tokens: Tokens,
    gate: Gate,
    proven: Proven,
    peers: Peers,
    items: Items,
    blocks: Option<Blocks>,
    rng: Rng,
    counter: u64,

    pending: BTreeMap<[u8; 4], Pending>,
    deadlines: Deadlines,
    walks: BTreeMap<u64, Running>,
    searches: BTreeMap<SearchId, Search>,

    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    next_tick: Time,
    next_upkeep: Time,
    next_expiry: Time,
    stats: Stats,
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay where they are.
        f.debug_struct("Dht").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn side_of(address: SocketAddr) -> usize {
    usize::from(address.is_ipv6())
}

impl Dht {
    /// A node; it joins the network as soon as it knows of somebody in it.
    pub fn new(now: Time, config: Config) -> Self {
        let mut rng = Rng::with_seed(config.seed);
        let mut side = |wanted: bool, id: Option<Id>| {
            let id = id.unwrap_or_else(|| Id::random(&mut rng));
            wanted.then(|| Side {
                table: Table::new(id),
                routers: Vec::new(),
                named: VecDeque::new(),
                votes: Votes::default(),
                next_join: now,
                join_pause: Duration::ZERO,
            })
        };
        let [id4, id6] = config.saved.ids;
        let sides = [side(config.families.v4, id4), side(config.families.v6, id6)];
        let mut dht = Self {
            sides,
            read_only: config.read_only,
            enforce_ids: config.enforce_ids,
            secret: config.secret,
            tokens: Tokens::new(config.secret),
            gate: Gate::new(config.allowance, config.secret),
            proven: Proven::default(),
            peers: Peers::new(config.capacity),
            items: Items::new(config.capacity.items),
            blocks: None,
            rng,
            counter: 0,
            pending: BTreeMap::new(),
            deadlines: Deadlines::default(),
            walks: BTreeMap::new(),
            searches: BTreeMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            next_tick: now,
            next_upkeep: now,
            next_expiry: now,
            stats: Stats::default(),
        };
        for (_, address) in config.saved.nodes.into_iter().take(2 * MAX_NAMED) {
            dht.remember(now, address);
        }
        dht
    }

    /// The next datagram to send, until `None`.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened, until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Dht::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Time> {
        Some(self.next_tick)
    }

    /// The time has come that [`Dht::timeout`] told.
    pub fn handle_timeout(&mut self, now: Time) {
        if now < self.next_tick {
            return;
        }
        self.expire_queries(now);
        if now >= self.next_upkeep {
            self.next_upkeep = now + upkeep::EVERY;
            self.keep_up(now);
        }
        self.continue_walks(now);
        let deadline = self.deadlines.next().unwrap_or(Time::MAX);
        self.next_tick = self.next_upkeep.min(deadline);
    }

    /// A node named elsewhere: by a torrent's `nodes`, by a peer's `port` message.
    pub fn add_node(&mut self, now: Time, address: SocketAddr) {
        self.remember(now, address);
        let known = |side: &Side| side.table.iter().any(|entry| entry.address == address);
        let asked =
            self.sides[side_of(address)].as_ref().is_none_or(|side| side.next_join <= now || known(side));
        if !asked && address.port() != 0 && self.may_ping(address) {
            self.ping(now, address, Why::Ping);
        }
    }

    /// Keeps an address in mind at which a node was said to be; the oldest such gives way.
    fn remember(&mut self, now: Time, address: SocketAddr) {
        if self.is_blocked(address.ip()) {
            return;
        }
        let Some(side) = &mut self.sides[side_of(address)] else { return };
        if crate::id::may_name(address.ip(), address) && !side.named.contains(&address) {
            if side.named.len() >= MAX_NAMED {
                side.named.pop_front();
            }
            side.named.push_back(address);
            self.join_soon(now, address);
        }
    }

    /// A node through which to join the network while nobody else is known.
    pub fn add_router(&mut self, now: Time, address: SocketAddr) {
        /// More are of no use.
        const ROUTERS: usize = 32;
        if self.is_blocked(address.ip()) {
            return;
        }
        if let Some(side) = &mut self.sides[side_of(address)]
            && crate::id::may_name(address.ip(), address)
            && side.routers.len() < ROUTERS
            && !side.routers.contains(&address)
        {
            side.routers.push(address);
            self.join_soon(now, address);
        }
    }

    fn join_soon(&mut self, now: Time, address: SocketAddr) {
        if let Some(side) = &mut self.sides[side_of(address)]
            && side.table.len() < crate::table::K
        {
            side.next_join = now;
            side.join_pause = Duration::ZERO;
            self.next_upkeep = now;
            self.next_tick = now;
            // Walks that are on their way need not wait for others to fail.
            let family = side_of(address);
            for running in self.walks.values_mut().filter(|running| running.family == family) {
                running.walk.add_entrance(address);
            }
        }
    }

    /// What to keep for the next run: ids and the nodes that answered last.
    pub fn saved(&self) -> Saved {
        /// Enough to find the network again after weeks.
        const NODES: usize = 200;
        let mut nodes: Vec<_> = self.sides.iter().flatten().flat_map(|side| side.table.iter()).collect();
        nodes.sort_by_key(|entry| (entry.failures, core::cmp::Reverse(entry.answered)));
        Saved {
            ids: self.ids(),
            nodes: nodes.into_iter().take(NODES).map(|entry| (entry.id, entry.address)).collect(),
        }
    }

    /// Our ids, IPv4 first.
    pub fn ids(&self) -> [Option<Id>; 2] {
        [0, 1].map(|family| self.sides[family].as_ref().map(|side| side.table.own()))
    }

    /// Nodes in the tables, IPv4 first.
    pub fn nodes(&self) -> [usize; 2] {
        [0, 1].map(|family| self.sides[family].as_ref().map_or(0, |side| side.table.len()))
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        Stats {
            ids: self.ids(),
            nodes: self.nodes(),
            searches: self.searches.len(),
            torrents: self.peers.torrents(),
            peers: self.peers.len(),
            items: self.items.len(),
            ..self.stats
        }
    }

    /// Whether those whose ids do not fit their addresses are left aside in a family.
    fn enforces(&self, family: usize) -> bool {
        self.enforce_ids && self.sides[family].as_ref().is_some_and(|side| side.table.has_fitting())
    }

    fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.transmits.len() < MAX_TRANSMITS {
            self.transmits.push_back(Transmit { to, bytes });
        }
    }
}
