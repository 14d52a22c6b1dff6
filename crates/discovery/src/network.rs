//! Addresses that belong to one stranger. A provider gives a customer one IPv4 address, but a whole network of IPv6
//! addresses, and a few rented machines often share an IPv4 network. Bounds on strangers count these.

use crate::Scope;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Stands for all addresses that a provider gives one customer: an IPv4 address, or the first 64 bits of an
/// IPv6 address (RFC 6177). Near addresses, those of neighbours in a home or on a link, each stand for themselves.
pub fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if Scope::of(ip) == Scope::World => {
            Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()
        }
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

/// The first and the last address of a [`host`].
pub fn host_range(ip: IpAddr) -> (IpAddr, IpAddr) {
    match host(ip) {
        IpAddr::V6(first) if Scope::of(ip) == Scope::World => {
            (first.into(), Ipv6Addr::from_bits(first.to_bits() | u128::from(u64::MAX)).into())
        }
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => (ip, ip),
    }
}

/// Stands for the network of an address: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address. The
/// owner of one address in it may own many.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_customer_has_an_ipv4_address_or_64_bits_of_ipv6() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("198.51.100.1", "198.51.100.2", false),
            ("198.51.100.1", "::ffff:198.51.100.1", true),
            ("fe80::1", "fe80::2", false),
            ("fd00::1", "fd00::2", false),
        ] {
            assert_eq!(host(ip(one)) == host(ip(other)), same, "{one} {other}");
            let (first, last) = host_range(ip(one));
            assert_eq!((first..=last).contains(&ip(other).to_canonical()), same, "{one} {other}");
        }
    }

    #[test]
    fn one_network_has_24_bits_of_ipv4_or_48_of_ipv6() {
        assert_eq!(network(ip("198.51.100.1")), network(ip("198.51.100.200")));
        assert_ne!(network(ip("198.51.100.1")), network(ip("198.51.101.1")));
        assert_eq!(network(ip("2001:db8:7:1::1")), network(ip("2001:db8:7:2::1")));
        assert_ne!(network(ip("2001:db8:7::1")), network(ip("2001:db8:8::1")));
    }
}
