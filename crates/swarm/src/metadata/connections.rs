//! Who is connected: dialling, letting in, greeting, seeing off.

use super::peer::Peer;
use super::{Fetch, Output, TICK};
use crate::event::{Farewell, Hello, Refusal};
use crate::peers::PeerKey;
use crate::pipeline::MAX_DEPTH;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use quelea_discovery::filter::Filter;
use quelea_discovery::peers::CAPACITY;
use quelea_discovery::{Parting, Source};
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::{Extension, HANDSHAKE, Ids};
use quelea_wire::handshake::Feature;

/// A peer that says nothing for this long is gone (BEP 3: keep-alives come every two minutes).
const SILENCE: Duration = Duration::from_secs(150);
/// We say something at least this often.
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// Connections from one address at most.
const PER_ADDRESS: usize = 8;
/// Dials started in one tick at most.
const DIALS_A_TICK: usize = 30;
/// A peer that is of no use for this long gives its place to another that waits.
const USELESS: Duration = Duration::from_secs(10);
/// One that is of no use for this long goes, if any other address is worth a try.
const USELESS_LONG: Duration = Duration::from_secs(30);
/// How often a peer may break the protocol in small ways.
const MAX_FAULTS: u32 = 20;

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
            self.list.add_all(now, addresses, source);
        } else {
            self.list.add_all(now, addresses, source);
        }
        self.connect_more(now);
    }

    /// The world sees us at this address. The first one of each family counts: a fetch is short.
    pub fn handle_external(&mut self, ip: IpAddr) {
        let known = if ip.is_ipv4() { &mut self.external.0 } else { &mut self.external.1 };
        if !core::mem::replace(known, true)
            && let Some(port) = self.config.port
        {
            self.list.set_external(SocketAddr::new(ip, port));
        }
    }

    /// The handshake with a peer is done. Its key, or why it is not let in.
    ///
    /// # Errors
    /// A [`Refusal`]; the driver then closes the connection.
    pub fn handle_connected(&mut self, now: Time, hello: Hello) -> Result<PeerKey, Refusal> {
        self.connecting.retain(|&address| address != hello.address);
        if self.admit(&hello) == Err(Refusal::Full) {
            self.make_room(now, USELESS);
        }
        if let Err(refusal) = self.admit(&hello) {
            if refusal == Refusal::Ourselves && !hello.incoming {
                self.list.exclude(hello.address);
            } else if !hello.incoming {
                self.list.failed(now, hello.address);
            }
            return Err(refusal);
        }
        if hello.incoming {
            self.list.accepted(now, hello.address);
        } else {
            self.list.connected(now, hello.address);
        }
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

    fn admit(&self, hello: &Hello) -> Result<(), Refusal> {
        let ip = hello.address.ip();
        let of_ip = || self.peers.iter().filter(move |(_, peer)| peer.address.ip() == ip);
        if self.ended {
            Err(Refusal::Stopped)
        } else if hello.peer_id == self.config.peer_id {
            Err(Refusal::Ourselves)
        } else if self.list.is_banned(ip) {
            Err(Refusal::Banned)
        } else if self.list.is_blocked(ip) {
            Err(Refusal::Blocked)
        } else if of_ip().any(|(_, peer)| peer.address == hello.address || peer.peer_id == hello.peer_id) {
            Err(Refusal::Duplicate)
        } else if self.peers.len() >= self.config.max_peers {
            Err(Refusal::Full)
        } else if hello.incoming && of_ip().count() >= PER_ADDRESS {
            Err(Refusal::Crowd)
        } else {
            Ok(())
        }
    }

    /// A connection could not be made, or its handshake failed.
    pub fn handle_connect_failed(&mut self, now: Time, address: SocketAddr) {
        self.connecting.retain(|&other| other != address);
        self.list.failed(now, address);
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
        let parting = match why {
            Farewell::Silent | Farewell::Stopped => Parting::Lost,
            Farewell::Fault(_) => Parting::Faulty,
            Farewell::Banned
            | Farewell::Blocked
            | Farewell::Outdone
            | Farewell::BothSeeds
            | Farewell::Twin
            | Farewell::Useless => Parting::Unneeded,
        };
        if self.forget(now, key, parting) {
            self.outputs.push_back(Output::Disconnect(key, why));
        }
    }

    fn forget(&mut self, now: Time, key: PeerKey, parting: Parting) -> bool {
        let Some(peer) = self.peers.remove(key) else { return false };
        self.list.disconnected(now, peer.address, parting);
        true
    }

    pub(super) fn ban(&mut self, now: Time, ip: IpAddr, why: &'static str) {
        if self.list.is_banned(ip) {
            return;
        }
        self.list.ban(ip);
        self.outputs.push_back(Output::Banned(ip, why));
        for key in self.peers.keys() {
            if self.peers.get(key).is_some_and(|peer| peer.address.ip() == ip) {
                self.disconnect(now, key, Farewell::Banned);
            }
        }
    }

    /// Has nothing to do with this address any more, as the user wants.
    pub fn handle_ban(&mut self, now: Time, ip: IpAddr) {
        self.ban(now, ip, "the user said so");
    }

    /// Takes a ban back.
    pub fn handle_unban(&mut self, ip: IpAddr) {
        self.list.unban(ip);
    }

    /// Blocks addresses from here on; those that are connected are seen off.
    pub fn set_filter(&mut self, now: Time, filter: Arc<Filter>) {
        self.list.set_filter(filter);
        for key in self.peers.keys() {
            if self.peers.get(key).is_some_and(|peer| self.list.is_blocked(peer.address.ip())) {
                self.disconnect(now, key, Farewell::Blocked);
            }
        }
    }

    /// Dials as many addresses as may be dialled at this moment.
    pub(super) fn connect_more(&mut self, now: Time) {
        if self.ended {
            return;
        }
        for _ in 0..DIALS_A_TICK {
            let room = self.config.max_peers.saturating_sub(self.peers.len() + self.connecting.len());
            if room == 0 || self.connecting.len() >= self.config.max_half_open.max(1) {
                break;
            }
            let Some(address) = self.list.candidate(now) else { break };
            self.list.dialled(now, address);
            self.connecting.push(address);
            self.outputs.push_back(Output::Connect(address));
        }
    }

    /// Sees off the peer that has been of no use the longest, if that is long enough.
    fn make_room(&mut self, now: Time, patience: Duration) {
        let useless = self.peers.iter().filter(|(_, peer)| now.since(peer.useful) >= patience);
        if let Some((key, _)) = useless.min_by_key(|(_, peer)| peer.useful) {
            self.disconnect(now, key, Farewell::Useless);
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
            requests: Some(MAX_DEPTH as u32),
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
        if self.list.candidate(now).is_some() {
            let full = self.peers.len() >= self.config.max_peers;
            self.make_room(now, if full { USELESS } else { USELESS_LONG });
        }
    }
}
