//! Attackers with few addresses that gather around a torrent, or around a node.
//!
//! They know the whole network: those around a torrent introduce themselves to the nodes nearest to it, those around a
//! node to it alone, again and again. They answer every ping, and whoever looks something up is sent to other
//! attackers; what is announced to them they throw away.

use crate::dht::world::{HostId, Nature, Part, Told, World};
use core::time::Duration;
use fastrand::Rng;
use quelea_dht::packet::{
    Body, Compact, Method, Packet, Query, Response, Want, compact_nodes, write_query, write_response,
};
use quelea_dht::{Announce, Event, Id, SearchId};
use quelea_time::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Honest nodes around a torrent that attackers introduce themselves to.
const INTRODUCED: usize = 48;
/// How often they do.
const EVERY: Duration = Duration::from_secs(45);
/// How long they have before anything is published.
const SIEGE: Duration = Duration::from_secs(420);

/// What attackers gather around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// A torrent, so that nobody finds its peers (a Sybil attack).
    Torrent,
    /// A node, so that it knows nobody else (an eclipse).
    Node,
}

/// An attack on some torrents or nodes of one network.
#[derive(Debug, Clone)]
pub struct Siege {
    /// Honest hosts.
    pub nodes: usize,
    /// What for.
    pub aim: Aim,
    /// The others leave aside ids that do not fit their addresses (BEP 42).
    pub enforce_ids: bool,
    /// The attackers take the best ids that do fit.
    pub fitting: bool,
    /// Addresses of one attacker.
    pub addresses: usize,
    /// Networks (/24) in which those are.
    pub networks: usize,
    /// Torrents or nodes that are attacked, each by an attacker of its own.
    pub targets: usize,
    /// Another network for each.
    pub seed: u64,
}

/// What the attack came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Attacks whose outcome was seen.
    pub tried: usize,
    /// Those after which a torrent was not found.
    pub lost: usize,
    /// Of the nodes that a victim knows, or that a torrent was announced to: attackers, and all.
    pub held: (usize, usize),
    /// Answers of attackers.
    pub attacks: u64,
}

/// One address of an attacker.
#[derive(Debug, Clone)]
pub(crate) struct Besieger {
    id: Id,
    comrades: Vec<(Id, SocketAddr)>,
}

impl Besieger {
    /// What it answers; nothing to what is no query.
    pub(crate) fn answer(&self, from: SocketAddr, datagram: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let Ok(packet) = Packet::parse(datagram) else { return out };
        let Body::Query(query) = packet.body else { return out };
        let mut response = Response::new(self.id);
        let mut near = Vec::new();
        if let Some(target) = query.method.target() {
            near.clone_from(&self.comrades);
            near.sort_by_key(|(id, _)| id.distance(&target));
            near.truncate(8);
            response.token = Some(b"ours");
        }
        let nodes = compact_nodes(near);
        let compact = Compact { nodes4: (!nodes.is_empty()).then_some(&nodes), nodes6: None };
        write_response(&response, compact, packet.transaction, from, &mut out);
        out
    }
}

/// A target, and who is around it.
#[derive(Debug)]
struct Front {
    torrent: Id,
    victim: Option<HostId>,
    besiegers: Vec<HostId>,
    publisher: Option<(HostId, SocketAddr)>,
    found: bool,
}

impl Siege {
    /// The usual attack: 32 addresses in four networks, with whatever ids suit them.
    pub fn new(nodes: usize, aim: Aim, enforce_ids: bool) -> Self {
        Self { nodes, aim, enforce_ids, fitting: false, addresses: 32, networks: 4, targets: 50, seed: 1 }
    }

    /// Builds the network, attacks it, and sees what is still found.
    pub fn run(&self) -> Losses {
        let nature = Nature {
            nodes: self.nodes,
            liars: 0,
            natted: 0,
            loss: 5,
            stay: Duration::from_secs(30 * 3_600),
            enforce_ids: self.enforce_ids,
            seed: self.seed,
        };
        let warm_up = Duration::from_secs(600);
        let mut world = World::new(nature, warm_up);
        while world.next(Time::ZERO + warm_up).is_some() {}
        let fronts: Vec<Front> = (0..self.targets).filter_map(|_| self.gather(&mut world)).collect();
        let begin = world.now();
        for front in 0..fronts.len() as u32 {
            for round in 0..=(SIEGE.as_secs() / EVERY.as_secs()) as u32 + 1 {
                let apart = Duration::from_millis(u64::from(front) * 20);
                world.plan(begin + EVERY * round + apart, front);
            }
            world.plan(begin + SIEGE, fronts.len() as u32 + front);
            world.plan(begin + SIEGE + Duration::from_secs(40), 2 * fronts.len() as u32 + front);
        }
        let end = begin + SIEGE + Duration::from_secs(100);
        let mut battle = Battle { world, fronts, searches: BTreeMap::new(), losses: Losses::default() };
        while let Some(told) = battle.world.next(end) {
            battle.hear(told);
        }
        battle.end()
    }

    /// Places one attacker.
    fn gather(&self, world: &mut World) -> Option<Front> {
        let victim = match self.aim {
            Aim::Torrent => None,
            Aim::Node => Some(world.settled()?),
        };
        let torrent = Id::random(&mut world.rng);
        let around = match victim {
            Some(victim) => world.hosts[victim as usize].id()?,
            None => torrent,
        };
        let networks: Vec<SocketAddr> = (0..self.networks).map(|_| world.free_address()).collect();
        let mut members = Vec::new();
        for number in 0..self.addresses {
            let network = networks[number % self.networks];
            let address = in_network(network, (number / self.networks) as u8 + 1);
            let id = self.id(&around, address, number, &mut world.rng);
            members.push((id, address));
        }
        let besiegers = members
            .iter()
            .map(|&(id, address)| {
                world.settle(address, Part::Besieging(Besieger { id, comrades: members.clone() }))
            })
            .collect();
        Some(Front { torrent, victim, besiegers, publisher: None, found: false })
    }

