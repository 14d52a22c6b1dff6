//! The range within which an address means the same host, and who may lead us to it.
//!
//! A stranger can make us connect to an address by naming it: a tracker by a list of peers, a server by a redirect, a
//! peer by peer exchange. An address that only we can reach (our own machine, the router's page, the metadata service of
//! a cloud) must not be named from farther away than it can be reached from. [`Scope::may_lead_to`] is that rule for
//! servers that we chose to ask, [`Scope::shares`] the stricter one for peers, which are strangers at any address.
//! Both judge addresses as they are connected to, after names have been looked up.

use crate::reach::is_inner;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The range within which an address means the same host, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// No host can be there, or any: unspecified, a group, broadcast, reserved. A system may take some of them for
    /// itself.
    Nowhere,
    /// The same machine.
    Machine,
    /// The same link (RFC 3927, RFC 4291 section 2.5.6).
    Link,
    /// The same site or the same provider's customers (RFC 1918, RFC 4193, RFC 6598, RFC 2544).
    Site,
    /// Everywhere.
    World,
}

impl Scope {
    /// The scope of an address. An IPv6 address that stands for an IPv4 address has the scope of that.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [first, second, third, _] = ip.octets();
        // 192.0.0.0/24 is for translators (RFC 6890), 198.18.0.0/15 for benchmarks and invented answers of resolvers.
        let internal = (first, second, third) == (192, 0, 0) || (first == 198 && second & 0xfe == 18);
        if first == 0 || first >= 224 {
            Self::Nowhere
        } else if ip.is_loopback() {
            Self::Machine
        } else if ip.is_link_local() {
            Self::Link
        } else if is_inner(ip) || internal {
            Self::Site
        } else {
            Self::World
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [a, b, c, d, e, f, g, h] = ip.segments();
        let [_, _, x, y, z, w, ..] = ip.octets();
        let [g0, g1] = g.to_be_bytes();
        let [h0, h1] = h.to_be_bytes();
        if ip.is_loopback() {
            Self::Machine
        } else if ip.is_multicast() || (a, b, c, d, e, f) == (0, 0, 0, 0, 0, 0) {
            Self::Nowhere
        } else if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
            // Translated to IPv4 on the way (RFC 6052).
            Self::of_v4(Ipv4Addr::new(g0, g1, h0, h1))
        } else if a == 0x2002 {
            // Tunnelled to that IPv4 address (RFC 3056).
            Self::of_v4(Ipv4Addr::new(x, y, z, w))
        } else if ip.is_unicast_link_local() {
            Self::Link
        } else if ip.is_unique_local() || a & 0xffc0 == 0xfec0 || (a, b, c) == (0x64, 0xff9b, 1) {
            // The second are the site-local addresses of RFC 3513, the third RFC 8215's.
            Self::Site
        } else {
            Self::World
        }
    }

    /// Whether a peer at an address of this scope may speak, and be spoken to, of an address of the `other`: of
    /// one that means the same everywhere, or that means the same where that peer is.
    pub fn shares(self, other: Self) -> bool {
        other == Self::World || (other == self && other != Self::Nowhere)
    }

    /// Whether a server at an address of this scope may send us to `ip`: by a redirect, or as the address of a peer.
    ///
    /// It may send us as far away as it is itself, or farther: a tracker on this machine names its neighbours, one in
    /// the local network names those there, one of the world names the world alone. Nobody leads to where no host is.
    pub fn may_lead_to(self, ip: IpAddr) -> bool {
        let to = Self::of(ip);
        to != Self::Nowhere && self <= to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Scope; 5] = [Scope::Nowhere, Scope::Machine, Scope::Link, Scope::Site, Scope::World];

    #[test]
    fn each_range_has_its_scope() {
        for (scope, addresses) in [
            (Scope::Nowhere, &["0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1"][..]),
            (Scope::Nowhere, &["255.255.255.255", "::", "::127.0.0.1", "ff02::1", "::ffff:0.0.0.0"]),
            (Scope::Nowhere, &["64:ff9b::e000:1", "::ffff:255.255.255.255"]),
            (Scope::Machine, &["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"]),
            (Scope::Machine, &["64:ff9b::7f00:1", "2002:7f00:1::"]),
            (Scope::Link, &["169.254.0.1", "169.254.169.254", "fe80::1", "febf::1", "::ffff:169.254.1.1"]),
            (Scope::Site, &["10.1.2.3", "192.168.0.1", "fd00::1", "100.64.0.1", "::ffff:10.0.0.1"]),
            (Scope::Site, &["172.16.0.1", "172.31.255.255", "fc00::1", "100.127.255.255", "fec0::1"]),
            (
                Scope::Site,
                &["198.18.0.1", "198.19.255.255", "192.0.0.170", "64:ff9b::c0a8:1", "64:ff9b:1::1"],
            ),
            (Scope::World, &["172.32.0.1", "100.63.0.1", "100.128.0.1", "2001:db8::1", "223.255.255.255"]),
            (Scope::World, &["1.1.1.1", "192.0.1.1", "198.20.0.1", "64:ff9b::101:101", "::ffff:1.1.1.1"]),
        ] {
            for address in addresses {
                assert_eq!(Scope::of(address.parse().unwrap()), scope, "{address}");
            }
        }
    }

    #[test]
    fn what_is_local_is_spoken_of_among_neighbours_alone() {
        assert!(Scope::World.shares(Scope::World) && Scope::Site.shares(Scope::World));
        assert!(Scope::Site.shares(Scope::Site) && Scope::Machine.shares(Scope::Machine));
        for local in [Scope::Nowhere, Scope::Machine, Scope::Link, Scope::Site] {
            assert!(!Scope::World.shares(local), "{local:?}");
        }
        assert!(!Scope::Site.shares(Scope::Machine) && !Scope::Machine.shares(Scope::Site));
        assert!(ALL.into_iter().all(|scope| !scope.shares(Scope::Nowhere)));
    }

    #[test]
    fn nobody_leads_to_a_place_nearer_than_its_own() {
        for (to, may) in [
            ("0.0.0.0", &[][..]),
            ("::", &[]),
            ("255.255.255.255", &[]),
            ("127.0.0.1", &[Scope::Machine]),
            ("::1", &[Scope::Machine]),
            ("::ffff:127.0.0.1", &[Scope::Machine]),
            ("169.254.169.254", &[Scope::Machine, Scope::Link]),
            ("192.168.7.1", &[Scope::Machine, Scope::Link, Scope::Site]),
            ("100.64.0.1", &[Scope::Machine, Scope::Link, Scope::Site]),
            ("fd00::1", &[Scope::Machine, Scope::Link, Scope::Site]),
            ("203.0.113.5", &[Scope::Machine, Scope::Link, Scope::Site, Scope::World]),
            ("2001:db8::1", &[Scope::Machine, Scope::Link, Scope::Site, Scope::World]),
        ] {
            for from in ALL.into_iter().filter(|scope| *scope != Scope::Nowhere) {
                assert_eq!(from.may_lead_to(to.parse().unwrap()), may.contains(&from), "{from:?} to {to}");
            }
        }
    }
}
