//! A fetch in virtual time, and peers that behave as a script says.

use quelea_digest::{sha1, sha256};
use quelea_discovery::Source;
use quelea_metainfo::InfoHashes;
use quelea_swarm::event::{Farewell, Hello};
use quelea_swarm::metadata::{Config, Fetch, Output};
use quelea_swarm::peers::PeerKey;
use quelea_time::Time;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::metadata::{MetadataMessage, PIECE};
use quelea_wire::extension::{Extension, Ids};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Message, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The number that peers of these tests give to `ut_metadata`.
const THEIRS: u8 = 3;

/// How a peer behaves.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// It gives what it is asked for, this late.
    Gives(Vec<u8>, Duration),
    /// It gives what it is asked for, and says in its handshake that the dictionary has `length` bytes, and in each
    /// message `total`.
    Miscounts { data: Vec<u8>, length: u32, total: u32 },
    /// It says that the dictionary is this long, and gives nothing.
    Silent(u32),
    /// It rejects every request.
    Rejects(u32),
    /// It speaks no extension.
    Plain,
    /// It never says how long the dictionary is.
    Without,
    /// It answers each request with these messages.
    Answers(u32, Vec<Message>),
    /// It gives, but is dead to a connection on which a request comes while another is being answered.
    OneAtATime { data: Vec<u8>, busy_until: Time, dead: bool },
    /// It rejects this many requests, then gives.
    Reluctant(Vec<u8>, u32),
}

/// A dictionary of this many bytes; those of different seeds differ in every piece.
pub(crate) fn dictionary(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| ((at / 7) as u8).wrapping_mul(31) ^ seed).collect()
}

pub(crate) fn honest(dictionary: &[u8]) -> Manner {
    Manner::Gives(dictionary.to_vec(), Duration::from_millis(50))
}

#[derive(Debug)]
enum Due {
    Connected(SocketAddr),
    Says(PeerKey, Message),
}

pub(crate) struct World {
    pub(crate) fetch: Fetch,
    pub(crate) now: Time,
    pub(crate) manners: BTreeMap<SocketAddr, Manner>,
    pub(crate) keys: BTreeMap<PeerKey, SocketAddr>,
    pub(crate) banned: BTreeSet<IpAddr>,
    pub(crate) done: Option<Vec<u8>>,
    pub(crate) contradiction: bool,
    /// Requests that reached each peer.
    pub(crate) asked: BTreeMap<SocketAddr, Vec<u32>>,
    pub(crate) farewells: BTreeMap<SocketAddr, Farewell>,
    agenda: BTreeMap<(Time, u64), Due>,
    number: u64,
}

