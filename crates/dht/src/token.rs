//! Write tokens: who wants to store something here must have asked from its address before (BEP 5, "get_peers").
//!
//! A token is a keyed hash of the address and of what it is for, so nothing is remembered for the asker. The key
//! changes every five minutes, and a token is good under the present key and the one before.

use crate::Id;
use core::net::IpAddr;
use core::time::Duration;
use quelea_digest::sha256;
use quelea_time::Time;

/// How long a key is used (BEP 5: "changed every five minutes and tokens up to ten minutes old are accepted").
const PERIOD: Duration = Duration::from_secs(300);
/// Bytes of a token.
const LENGTH: usize = 8;

/// Gives tokens and knows them again.
#[derive(Debug)]
pub struct Tokens {
    secret: [u8; 32],
}

impl Tokens {
    /// Tokens that only who knows `secret` can make.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The token for an address that asked for `target`.
    pub fn token(&self, now: Time, ip: IpAddr, target: &Id) -> [u8; LENGTH] {
        self.of_period(period(now), ip, target)
    }

    /// Whether we gave this token, to this address, for this target, not long ago.
    pub fn is_ours(&self, now: Time, ip: IpAddr, target: &Id, token: &[u8]) -> bool {
        let period = period(now);
        let given = [Some(period), period.checked_sub(1)];
        given.into_iter().flatten().any(|period| is_same(&self.of_period(period, ip, target), token))
    }

    fn of_period(&self, period: u64, ip: IpAddr, target: &Id) -> [u8; LENGTH] {
        let ip = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; 76];
        bytes[..32].copy_from_slice(&self.secret);
        bytes[32..40].copy_from_slice(&period.to_be_bytes());
        bytes[40..56].copy_from_slice(&ip.octets());
        bytes[56..].copy_from_slice(&target.0);
        let hash = sha256(&bytes);
        core::array::from_fn(|at| hash[at])
    }
}

fn period(now: Time) -> u64 {
    now.as_nanos() / PERIOD.as_nanos() as u64
}

/// Compares without telling by its time how much was right.
fn is_same(ours: &[u8; LENGTH], theirs: &[u8]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_and_target_and_for_a_while() {
        let tokens = Tokens::new([7; 32]);
        let (ip, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (target, strange) = (Id([1; 20]), Id([2; 20]));
        let token = tokens.token(Time::from_secs(299), ip, &target);
        let good = |secs, ip, target| tokens.is_ours(Time::from_secs(secs), ip, target, &token);
        assert!(good(299, ip, &target));
        assert!(good(599, ip, &target), "a token from the period before");
        assert!(!good(601, ip, &target), "a token that is too old");
        assert!(!good(299, other, &target));
        assert!(!good(299, ip, &strange));
        assert!(!tokens.is_ours(Time::ZERO, ip, &target, &[]));
        assert!(!Tokens::new([8; 32]).is_ours(Time::from_secs(299), ip, &target, &token));
    }
}
