//! How much anybody may ask of us: queries of one address, and bytes answered to all.
//!
//! A fixed number of token buckets, chosen by a keyed hash of the address (IPv6: of its /64), so that neither many
//! addresses nor chosen ones make it grow or hit one neighbour.

use alloc::vec::Vec;
use core::net::IpAddr;
use quelea_digest::sha256;
use quelea_time::Time;

const BUCKETS: usize = 2_048;

/// What strangers may cost us.
///
/// The default serves some 5,000 queries a second, which took 8 to 10 % of a core where it was measured
/// (`bench/dht.py`), and 1.2 MiB/s of upload. A usual node is asked a few dozen times a second and gets nowhere near:
/// the bound is for a node that suddenly has the whole network's interest, and serves it as far as most lines allow. It
/// cannot be turned against others, whatever it is: nobody unproven is sent more than three times what came from there,
/// and no address is answered more than ten times a second in the long run. Limits of the session's upload do not cover
/// answers, so who has a slow line takes less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Queries a second of one address, in the long run.
    pub queries: u32,
    /// Queries of one address at once.
    pub burst: u32,
    /// Bytes a second of answers to everybody, headers of UDP and IP not counted.
    pub answered: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { queries: 10, burst: 60, answered: 2 << 20 }
    }
}

/// A count that fills with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a unit.
    level: u64,
    filled: Time,
}

impl Bucket {
    fn take(&mut self, now: Time, rate: u64, size: u64, cost: u64) -> bool {
        let passed = now.since(self.filled).as_millis().min(u128::from(u32::MAX)) as u64;
        if passed > 0 {
            self.filled = now;
            self.level = self.level.saturating_add(passed * rate).min(size * 1_000);
        }
        let cost = cost * 1_000;
        let enough = self.level >= cost;
        if enough {
            self.level -= cost;
        }
        enough
    }
}

/// Lets queries in, or not.
#[derive(Debug)]
pub struct Gate {
    allowance: Allowance,
    secret: [u8; 32],
    addresses: Vec<Bucket>,
    answers: Bucket,
}

impl Gate {
    /// A gate through which everybody may pass at first.
    pub fn new(allowance: Allowance, secret: [u8; 32]) -> Self {
        let full = Bucket { level: u64::from(allowance.burst) * 1_000, filled: Time::ZERO };
        let answers = Bucket { level: u64::from(allowance.answered) * 1_000, filled: Time::ZERO };
        Self { allowance, secret, addresses: alloc::vec![full; BUCKETS], answers }
    }

    /// Whether a query of this address may pass.
    pub fn admit(&mut self, now: Time, from: IpAddr) -> bool {
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(&self.secret);
        bytes[32..].copy_from_slice(&crate::id::host(from));
        let hash = sha256(&bytes);
        let index = usize::from(u16::from_le_bytes([hash[0], hash[1]])) % BUCKETS;
        let Allowance { queries, burst, .. } = self.allowance;
        self.addresses[index].take(now, u64::from(queries), u64::from(burst), 1)
    }

    /// Whether an answer of this many bytes may go out.
    pub fn answer(&mut self, now: Time, bytes: usize) -> bool {
        let rate = u64::from(self.allowance.answered);
        self.answers.take(now, rate, rate, bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_held_to_its_rate_and_others_are_not() {
        let allowance = Allowance { queries: 10, burst: 20, answered: 1_000 };
        let mut gate = Gate::new(allowance, [1; 32]);
        let (loud, quiet): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let mut passed = 0;
        for milli in 0..10_000 {
            passed += u32::from(gate.admit(Time::from_millis(milli), loud));
        }
        assert!((110..=121).contains(&passed), "{passed}");
        assert!(gate.admit(Time::from_secs(10), quiet));
    }

    #[test]
    fn by_default_five_thousand_queries_a_second_are_served() {
        let mut gate = Gate::new(Allowance::default(), [1; 32]);
        for number in 0..100_000_u32 {
            let now = Time::from_nanos(u64::from(number) * 200_000);
            let asker = IpAddr::from((0xc612_0000 + number % 20_000).to_be_bytes());
            assert!(gate.admit(now, asker) && gate.answer(now, 400), "{number}");
        }
    }

    #[test]
    fn answers_are_held_to_their_bytes() {
        let mut gate = Gate::new(Allowance { answered: 1_000, ..Allowance::default() }, [1; 32]);
        let sent: usize = (0..10_000).filter(|&ms| gate.answer(Time::from_millis(ms), 100)).count() * 100;
        assert!((10_000..=11_000).contains(&sent), "{sent}");
    }
}
