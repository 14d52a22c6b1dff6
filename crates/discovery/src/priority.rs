//! Canonical peer priority (BEP 40): an order of pairs of peers that both sides compute alike, so that who comes
//! late to a full swarm has the same chance as who came early.

use core::net::{IpAddr, SocketAddr};
use quelea_digest::crc32c;

/// The priority of the connection between two peers; the higher, the rather it is made and kept.
///
/// It is the same whichever of them is called `a`. BEP 40 does not say what an IPv4 and an IPv6 address have in
/// common; here the IPv4 address is taken as the IPv6 address that maps it.
///
/// Of two IPv6 addresses that first differ in byte `n` (from 1), the first `max(6, n)` bytes count whole, as the
/// BEP has it.
pub fn priority(a: SocketAddr, b: SocketAddr) -> u32 {
    match (a.ip().to_canonical(), b.ip().to_canonical()) {
        (a_ip, b_ip) if a_ip == b_ip => of_sorted(a.port().to_be_bytes(), b.port().to_be_bytes()),
        (IpAddr::V4(a), IpAddr::V4(b)) => of_masked(a.octets(), b.octets(), 2),
        (a, b) => of_masked(as_v6(a), as_v6(b), 6),
    }
}

fn as_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Of addresses whose first `whole` bytes count in any case, further ones up to the first that differs, and of
/// the others every second bit.
fn of_masked<const N: usize>(mut a: [u8; N], mut b: [u8; N], whole: usize) -> u32 {
    let alike = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let whole = whole.max(alike + 1);
    for byte in a.iter_mut().skip(whole).chain(b.iter_mut().skip(whole)) {
        *byte &= 0x55;
    }
    of_sorted(a, b)
}

fn of_sorted<const N: usize>(a: [u8; N], b: [u8; N]) -> u32 {
    crc32c([a.min(b), a.max(b)].as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_bep() {
        let of = |a: &str, b: &str| priority(a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(of("123.213.32.10:1", "98.76.54.32:2"), 0xec2d_7224);
        assert_eq!(of("123.213.32.10:1", "123.213.32.234:2"), 0x9956_8189);
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let plain = priority("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        assert_eq!(plain, priority("[::ffff:1.2.3.4]:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn both_sides_compute_the_same(a: SocketAddr, b: SocketAddr) {
            prop_assert_eq!(priority(a, b), priority(b, a));
        }

        #[test]
        fn ports_count_only_behind_one_address(a: IpAddr, b: IpAddr, ports: (u16, u16)) {
            prop_assume!(a.to_canonical() != b.to_canonical());
            let with = |a_port, b_port| priority(SocketAddr::new(a, a_port), SocketAddr::new(b, b_port));
            prop_assert_eq!(with(ports.0, ports.1), with(0, 0));
        }
    }
}
