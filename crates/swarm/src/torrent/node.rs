//! Nodes of the DHT that peers run beside, and our own (BEP 5, "BitTorrent Protocol Extension").

use super::Torrent;
use crate::event::Event;
use crate::peers::PeerKey;
use core::net::SocketAddr;
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::handshake::Feature;

impl<B> Torrent<B> {
    /// The UDP port of our node, which peers that have one too are told from here on; `None` for no node, and for
    /// every private torrent (BEP 27).
    pub fn set_dht_port(&mut self, port: Option<u16>) {
        self.dht_port = port;
    }

    /// Tells a peer where our node is.
    pub(super) fn tell_node(&mut self, now: Time, key: PeerKey) {
        let has_one = self.peers.get(key).is_some_and(|peer| peer.reserved.has(Feature::Dht));
        if let Some(port) = self.dht_port.filter(|_| has_one) {
            self.send(now, key, Message::Port(port));
        }
    }

    /// A peer tells where its node is. A peer has one.
    pub(super) fn node_told(&mut self, key: PeerKey, port: u16) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let first = !core::mem::replace(&mut peer.node_told, true);
        let node = SocketAddr::new(peer.address.ip(), port);
        if first && port != 0 && self.dht_port.is_some() {
            self.tell(Event::Node(node));
        }
    }
}
