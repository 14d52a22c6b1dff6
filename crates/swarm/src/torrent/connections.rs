//! Who is connected: dialling, letting in, greeting, seeing off.

use super::Torrent;
use super::peer::Peer;
use super::upload::{MAX_ASKED, Occasion};
use crate::door::{KEEP_ALIVE, MAX_FAULTS, SILENCE, crowd, is_presumed_dead, is_same_peer};
use crate::event::{Event, Farewell, Hello, Output, Refusal};
use crate::peers::PeerKey;
use crate::picker::SAVED;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use quelea_discovery::filter::Filter;
use quelea_discovery::network::{host, network};
use quelea_discovery::{Parting, Source};
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::{Extension, HANDSHAKE};
use quelea_wire::fast::allowed_fast;
use quelea_wire::handshake::Feature;

/// Pieces given to a newcomer though it is choked (BEP 6, "allowed fast").
const ALLOWED_FAST: usize = 10;
/// A peer that nobody wants anything of for this long gives its place to another.
const IDLE: Duration = Duration::from_secs(20);
/// The blocks of a peer that has sent none of them for this long are late.
const LATE: Duration = Duration::from_secs(5);
/// How often peers give way to others (libtorrent: five minutes).
const TURNOVER: Duration = Duration::from_secs(300);
/// One of this many gives way (libtorrent: 4 %).
const TURNOVER_PART: usize = 25;

impl<B> Torrent<B> {
    /// Addresses were learnt. Those that cannot be peers are left out, and the list is bounded.
    pub fn handle_addresses(
        &mut self,
        now: Time,
        addresses: impl IntoIterator<Item = SocketAddr>,
        source: Source,
    ) {
        self.door.list.add_all(now, addresses, source);
        self.connect_more(now);
    }

    /// How others reach us: at this port, and at these addresses, at most one a family. Peers that greet from here on
    /// are told, and the order of BEP 40 counts from there.
    pub fn set_face(&mut self, port: u16, addresses: Vec<IpAddr>) {
        self.port = Some(port);
        for &ip in &addresses {
            self.door.list.set_external(SocketAddr::new(ip, port));
        }
        self.external = addresses;
    }

    /// The handshake with a peer is done. Its key, or why it is not let in.
    ///
    /// # Errors
    /// A [`Refusal`]; the driver then closes the connection.
    pub fn handle_connected(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Refusal> {
        self.door.greeted(hello.address);
        for twin in self.twins_to_replace(now, &hello) {
            self.disconnect(now, twin, Farewell::Twin);
        }
        match self.admit(now, &hello) {
            Err(Refusal::Full) => self.make_room(now, hello.address.ip()),
            Err(Refusal::Crowd) => self.make_room_in_crowd(now, hello.address.ip()),
            Ok(())
            | Err(
                Refusal::Banned
                | Refusal::Blocked
                | Refusal::Duplicate
                | Refusal::Ourselves
                | Refusal::Stopped,
            ) => {}
        }
        if let Err(refusal) = self.admit(now, &hello) {
            self.door.turn_away(now, &hello, refusal);
            return Err(refusal);
        }
        self.door.let_in(now, &hello);
        let mut peer = Peer::new(now, hello, self.geometry.pieces());
        peer.tally = self.picker.peer_joined(&peer.has);
        let key = self.peers.insert(peer);
        self.exchange_dialled(key);
        self.note_company(now);
        self.greet(now, key);
        self.next_tick = self.next_tick.min(now + super::TICK);
        Ok(key)
    }

    /// The connections that this one replaces.
    ///
    /// A peer that comes back after a silent death takes the place of its dead self. And when two peers dial each other
    /// at the same moment, both must keep the same one of the two connections, or they would close both: it is the one
    /// that the greater peer id dialled.
    fn twins_to_replace(&self, now: Time, hello: &Hello) -> Vec<PeerKey> {
        let we_should_dial = self.peer_id > hello.peer_id;
        let right_way = |incoming: bool| incoming != we_should_dial;
        let crossed = |twin: &Peer| {
            twin.peer_id == hello.peer_id && right_way(hello.incoming) && !right_way(twin.incoming)
        };
        self.peers.keys_where(|twin| {
            is_same_peer(hello, &twin.address, &twin.peer_id)
                && (is_presumed_dead(now, twin.heard) || crossed(twin))
        })
    }

    fn admit(&self, now: Time, hello: &Hello) -> Result<(), Refusal> {
        if self.stopped {
            return Err(Refusal::Stopped);
        }
        self.door.admit(now, hello, self.peers.iter().map(|(_, peer)| (&peer.address, &peer.peer_id)))
    }

    /// A connection could not be made, or its handshake failed.
    pub fn handle_connect_failed(&mut self, now: Time, address: SocketAddr) {
        self.door.connect_failed(now, address);
        self.connect_more(now);
    }

    /// A connection ended by the peer's doing or the network's.
    pub fn handle_disconnected(&mut self, now: Time, key: PeerKey) {
        let how = match self.peers.get(key) {
            Some(peer) if peer.metadata.is_any() => Parting::LostWithMetadata,
            _ => Parting::Lost,
        };
        if self.forget(now, key, how) {
            self.connect_more(now);
        }
    }

    /// The peer broke the protocol on the way to a message.
    pub fn handle_fault(&mut self, now: Time, key: PeerKey, what: &'static str) {
        self.disconnect(now, key, Farewell::Fault(what));
    }

    /// Something small was wrong; many such end the connection.
    pub(super) fn misdeed(&mut self, now: Time, key: PeerKey, what: &'static str) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.faults += 1;
        if peer.faults >= MAX_FAULTS {
            self.handle_fault(now, key, what);
        }
    }

    /// Counts what a peer costs by messages that lead to nothing. One that costs too much is left, and not let in
    /// again for a while. Whether it is still there.
    pub(super) fn charge(&mut self, now: Time, key: PeerKey, units: u32) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        if peer.toll.charge(now, units) {
            return true;
        }
        self.door.shun(now, peer.address.ip());
        self.handle_fault(now, key, "a flood of messages that lead to nothing");
        false
    }

