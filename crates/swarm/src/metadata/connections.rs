//! Who is connected: dialling, letting in, greeting, seeing off.

use super::peer::Peer;
use super::{Fetch, Output, TICK};
use crate::door::{KEEP_ALIVE, MAX_FAULTS, SILENCE, crowd, is_presumed_dead, is_same_peer};
use crate::event::{Farewell, Hello, Refusal};
use crate::peers::PeerKey;
use crate::torrent::MAX_ASKED;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use quelea_discovery::filter::Filter;
use quelea_discovery::network::network;
use quelea_discovery::peers::CAPACITY;
use quelea_discovery::{Parting, Source};
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::{Extension, HANDSHAKE, Ids};
use quelea_wire::handshake::Feature;

/// A peer that is of no use for this long gives its place to another that waits.
const USELESS: Duration = Duration::from_secs(10);
/// One that is of no use for this long goes, if any other address is worth a try.
const USELESS_LONG: Duration = Duration::from_secs(30);

impl Fetch {
    /// Addresses were learnt. Those that cannot be peers are left out, and the list is bounded.
    pub fn handle_addresses(
        &mut self,
        now: Time,
        addresses: impl IntoIterator<Item = SocketAddr>,
        source: Source,
    ) {
        let addresses = addresses.into_iter().take(CAPACITY);
        if source == Source::Tracker {
            let addresses: alloc::vec::Vec<SocketAddr> = addresses.collect();
            let room = CAPACITY.saturating_sub(self.from_trackers.len());
            // As the list has them.
            let canonical =
                |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            self.from_trackers.extend(addresses.iter().map(canonical).take(room));
            self.door.list.add_all(now, addresses, source);
        } else {
            self.door.list.add_all(now, addresses, source);
        }
        self.connect_more(now);
    }

    /// The world sees us at this address. The first one of each family counts: a fetch is short.
    pub fn handle_external(&mut self, ip: IpAddr) {
        let known = if ip.is_ipv4() { &mut self.external.0 } else { &mut self.external.1 };
        if !core::mem::replace(known, true)
            && let Some(port) = self.config.port
        {
            self.door.list.set_external(SocketAddr::new(ip, port));
        }
    }

