//! What is asked, in which shares, and whether the answers are right.

use crate::hosts::{ASKERS, Hosts, asker};
use crate::wire::PORT;
use fastrand::Rng;
use quelea_dht::Id;
use quelea_dht::packet::{Body, Method, Packet, Query, Response, Want, write_query};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Torrents that the target holds, and peers of each.
const TORRENTS: usize = 200;
const PEERS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ping,
    FindNode,
    /// Of a torrent that was announced there.
    Known(usize),
    /// Of one that was not.
    Unknown,
    Announce,
}

/// A question that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub kind: Kind,
    pub asker: usize,
}

/// What came of the questions.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub sent: u64,
    pub answered: u64,
    pub wrong: u64,
    pub lost: u64,
    pub bytes: u64,
    /// Answers that should name nodes, and the nodes in them; the same for peers.
    pub with_nodes: u64,
    pub nodes: u64,
    pub with_peers: u64,
    pub peers: u64,
}

/// The torrents, and a source of questions about them.
pub struct Questions {
    torrents: Vec<Id>,
    rng: Rng,
    next_asker: usize,
}

impl Questions {
    pub fn new(mut rng: Rng) -> Self {
        let torrents = (0..TORRENTS).map(|_| Id::random(&mut rng)).collect();
        Self { torrents, rng, next_asker: 0 }
    }

    /// Every announcement that the target is to hold: the number of the torrent, and who announces it.
    pub fn announcements(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        // Peers in many networks: as any in the world.
        (0..TORRENTS * PEERS).map(|number| (number % TORRENTS, number * 61 % ASKERS))
    }

    fn is_peer(torrent: usize, address: SocketAddr) -> bool {
        let mut peers = (0..PEERS).map(|at| asker((torrent + at * TORRENTS) * 61));
        address.port() == PORT && peers.any(|ip| IpAddr::V4(ip) == address.ip())
    }

    /// The next question: 20 % pings, 40 % for nodes, 20 % each for peers of torrents that are known and that are not.
    pub fn next(&mut self) -> Asked {
        let kind = match self.rng.u8(..10) {
            0 | 1 => Kind::Ping,
            2..=5 => Kind::FindNode,
            6 | 7 => Kind::Known(self.rng.usize(..TORRENTS)),
            _ => Kind::Unknown,
        };
        // A number without a divisor in common with their count: each asks once before one asks again.
        self.next_asker = (self.next_asker + 40_503) % ASKERS;
        Asked { kind, asker: self.next_asker }
    }

    /// Writes the question; gives the address that it leaves from.
    pub fn write(
        &mut self,
        hosts: &Hosts,
        asked: Asked,
        token: &[u8],
        transaction: &[u8],
        out: &mut Vec<u8>,
    ) -> Ipv4Addr {
        let torrents = &self.torrents;
        let about = |info_hash| Method::GetPeers { info_hash, no_seeds: false, scrape: false };
        let method = match (asked.kind, token) {
            (Kind::Ping | Kind::Announce, _) => Method::Ping,
            (Kind::FindNode, _) => Method::FindNode(Id::random(&mut self.rng)),
            (Kind::Known(torrent), []) => about(torrents[torrent]),
            (Kind::Known(torrent), token) => {
                Method::AnnouncePeer { info_hash: torrents[torrent], port: Some(PORT), token, seed: false }
            }
            (Kind::Unknown, _) => about(Id::random(&mut self.rng)),
        };
        let query = Query { id: hosts.asker(asked.asker), method, want: Want::default() };
        out.clear();
        write_query(&query, transaction, false, out);
        asker(asked.asker)
    }

    /// Counts an answer, and sees whether it says what it must.
    pub fn check(&self, hosts: &Hosts, asked: Asked, packet: &Packet<'_>, bytes: usize, tally: &mut Tally) {
        tally.answered += 1;
        tally.bytes += bytes as u64;
        let Body::Response(response) = &packet.body else {
            tally.wrong += 1;
            return;
        };
        let (nodes, all_known) = count_nodes(hosts, response);
        let right = match asked.kind {
            Kind::Ping | Kind::Announce => true,
            Kind::FindNode => {
                tally.with_nodes += 1;
                tally.nodes += nodes;
                nodes > 0 && all_known
            }
            Kind::Unknown => {
                tally.with_nodes += 1;
                tally.nodes += nodes;
                nodes > 0 && all_known && response.token.is_some() && response.values.is_empty()
            }
            Kind::Known(torrent) => {
                tally.with_peers += 1;
                tally.peers += response.values.len() as u64;
                let all_announced = response.values.iter().all(|&peer| Self::is_peer(torrent, peer));
                !response.values.is_empty() && all_announced && response.token.is_some() && all_known
            }
        };
        tally.wrong += u64::from(!right);
    }
}

/// The nodes that an answer names, and whether there are such.
fn count_nodes(hosts: &Hosts, response: &Response<'_>) -> (u64, bool) {
    let known = |(id, address): &(Id, SocketAddr)| hosts.knows(id, *address);
    (response.nodes4.iter().count() as u64, response.nodes4.iter().all(|node| known(&node)))
}
