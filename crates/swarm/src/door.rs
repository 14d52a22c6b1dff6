//! The door of a swarm: whom to call on, whom to let in, whom never again. The same for a torrent and for the fetching of
//! one's metadata.

use crate::event::{Hello, Refusal};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use quelea_discovery::peers::CAPACITY;
use quelea_discovery::{Parting, PeerList};
use quelea_time::Time;
use quelea_wire::PeerId;

/// A peer that says nothing for this long is gone (BEP 3: keep-alives come every two minutes).
pub(crate) const SILENCE: Duration = Duration::from_secs(150);
/// We say something at least this often.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// How often a peer may break the protocol in small ways.
pub(crate) const MAX_FAULTS: u32 = 20;
/// Connections that came from one address at most: people behind one router, not a crowd of one.
const PER_ADDRESS: usize = 16;
/// Dials started at one moment at most.
const DIALS_AT_ONCE: usize = 30;

/// Addresses, connections under way, bans.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) list: PeerList,
    connecting: Vec<SocketAddr>,
    peer_id: PeerId,
    max_peers: usize,
    max_half_open: usize,
}

impl Door {
    /// The door of one who has this id, with connected peers and connections under way at most.
    pub(crate) fn new(peer_id: PeerId, max_peers: usize, max_half_open: usize, seed: u64) -> Self {
        let list = PeerList::new(CAPACITY, seed);
        Self { list, connecting: Vec::new(), peer_id, max_peers, max_half_open: max_half_open.max(1) }
    }

    /// Connections under way.
    pub(crate) fn connecting(&self) -> usize {
        self.connecting.len()
    }

    /// Whether so many peers are all that may be connected.
    pub(crate) fn is_full(&self, peers: usize) -> bool {
        peers >= self.max_peers
    }

    /// Whether so many peers are nearly all that may be connected: nine of ten.
    pub(crate) fn is_crowded(&self, peers: usize) -> bool {
        peers * 10 >= self.max_peers * 9
    }

    /// The addresses to connect to at this moment, while so many peers are connected. They count as under way.
    pub(crate) fn dial(&mut self, now: Time, peers: usize) -> Vec<SocketAddr> {
        let room = self.max_peers.saturating_sub(peers + self.connecting.len());
        let half_open = self.max_half_open.saturating_sub(self.connecting.len());
        let mut dialled = Vec::new();
        while dialled.len() < room.min(half_open).min(DIALS_AT_ONCE) {
            let Some(address) = self.list.candidate(now) else { break };
            self.begin(now, address);
            dialled.push(address);
        }
        dialled
    }

    /// One of those that were connected once, to connect to at this moment if nobody else is being connected to.
    pub(crate) fn probe(&mut self, now: Time) -> Option<SocketAddr> {
        let address = self.connecting.is_empty().then(|| self.list.probe(now))??;
        self.begin(now, address);
        Some(address)
    }

    fn begin(&mut self, now: Time, address: SocketAddr) {
        self.list.dialled(now, address);
        self.connecting.push(address);
    }

