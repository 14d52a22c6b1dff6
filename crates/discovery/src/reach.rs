//! Whether an address can be reached from everywhere, or only from a network nearby.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether packets from anywhere in the internet can come to this address: it is none of a home, of a carrier's
/// inner network (RFC 6598), of a link, of this machine, of a group, or of no use at all.
pub const fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

const fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && second & 0xc0 == 64;
    let benchmark = first == 198 && second & 0xfe == 18;
    // 0/8 means "this network", 224/4 are groups, 240/4 has no use.
    !(first == 0
        || first >= 224
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || shared
        || benchmark)
}

/// What is given out to networks (RFC 4291, section 2.4) lies in 2000::/3.
const fn is_public_v6(ip: Ipv6Addr) -> bool {
    ip.octets()[0] & 0xe0 == 0x20
}

/// Whether an IPv4 address is one of a home's or a carrier's inner network, from where a gateway leads out
/// (RFC 1918, RFC 6598).
pub const fn is_inner(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_private() || (first == 100 && second & 0xc0 == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_networks_nearby_are_not_public() {
        for ip in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2001:db8::1", "::ffff:1.1.1.1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
