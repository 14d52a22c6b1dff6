//! Which address the world sees us at, by the votes of those who see us: trackers (BEP 24, `external ip`), peers
//! (BEP 10, `yourip`), nodes of the DHT (BEP 42, `ip`) and our own gateway.
//!
//! Nobody is believed alone. A voter is a neighbourhood (IPv4 /24, IPv6 /48) and has one vote for each family and kind
//! of witness, however often it speaks; its newest word counts. An address is ours once its votes weigh
//! [`QUORUM`] and more than all others together. It stays ours until another one gets there, so an address that
//! changes is heeded as soon as most of the recent voters have seen the new one.

use crate::network::network;
use crate::reach::is_public;
use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use quelea_time::Time;

/// What the votes for an address weigh together at least before it is ours.
pub const QUORUM: u32 = 3;
/// Votes of one family that are held; the oldest is forgotten first.
pub const VOTES: usize = 64;
/// A vote is forgotten after this long.
pub const MEMORY: Duration = Duration::from_secs(3600);

/// Who sees us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// A peer, in its extension handshake.
    Peer(IpAddr),
    /// The DHT: many of its nodes, agreed among themselves. They are nearer to each other than they look where one owner
    /// runs them, so all together weigh as much as two strangers.
    Dht,
    /// A tracker, at the address that was asked. It was named by a person, so it weighs as much as two strangers.
    Tracker(IpAddr),
    /// The gateway that forwards our port, which likewise weighs as much as two strangers.
    Gateway,
}

/// A kind of witness and its neighbourhood.
type Voter = (u8, IpAddr);

impl Witness {
    fn weight(self) -> u32 {
        match self {
            Self::Peer(_) => 1,
            Self::Tracker(_) | Self::Gateway | Self::Dht => 2,
        }
    }

    fn voter(self) -> Voter {
        match self {
            Self::Peer(ip) => (0, network(ip)),
            Self::Tracker(ip) => (1, network(ip)),
            Self::Gateway => (2, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Self::Dht => (3, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        }
    }
}

/// The votes on our addresses, one a family.
#[derive(Debug, Clone, Default)]
pub struct External {
    v4: Ballot,
    v6: Ballot,
}

#[derive(Debug, Clone, Default)]
struct Ballot {
    votes: BTreeMap<Voter, Vote>,
    /// Numbers the votes in the order they came.
    count: u64,
    decided: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Vote {
    address: IpAddr,
    weight: u32,
    at: Time,
    number: u64,
}

impl External {
    /// Nobody has said anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// `witness` sees us at `address`. The address when this vote decides that it is ours, and it was not before.
    ///
    /// An address that is not public says nothing about how the world sees us, and is no vote.
    pub fn vote(&mut self, now: Time, witness: Witness, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if !is_public(address) {
            return None;
        }
        let ballot = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        ballot.vote(now, witness, address)
    }

    /// Our address of a family, once it is decided.
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.v4.decided } else { self.v6.decided }
    }

    /// Our addresses that are decided, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.v4.decided, self.v6.decided].into_iter().flatten()
    }

    /// We are in another network, or have found back to ours: what was seen before counts no more. The addresses
    /// decided upon stay until others are.
    pub fn forget_votes(&mut self) {
        self.v4.votes.clear();
        self.v6.votes.clear();
    }
}

