//! A fetch of metadata whose peers say whatever the input says.
//!
//! What must hold: what is done has the hash; sizes that are worked at are bounded; an honest peer that comes at the end
//! leads to the dictionary, and is banned by nobody's doing but its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_discovery::Source;
use quelea_metainfo::InfoHashes;
use quelea_swarm::event::Hello;
use quelea_swarm::metadata::{Config, Fetch, Output};
use quelea_swarm::peers::PeerKey;
use quelea_time::Time;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::metadata::{MetadataMessage, PIECE};
use quelea_wire::extension::{Extension, Ids};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Message, PeerId};
use std::time::Duration;

/// Bytes of the dictionary: three pieces.
const LENGTH: usize = 2 * PIECE + 700;
const THEIRS: u8 = 9;

struct World {
    fetch: Fetch,
    now: Time,
    right: Vec<u8>,
    wrong: Vec<u8>,
    keys: Vec<Option<PeerKey>>,
    asked: Vec<(PeerKey, u32)>,
    done: bool,
    banned: Vec<u8>,
}

impl World {
    fn drain(&mut self) {
        while let Some(output) = self.fetch.poll_output() {
            match output {
                Output::Send(key, Message::Extended { id: THEIRS, payload }) => {
                    if let Ok(MetadataMessage::Request { piece }) = MetadataMessage::parse(&payload) {
                        self.asked.push((key, piece));
                        assert!(self.asked.len() < 100_000, "it asks without end");
                    }
                }
                Output::Disconnect(gone, _) => {
                    for key in &mut self.keys {
                        if *key == Some(gone) {
                            *key = None;
                        }
                    }
                }
                Output::Banned(std::net::IpAddr::V4(ip), _) => self.banned.push(ip.octets()[2]),
                Output::Done(whole) => {
                    assert!(!self.done, "done twice");
                    assert!(whole == self.right, "what is done has not the hash");
                    self.done = true;
                }
                Output::Contradiction => panic!("there is one hash"),
                Output::Connect(address) => self.fetch.handle_connect_failed(self.now, address),
                Output::Send(..) | Output::Banned(..) => {}
            }
        }
        let progress = self.fetch.progress();
        assert!(progress.size.is_none_or(|size| size as usize <= quelea_wire::limits::METADATA));
        assert!(progress.received <= progress.size.unwrap_or(0));
    }

    fn comes(&mut self, number: u8) {
        let at = usize::from(number);
        if self.keys[at].is_some() {
            return;
        }
        let hello = Hello {
            address: ([10, 0, number, 1], 6881).into(),
            incoming: true,
            peer_id: PeerId([number; 20]),
            reserved: Reserved::NONE.with(Feature::ExtensionProtocol),
        };
        self.keys[at] = self.fetch.handle_connected(self.now, hello).ok();
        self.drain();
    }

    fn says(&mut self, number: u8, message: &Message) {
        if let Some(key) = self.keys[usize::from(number)] {
            self.fetch.handle_message(self.now, key, message);
            self.drain();
        }
    }

    fn says_size(&mut self, number: u8, size: u32) {
        let mut ids = Ids::default();
        ids.set(Extension::Metadata, THEIRS);
        let said = ExtensionHandshake { ids, metadata_size: Some(size), ..ExtensionHandshake::default() };
        self.says(number, &Message::Extended { id: 0, payload: said.encode() });
    }

    fn says_metadata(&mut self, number: u8, said: &MetadataMessage<'_>) {
        let payload = said.encode();
        self.says(number, &Message::Extended { id: Extension::Metadata.own_id(), payload });
    }

    fn gives(&mut self, number: u8, piece: u32, total_size: u32, right: bool) {
        let whole = if right { self.right.clone() } else { self.wrong.clone() };
        let data = whole.chunks(PIECE).nth(piece as usize).unwrap_or(b"more").to_vec();
        self.says_metadata(number, &MetadataMessage::Data { piece, total_size, data: &data });
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.fetch.handle_timeout(self.now);
        self.drain();
    }
}

/// Peers of the script have numbers below this one, which is the honest peer's.
const HONEST: u8 = 12;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let right: Vec<u8> = (0..LENGTH).map(|at| (at / 5) as u8).collect();
    let wrong: Vec<u8> = right.iter().map(|byte| byte ^ 1).collect();
    let Some(hashes) = InfoHashes::new(Some(quelea_digest::sha1(&right)), None) else { return };
    let config = Config {
        hashes,
        peer_id: PeerId([0xff; 20]),
        client: String::new(),
        port: Some(1),
        max_peers: 20,
        max_half_open: 5,
        peer_exchange: true,
        seed: 1,
    };
    let mut world = World {
        fetch: Fetch::new(Time::ZERO, config),
        now: Time::ZERO,
        right,
        wrong,
        keys: vec![None; usize::from(HONEST) + 1],
        asked: Vec::new(),
        done: false,
        banned: Vec::new(),
    };
    while let Some((&step, rest)) = data.split_first() {
        data = rest;
        let mut word = || {
            let (bytes, rest) = data.split_at(data.len().min(2));
            data = rest;
            bytes.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte))
        };
        let (number, value) = (step % HONEST, word());
        let piece = value & 0xff;
        match step / HONEST {
            0..=3 => world.comes(number),
            4 => {
                if let Some(key) = world.keys[usize::from(number)].take() {
                    world.fetch.handle_disconnected(world.now, key);
                    world.drain();
                }
            }
            5..=6 => world.says_size(number, LENGTH as u32),
            7 => world.says_size(number, value << 16 | word()),
            8..=12 => {
                let key = world.keys[usize::from(number)];
                let last = world.asked.iter().rev().find(|(asked, _)| Some(*asked) == key);
                if let Some(&(_, piece)) = last {
                    world.gives(number, piece, LENGTH as u32, value % 2 == 0);
                }
            }
            13 => world.gives(number, piece, word(), value > 1_000),
            14 => world.says_metadata(number, &MetadataMessage::Reject { piece }),
            15 => world.says_metadata(number, &MetadataMessage::Request { piece }),
            16..=17 => {
                let length = usize::from((value >> 8) as u8);
                let (payload, rest) = data.split_at(data.len().min(length));
                data = rest;
                world.says(number, &Message::Extended { id: piece as u8 % 5, payload: payload.to_vec() });
            }
            _ => world.passes(Duration::from_millis(u64::from(value))),
        }
        if world.done {
            return;
        }
    }
    world.fetch.handle_addresses(world.now, [([10, 1, 1, 1], 1).into()], Source::Tracker);
    world.drain();
    world.asked.clear();
    for _ in 0..4_000 {
        if world.done {
            break;
        }
        world.comes(HONEST);
        world.says_size(HONEST, LENGTH as u32);
        for (key, piece) in std::mem::take(&mut world.asked) {
            if world.keys[usize::from(HONEST)] == Some(key) && !world.done {
                world.gives(HONEST, piece, LENGTH as u32, true);
            }
        }
        world.passes(Duration::from_secs(1));
    }
    assert!(world.done, "an honest peer was there for an hour");
    assert!(!world.banned.contains(&HONEST), "the honest peer was banned");
});