    /// The id that suits an attacker best: near the torrent, or one in each part of the victim's table.
    fn id(&self, around: &Id, address: SocketAddr, number: usize, rng: &mut Rng) -> Id {
        let wanted = match self.aim {
            Aim::Torrent => around.random_at(40 + number % 60, rng),
            Aim::Node => around.random_at(number % 16, rng),
        };
        if !self.fitting {
            return wanted;
        }
        // There are eight for an address; the rest of the id is free.
        let tries = (0..64).map(|_| Id::for_address(address.ip(), rng));
        tries.max_by_key(|id| id.common_prefix(&wanted)).unwrap_or(wanted)
    }
}

fn in_network(network: SocketAddr, host: u8) -> SocketAddr {
    let ip = match network.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, host))
        }
        ip @ IpAddr::V6(_) => ip,
    };
    SocketAddr::new(ip, 6_881)
}

struct Battle {
    world: World,
    fronts: Vec<Front>,
    /// Searches and their fronts; whether they are the last of it.
    searches: BTreeMap<(HostId, SearchId), (usize, bool)>,
    losses: Losses,
}

impl Battle {
    fn hear(&mut self, told: Told) {
        let count = self.fronts.len();
        match told {
            Told::Cue(cue) if (cue as usize) < count => self.introduce(cue as usize),
            Told::Cue(cue) if (cue as usize) < 2 * count => self.publish(cue as usize - count),
            Told::Cue(cue) => self.seek(cue as usize - 2 * count),
            Told::Event(host, Event::Peers(search, peers)) => {
                if let Some(&(front, true)) = self.searches.get(&(host, search)) {
                    let front = &mut self.fronts[front];
                    front.found |= front.publisher.is_some_and(|(_, peer)| peers.contains(&peer));
                }
            }
            Told::Event(host, Event::Done(search, found)) => {
                let Some((front, last)) = self.searches.remove(&(host, search)) else { return };
                let of_attackers = |world: &World, front: &Front, nodes: &[(Id, SocketAddr)]| {
                    let theirs: Vec<SocketAddr> =
                        front.besiegers.iter().map(|&host| world.hosts[host as usize].address).collect();
                    nodes.iter().filter(|(_, address)| theirs.contains(address)).count()
                };
                let front = &self.fronts[front];
                if last {
                    self.losses.tried += 1;
                    self.losses.lost += usize::from(!front.found);
                }
                let nodes = match (front.victim, last) {
                    (Some(_), true) => self.world.hosts[host as usize].dht().map(|dht| dht.saved().nodes),
                    (None, false) => Some(found.nodes),
                    (Some(_), false) | (None, true) => None,
                };
                if let Some(nodes) = nodes {
                    self.losses.held.0 += of_attackers(&self.world, front, &nodes);
                    self.losses.held.1 += nodes.len();
                }
            }
            Told::Event(_, Event::Item(..) | Event::Samples(..) | Event::External(_)) => {}
        }
    }

    /// Each attacker asks those that it wants to be known to.
    fn introduce(&mut self, front: usize) {
        let Front { torrent, victim, besiegers, .. } = &self.fronts[front];
        let (torrent, besiegers) = (*torrent, besiegers.clone());
        let to = match *victim {
            Some(victim) => vec![self.world.hosts[victim as usize].address],
            None => {
                self.world.nearest(&torrent, INTRODUCED).into_iter().map(|(_, address)| address).collect()
            }
        };
        for host in besiegers {
            let Part::Besieging(besieger) = &self.world.hosts[host as usize].part else { continue };
            let query = Query { id: besieger.id, method: Method::FindNode(torrent), want: Want::default() };
            let mut datagram = Vec::new();
            write_query(&query, b"hi", false, &mut datagram);
            for &address in &to {
                self.world.send(host, address, datagram.clone());
            }
        }
    }

    fn publish(&mut self, number: usize) {
        let Some(publisher) = self.world.settled() else { return };
        let torrent = self.fronts[number].torrent;
        let announce = Announce { port: Some(7_000), seed: false };
        let search = self.world.search(publisher, |dht, now| dht.find_peers(now, torrent, Some(announce)));
        let Some(search) = search else { return };
        let peer = SocketAddr::new(self.world.hosts[publisher as usize].address.ip(), 7_000);
        self.fronts[number].publisher = Some((publisher, peer));
        self.searches.insert((publisher, search), (number, false));
    }

    fn seek(&mut self, number: usize) {
        let Front { torrent, victim, publisher, .. } = self.fronts[number];
        let Some(seeker) = victim.or_else(|| self.world.settled()) else { return };
        if publisher.is_none_or(|(publisher, _)| publisher == seeker) {
            return;
        }
        let search = self.world.search(seeker, |dht, now| dht.find_peers(now, torrent, None));
        if let Some(search) = search {
            self.searches.insert((seeker, search), (number, true));
        }
    }

    fn end(mut self) -> Losses {
        let unended = self.searches.values().filter(|(_, last)| *last).count();
        self.losses.tried += unended;
        self.losses.lost += unended;
        self.losses.attacks = self.world.lies;
        self.losses
    }
}