    pub(super) fn disconnect(&mut self, now: Time, key: PeerKey, why: Farewell) {
        if self.forget(now, key, why.parting()) {
            self.outputs.push_back(Output::Disconnect(key, why));
        }
    }

    pub(super) fn ban(&mut self, now: Time, ip: IpAddr, why: &'static str) {
        // Who sent what was saved by an earlier run is not known.
        if ip != SAVED.ip && self.door.ban(ip) {
            self.tell(Event::Banned(ip, why));
            self.show_out(now, Farewell::Banned);
        }
    }

    /// Sees off those who may not stay any more.
    fn show_out(&mut self, now: Time, why: Farewell) {
        for key in self.peers.keys_where(|peer| self.door.is_closed_to(peer.address.ip())) {
            self.disconnect(now, key, why);
        }
    }

    /// Has nothing to do with this address any more, as the user wants.
    pub fn handle_ban(&mut self, now: Time, ip: IpAddr) {
        self.ban(now, ip, "the user said so");
    }

    /// Takes a ban back.
    pub fn handle_unban(&mut self, ip: IpAddr) {
        self.door.list.unban(ip);
    }

    /// Blocks addresses from here on; those that are connected are seen off.
    pub fn set_filter(&mut self, now: Time, filter: Arc<Filter>) {
        self.door.list.set_filter(filter);
        self.show_out(now, Farewell::Blocked);
    }

    /// While others wait for a place, those that give least are seen off from time to time, so that the torrent
    /// meets better ones. Who takes from us in turn, and who came a moment ago, stays.
    pub(super) fn turn_over(&mut self, now: Time) {
        if self.completed || now < self.next_turnover {
            return;
        }
        self.next_turnover = now + TURNOVER;
        if !self.door.is_crowded(self.peers.len()) || self.door.list.candidate(now).is_none() {
            return;
        }
        let mut worst: Vec<(u64, PeerKey)> = Vec::new();
        for (key, peer) in self.peers.iter_mut() {
            let idle = !peer.we_are_interested || peer.it_chokes_us || peer.pipeline.is_snubbed();
            if idle && peer.we_choke_it && now.since(peer.joined) >= TURNOVER / 2 {
                worst.push((peer.pipeline.rate(now), key));
            }
        }
        worst.sort_unstable();
        let places = self.peers.len().div_ceil(TURNOVER_PART);
        for (_, key) in worst.into_iter().take(places) {
            self.disconnect(now, key, Farewell::Outdone);
        }
    }