impl World {
    pub(crate) fn new(hashes: InfoHashes, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            hashes,
            peer_id: PeerId([0xff; 20]),
            client: "test".into(),
            port: Some(6881),
            max_peers: 30,
            max_half_open: 10,
            peer_exchange: true,
            seed: 5,
        };
        change(&mut config);
        Self {
            fetch: Fetch::new(Time::ZERO, config),
            now: Time::ZERO,
            manners: BTreeMap::new(),
            keys: BTreeMap::new(),
            banned: BTreeSet::new(),
            done: None,
            contradiction: false,
            asked: BTreeMap::new(),
            farewells: BTreeMap::new(),
            agenda: BTreeMap::new(),
            number: 0,
        }
    }

    /// For a v1 magnet link of this dictionary.
    pub(crate) fn v1(dictionary: &[u8]) -> Self {
        Self::new(InfoHashes::new(Some(sha1(dictionary)), None).unwrap(), |_| {})
    }

    /// For a v2 magnet link of this dictionary.
    pub(crate) fn v2(dictionary: &[u8]) -> Self {
        Self::new(InfoHashes::new(None, Some(sha256(dictionary))).unwrap(), |_| {})
    }

    /// A peer that trackers name, each in a neighbourhood of its own.
    pub(crate) fn peer(&mut self, manner: Manner) -> SocketAddr {
        let number = self.manners.len() as u8 + 1;
        let address = SocketAddr::from(([10, 0, number, 1], 6881));
        self.manners.insert(address, manner);
        self.fetch.handle_addresses(self.now, [address], Source::Tracker);
        self.drain();
        address
    }

    /// Lives until it is done, for this long at most.
    pub(crate) fn run(&mut self, for_at_most: Duration) -> bool {
        let end = self.now + for_at_most;
        while self.done.is_none() && !self.contradiction {
            let next = self.agenda.first_key_value().map(|((time, _), _)| *time);
            let Some(next) = next.into_iter().chain(self.fetch.timeout()).min() else { return false };
            if next > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(next);
            if self.agenda.first_key_value().is_some_and(|((time, _), _)| *time <= self.now) {
                let (_, due) = self.agenda.pop_first().unwrap();
                self.happen(due);
            } else {
                self.fetch.handle_timeout(self.now);
            }
            self.drain();
        }
        self.done.is_some()
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Connected(address) => {
                let Some(manner) = self.manners.get(&address).cloned() else {
                    return self.fetch.handle_connect_failed(self.now, address);
                };
                let extended = if matches!(manner, Manner::Plain) {
                    Reserved::NONE
                } else {
                    Reserved::NONE.with(Feature::ExtensionProtocol)
                };
                let [_, _, number, _] = match address.ip() {
                    IpAddr::V4(ip) => ip.octets(),
                    IpAddr::V6(_) => [0; 4],
                };
                let peer_id = PeerId([number; 20]);
                let hello = Hello { address, incoming: false, peer_id, reserved: extended };
                let Ok(key) = self.fetch.handle_connected(self.now, hello) else { return };
                self.keys.insert(key, address);
                if let Some(Manner::OneAtATime { dead, .. }) = self.manners.get_mut(&address) {
                    *dead = false;
                }
                let size = match &manner {
                    Manner::Gives(data, _) | Manner::Reluctant(data, _) | Manner::OneAtATime { data, .. } => {
                        Some(data.len() as u32)
                    }
                    Manner::Silent(size) | Manner::Rejects(size) | Manner::Answers(size, _) => Some(*size),
                    Manner::Miscounts { length, .. } => Some(*length),
                    Manner::Plain => return,
                    Manner::Without => None,
                };
                self.says_size(key, size);
            }
            Due::Says(key, message) => self.fetch.handle_message(self.now, key, &message),
        }
    }

    pub(crate) fn says_size(&mut self, key: PeerKey, metadata_size: Option<u32>) {
        let mut ids = Ids::default();
        ids.set(Extension::Metadata, THEIRS);
        let payload = ExtensionHandshake { ids, metadata_size, ..ExtensionHandshake::default() }.encode();
        self.later(Duration::from_millis(10), Due::Says(key, Message::Extended { id: 0, payload }));
    }

    fn later(&mut self, delay: Duration, due: Due) {
        self.number += 1;
        self.agenda.insert((self.now + delay, self.number), due);
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.fetch.poll_output() {
            match output {
                Output::Connect(address) => self.later(Duration::from_millis(30), Due::Connected(address)),
                Output::Send(key, Message::Extended { id: THEIRS, payload }) => {
                    if let Ok(MetadataMessage::Request { piece }) = MetadataMessage::parse(&payload) {
                        self.answer(key, piece);
                    }
                }
                Output::Send(..) => {}
                Output::Disconnect(key, why) => {
                    let address = self.keys.remove(&key).unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
                    self.farewells.insert(address, why);
                }
                Output::Banned(ip, _) => assert!(self.banned.insert(ip), "{ip} is banned twice"),
                Output::Done(whole) => self.done = Some(whole),
                Output::Contradiction => self.contradiction = true,
            }
        }
    }

    fn answer(&mut self, key: PeerKey, piece: u32) {
        let Some(&address) = self.keys.get(&key) else { return };
        self.asked.entry(address).or_default().push(piece);
        let reject = || message(&MetadataMessage::Reject { piece });
        let give = |data: &[u8]| match data.chunks(PIECE).nth(piece as usize) {
            Some(part) => {
                message(&MetadataMessage::Data { piece, total_size: data.len() as u32, data: part })
            }
            None => reject(),
        };
        let now = self.now;
        let usual = Duration::from_millis(50);
        let (delay, said) = match self.manners.get_mut(&address).unwrap() {
            Manner::Gives(data, delay) => (*delay, vec![give(data)]),
            Manner::Miscounts { data, total, .. } => {
                let part = data.chunks(PIECE).nth(piece as usize);
                let given =
                    part.map(|data| message(&MetadataMessage::Data { piece, total_size: *total, data }));
                (usual, vec![given.unwrap_or_else(reject)])
            }
            Manner::Silent(_) | Manner::Plain | Manner::Without => return,
            Manner::Rejects(_) => (usual, vec![reject()]),
            Manner::Answers(_, messages) => (usual, messages.clone()),
            Manner::OneAtATime { data, busy_until, dead } => {
                *dead |= now < *busy_until;
                if *dead {
                    return;
                }
                *busy_until = now + usual;
                (usual, vec![give(data)])
            }
            Manner::Reluctant(data, 0) => (usual, vec![give(data)]),
            Manner::Reluctant(_, left) => {
                *left -= 1;
                (usual, vec![reject()])
            }
        };
        for message in said {
            self.later(delay, Due::Says(key, message));
        }
    }
}

/// A metadata message as our own handshake numbers it.
pub(crate) fn message(said: &MetadataMessage<'_>) -> Message {
    Message::Extended { id: Extension::Metadata.own_id(), payload: said.encode() }
}
