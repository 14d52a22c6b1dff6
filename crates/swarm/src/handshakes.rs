//! Handshakes under way with peers that connect to us: who gives way when there are too many.
//!
//! A peer that means well says its handshake within a round trip. So nobody is turned away: the oldest handshake gives
//! way to a new one, that of the host itself when it has many, else that of the network that has most.

use alloc::collections::BTreeMap;
use core::net::IpAddr;
use quelea_discovery::Scope;
use quelea_discovery::network::{host, network};

/// Handshakes under way with one host at most.
pub const PER_HOST: usize = 16;

/// Names a handshake under way; a later one has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandshakeKey(u64);

/// Handshakes under way, a few hundred at most.
#[derive(Debug)]
pub struct Handshakes {
    most: usize,
    next: u64,
    under_way: BTreeMap<HandshakeKey, IpAddr>,
}

impl Handshakes {
    /// None, of `most` at a time.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), next: 0, under_way: BTreeMap::new() }
    }

    /// A handshake with somebody at this address begins; with it the one that gives way and is over, if one must.
    pub fn begin(&mut self, address: IpAddr) -> (HandshakeKey, Option<HandshakeKey>) {
        let given_up = self.who_gives_way(address);
        if let Some(key) = given_up {
            self.under_way.remove(&key);
        }
        let key = HandshakeKey(self.next);
        self.next += 1;
        self.under_way.insert(key, address);
        (key, given_up)
    }

    /// A handshake is over.
    pub fn end(&mut self, key: HandshakeKey) {
        self.under_way.remove(&key);
    }

    fn who_gives_way(&self, newcomer: IpAddr) -> Option<HandshakeKey> {
        let mut of_host = self.under_way.iter().filter(|(_, ip)| host(**ip) == host(newcomer));
        let oldest = of_host.next().map(|(key, _)| *key);
        if of_host.count() + 1 >= PER_HOST {
            return oldest;
        }
        if self.under_way.len() < self.most {
            return None;
        }
        let mut networks: BTreeMap<IpAddr, (usize, HandshakeKey)> = BTreeMap::new();
        for (key, ip) in &self.under_way {
            networks.entry(crowd_of(*ip)).or_insert((0, *key)).0 += 1;
        }
        // Of several that have as many it is the one whose oldest handshake is the oldest.
        let most = networks.into_values().max_by_key(|(many, oldest)| (*many, core::cmp::Reverse(*oldest)));
        most.map(|(_, oldest)| oldest)
    }
}

/// The crowd that an address belongs to; each near address is one of its own.
fn crowd_of(ip: IpAddr) -> IpAddr {
    if Scope::of(ip) == Scope::World { network(ip) } else { ip }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn of_one_host_the_oldest_gives_way_and_others_are_not_concerned() {
        let mut handshakes = Handshakes::new(256);
        let other = handshakes.begin(ip("2001:db8:0:1::1")).0;
        let first: Vec<_> = (0..PER_HOST).map(|_| handshakes.begin(ip("2001:db8::1"))).collect();
        assert!(first.iter().all(|(_, given_up)| given_up.is_none()));
        assert_eq!(handshakes.begin(ip("2001:db8::2")).1, Some(first[0].0), "the same customer");
        assert_eq!(handshakes.begin(ip("1.2.3.4")).1, None);
        handshakes.end(first[1].0);
        assert_eq!(handshakes.begin(ip("2001:db8::3")).1, None);
        assert!(handshakes.under_way.contains_key(&other));
    }

    #[test]
    fn crowds_with_half_a_handshake_give_way_and_an_honest_one_is_never_among_them() {
        let mut handshakes = Handshakes::new(256);
        let addresses = (0..40u8).flat_map(|host| [IpAddr::from([198, 51, 100 + host % 3, host]); 16]);
        let mut hostile = addresses.cycle();
        for _ in 0..1_000 {
            handshakes.begin(hostile.next().unwrap());
        }
        let honest = handshakes.begin(ip("203.0.113.1")).0;
        for _ in 0..10_000 {
            assert_ne!(handshakes.begin(hostile.next().unwrap()).1, Some(honest));
            assert!(handshakes.under_way.len() <= 256);
        }
        handshakes.end(honest);
    }

    #[test]
    fn of_strangers_from_everywhere_the_oldest_gives_way() {
        let mut handshakes = Handshakes::new(256);
        let begun: Vec<_> =
            (0..=255u8).map(|network| handshakes.begin(IpAddr::from([198, 51, network, 1])).0).collect();
        assert_eq!(handshakes.begin(ip("203.0.113.1")).1, Some(begun[0]));
        assert_eq!(handshakes.begin(ip("203.0.114.1")).1, Some(begun[1]));
    }
}
