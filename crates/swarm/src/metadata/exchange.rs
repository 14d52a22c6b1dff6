//! Asking for pieces, and what comes of it.

use super::assembly::{Assembly, Origin, length_of};
use super::{Fetch, Output};
use crate::event::Farewell;
use crate::peers::PeerKey;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;
use core::time::Duration;
use quelea_discovery::Source;
use quelea_discovery::network::network;
use quelea_discovery::peers::CAPACITY;
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::metadata::MetadataMessage;
use quelea_wire::extension::pex::Pex;
use quelea_wire::extension::{Extension, HANDSHAKE};
use quelea_wire::limits::{BITFIELD, METADATA};

/// A request that is not answered by then is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// When everything is asked for, one that is not answered by then is made to another peer as well.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// Copies that are remembered, beside those that peers who are connected speak of.
const REMEMBERED: usize = 64;
/// Bytes of all copies together: the longest that is believed, and some of others beside it.
const HELD: usize = METADATA + (4 << 20);
/// Pieces that the torrent has at most, for all that is known of it.
const MOST_PIECES: u32 = 8 * BITFIELD as u32;
/// Between two messages of a peer that tell of others (BEP 11 wants a minute).
const EXCHANGE: Duration = Duration::from_secs(30);

impl Fetch {
    /// A message came.
    pub fn handle_message(&mut self, now: Time, key: PeerKey, message: &Message) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.heard = now;
        match message {
            Message::Extended { id: HANDSHAKE, payload } => {
                self.handle_extension_handshake(now, key, message, payload);
            }
            Message::Extended { id, payload } => match Extension::of_own_id(*id) {
                Some(Extension::Metadata) => self.handle_metadata(now, key, message, payload),
                Some(Extension::Pex) if self.config.peer_exchange => {
                    self.handle_exchange(now, key, message, payload);
                }
                Some(Extension::Pex | Extension::DontHave | Extension::UploadOnly) | None => {
                    self.chatter(now, key, message);
                }
            },
            Message::KeepAlive
            | Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::Have(_)
            | Message::Bitfield(_)
            | Message::Request(_)
            | Message::Cancel(_)
            | Message::Port(_)
            | Message::Suggest(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::Reject(_)
            | Message::AllowedFast(_)
            | Message::HashRequest(_)
            | Message::Hashes { .. }
            | Message::HashReject(_)
            | Message::Unknown(_) => self.chatter(now, key, message),
        }
    }

