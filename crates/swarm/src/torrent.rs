//! One torrent as a machine.
//!
//! Owns: the connected peers, what each has and is asked for, the picker, the choker, the addresses to connect
//! to, who is banned. Does not own: sockets, bytes, the clock, files, trackers.
//!
//! # Contract
//! The driver calls a `handle_…` with the moment and an input, then drains [`Torrent::poll_output`] until `None`.
//! It may call several before it drains; requests are then made once for all of them. [`Torrent::timeout`] tells
//! when [`Torrent::handle_timeout`] is due. `now` never goes back. The machine is as random as its seed: the same
//! calls give the same outputs.
//!
//! A peer is known to the machine from [`Torrent::handle_connected`] until the driver tells
//! [`Torrent::handle_disconnected`] or the machine gives [`Output::Disconnect`]; calls for unknown keys do nothing.

mod connections;
mod download;
mod exchange;
mod found;
mod metadata;
mod network;
mod node;
mod peer;
mod saved;
mod spread;
mod stats;
mod super_seeding;
mod upload;
mod verify;
mod wishes;

pub use stats::{PeerStats, Stats};
pub(crate) use upload::MAX_ASKED;
pub use upload::READ_ALREADY;

use crate::choker;
use crate::choker::lending::Lending;
use crate::door::Door;
use crate::event::{Event, Farewell, Output};
use crate::peers::{PeerKey, Peers};
use crate::picker::Picker;
use crate::rate::Rate;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use fastrand::Rng;
use peer::Peer;
use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};
use quelea_time::Time;
use quelea_wire::{Bitfield, PeerId};
use upload::Occasion;

/// How often the machine looks after its peers while it has any.
const TICK: Duration = Duration::from_secs(1);

/// What a torrent's machine is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pieces and blocks.
    pub geometry: Geometry,
    /// The hash that handshakes carry (BEP 3).
    pub info_hash: [u8; 20],
    /// Our own peer id.
    pub peer_id: PeerId,
    /// The client's name and version, as the extension handshake tells it (BEP 10, `v`).
    pub client: String,
    /// The port we listen on, told in the extension handshake (BEP 10, `p`).
    pub port: Option<u16>,
    /// The info dictionary, which peers may ask for (BEP 9); empty to give none.
    pub metadata: Arc<[u8]>,
    /// Peers come from the trackers and the user alone, and are told of no others (BEP 27).
    pub private: bool,
    /// Whether peers are told of each other, and may tell of others (BEP 11). Never in a private torrent.
    pub pex: bool,
    /// The pieces that are wanted.
    pub wanted: Bitfield,
    /// The pieces that are verified on disk.
    pub have: Bitfield,
    /// Connected peers at most.
    pub max_peers: usize,
    /// Connections under way at most.
    pub max_half_open: usize,
    /// Peers that are uploaded to at a time.
    pub upload_slots: usize,
    /// Pieces open or being verified at most; each holds memory for its length.
    pub open_pieces: usize,
    /// The seed of every random choice.
    pub seed: u64,
}

/// One torrent as a machine; `B` is a block of payload, which it hands on and never looks into.
#[derive(Debug)]
pub struct Torrent<B> {
    geometry: Geometry,
    info_hash: [u8; 20],
    peer_id: PeerId,
    client: String,
    port: Option<u16>,
    /// The UDP port of our node of the DHT.
    dht_port: Option<u16>,
    metadata: Arc<[u8]>,
    upload_slots: usize,
    seed_choking: choker::SeedChoking,
    lending: Lending,

    picker: Picker<B>,
    peers: Peers<Peer>,
    door: Door,
    exchange: exchange::Exchange,
    /// Our addresses as the world sees them.
    external: Vec<IpAddr>,
    private: bool,
    lonely: Option<network::Lonely>,
    suspects: BTreeMap<PieceIndex, Vec<verify::Suspect>>,
    spread: spread::Spread,
    super_seeding: bool,
    offers: super_seeding::Offers,
    rng: Rng,

    outputs: VecDeque<Output<B>>,
    refill: Vec<PeerKey>,
    picked: Vec<Span>,

    next_tick: Time,
    next_round: Time,
    next_turnover: Time,
    round: u32,
    completed: bool,
    stopped: bool,
    /// A limit of ours holds for what arrives: who is slow may not be to blame.
    download_limited: bool,

    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    download_rate: Rate,
    upload_rate: Rate,
}

