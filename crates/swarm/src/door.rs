//! The door of a swarm: whom to call on, whom to let in, whom never again. The same for a torrent and for the fetching of
//! one's metadata.

use crate::event::{Hello, Refusal};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use quelea_discovery::network::{host, network};
use quelea_discovery::peers::CAPACITY;
use quelea_discovery::{Parting, PeerList, Scope};
use quelea_time::Time;
use quelea_wire::PeerId;

/// A peer that says nothing for this long is gone (BEP 3: keep-alives come every two minutes).
pub(crate) const SILENCE: Duration = Duration::from_secs(150);
/// We say something at least this often.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// A connection that was silent for this long is dead if its peer connects anew: a live peer that is of any use says
/// something more often, and one that is of none loses nothing.
const PRESUMED_DEAD: Duration = Duration::from_secs(10);
/// How often a peer may break the protocol in small ways.
pub(crate) const MAX_FAULTS: u32 = 20;
/// Connections that came from one [`host`] at most: people behind one router, not a crowd of one.
const PER_HOST: usize = 16;
/// Peers of one network that keep their places when there is no room for a peer of another.
const PER_NETWORK: usize = 4;
/// A host whose peer only cost us something is not let in again for this long.
const SHUNNED: Duration = Duration::from_secs(600);
/// Hosts that are shunned at most; the first to be forgiven is forgotten first.
const MOST_SHUNNED: usize = 1_000;
/// Dials started at one moment at most.
const DIALS_AT_ONCE: usize = 30;

/// Addresses, connections under way, bans.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) list: PeerList,
    connecting: Vec<SocketAddr>,
    /// Hosts that only cost, and until when none of them is let in.
    shunned: BTreeMap<IpAddr, Time>,
    peer_id: PeerId,
    max_peers: usize,
    max_half_open: usize,
}

