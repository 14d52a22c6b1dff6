//! The way out of the network, from the routing table. Nothing is sent.

use super::Family;
use quelea_discovery::mapping::{Gateway, Route};
use quelea_net::Binding;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Where no router is known, our address is the one that a packet to the outside would have (RFC 5737, RFC 3849: nobody
/// is there).
const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The way out for one family; `None` where there is none, or where the bound addresses do not lead that way.
pub(crate) fn route(binding: &Binding, family: Family) -> Option<Route> {
    let gateway = match gateway(family) {
        Known::Gateway(gateway) => Some(gateway),
        Known::NoWay => return None,
        Known::Nothing => None,
    };
    let towards = match (family, gateway) {
        (Family::V4, Some(gateway)) => gateway.address,
        (Family::V4, None) => OUTSIDE_V4.into(),
        // A router's address is one of its link, to where another address of ours leads.
        (Family::V6, _) => OUTSIDE_V6.into(),
    };
    let local = local_towards(towards)?;
    let ours =
        |bound: &IpAddr| *bound == local || (bound.is_unspecified() && bound.is_ipv4() == local.is_ipv4());
    let ours = binding.is_any() || binding.listen_addresses().iter().any(ours);
    ours.then_some(Route { local, gateway })
}

/// Our address on the way to `remote`. Connecting a UDP socket sends nothing.
fn local_towards(remote: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match remote {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((remote, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What the system tells of its default route.
enum Known {
    Gateway(Gateway),
    /// There is no default route by a gateway.
    NoWay,
    /// The system is not asked.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "Linux tells"))]
    Nothing,
}

#[cfg(target_os = "linux")]
fn gateway(family: Family) -> Known {
    // Of this thread, whose network need not be that of the process.
    let table =
        |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let gateway = match family {
        Family::V4 => linux::gateway_v4(&table("route")),
        Family::V6 => linux::gateway_v6(&table("ipv6_route"), &table("if_inet6")),
    };
    gateway.map_or(Known::NoWay, Known::Gateway)
}

#[cfg(not(target_os = "linux"))]
fn gateway(family: Family) -> Known {
    match family {
        Family::V4 => Known::Nothing,
        // Without a router there is nobody to ask.
        Family::V6 => Known::NoWay,
    }
}

/// Linux's tables of routes.
#[cfg(target_os = "linux")]
mod linux {
    use super::Gateway;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// Of the routing flags: the route is up, and leads by a gateway.
    const UP_AND_GATEWAY: u32 = 1 | 2;

    /// The gateway of the default route with the lowest metric, of a table as in proc_net_route(5).
    pub(super) fn gateway_v4(table: &str) -> Option<Gateway> {
        let routes = table.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            // Addresses are written as the machine has them in memory.
            let (destination, gateway, flags) =
                (hex(fields.next())?, hex(fields.next())?, hex(fields.next())?);
            let metric: u32 = fields.nth(2)?.parse().ok()?;
            let mask = hex(fields.next())?;
            let default = destination == 0 && mask == 0 && flags & UP_AND_GATEWAY == UP_AND_GATEWAY;
            default.then(|| (metric, IpAddr::V4(Ipv4Addr::from_octets(gateway.to_ne_bytes()))))
        });
        routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway.into())
    }

    /// The same of IPv6, with the table of our addresses, which numbers the interfaces. Of a route: destination and
    /// length, source and length, gateway, metric, counters, flags, interface; of an address: itself, number of the
    /// interface, length, scope, flags, interface. All numbers are hexadecimal.
    pub(super) fn gateway_v6(routes: &str, addresses: &str) -> Option<Gateway> {
        let routes = routes.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[destination, length, _, _, gateway, metric, _, _, flags, interface] = &fields[..] else {
                return None;
            };
            let address = Ipv6Addr::from_bits(u128::from_str_radix(gateway, 16).ok()?);
            let default = hex(Some(length))? == 0 && destination.bytes().all(|digit| digit == b'0');
            let leads = hex(Some(flags))? & UP_AND_GATEWAY == UP_AND_GATEWAY;
            (default && leads).then_some((hex(Some(metric))?, address, interface))
        });
        let (_, address, name) = routes.min_by_key(|(metric, ..)| *metric)?;
        let number = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.last() == Some(&name)).then(|| hex(fields.get(1).copied())).flatten()
        };
        let interface = addresses.lines().find_map(number)?;
        Some(Gateway { address: address.into(), interface })
    }

    fn hex(field: Option<&str>) -> Option<u32> {
        u32::from_str_radix(field?, 16).ok()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{gateway_v4, gateway_v6};
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    /// A line of the table as this machine would print it.
    fn line(to: [u8; 4], by: [u8; 4], flags: u32, metric: u32, mask: [u8; 4]) -> String {
        let [to, by, mask] = [to, by, mask].map(u32::from_ne_bytes);
        format!("eth0\t{to:08X}\t{by:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let table = [
            HEAD.to_owned(),
            line([192, 168, 1, 0], [0; 4], 1, 100, [255, 255, 255, 0]),
            line([0; 4], [192, 168, 1, 254], 3, 600, [0; 4]),
            line([0; 4], [192, 168, 1, 1], 3, 100, [0; 4]),
            line([0; 4], [192, 168, 1, 9], 2, 0, [0; 4]),
            line([10, 0, 0, 0], [192, 168, 1, 8], 3, 0, [255, 0, 0, 0]),
        ];
        let expected = IpAddr::from([192, 168, 1, 1]);
        assert_eq!(gateway_v4(&table.concat()), Some(expected.into()));
    }

    #[test]
    fn a_table_without_a_way_out_or_without_sense_has_no_gateway() {
        let local = line([192, 168, 1, 0], [0; 4], 1, 0, [255, 255, 255, 0]);
        for table in ["", HEAD, "x\ny z\n", &(HEAD.to_owned() + &local), "Iface\neth0\t0\t0\n"] {
            assert_eq!(gateway_v4(table), None, "{table}");
        }
    }

    /// A line of the table of IPv6, with the first two and the last two bytes of addresses.
    fn line_v6(to: [u16; 2], length: u8, by: [u16; 2], metric: u32, flags: u32, interface: &str) -> String {
        let [to, by] = [to, by].map(|[first, last]| u128::from(first) << 112 | u128::from(last));
        format!(
            "{to:032x} {length:02x} {:032x} 00 {by:032x} {metric:08x} 00000001 00000000 {flags:08x} {interface:>8}\n",
            0
        )
    }

    #[test]
    fn the_router_of_ipv6_comes_with_its_interface() {
        let addresses = "00000000000000000000000000000001 01 80 10 80       lo\n\
                         20010db8000000000000000000000002 0c 40 00 00     eth0\n\
                         20010db8000000010000000000000002 1f 40 00 00    wlan0\n";
        let routes = [
            line_v6([0, 0], 0, [0, 0], u32::MAX, 0x0020_0200, "lo"),
            line_v6([0x2001, 0], 64, [0, 0], 256, 1, "eth0"),
            line_v6([0, 0], 0, [0xfe80, 9], 1024, 3, "wlan0"),
            line_v6([0, 0], 0, [0xfe80, 1], 512, 3, "eth0"),
            line_v6([0x2001, 7], 128, [0xfe80, 7], 1, 3, "eth0"),
        ];
        let expected = Gateway { address: "fe80::1".parse().unwrap(), interface: 12 };
        assert_eq!(gateway_v6(&routes.concat(), addresses), Some(expected));
        for (routes, addresses) in [("", addresses), (&routes.concat(), ""), ("x\n0 0 0\n", "y\n")] {
            assert_eq!(gateway_v6(routes, addresses), None);
        }
    }

    #[test]
    fn this_machine_has_a_route_or_has_none() {
        for (family, nobodys) in [(Family::V4, "192.0.2.77"), (Family::V6, "2001:db8::77")] {
            if let Some(route) = route(&Binding::default(), family) {
                assert!(!route.local.is_unspecified() && route.local.is_ipv4() == (family == Family::V4));
            }
            let elsewhere = Binding::new(vec![nobodys.parse().unwrap()]);
            assert_eq!(route(&elsewhere, family), None, "not an address of ours");
        }
    }
}