    /// The handshake with a peer is done. Its key, or why it is not let in.
    ///
    /// # Errors
    /// A [`Refusal`]; the driver then closes the connection.
    pub fn handle_connected(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Refusal> {
        self.door.greeted(hello.address);
        let is_back = |peer: &Peer| {
            is_same_peer(&hello, &peer.address, &peer.peer_id) && is_presumed_dead(now, peer.heard)
        };
        for dead in self.peers.keys_where(is_back) {
            self.disconnect(now, dead, Farewell::Twin);
        }
        if self.admit(now, &hello) == Err(Refusal::Full) {
            let before = self.peers.len();
            self.make_room(now, USELESS);
            if self.peers.len() == before {
                self.thin_out(now, hello.address.ip());
            }
        }
        if let Err(refusal) = self.admit(now, &hello) {
            self.door.turn_away(now, &hello, refusal);
            return Err(refusal);
        }
        self.door.let_in(now, &hello);
        let extended = hello.reserved.has(Feature::ExtensionProtocol);
        let fast = hello.reserved.has(Feature::Fast);
        let one_at_a_time = self.careful.contains(&hello.address);
        let key = self.peers.insert(Peer::new(now, hello, one_at_a_time));
        if extended {
            self.greet(now, key, fast);
        } else {
            // It can give us no metadata. Its address is known to be good, for the download.
            self.disconnect(now, key, Farewell::Useless);
        }
        self.next_tick = self.next_tick.min(now + TICK);
        Ok(key)
    }

    fn admit(&self, now: Time, hello: &Hello) -> Result<(), Refusal> {
        if self.ended {
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
        if self.forget(now, key, Parting::Lost) {
            self.connect_more(now);
            self.ask(now);
        }
    }

    /// The peer broke the protocol on the way to a message.
    pub fn handle_fault(&mut self, now: Time, key: PeerKey, what: &'static str) {
        self.disconnect(now, key, Farewell::Fault(what));
        self.connect_more(now);
        self.ask(now);
    }

    /// Something small was wrong; many such end the connection.
    pub(super) fn misdeed(&mut self, now: Time, key: PeerKey, what: &'static str) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.faults += 1;
        if peer.faults >= MAX_FAULTS {
            self.handle_fault(now, key, what);
        }
    }

    pub(super) fn disconnect(&mut self, now: Time, key: PeerKey, why: Farewell) {
        if self.forget(now, key, why.parting()) {
            self.outputs.push_back(Output::Disconnect(key, why));
        }
    }

    fn forget(&mut self, now: Time, key: PeerKey, parting: Parting) -> bool {
        let Some(peer) = self.peers.remove(key) else { return false };
        self.door.left(now, peer.address, parting);
        true
    }

    pub(super) fn ban(&mut self, now: Time, ip: IpAddr, why: &'static str) {
        if self.door.ban(ip) {
            self.outputs.push_back(Output::Banned(ip, why));
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

    /// Dials as many addresses as may be dialled at this moment.
    pub(super) fn connect_more(&mut self, now: Time) {
        if !self.ended {
            let dialled = self.door.dial(now, self.peers.len());
            self.outputs.extend(dialled.into_iter().map(Output::Connect));
        }
    }

    /// Sees off the peer that has been of no use the longest, if that is long enough.
    fn make_room(&mut self, now: Time, patience: Duration) {
        let useless = self.peers.iter().filter(|(_, peer)| now.since(peer.useful) >= patience);
        if let Some((key, _)) = useless.min_by_key(|(_, peer)| peer.useful) {
            self.disconnect(now, key, Farewell::Useless);
        }
    }

    /// Has a peer of a network that has many make room for somebody at the address `newcomer`: the one that gave least
    /// lately.
    fn thin_out(&mut self, now: Time, newcomer: IpAddr) {
        let Some(crowd) = crowd(newcomer, self.peers.iter().map(|(_, peer)| peer.address.ip())) else {
            return;
        };
        let members = self.peers.iter().filter(|(_, peer)| network(peer.address.ip()) == crowd);
        if let Some((key, _)) = members.min_by_key(|(_, peer)| (peer.given(), peer.useful)) {
            self.disconnect(now, key, Farewell::Outdone);
        }
    }

    fn greet(&mut self, now: Time, key: PeerKey, fast: bool) {
        let Some(peer) = self.peers.get(key) else { return };
        let extensions = [Extension::Metadata, Extension::Pex];
        let spoken = if self.config.peer_exchange { &extensions[..] } else { &extensions[..1] };
        let handshake = ExtensionHandshake {
            ids: Ids::own(spoken),
            client: Some(self.config.client.clone()),
            port: self.config.port,
            requests: Some(MAX_ASKED as u32),
            your_ip: Some(peer.address.ip()),
            ..ExtensionHandshake::default()
        };
        if fast {
            self.send(now, key, Message::HaveNone);
        }
        self.send(now, key, Message::Extended { id: HANDSHAKE, payload: handshake.encode() });
    }

    /// Keep-alives, silence, connections that are of no use.
    pub(super) fn look_after_peers(&mut self, now: Time) {
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            let assembly = peer.size.and_then(|size| self.assemblies.get(&size));
            // Who waits for its turn is not to blame, unless what it says was tried and led nowhere.
            if assembly.is_some_and(|assembly| assembly.waits_for_turn(key)) {
                peer.useful = now;
            }
            if now.since(peer.heard) >= SILENCE {
                self.disconnect(now, key, Farewell::Silent);
            } else if now.since(peer.spoke) >= KEEP_ALIVE {
                self.send(now, key, Message::KeepAlive);
            }
        }
        if self.door.list.candidate(now).is_some() {
            let full = self.door.is_full(self.peers.len());
            self.make_room(now, if full { USELESS } else { USELESS_LONG });
        }
    }
}