    /// Takes a peer out of everything. Whether it was there.
    fn forget(&mut self, now: Time, key: PeerKey, parting: Parting) -> bool {
        self.release_all(key);
        let Some(peer) = self.peers.remove(key) else { return false };
        self.picker.peer_left(key, &peer.has, peer.tally);
        self.withdraw_promises(&peer.promised);
        if let Some(shown) = &peer.shown {
            self.withdraw_offers(shown);
        }
        self.door.left(now, peer.address, parting);
        self.note_loss(now);
        let had_slot = !peer.we_choke_it;
        self.exchange_left(peer);
        if had_slot {
            self.choose_unchoked(now, Occasion::Between);
        }
        self.wake_idle_peers();
        true
    }

    /// Has a peer make room for somebody at the address `newcomer`: one that is of no use to either side, the longest
    /// first, or one of a network that has many.
    fn make_room(&mut self, now: Time, newcomer: IpAddr) {
        if !self.see_off_useless(now, |_| true)
            && let Some(crowd) = crowd(newcomer, self.peers.iter().map(|(_, peer)| peer.address.ip()))
            && let Some(key) = self.least_of(now, crowd)
        {
            self.disconnect(now, key, Farewell::Outdone);
        }
    }

    /// Has a peer of no use make room for another one of the same host.
    fn make_room_in_crowd(&mut self, now: Time, newcomer: IpAddr) {
        self.see_off_useless(now, |ip| host(ip) == host(newcomer));
    }

