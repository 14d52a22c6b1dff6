//! Fetching an info dictionary from peers, of which nothing is known but a hash (BEP 9).
//!
//! Owns: whom to connect to, whom to ask for which piece of the dictionary, whether what came is right, who lied.
//! Does not own: sockets, the clock, what the dictionary says.
//!
//! # What can be believed
//! The hash alone. How long the dictionary is, peers say, so each length has a copy of its own (`assembly`) and votes,
//! one a neighbourhood. All copies are worked at that fit into memory by what is here of them; one that is not whole after a
//! while gives way to those that do not fit, whatever its votes. A copy is collected from all its peers at once. If it turns out wrong and came from one peer
//! alone, that one is banned. If it came from several, the next copies come from one peer each, until one of them is
//! right, and shows whose pieces were not.
//!
//! # Contract
//! That of [`Torrent`](crate::torrent::Torrent): a `handle_…` with the moment and an input, then
//! [`Fetch::poll_output`] until `None`; [`Fetch::timeout`] tells when [`Fetch::handle_timeout`] is due. After
//! [`Output::Done`] or [`Output::Contradiction`] nothing more is asked of anybody.

mod assembly;
mod connections;
mod exchange;
mod peer;

use crate::door::Door;
use crate::event::Farewell;
use crate::peers::{PeerKey, Peers};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use assembly::Assembly;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use fastrand::Rng;
use peer::Peer;
use quelea_discovery::Source;
use quelea_metainfo::InfoHashes;
use quelea_time::Time;
use quelea_wire::{Message, PeerId};

/// How often the machine looks after its peers while it has any.
const TICK: Duration = Duration::from_secs(1);

/// What a fetch is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The hashes that the dictionary must have: of each kind that is named.
    pub hashes: InfoHashes,
    /// Our own peer id.
    pub peer_id: PeerId,
    /// The client's name and version, as the extension handshake tells it (BEP 10, `v`).
    pub client: String,
    /// The port we listen on, told in the extension handshake (BEP 10, `p`).
    pub port: Option<u16>,
    /// Connected peers at most.
    pub max_peers: usize,
    /// Connections under way at most.
    pub max_half_open: usize,
    /// Whether peers may tell of others (BEP 11).
    pub peer_exchange: bool,
    /// The seed of every random choice.
    pub seed: u64,
}

/// What a fetch wants done.
#[derive(Debug)]
pub enum Output {
    /// Connect to this address, and answer with [`Fetch::handle_connected`] or [`Fetch::handle_connect_failed`].
    Connect(SocketAddr),
    /// Send this message.
    Send(PeerKey, Message),
    /// End this connection; no further call for it is needed.
    Disconnect(PeerKey, Farewell),
    /// This address was banned, for this reason.
    Banned(IpAddr, &'static str),
    /// The info dictionary, which has the hashes that were named.
    Done(Vec<u8>),
    /// A dictionary has one of the hashes that were named and not the other: they belong to different torrents.
    Contradiction,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Peers whose handshake is done.
    pub connected: usize,
    /// Connections under way.
    pub connecting: usize,
    /// Addresses that are known.
    pub known: usize,
    /// Bytes of the dictionary, if the peers that say so are right.
    pub size: Option<u32>,
    /// Bytes of it that are here, unverified.
    pub received: u32,
}

/// The fetching of one info dictionary.
#[derive(Debug)]
pub struct Fetch {
    config: Config,
    peers: Peers<Peer>,
    door: Door,
    /// Whether our outside address of each family, IPv4 first, is known.
    external: (bool, bool),
    /// What trackers told: all that a private torrent may use (BEP 27).
    from_trackers: BTreeSet<SocketAddr>,
    /// Peers that fell silent when they were asked for several pieces at a time.
    careful: BTreeSet<SocketAddr>,
    /// What is collected, by the length that its peers tell.
    assemblies: BTreeMap<u32, Assembly>,
    outputs: VecDeque<Output>,
    next_tick: Time,
    rng: Rng,
    ended: bool,
}

impl Fetch {
    /// A fetch without peers.
    pub fn new(now: Time, config: Config) -> Self {
        let mut rng = Rng::with_seed(config.seed);
        Self {
            peers: Peers::default(),
            door: Door::new(config.peer_id, config.max_peers, config.max_half_open, rng.u64(..)),
            external: (false, false),
            from_trackers: BTreeSet::new(),
            careful: BTreeSet::new(),
            assemblies: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_tick: now,
            rng,
            ended: false,
            config,
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Fetch::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Time> {
        if self.ended {
            return None;
        }
        if !self.peers.is_empty() || self.door.connecting() > 0 {
            return Some(self.next_tick);
        }
        self.door.list.next_due(self.next_tick).map(|due| due.max(self.next_tick))
    }

    /// The time has come that [`Fetch::timeout`] told.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.ended || now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.look_after_requests(now);
        self.look_after_peers(now);
        self.look_after_assemblies(now);
        self.connect_more(now);
        self.ask(now);
    }

    /// Ends every connection; nothing is done from here on.
    pub fn stop(&mut self, now: Time) {
        self.ended = true;
        for key in self.peers.keys() {
            self.disconnect(now, key, Farewell::Stopped);
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let best = self.assemblies.values().filter(|assembly| assembly.votes > 0).max_by_key(|assembly| {
            (assembly.is_active, core::cmp::Reverse(assembly.strikes), assembly.votes, assembly.received)
        });
        Progress {
            connected: self.peers.len(),
            connecting: self.door.connecting(),
            known: self.door.list.len(),
            size: best.map(|assembly| assembly.size),
            received: best.map_or(0, |assembly| assembly.received),
        }
    }

    /// The peers that the download can begin with: the connected ones first, none that failed or was banned. Those of a
    /// private torrent are the ones that trackers named.
    pub fn known_peers(&self, private: bool) -> Vec<(SocketAddr, Source)> {
        let connected: BTreeSet<SocketAddr> = self.peers.iter().map(|(_, peer)| peer.address).collect();
        let mut known: Vec<(SocketAddr, Source)> = self.door.list.sound_with_source().collect();
        known.sort_by_key(|(address, _)| !connected.contains(address));
        if private {
            known.retain(|(address, _)| self.from_trackers.contains(address));
            known.iter_mut().for_each(|(_, source)| *source = Source::Tracker);
        }
        known
    }

    fn send(&mut self, now: Time, key: PeerKey, message: Message) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.spoke = now;
            self.outputs.push_back(Output::Send(key, message));
        }
    }
}
