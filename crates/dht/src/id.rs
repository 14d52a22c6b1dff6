//! Names of nodes and of what they store: 160 bits, compared by exclusive or (BEP 5, "Overview").

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use fastrand::Rng;
use quelea_digest::crc32c;

/// The name of a node, or of what is looked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 20]);

/// How far two ids are from each other: their exclusive or, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance(u128, u32);

impl Id {
    /// Bits in an id.
    pub const BITS: usize = 160;

    /// The id in the first 20 bytes of a slice; `None` when its length is another.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Any id.
    pub fn random(rng: &mut Rng) -> Self {
        let mut bytes = [0; 20];
        rng.fill(&mut bytes);
        Self(bytes)
    }

    /// How far two ids are from each other.
    pub fn distance(&self, other: &Self) -> Distance {
        let ((a, b), (c, d)) = (self.halves(), other.halves());
        Distance(a ^ c, b ^ d)
    }

    /// The first bits of the distance, which nearly always tell who is nearer, and faster than all of it.
    pub fn first_bits(&self, other: &Self) -> u64 {
        let first = |id: &Self| id.0.first_chunk().map_or(0, |bits| u64::from_be_bytes(*bits));
        first(self) ^ first(other)
    }

    /// The number that it is, in two words.
    fn halves(&self) -> (u128, u32) {
        let high = self.0.first_chunk().map_or(0, |high| u128::from_be_bytes(*high));
        (high, self.0.last_chunk().map_or(0, |low| u32::from_be_bytes(*low)))
    }

    /// How many leading bits two ids have in common: 160 for equal ones.
    pub fn common_prefix(&self, other: &Self) -> usize {
        let Distance(high, low) = self.distance(other);
        let bits = if high == 0 { u128::BITS + low.leading_zeros() } else { high.leading_zeros() };
        bits as usize
    }

    /// An id that has exactly `prefix` leading bits in common with this one; `prefix` is below 160.
    pub fn random_at(&self, prefix: usize, rng: &mut Rng) -> Self {
        let mut id = Self::random(rng);
        let (byte, bit) = (prefix / 8, prefix % 8);
        id.0[..byte].copy_from_slice(&self.0[..byte]);
        if let (Some(to), Some(&from)) = (id.0.get_mut(byte), self.0.get(byte)) {
            let kept = !(0xff_u8.checked_shr(bit as u32).unwrap_or(0));
            let turned = 0x80 >> bit;
            *to = (from & kept) | (!from & turned) | (*to & !kept & !turned);
        }
        id
    }

    /// An id that a node at this address may have (BEP 42).
    pub fn for_address(ip: IpAddr, rng: &mut Rng) -> Self {
        let mut id = Self::random(rng);
        let crc = address_hash(ip, id.0[19]);
        id.0[0] = crc[0];
        id.0[1] = crc[1];
        id.0[2] = (crc[2] & 0xf8) | (id.0[2] & 0x07);
        id
    }

    /// Whether a node at this address may have this id (BEP 42). Addresses that mean something within a network
    /// alone may have any.
    pub fn fits(&self, ip: IpAddr) -> bool {
        if is_local(ip) {
            return true;
        }
        let crc = address_hash(ip, self.0[19]);
        self.0[..2] == crc[..2] && (self.0[2] ^ crc[2]) & 0xf8 == 0
    }
}

/// The hash whose first 21 bits begin the id (BEP 42).
fn address_hash(ip: IpAddr, random: u8) -> [u8; 4] {
    const V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
    const V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];
    let masked = |octets: &[u8], mask: &[u8]| {
        let mut bytes = [0_u8; 8];
        for ((to, octet), mask) in bytes.iter_mut().zip(octets).zip(mask) {
            *to = octet & mask;
        }
        bytes[0] |= (random & 0x07) << 5;
        crc32c(&bytes[..mask.len()]).to_be_bytes()
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => masked(&ip.octets(), &V4),
        IpAddr::V6(ip) => masked(&ip.octets(), &V6),
    }
}

/// Whether an address means something within a network alone.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

/// Whether somebody at `namer` may send us to `address`: it must be one that a host can have, and one within a network
/// is believed only of who is in that network.
pub(crate) fn may_name(namer: IpAddr, address: SocketAddr) -> bool {
    let (ip, namer) = (address.ip().to_canonical(), namer.to_canonical());
    let is_host = match ip {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && ip.octets()[0] < 224,
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    let near = !is_local(ip) || (is_local(namer) && (namer.is_loopback() || !ip.is_loopback()));
    is_host && near && address.port() != 0
}

/// Whose network an address is in: /24 and /48.
pub(crate) fn network(ip: IpAddr) -> [u8; 6] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [4, a, b, c, 0, 0]
        }
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            core::array::from_fn(|at| octets[at])
        }
    }
}

/// Who is held to limits for one host: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn host(ip: IpAddr) -> [u8; 8] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            core::array::from_fn(|at| octets[at])
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_at_a_prefix_has_exactly_that_much_in_common() {
        let mut rng = Rng::with_seed(1);
        let id = Id::random(&mut rng);
        for prefix in 0..Id::BITS {
            assert_eq!(id.common_prefix(&id.random_at(prefix, &mut rng)), prefix);
        }
    }

    #[test]
    fn an_id_made_for_an_address_fits_it_and_hardly_another() {
        let mut rng = Rng::with_seed(2);
        for ip in ["203.0.113.7", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            let id = Id::for_address(ip, &mut rng);
            assert!(id.fits(ip));
            assert!(!id.fits("198.51.100.9".parse().unwrap()));
        }
    }

    #[test]
    fn in_the_local_network_any_id_fits() {
        let id = Id([0; 20]);
        let local = [
            "10.1.2.3",
            "172.16.0.9",
            "192.168.7.1",
            "169.254.0.1",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
        ];
        assert!(local.iter().all(|ip| id.fits(ip.parse().unwrap())));
        assert!(["172.32.0.9", "11.0.0.1", "2001:db8::1"].iter().all(|ip| !id.fits(ip.parse().unwrap())));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let id = Id::for_address("203.0.113.7".parse().unwrap(), &mut Rng::with_seed(3));
        assert!(id.fits("::ffff:203.0.113.7".parse().unwrap()));
    }
}