impl<B> Torrent<B> {
    /// A torrent without peers.
    pub fn new(now: Time, config: Config) -> Self {
        let mut rng = Rng::with_seed(config.seed);
        let mut picker = Picker::new(config.geometry, &config.wanted, config.have, rng.u64(..));
        picker.set_open_limit(config.open_pieces);
        let completed = picker.missing_wanted() == 0;
        let mut door = Door::new(config.peer_id, config.max_peers, config.max_half_open, rng.u64(..));
        door.list.set_seeding(completed);
        if config.private {
            door.list.set_private();
        }
        Self {
            geometry: config.geometry,
            info_hash: config.info_hash,
            peer_id: config.peer_id,
            client: config.client,
            port: config.port,
            dht_port: None,
            metadata: config.metadata,
            upload_slots: config.upload_slots,
            seed_choking: choker::SeedChoking::RoundRobin,
            lending: Lending::default(),
            completed,
            picker,
            peers: Peers::default(),
            door,
            exchange: exchange::Exchange::new(config.pex && !config.private),
            external: Vec::new(),
            private: config.private,
            lonely: None,
            suspects: BTreeMap::new(),
            spread: spread::Spread::new(config.geometry.pieces(), rng.u32(..config.geometry.pieces().max(1))),
            super_seeding: false,
            offers: super_seeding::Offers::default(),
            rng,
            outputs: VecDeque::new(),
            refill: Vec::new(),
            picked: Vec::new(),
            next_tick: now,
            next_round: now + choker::FIRST_ROUNDS[0],
            next_turnover: now,
            round: 0,
            stopped: false,
            download_limited: false,
            downloaded: 0,
            uploaded: 0,
            wasted: 0,
            download_rate: Rate::default(),
            upload_rate: Rate::default(),
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self, now: Time) -> Option<Output<B>> {
        if self.outputs.is_empty() {
            self.refill_requests(now);
        }
        self.outputs.pop_front()
    }

    /// When [`Torrent::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Time> {
        if self.stopped {
            return None;
        }
        if !self.peers.is_empty() || self.door.connecting() > 0 {
            return Some(self.next_tick);
        }
        let probe = self.lonely.map(|lonely| lonely.probe);
        let due = self.door.list.next_due(self.next_tick).into_iter().chain(probe).min();
        due.map(|due| due.max(self.next_tick))
    }

    /// The time has come that [`Torrent::timeout`] told.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.stopped || now < self.next_tick {
            return;
        }
        self.excuse_sleep(now);
        self.next_tick = now + TICK;
        self.note_late_blocks(now);
        self.look_after_peers(now);
        self.wasted += self.picker.unblock();
        self.rank_for_deadlines(now);
        if now >= self.next_round {
            self.next_round = now + self.round_length();
            self.choose_unchoked(now, Occasion::Round);
        } else {
            self.lend_slots(now);
        }
        self.show_where_nobody_asks(now);
        self.turn_over(now);
        self.connect_more(now);
        self.look_after_network(now);
        self.exchange_peers(now);
    }

    /// How long the next round lasts: torrents do not keep step with each other, or slots would move at the same
    /// moment everywhere.
    fn round_length(&mut self) -> core::time::Duration {
        let length = choker::FIRST_ROUNDS.get(self.round as usize).copied().unwrap_or(choker::ROUND);
        self.round = self.round.saturating_add(1);
        length * self.rng.u32(90..=110) / 100
    }

    /// Bounds the pieces that are open or being verified.
    pub fn set_open_pieces(&mut self, pieces: usize) {
        self.picker.set_open_limit(pieces);
    }

    /// Whether a limit of ours holds for what arrives. While one does nobody is snubbed or called late.
    pub fn set_download_limited(&mut self, limited: bool) {
        self.download_limited = limited;
    }

    /// Ends every connection; nothing is done from here on, unless it is resumed.
    pub fn stop(&mut self, now: Time) {
        self.stopped = true;
        for key in self.peers.keys() {
            self.disconnect(now, key, Farewell::Stopped);
        }
    }

    /// Goes on after [`Torrent::stop`], with everything that was received till then.
    pub fn resume(&mut self, now: Time) {
        self.stopped = false;
        self.next_tick = now;
        self.next_round = now + choker::ROUND;
    }

    /// What is verified and written.
    pub fn have(&self) -> &Bitfield {
        self.picker.have()
    }

    /// Whether all wanted pieces are verified and written.
    pub fn is_complete(&self) -> bool {
        self.completed
    }

    /// Checks that the parts agree with each other; what does not, in words. For tests and the simulator.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut outstanding: Vec<Span> = Vec::new();
        let mut holders = alloc::vec![0; self.geometry.pieces() as usize];
        for (key, peer) in self.peers.iter() {
            for span in peer.pipeline.iter() {
                outstanding.push(span);
                if !self.picker.is_leased(span, key) {
                    return Err(alloc::format!(
                        "{key} is asked for {span:?}, which the picker does not know"
                    ));
                }
            }
            let mut useful = 0;
            for piece in peer.has.iter(&self.geometry) {
                holders[piece.at()] += 1;
                useful += u32::from(self.picker.is_missing(piece));
            }
            if useful != peer.useful {
                return Err(alloc::format!("{key} has {useful} useful pieces, not {}", peer.useful));
            }
        }
        outstanding.sort_unstable();
        let mut pairs = outstanding.iter().zip(outstanding.iter().skip(1));
        if let Some((span, _)) = pairs.find(|(one, two)| one == two && !self.picker.has_twins(one.piece)) {
            return Err(alloc::format!("{span:?} is asked for twice, though not in an endgame"));
        }
        for (piece, &holders) in self.geometry.iter().zip(&holders) {
            let told = self.picker.availability(piece);
            if holders != told {
                return Err(alloc::format!("piece {piece} is at {holders} peers, not {told}"));
            }
        }
        self.picker.check_invariants()
    }

    fn send(&mut self, now: Time, key: PeerKey, message: quelea_wire::Message) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.spoke = now;
            self.outputs.push_back(Output::Send(key, message));
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