impl Ballot {
    fn vote(&mut self, now: Time, witness: Witness, address: IpAddr) -> Option<IpAddr> {
        self.votes.retain(|_, vote| now.since(vote.at) < MEMORY);
        self.count += 1;
        let vote = Vote { address, weight: witness.weight(), at: now, number: self.count };
        self.votes.insert(witness.voter(), vote);
        if self.votes.len() > VOTES {
            let oldest = self.votes.iter().min_by_key(|(_, vote)| vote.number).map(|(voter, _)| *voter);
            oldest.map(|voter| self.votes.remove(&voter));
        }
        let weight_of = |chosen: &dyn Fn(&Vote) -> bool| -> u32 {
            self.votes.values().filter(|vote| chosen(vote)).map(|vote| vote.weight).sum()
        };
        // Only the address that was voted for can have won by this vote.
        let (given, total) = (weight_of(&|vote| vote.address == address), weight_of(&|_| true));
        if given < QUORUM || given * 2 <= total || self.decided == Some(address) {
            return None;
        }
        self.decided = Some(address);
        self.decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::net::Ipv6Addr;
    use proptest::prelude::*;

    const NOW: Time = Time::from_secs(100);

    fn ours() -> IpAddr {
        IpAddr::from([203, 0, 113, 7])
    }

    fn theirs() -> IpAddr {
        IpAddr::from([203, 0, 113, 66])
    }

    /// A peer in a neighbourhood of its own.
    fn peer(number: u8) -> Witness {
        Witness::Peer(IpAddr::from([20, 1, number, 9]))
    }

    #[test]
    fn what_decides() {
        let six: IpAddr = "2001:db8::7".parse().unwrap();
        let tracker = |number: u8| Witness::Tracker(IpAddr::from([20, 3, number, 9]));
        type Case<'a> = (&'a str, &'a [(Witness, IpAddr)], Option<IpAddr>);
        let table: [Case<'_>; 10] = [
            ("one stranger", &[(peer(1), ours())], None),
            ("three strangers", &[(peer(1), ours()), (peer(2), ours()), (peer(3), ours())], Some(ours())),
            ("a tracker alone", &[(tracker(1), ours())], None),
            ("a tracker and a peer", &[(tracker(1), ours()), (peer(1), ours())], Some(ours())),
            ("a gateway alone", &[(Witness::Gateway, ours())], None),
            ("the DHT and the gateway", &[(Witness::Dht, ours()), (Witness::Gateway, ours())], Some(ours())),
            ("two trackers", &[(tracker(1), ours()), (tracker(2), ours())], Some(ours())),
            (
                "as many for another",
                &[(tracker(1), theirs()), (peer(1), theirs()), (tracker(2), ours()), (peer(2), ours())],
                // The first three had a majority; those who disagree later have none.
                Some(theirs()),
            ),
            ("no majority", &[(tracker(1), theirs()), (tracker(2), ours()), (tracker(3), six)], None),
            ("the other family", &[(peer(1), six), (peer(2), six), (peer(3), six)], None),
        ];
        for (name, votes, decided) in table {
            let mut external = External::new();
            for (witness, address) in votes {
                external.vote(NOW, *witness, *address);
            }
            assert_eq!(external.address(true), decided, "{name}");
        }
    }

    #[test]
    fn it_is_told_once() {
        let mut external = External::new();
        let told: Vec<_> = (0..10).filter_map(|number| external.vote(NOW, peer(number), ours())).collect();
        assert_eq!(told, [ours()]);
        assert_eq!(external.addresses().collect::<Vec<_>>(), [ours()]);
    }

    #[test]
    fn a_neighbourhood_is_one_voter() {
        let mut external = External::new();
        for last in 0..=255 {
            assert_eq!(external.vote(NOW, Witness::Peer(IpAddr::from([20, 1, 1, last])), theirs()), None);
        }
        for last in 0..1000u128 {
            let ip = Ipv6Addr::from_bits((0x2001_0db8 << 96) + last);
            external.vote(NOW, Witness::Peer(ip.into()), theirs());
        }
        assert_eq!(external.address(true), None, "two neighbourhoods are not enough");
    }

    #[test]
    fn an_address_that_is_not_public_is_no_vote() {
        let mut external = External::new();
        for address in ["10.1.2.3", "127.0.0.1", "0.0.0.0", "224.0.0.1", "100.64.1.1", "fe80::1", "::"] {
            for number in 0..20 {
                assert_eq!(external.vote(NOW, peer(number), address.parse().unwrap()), None, "{address}");
            }
        }
        assert_eq!(external.addresses().count(), 0);
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let mut external = External::new();
        for number in 0..3 {
            external.vote(NOW, peer(number), "::ffff:203.0.113.7".parse().unwrap());
        }
        assert_eq!(external.address(true), Some(ours()));
    }

    #[test]
    fn a_change_is_heeded_when_most_have_seen_it() {
        let mut external = External::new();
        for number in 0..9 {
            external.vote(NOW, peer(number), ours());
        }
        let new = IpAddr::from([203, 0, 113, 8]);
        let when: Vec<u8> =
            (0..9).filter(|&number| external.vote(NOW, peer(number), new).is_some()).collect();
        assert_eq!(when, [4], "the fifth of nine that sees the new one decides");
        assert_eq!(external.address(true), Some(new));
    }

    #[test]
    fn old_votes_are_forgotten_and_the_address_stays() {
        let mut external = External::new();
        for number in 0..60 {
            external.vote(NOW, peer(number), ours());
        }
        let later = NOW + MEMORY;
        for number in 100..102 {
            assert_eq!(external.vote(later, peer(number), theirs()), None);
        }
        assert_eq!(external.address(true), Some(ours()));
        assert_eq!(external.vote(later, peer(103), theirs()), Some(theirs()));
    }

    #[test]
    fn after_a_change_of_network_the_new_voters_decide() {
        let mut external = External::new();
        (0..60).for_each(|number| _ = external.vote(NOW, peer(number), ours()));
        external.forget_votes();
        assert_eq!(external.address(true), Some(ours()));
        (100..103).for_each(|number| _ = external.vote(NOW, peer(number), theirs()));
        assert_eq!(external.address(true), Some(theirs()));
    }

    proptest! {
        #[test]
        fn a_minority_cannot_move_what_is_decided(
            liars in 0u8..15,
            order in prop::collection::vec((0u8..31, any::<u8>()), 0..500),
        ) {
            let mut external = External::new();
            // Sixteen honest neighbourhoods have spoken before.
            for number in 15..31 {
                external.vote(NOW, peer(number), ours());
            }
            for (number, last) in order {
                let lies = number < liars;
                let address = if lies { IpAddr::from([203, 0, 113, last]) } else { ours() };
                external.vote(NOW, Witness::Peer(IpAddr::from([20, 1, number, last])), address);
                prop_assert_eq!(external.address(true), Some(ours()));
            }
        }

        #[test]
        fn what_is_held_is_bounded(votes in prop::collection::vec((any::<IpAddr>(), any::<IpAddr>()), 0..500)) {
            let mut external = External::new();
            for (voter, address) in votes {
                external.vote(NOW, Witness::Tracker(voter), address);
                prop_assert!(external.v4.votes.len() <= VOTES && external.v6.votes.len() <= VOTES);
                prop_assert!(external.addresses().all(is_public));
            }
        }
    }
}