    /// Sees off a peer that is of no use to either side, the longest first, among those at these addresses.
    fn see_off_useless(&mut self, now: Time, meant: impl Fn(IpAddr) -> bool) -> bool {
        let useless = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_of_no_use(now, IDLE) && meant(peer.address.ip()))
            .min_by_key(|(_, peer)| peer.interest_changed)
            .map(|(key, _)| key);
        if let Some(key) = useless {
            self.disconnect(now, key, Farewell::Useless);
        }
        useless.is_some()
    }

    /// The peer of a network that gives and takes least, and of several the oldest. Never one that delivers.
    fn least_of(&mut self, now: Time, of: IpAddr) -> Option<PeerKey> {
        let delivers = |peer: &Peer| peer.delivered && peer.we_are_interested && !peer.pipeline.is_snubbed();
        let members =
            self.peers.iter_mut().filter(|(_, peer)| network(peer.address.ip()) == of && !delivers(peer));
        members
            .map(|(key, peer)| (peer.upload_rate.per_second(now), peer.joined, key))
            .min()
            .map(|(.., key)| key)
    }

    /// Dials as many addresses as may be dialled at this moment.
    pub(super) fn connect_more(&mut self, now: Time) {
        if self.stopped {
            return;
        }
        // Without this a torrent whose peers have all become useless would never meet another.
        if self.door.is_full(self.peers.len())
            && !self.completed
            && let Some(candidate) = self.door.list.candidate(now)
        {
            self.make_room(now, candidate.ip());
        }
        let dialled = self.door.dial(now, self.peers.len());
        self.outputs.extend(dialled.into_iter().map(Output::Connect));
    }

    fn greet(&mut self, now: Time, key: PeerKey) {
        let Some(peer) = self.peers.get(key) else { return };
        let (fast, extended, address) =
            (peer.is_fast(), peer.reserved.has(Feature::ExtensionProtocol), peer.address);
        let have = self.picker.have();
        let hides = self.is_super_seeding();
        let (none, all) = (hides || have.is_none(), !hides && have.is_all());
        if fast && all {
            self.send(now, key, Message::HaveAll);
        } else if fast && none {
            self.send(now, key, Message::HaveNone);
        } else if !none {
            let bits = have.as_wire().to_vec();
            self.send(now, key, Message::Bitfield(bits));
        }
        if extended {
            let handshake = ExtensionHandshake {
                ids: self.own_extensions(),
                metadata_size: self.metadata_size(),
                client: Some(self.client.clone()),
                port: self.port,
                requests: Some(MAX_ASKED as u32),
                your_ip: Some(address.ip()),
                ipv4: self.other_address(address.ip()).and_then(of_v4),
                ipv6: self.other_address(address.ip()).and_then(of_v6),
                upload_only: Some(self.completed && !hides),
                ..ExtensionHandshake::default()
            };
            self.send(now, key, Message::Extended { id: 0, payload: handshake.encode() });
        }
        if !fast && none {
            // rTorrent waits with all that it would say for a bitfield, or for another message after the handshakes.
            self.send(now, key, Message::KeepAlive);
        }
        self.tell_node(now, key);
        if hides {
            self.hide_from(now, key);
        }
        if fast && !none {
            let set = allowed_fast(address.ip(), &self.info_hash, self.geometry.pieces(), ALLOWED_FAST);
            for number in set {
                let Some(piece) = self.geometry.piece(number).filter(|&piece| self.picker.have().has(piece))
                else {
                    continue;
                };
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.fast_given.insert(piece);
                }
                self.send(now, key, Message::AllowedFast(piece.get()));
            }
        }
    }

    /// Our address of the family that `theirs` is not of, where a peer that has both may reach us too. Peers of a private
    /// torrent know us by their trackers alone (BEP 27).
    fn other_address(&self, theirs: IpAddr) -> Option<IpAddr> {
        if self.private {
            return None;
        }
        self.external.iter().copied().find(|ours| ours.is_ipv4() != theirs.is_ipv4())
    }

    /// A message of an extension, or the extension handshake (BEP 10).
    pub(super) fn handle_extended(&mut self, now: Time, key: PeerKey, id: u8, payload: &[u8]) {
        if id == HANDSHAKE {
            return self.handle_extension_handshake(now, key, payload);
        }
        match Extension::of_own_id(id).filter(|&meant| self.own_extensions().id(meant).is_some()) {
            Some(Extension::Metadata) => self.handle_metadata(now, key, payload),
            Some(Extension::Pex) => self.handle_exchange(now, key, payload),
            // What we gave no number cannot be meant for us.
            Some(Extension::DontHave | Extension::UploadOnly) | None => {}
        }
    }

    /// What the extension handshake of a peer tells (BEP 10).
    fn handle_extension_handshake(&mut self, now: Time, key: PeerKey, payload: &[u8]) {
        let Ok(handshake) = ExtensionHandshake::parse(payload) else {
            self.misdeed(now, key, "an extension handshake that cannot be read");
            return;
        };
        self.exchange_heard(key, &handshake);
        let Some(peer) = self.peers.get_mut(key) else { return };
        if let Some(address) = handshake.your_ip.filter(|_| !peer.saw_us) {
            peer.saw_us = true;
            self.outputs.push_back(Output::Event(Event::SeenAt { by: peer.address.ip(), address }));
        }
        peer.extensions.update(&handshake.ids);
        if let Some(reqq) = handshake.requests {
            peer.pipeline.set_reqq(reqq as usize);
        }
        if handshake.client.is_some() {
            peer.client = handshake.client;
        }
        if let (true, Some(port)) = (peer.incoming, handshake.port) {
            // A refusal concerns that address alone.
            let _ = self.door.list.listens_on(now, peer.address, port);
        }
    }

    /// Notes which blocks keep memory from other pieces, or the torrent from its end, so that others may be asked
    /// for them too.
    pub(super) fn note_late_blocks(&mut self, now: Time) {
        let pressing =
            self.picker.is_full() || self.picker.is_endgame() || self.picker.urgent().next().is_some();
        if pressing && !self.download_limited {
            for span in self.peers.iter().flat_map(|(_, peer)| peer.pipeline.late(now, LATE)) {
                self.picker.note_late(span.piece);
            }
        }
    }

    /// Keep-alives, silence, snubbing, connections that are of no use.
    pub(super) fn look_after_peers(&mut self, now: Time) {
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            if now.since(peer.heard) >= SILENCE {
                self.disconnect(now, key, Farewell::Silent);
                continue;
            }
            let (quiet, snubbed) = (
                now.since(peer.spoke) >= KEEP_ALIVE,
                !self.download_limited && peer.pipeline.check_snub(now),
            );
            if self.completed && peer.is_seed {
                self.disconnect(now, key, Farewell::BothSeeds);
                continue;
            }
            if snubbed {
                self.give_up_requests(key);
            }
            self.give_metadata(now, key);
            if quiet {
                self.send(now, key, Message::KeepAlive);
            }
            self.wants_refill(key);
        }
    }
}

fn of_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

fn of_v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}
