//! What a liar answers to who looks something up.

use fastrand::Rng;
use quelea_dht::Id;
use quelea_dht::packet::{Body, Compact, Method, Packet, Response, compact_nodes, write_response};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Nodes in an answer.
const NODES: usize = 8;
/// Peers in an answer.
const PEERS: usize = 40;
/// Hosts that a liar has seen.
const SEEN: usize = 64;

/// What it does to who looks something up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whim {
    /// It is silent.
    Silence,
    /// It gives hosts that are there ids that they do not have, near the target.
    WrongNames,
    /// It names nodes near the target where nobody is; their ids fit their addresses as well as can be.
    MadeUp,
    /// It names accomplices, all of them near the target, and peers that are none; what it is given it throws away.
    Conspiracy,
}

impl Whim {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        [Self::Silence, Self::WrongNames, Self::MadeUp, Self::Conspiracy][rng.usize(..4)]
    }
}

/// A node that lies.
#[derive(Debug)]
pub(crate) struct Liar {
    whim: Whim,
    own: SocketAddr,
    /// Hosts that have asked it something, honest or not.
    seen: Vec<SocketAddr>,
}

impl Liar {
    pub(crate) const fn new(whim: Whim, own: SocketAddr) -> Self {
        Self { whim, own, seen: Vec::new() }
    }

    pub(crate) fn conspires(&self) -> bool {
        self.whim == Whim::Conspiracy
    }

    /// The answer to a look-up, which is empty for silence; `None` for what it leaves to the machine.
    pub(crate) fn answer(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        accomplices: &[SocketAddr],
        rng: &mut Rng,
    ) -> Option<Vec<u8>> {
        let packet = Packet::parse(datagram).ok()?;
        let Body::Query(query) = packet.body else { return None };
        if self.seen.len() < SEEN {
            self.seen.push(from);
        } else {
            self.seen[rng.usize(..SEEN)] = from;
        }
        let target = match query.method {
            Method::FindNode(target) | Method::GetPeers { info_hash: target, .. } => target,
            Method::Ping
            | Method::AnnouncePeer { .. }
            | Method::Get { .. }
            | Method::Put { .. }
            | Method::SampleInfohashes(_)
            | Method::Unknown(_) => return None,
        };
        let seeks_peers = matches!(query.method, Method::GetPeers { .. });
        let nodes: Vec<(Id, SocketAddr)> = match self.whim {
            Whim::Silence => return Some(Vec::new()),
            Whim::WrongNames => {
                (0..NODES).map(|_| (near(&target, rng), self.seen[rng.usize(..self.seen.len())])).collect()
            }
            Whim::MadeUp => (0..NODES).map(|_| made_up(&target, rng)).collect(),
            Whim::Conspiracy => {
                let any = (0..NODES).map(|_| accomplices[rng.usize(..accomplices.len())]);
                any.map(|at| (alias(&target, at), at)).collect()
            }
        };
        let id = match self.whim {
            Whim::Conspiracy => alias(&target, self.own),
            Whim::Silence | Whim::WrongNames | Whim::MadeUp => near(&target, rng),
        };
        let mut response = Response::new(id);
        if seeks_peers {
            response.token = Some(b"mine");
            if self.whim == Whim::Conspiracy || self.whim == Whim::MadeUp {
                response.values = (0..PEERS).map(|_| nobody(rng)).collect();
            }
        }
        let nodes = compact_nodes(nodes);
        let mut out = Vec::new();
        let compact = Compact { nodes4: Some(&nodes), nodes6: None };
        write_response(&response, compact, packet.transaction, from, &mut out);
        Some(out)
    }
}

/// The id under which an accomplice at an address answers who looks for a target: all of them know it.
pub(crate) fn alias(target: &Id, at: SocketAddr) -> Id {
    let mut id = *target;
    if let IpAddr::V4(ip) = at.ip() {
        id.0[16..].copy_from_slice(&ip.octets());
    }
    id
}

fn near(target: &Id, rng: &mut Rng) -> Id {
    target.random_at(rng.usize(14..60), rng)
}

fn nobody(rng: &mut Rng) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(rng.u32(0x6500_0000..0x7e00_0000))), 6_881)
}

/// An id near the target at an address where nobody is, the best fitting of some.
fn made_up(target: &Id, rng: &mut Rng) -> (Id, SocketAddr) {
    let tries = (0..64).map(|_| {
        let address = nobody(rng);
        (Id::for_address(address.ip(), rng), address)
    });
    let (best, address) =
        tries.max_by_key(|(id, _)| id.common_prefix(target)).unwrap_or((*target, nobody_at()));
    (best, address)
}

const fn nobody_at() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(101, 0, 0, 1)), 6_881)
}
