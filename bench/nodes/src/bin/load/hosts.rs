//! Who is in the network: nodes that the target finds when it joins, and hosts that ask it questions. All have ids that
//! fit their addresses (BEP 42), and answer what the target asks them.

use crate::wire::PORT;
use fastrand::Rng;
use quelea_dht::Id;
use quelea_dht::packet::{Compact, Method, Query, Response, compact_nodes, write_response};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Nodes that one answer names.
const NAMED: usize = 8;
/// Hosts that ask: so many that none of them asks much, and few answer often enough to be known.
pub const ASKERS: usize = 1 << 16;

/// The hosts of the network.
pub struct Hosts {
    nodes: Vec<(Id, SocketAddr)>,
    askers: Vec<Id>,
}

impl Hosts {
    /// A network with so many nodes beside those that ask; 512 at most, each in a network of its own.
    pub fn new(nodes: usize, rng: &mut Rng) -> Self {
        let node = |number: usize| {
            let ip =
                IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + ((number as u32) << 8)));
            (Id::for_address(ip, rng), SocketAddr::new(ip, PORT))
        };
        let nodes = (0..nodes).map(node).collect();
        let askers = (0..ASKERS).map(|number| Id::for_address(IpAddr::V4(asker(number)), rng)).collect();
        Self { nodes, askers }
    }

    /// The id of who asks.
    pub fn asker(&self, number: usize) -> Id {
        self.askers[number % ASKERS]
    }

    /// The id of the host at this address.
    pub fn id_at(&self, ip: Ipv4Addr) -> Option<Id> {
        let [a, b, c, d] = ip.octets();
        match (a, b, d) {
            (198, 18 | 19, 1) => {
                let number = (usize::from(b) - 18) << 8 | usize::from(c);
                self.nodes.get(number).map(|(id, _)| *id)
            }
            (198, 18 | 19, 2..) => Some(self.askers[number_of(ip)]),
            _ => None,
        }
    }

    /// Whether there is such a node.
    pub fn knows(&self, id: &Id, address: SocketAddr) -> bool {
        let IpAddr::V4(ip) = address.ip() else { return false };
        matches!(ip.octets(), [198, 18 | 19, ..]) && address.port() == PORT && self.id_at(ip) == Some(*id)
    }

    /// What the host at `ip` answers to the target at `asker`.
    pub fn answer(
        &self,
        ip: Ipv4Addr,
        query: &Query<'_>,
        transaction: &[u8],
        asker: SocketAddr,
    ) -> Option<Vec<u8>> {
        let response = Response::new(self.id_at(ip)?);
        let target = match query.method {
            Method::FindNode(target) | Method::GetPeers { info_hash: target, .. } => Some(target),
            Method::Ping
            | Method::AnnouncePeer { .. }
            | Method::Get { .. }
            | Method::Put { .. }
            | Method::SampleInfohashes(_)
            | Method::Unknown(_) => None,
        };
        let nodes = target.map(|target| {
            let mut near = self.nodes.clone();
            near.sort_unstable_by_key(|(id, _)| id.distance(&target));
            near.truncate(NAMED);
            compact_nodes(near)
        });
        let mut out = Vec::new();
        let compact = Compact { nodes4: nodes.as_deref(), nodes6: None };
        write_response(&response, compact, transaction, asker, &mut out);
        Some(out)
    }
}

/// The address of who asks.
pub fn asker(number: usize) -> Ipv4Addr {
    // The last byte is 2 to 129, so that nobody is a node.
    let number = (number % ASKERS) as u32;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 2)) + ((number >> 7) << 8) + (number & 0x7f))
}

fn number_of(ip: Ipv4Addr) -> usize {
    let offset = (u32::from(ip) - u32::from(Ipv4Addr::new(198, 18, 0, 2))) as usize;
    ((offset >> 8) << 7 | (offset & 0x7f)) % ASKERS
}