    /// Bytes came, though perhaps no message is whole.
    pub fn handle_alive(&mut self, now: Time, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.heard = now;
        }
    }

    /// A message that is of no use to a fetch.
    fn chatter(&mut self, now: Time, key: PeerKey, message: &Message) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let opening = core::mem::replace(&mut peer.may_send_bitfield, false);
        let units = peer.toll.price(message, MOST_PIECES, opening);
        if !peer.toll.charge(now, units) {
            self.door.shun(now, peer.address.ip());
            self.handle_fault(now, key, "a flood of messages that lead to nothing");
        }
    }

    /// What a peer says of itself (BEP 10).
    fn handle_extension_handshake(&mut self, now: Time, key: PeerKey, message: &Message, payload: &[u8]) {
        let Ok(handshake) = ExtensionHandshake::parse(payload) else {
            return self.misdeed(now, key, "an extension handshake that cannot be read");
        };
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.extensions.update(&handshake.ids);
        if let (true, Some(port)) = (peer.incoming, handshake.port) {
            // A refusal concerns that address alone.
            let _ = self.door.list.listens_on(now, peer.address, port);
        }
        let before = peer.size;
        let changes = handshake.metadata_size.is_some_and(|size| before != Some(size));
        if let Some(size) = handshake.metadata_size.filter(|_| changes) {
            peer.size = Some(size);
            peer.give_up(|_| true);
            if before.is_some() {
                return self.misdeed(now, key, "metadata whose length changes");
            }
            peer.useful = now;
            self.look_after_assemblies(now);
        } else {
            self.chatter(now, key, message);
        }
        self.ask(now);
    }

    /// Peers that a peer knows (BEP 11).
    fn handle_exchange(&mut self, now: Time, key: PeerKey, message: &Message, payload: &[u8]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if now < peer.next_exchange {
            return self.chatter(now, key, message);
        }
        peer.next_exchange = now + EXCHANGE;
        match Pex::parse(payload) {
            Ok(exchange) => {
                let added = exchange.added.into_iter().map(|(address, _)| address);
                self.handle_addresses(now, added, Source::Pex);
            }
            Err(_) => self.misdeed(now, key, "a peer exchange that cannot be read"),
        }
    }

    fn handle_metadata(&mut self, now: Time, key: PeerKey, message: &Message, payload: &[u8]) {
        match MetadataMessage::parse(payload) {
            Ok(MetadataMessage::Data { piece, total_size, data }) => {
                self.handle_data(now, key, piece, total_size, data);
            }
            Ok(MetadataMessage::Reject { piece }) => {
                let Some(peer) = self.peers.get_mut(key) else { return };
                if peer.answers(piece) {
                    peer.refuses(now);
                } else {
                    self.chatter(now, key, message);
                }
                self.ask(now);
            }
            // Who has no metadata must say so (BEP 9, "request").
            Ok(MetadataMessage::Request { piece }) => {
                let id = self.peers.get(key).and_then(|peer| peer.extensions.id(Extension::Metadata));
                if let Some(id) = id {
                    let payload = MetadataMessage::Reject { piece }.encode();
                    self.send(now, key, Message::Extended { id, payload });
                }
                self.misdeed(now, key, "requests for metadata that we do not have");
            }
            Ok(MetadataMessage::Unknown) => self.chatter(now, key, message),
            Err(_) => self.misdeed(now, key, "a metadata message that cannot be read"),
        }
    }

    fn handle_data(&mut self, now: Time, key: PeerKey, piece: u32, total_size: u32, data: &[u8]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if !peer.answers(piece) {
            return self.misdeed(now, key, "metadata that nobody asked for");
        }
        let Some(size) = peer.size else { return };
        if data.len() == length_of(size, piece) {
            // Whatever it says of the whole: the hash will tell.
            return self.take_piece(now, key, size, piece, data);
        }
        if piece == 0 && self.has_right_hash(data).1 {
            // It sent all of it in one message, or is mistaken about its length.
            return self.finish(now, size, data.to_vec());
        }
        if total_size > 0 && total_size != size && data.len() == length_of(total_size, piece) {
            // Its handshake told another length.
            if let Some(peer) = self.peers.get_mut(key) {
                peer.size = Some(total_size);
                peer.give_up(|_| true);
            }
            self.misdeed(now, key, "metadata whose length changes");
            self.look_after_assemblies(now);
            return self.take_piece(now, key, total_size, piece, data);
        }
        self.handle_fault(now, key, "metadata of another length than it said");
    }

    /// Takes a piece that is as long as it must be in a copy of this length.
    fn take_piece(&mut self, now: Time, key: PeerKey, size: u32, piece: u32, data: &[u8]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(assembly) = self.assemblies.get_mut(&size) else { return };
        peer.gave(now);
        assembly.insert(now, piece, (key, peer.address.ip()), data);
        if assembly.is_whole() {
            self.verify(now, size);
        } else if self.held() > HELD {
            self.look_after_assemblies(now);
        }
        self.ask(now);
    }

    /// Bytes of all copies.
    fn held(&self) -> usize {
        self.assemblies.values().map(|assembly| assembly.received as usize).sum()
    }

    /// Whether bytes have one of the hashes that were named, and whether they have all of them.
    fn has_right_hash(&self, whole: &[u8]) -> (bool, bool) {
        let v1 = self.config.hashes.v1().map(|hash| hash == quelea_digest::sha1(whole));
        let v2 = self.config.hashes.v2().map(|hash| hash == quelea_digest::sha256(whole));
        let any = v1 == Some(true) || v2 == Some(true);
        (any, v1.or(v2) == Some(true) && v2.or(v1) == Some(true))
    }

    /// Here is the dictionary. Those who sent something else in a copy of this length are found.
    fn finish(&mut self, now: Time, size: u32, whole: Vec<u8>) {
        let liars = self.assemblies.get(&size).map(|assembly| assembly.liars(&whole));
        for ip in liars.into_iter().flatten().collect::<BTreeSet<IpAddr>>() {
            self.ban(now, ip, "it sent metadata that is not the torrent's");
        }
        self.ended = true;
        self.assemblies.clear();
        self.outputs.push_back(Output::Done(whole));
    }

    /// A copy is whole.
    fn verify(&mut self, now: Time, size: u32) {
        let Some(assembly) = self.assemblies.get(&size) else { return };
        let whole = assembly.whole();
        let (any_right, all_right) = self.has_right_hash(&whole);
        if all_right {
            self.finish(now, size, whole);
        } else if any_right {
            self.ended = true;
            self.outputs.push_back(Output::Contradiction);
        } else {
            let Some(assembly) = self.assemblies.get_mut(&size) else { return };
            let origin = assembly.is_wrong();
            for key in self.voters(size) {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.give_up(|_| true);
                }
            }
            if let Origin::One(ip) = origin {
                self.ban(now, ip, "it sent metadata that is not the torrent's");
                self.connect_more(now);
            }
            self.look_after_assemblies(now);
        }
    }

    /// The peers that say the dictionary is this long.
    fn voters(&self, size: u32) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, peer)| peer.size == Some(size)).map(|(key, _)| key).collect()
    }

    /// Gives up requests that nobody answers.
    pub(super) fn look_after_requests(&mut self, now: Time) {
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            // A connection that was asked too much of is of no use any more; the next is asked less of.
            if peer.is_choked_by_requests(now, PATIENCE) {
                if self.careful.len() < CAPACITY {
                    self.careful.insert(peer.address);
                }
                self.disconnect(now, key, Farewell::Silent);
                continue;
            }
            if peer.give_up(|since| now.since(since) >= PATIENCE) {
                peer.refuses(now);
            }
        }
    }

    /// Counts votes, and says which copies are worked at, and by whom.
    pub(super) fn look_after_assemblies(&mut self, now: Time) {
        if self.ended {
            return;
        }
        for size in self.peers.iter().filter_map(|(_, peer)| peer.size) {
            self.assemblies.entry(size).or_insert_with(|| Assembly::new(size));
        }
        let told = self.peers.iter().filter_map(|(_, peer)| Some((peer.size?, peer.address.ip())));
        let votes: BTreeSet<(u32, IpAddr)> =
            told.map(|(size, ip)| (size, if ip.is_loopback() { ip } else { network(ip) })).collect();
        let others_wait = self.assemblies.values().any(|assembly| assembly.votes > 0 && !assembly.is_active);
        for assembly in self.assemblies.values_mut() {
            assembly.votes =
                votes.range((assembly.size, LEAST)..).take_while(|(size, _)| *size == assembly.size).count();
            if assembly.is_overdue(now) && others_wait {
                assembly.strikes += 1;
                assembly.is_active = false;
            }
        }
        let mut order: Vec<(bool, u32, Reverse<usize>, u32)> = self
            .assemblies
            .values()
            .map(|assembly| (assembly.votes == 0, assembly.strikes, Reverse(assembly.votes), assembly.size))
            .collect();
        order.sort_unstable();
        let (mut held, mut active) = (0, 0);
        for (rank, (nobodys, _, _, size)) in order.into_iter().enumerate() {
            let voters = self.voters(size);
            let Some(assembly) = self.assemblies.get_mut(&size) else { continue };
            // A copy takes memory by what is here of it, and not by the length that somebody claims: only one that
            // is not begun must fit whole behind those that come before it.
            let needs = if assembly.is_active { assembly.received } else { assembly.size } as usize;
            if !nobodys && (active == 0 || held + needs <= HELD) {
                active += 1;
                held += assembly.received as usize;
                if !assembly.is_active {
                    assembly.begin(now);
                }
                let rng = &mut self.rng;
                assembly.choose_solo(now, &voters, |many| rng.usize(..many));
                continue;
            }
            assembly.is_active = false;
            if held + assembly.received as usize > HELD {
                assembly.clear();
            }
            held += assembly.received as usize;
            if nobodys && rank >= REMEMBERED {
                self.assemblies.remove(&size);
            }
        }
    }

    /// Asks as many peers for as many pieces as they may be asked for, a piece each in turn.
    pub(super) fn ask(&mut self, now: Time) {
        if self.ended {
            return;
        }
        let active = self.assemblies.values().filter(|assembly| assembly.is_active);
        for size in active.map(|assembly| assembly.size).collect::<Vec<_>>() {
            self.ask_for(now, size);
        }
    }

    fn ask_for(&mut self, now: Time, size: u32) {
        let voters = self.voters(size);
        let Some(assembly) = self.assemblies.get(&size) else { return };
        // How often each piece is asked for, and since when at least.
        let mut asked: Vec<(u32, Option<Time>)> = alloc::vec![(0, None); assembly.pieces() as usize];
        for key in &voters {
            let Some(peer) = self.peers.get(*key).filter(|_| assembly.may_ask(*key)) else { continue };
            for (piece, since) in &peer.asked {
                if let Some((times, last)) = asked.get_mut(*piece as usize) {
                    *times += 1;
                    *last = (*last).max(Some(*since));
                }
            }
        }
        let mut next = 0;
        let mut requests: Vec<(PeerKey, u8, u32)> = Vec::new();
        loop {
            let mut any = false;
            for key in &voters {
                let Some(peer) = self.peers.get_mut(*key) else { continue };
                let Some(id) = peer.extensions.id(Extension::Metadata) else { continue };
                if !peer.has_room(now) || !assembly.may_ask(*key) {
                    continue;
                }
                while next < assembly.pieces()
                    && !(assembly.lacks(next)
                        && asked.get(next as usize).is_some_and(|(times, _)| *times == 0))
                {
                    next += 1;
                }
                let piece = if next < assembly.pieces() {
                    next
                } else {
                    let late = (0..).zip(&asked).filter(|(piece, (_, since))| {
                        assembly.lacks(*piece)
                            && since.is_some_and(|since| now.since(since) >= IMPATIENCE)
                            && peer.asked.iter().all(|(asked, _)| asked != piece)
                    });
                    let Some((piece, _)) = late.min_by_key(|(_, (times, _))| *times) else { continue };
                    piece
                };
                peer.asked.push((piece, now));
                if let Some((times, since)) = asked.get_mut(piece as usize) {
                    *times += 1;
                    *since = Some(now);
                }
                requests.push((*key, id, piece));
                any = true;
            }
            if !any {
                break;
            }
        }
        for (key, id, piece) in requests {
            let payload = MetadataMessage::Request { piece }.encode();
            self.send(now, key, Message::Extended { id, payload });
        }
    }
}

/// The least address there is.
const LEAST: IpAddr = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