impl Door {
    /// The door of one who has this id, with connected peers and connections under way at most.
    pub(crate) fn new(peer_id: PeerId, max_peers: usize, max_half_open: usize, seed: u64) -> Self {
        let list = PeerList::new(CAPACITY, seed);
        Self {
            list,
            connecting: Vec::new(),
            shunned: BTreeMap::new(),
            peer_id,
            max_peers,
            max_half_open: max_half_open.max(1),
        }
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
        now: Time,
        hello: &Hello,
        connected: impl Iterator<Item = (&'a SocketAddr, &'a PeerId)> + Clone,
    ) -> Result<(), Refusal> {
        let ip = hello.address.ip();
        let mut neighbours = connected.clone().filter(|(address, _)| host(address.ip()) == host(ip));
        if hello.peer_id == self.peer_id {
            Err(Refusal::Ourselves)
        } else if self.list.is_banned(ip) || self.shunned.get(&host(ip)).is_some_and(|until| now < *until) {
            Err(Refusal::Banned)
        } else if self.list.is_blocked(ip) {
            Err(Refusal::Blocked)
        } else if neighbours.clone().any(|(address, id)| is_same_peer(hello, address, id)) {
            Err(Refusal::Duplicate)
        } else if self.is_full(connected.count()) {
            Err(Refusal::Full)
        } else if hello.incoming && neighbours.nth(PER_HOST - 1).is_some() {
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

    /// Lets nobody of this address's host in for a while.
    pub(crate) fn shun(&mut self, now: Time, ip: IpAddr) {
        self.shunned.retain(|_, until| now < *until);
        if self.shunned.len() >= MOST_SHUNNED
            && let Some(first) = self.shunned.iter().min_by_key(|(_, until)| **until).map(|(ip, _)| *ip)
        {
            self.shunned.remove(&first);
        }
        self.shunned.insert(host(ip), now + SHUNNED);
    }

    /// Whether one that is let in may not stay: its address is banned, or blocked.
    pub(crate) fn is_closed_to(&self, ip: IpAddr) -> bool {
        self.list.is_banned(ip) || self.list.is_blocked(ip)
    }
}

/// The network that has most of the connected peers, if it has so many that one of them should give its place to
/// a peer at the address `newcomer`. Near addresses are no crowd.
pub(crate) fn crowd(newcomer: IpAddr, connected: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let mut networks: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for ip in connected.filter(|ip| Scope::of(*ip) == Scope::World) {
        *networks.entry(network(ip)).or_default() += 1;
    }
    let own = networks.get(&network(newcomer)).copied().unwrap_or_default();
    let (network, peers) = networks.into_iter().max_by_key(|(_, peers)| *peers)?;
    (peers > PER_NETWORK.max(own + 1)).then_some(network)
}

/// Whether a connected peer is the one that says hello. An id alone does not tell: ids can be copied.
pub(crate) fn is_same_peer(hello: &Hello, address: &SocketAddr, id: &PeerId) -> bool {
    *address == hello.address || (*id == hello.peer_id && address.ip() == hello.address.ip())
}

/// Whether a connection over which a peer was last heard at this moment gives way to another one of the same peer.
pub(crate) fn is_presumed_dead(now: Time, heard: Time) -> bool {
    now.since(heard) >= PRESUMED_DEAD
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
        let admit = |door: &Door, hello: &Hello| door.admit(NOW, hello, [(&inside.0, &inside.1)].into_iter());
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
    fn sixty_four_bits_of_ipv6_are_one_host() {
        let door = door(1_000, 4);
        let crowd: Vec<(SocketAddr, PeerId)> = (0..PER_HOST as u16)
            .map(|number| {
                let address = SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, number], 6881));
                (address, PeerId([number as u8 + 10; 20]))
            })
            .collect();
        let admit = |hello: &Hello| door.admit(NOW, hello, crowd.iter().map(|(address, id)| (address, id)));
        assert_eq!(admit(&hello("[2001:db8:0:1::99]:1", 3, true)), Err(Refusal::Crowd));
        assert_eq!(admit(&hello("[2001:db8:0:2::99]:1", 3, true)), Ok(()));
    }

    #[test]
    fn a_network_of_many_gives_way_to_others_and_neighbours_at_home_are_no_crowd() {
        let of = |networks: &[(u8, u8)]| -> Vec<IpAddr> {
            let hosts = |&(network, many): &(u8, u8)| {
                (0..many).map(move |host| IpAddr::from([203, 0, network, host]))
            };
            networks.iter().flat_map(hosts).collect()
        };
        let newcomer = at("198.51.100.1:1").ip();
        let gives_way = |networks: &[(u8, u8)]| crowd(newcomer, of(networks).into_iter());
        assert_eq!(gives_way(&[(1, 4), (2, 4), (3, 1)]), None);
        assert_eq!(gives_way(&[(1, 4), (2, 5), (3, 1)]), Some(at("203.0.2.0:1").ip()));
        let another_of_it = at("203.0.2.99:1").ip();
        assert_eq!(crowd(another_of_it, of(&[(2, 100), (3, 4)]).into_iter()), None);
        assert_eq!(crowd(newcomer, (0..99).map(|host| IpAddr::from([192, 168, 1, host]))), None);
    }

    #[test]
    fn a_host_that_only_cost_comes_in_again_after_a_while_and_few_are_remembered() {
        let mut door = door(40, 4);
        let admit = |door: &Door, now| door.admit(now, &hello("203.0.113.1:1", 3, true), [].into_iter());
        door.shun(NOW, at("203.0.113.1:9").ip());
        assert_eq!(admit(&door, NOW), Err(Refusal::Banned));
        assert_eq!(admit(&door, NOW + SHUNNED), Ok(()));
        for number in 0..2 * MOST_SHUNNED as u32 {
            door.shun(NOW, IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(door.shunned.len(), MOST_SHUNNED);
    }

    #[test]
    fn one_address_fills_no_room() {
        let door = door(1_000, 4);
        let crowd: Vec<(SocketAddr, PeerId)> = (0..PER_HOST as u16)
            .map(|port| (SocketAddr::from(([203, 0, 113, 1], port)), PeerId([port as u8 + 10; 20])))
            .collect();
        let admit = |hello: &Hello| door.admit(NOW, hello, crowd.iter().map(|(address, id)| (address, id)));
        assert_eq!(admit(&hello("203.0.113.1:99", 3, true)), Err(Refusal::Crowd));
        assert_eq!(admit(&hello("203.0.113.1:99", 3, false)), Ok(()), "we called on it");
        assert_eq!(admit(&hello("203.0.113.2:99", 3, true)), Ok(()));
    }
}
