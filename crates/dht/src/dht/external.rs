//! Which address we have, by the votes of those who see us (BEP 42, `ip`).

use alloc::vec::Vec;
use core::net::IpAddr;

/// Votes that are remembered.
const MEMORY: usize = 32;
/// Votes that decide.
const QUORUM: usize = 6;

/// The latest votes, one of each voter's network.
#[derive(Debug, Default)]
pub(super) struct Votes {
    votes: Vec<([u8; 6], IpAddr)>,
    decided: Option<IpAddr>,
}

impl Votes {
    /// `voter` sees us at `address`. The address, when it is decided anew by it.
    pub(super) fn vote(&mut self, voter: IpAddr, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if crate::id::is_local(address) || address.is_unspecified() || address.is_multicast() {
            return None;
        }
        let voter = crate::id::network(voter);
        self.votes.retain(|(other, _)| *other != voter);
        if self.votes.len() >= MEMORY {
            self.votes.remove(0);
        }
        self.votes.push((voter, address));
        let agreeing = self.votes.iter().filter(|(_, other)| *other == address).count();
        let decides = agreeing >= QUORUM && agreeing * 3 >= self.votes.len() * 2;
        if !decides || self.decided == Some(address) {
            return None;
        }
        self.decided = Some(address);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(network: u8) -> IpAddr {
        IpAddr::from([198, 51, network, 1])
    }

    #[test]
    fn a_majority_of_many_voters_decides_once() {
        let mut votes = Votes::default();
        for voter in 0..5 {
            assert_eq!(votes.vote(ip(voter), ip(200)), None);
        }
        assert_eq!(votes.vote(ip(5), ip(200)), Some(ip(200)));
        assert_eq!(votes.vote(ip(6), ip(200)), None);
    }

    #[test]
    fn one_network_is_one_voice() {
        let mut votes = Votes::default();
        for _ in 0..100 {
            assert_eq!(votes.vote(ip(1), ip(200)), None);
        }
        for host in 0..100 {
            assert_eq!(votes.vote(IpAddr::from([198, 51, 1, host]), ip(200)), None);
        }
    }

    #[test]
    fn an_address_within_a_network_is_never_ours() {
        let mut votes = Votes::default();
        for voter in 0..20 {
            assert_eq!(votes.vote(ip(voter), IpAddr::from([10, 0, 0, 1])), None);
        }
    }
}