    /// Whether to let in who says hello, beside those that are connected.
    pub(crate) fn admit<'a>(
        &self,
        hello: &Hello,
        connected: impl Iterator<Item = (&'a SocketAddr, &'a PeerId)> + Clone,
    ) -> Result<(), Refusal> {
        let ip = hello.address.ip();
        let mut neighbours = connected.clone().filter(|(address, _)| address.ip() == ip);
        // An id alone does not tell who it is: ids can be copied.
        let is_same =
            |(address, id): (&SocketAddr, &PeerId)| *address == hello.address || *id == hello.peer_id;
        if hello.peer_id == self.peer_id {
            Err(Refusal::Ourselves)
        } else if self.list.is_banned(ip) {
            Err(Refusal::Banned)
        } else if self.list.is_blocked(ip) {
            Err(Refusal::Blocked)
        } else if neighbours.clone().any(is_same) {
            Err(Refusal::Duplicate)
        } else if self.is_full(connected.count()) {
            Err(Refusal::Full)
        } else if hello.incoming && neighbours.nth(PER_ADDRESS - 1).is_some() {
            Err(Refusal::Crowd)
        } else {
            Ok(())
        }
    }

    /// The handshake with this one is done, whatever comes of it.
    pub(crate) fn greeted(&mut self, address: SocketAddr) {
        self.connecting.retain(|&other| other != address);
    }

    /// It is let in.
    pub(crate) fn let_in(&mut self, now: Time, hello: &Hello) {
        if hello.incoming {
            self.list.accepted(now, hello.address);
        } else {
            self.list.connected(now, hello.address);
        }
    }

    /// It is not let in, for this reason.
    pub(crate) fn turn_away(&mut self, now: Time, hello: &Hello, why: Refusal) {
        if hello.incoming {
            return;
        }
        if why == Refusal::Ourselves {
            self.list.exclude(hello.address);
        } else {
            self.list.failed(now, hello.address);
        }
    }

    /// A connection could not be made, or its handshake failed.
    pub(crate) fn connect_failed(&mut self, now: Time, address: SocketAddr) {
        self.greeted(address);
        self.list.failed(now, address);
    }

    /// One that was let in is gone.
    pub(crate) fn left(&mut self, now: Time, address: SocketAddr, parting: Parting) {
        self.list.disconnected(now, address, parting);
    }

    /// Bans an address; whether it was not banned before.
    pub(crate) fn ban(&mut self, ip: IpAddr) -> bool {
        let new = !self.list.is_banned(ip);
        if new {
            self.list.ban(ip);
        }
        new
    }

    /// Whether one that is let in may not stay: its address is banned, or blocked.
    pub(crate) fn is_closed_to(&self, ip: IpAddr) -> bool {
        self.list.is_banned(ip) || self.list.is_blocked(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use quelea_discovery::Source;
    use quelea_wire::handshake::Reserved;

    const NOW: Time = Time::ZERO;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn hello(address: &str, id: u8, incoming: bool) -> Hello {
        Hello { address: at(address), incoming, peer_id: PeerId([id; 20]), reserved: Reserved::default() }
    }

    fn door(max_peers: usize, max_half_open: usize) -> Door {
        Door::new(PeerId([1; 20]), max_peers, max_half_open, 7)
    }

    #[test]
    fn no_more_is_dialled_than_there_is_room_and_than_may_be_under_way() {
        let mut door = door(10, 4);
        let addresses = (1..=50).map(|host| SocketAddr::from(([198, 51, 100, host], 6881)));
        door.list.add_all(NOW, addresses, Source::Tracker);
        let first = door.dial(NOW, 0);
        assert_eq!((first.len(), door.connecting()), (4, 4));
        assert_eq!(door.dial(NOW, 0), vec![]);
        door.connect_failed(NOW, first[0]);
        assert_eq!(door.dial(NOW, 0).len(), 1);
        for address in first {
            door.greeted(address);
        }
        assert_eq!(door.connecting(), 1);
        assert_eq!(door.dial(NOW, 8).len(), 1, "nine of ten are there or under way");
        assert_eq!(door.dial(NOW, 8).len(), 0);
    }

    #[test]
    fn who_is_not_let_in_is_told_why() {
        let mut door = door(40, 4);
        let inside = (at("203.0.113.1:1"), PeerId([2; 20]));
        let admit = |door: &Door, hello: &Hello| door.admit(hello, [(&inside.0, &inside.1)].into_iter());
        assert_eq!(admit(&door, &hello("198.51.100.1:1", 3, true)), Ok(()));
        assert_eq!(admit(&door, &hello("198.51.100.1:1", 1, true)), Err(Refusal::Ourselves));
        assert_eq!(admit(&door, &hello("203.0.113.1:1", 3, true)), Err(Refusal::Duplicate));
        assert_eq!(admit(&door, &hello("203.0.113.1:2", 2, true)), Err(Refusal::Duplicate));
        assert_eq!(admit(&door, &hello("198.51.100.1:1", 2, true)), Ok(()), "an id can be copied");
        assert!(door.ban(at("198.51.100.1:1").ip()));
        assert!(!door.ban(at("198.51.100.1:1").ip()), "it is banned already");
        assert_eq!(admit(&door, &hello("198.51.100.1:9", 3, true)), Err(Refusal::Banned));
        door.max_peers = 1;
        assert_eq!(admit(&door, &hello("203.0.113.9:1", 3, true)), Err(Refusal::Full));
        assert_eq!(
            admit(&door, &hello("203.0.113.1:2", 2, true)),
            Err(Refusal::Duplicate),
            "nobody need go for it"
        );
    }

    #[test]
    fn one_address_fills_no_room() {
        let door = door(1_000, 4);
        let crowd: Vec<(SocketAddr, PeerId)> = (0..PER_ADDRESS as u16)
            .map(|port| (SocketAddr::from(([203, 0, 113, 1], port)), PeerId([port as u8 + 10; 20])))
            .collect();
        let admit = |hello: &Hello| door.admit(hello, crowd.iter().map(|(address, id)| (address, id)));
        assert_eq!(admit(&hello("203.0.113.1:99", 3, true)), Err(Refusal::Crowd));
        assert_eq!(admit(&hello("203.0.113.1:99", 3, false)), Ok(()), "we called on it");
        assert_eq!(admit(&hello("203.0.113.2:99", 3, true)), Ok(()));
    }
}
