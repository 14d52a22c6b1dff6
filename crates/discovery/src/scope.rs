//! From how far away an address can be reached.

use crate::reach::is_inner;
use core::net::IpAddr;

/// From how far away an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// From the same machine alone.
    Machine,
    /// From the same link (RFC 3927, RFC 4291 section 2.5.6).
    Link,
    /// From the same site or the same provider's customers (RFC 1918, RFC 4193, RFC 6598).
    Site,
    /// From everywhere.
    World,
}

impl Scope {
    /// That of an address. An IPv6 address that maps an IPv4 address is that address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) if ip.is_loopback() => Self::Machine,
            IpAddr::V4(ip) if ip.is_link_local() => Self::Link,
            IpAddr::V4(ip) if is_inner(ip) => Self::Site,
            IpAddr::V6(ip) if ip.is_loopback() => Self::Machine,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::Link,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Site,
            IpAddr::V4(_) | IpAddr::V6(_) => Self::World,
        }
    }

    /// Whether somebody at an address of this scope may speak, and be spoken to, of an address of the `other`: of
    /// one that means the same everywhere, or that means the same where that somebody is.
    pub fn shares(self, other: Self) -> bool {
        other == Self::World || other == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_has_its_scope() {
        for (scope, addresses) in [
            (Scope::Machine, ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"]),
            (Scope::Link, ["169.254.0.1", "169.254.255.254", "fe80::1", "::ffff:169.254.1.1"]),
            (Scope::Site, ["10.1.2.3", "192.168.0.1", "fd00::1", "100.64.0.1"]),
            (Scope::Site, ["172.16.0.1", "172.31.255.255", "fc00::1", "100.127.255.255"]),
            (Scope::World, ["172.32.0.1", "100.63.0.1", "100.128.0.1", "2001:db8::1"]),
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
        for local in [Scope::Machine, Scope::Link, Scope::Site] {
            assert!(!Scope::World.shares(local), "{local:?}");
        }
        assert!(!Scope::Site.shares(Scope::Machine) && !Scope::Machine.shares(Scope::Site));
    }
}
