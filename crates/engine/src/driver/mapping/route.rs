//! The way out of the network, from the routing table. Nothing is sent.

use super::Family;
use quelea_discovery::mapping::{Gateway, Route};
use quelea_net::Binding;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Where no router is known, our address is the one that a packet to the outside would have (RFC 5737, RFC 3849: nobody
/// is there).
const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The way out for one family; `None` where there is none, or where the bound addresses do not lead that way.
pub(crate) fn route(binding: &Binding, family: Family) -> Option<Route> {
    match family {
        Family::V4 => route_v4(binding),
        Family::V6 => route_v6(binding),
    }
}

fn route_v4(binding: &Binding) -> Option<Route> {
    let gateway = match gateway_v4() {
        Known::Gateway(gateway) => Some(gateway),
        Known::NoWay => return None,
        Known::Nothing => None,
    };
    let towards = gateway.map_or(OUTSIDE_V4.into(), |gateway| gateway.address);
    let local = local_towards(Ipv4Addr::UNSPECIFIED.into(), towards)?;
    let ours = |bound: &IpAddr| *bound == local || (bound.is_ipv4() && bound.is_unspecified());
    binding.listen_addresses().iter().any(ours).then_some(Route { local, gateway })
}

/// A router's address is one of its link, to where another address of ours leads than to the outside. A machine has
/// several of the world; the bound one counts.
fn route_v6(binding: &Binding) -> Option<Route> {
    let bound = binding.listen_addresses().into_iter().find(IpAddr::is_ipv6)?;
    let local = local_towards(bound, OUTSIDE_V6.into())?;
    Some(Route { local, gateway: Some(gateway_v6(local)?) })
}

/// Our address on the way to `remote`, of a socket that is bound to `bound`. Connecting a UDP socket sends nothing.
fn local_towards(bound: IpAddr, remote: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((bound, 0)).ok()?;
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
fn gateway_v4() -> Known {
    linux::gateway_v4(&linux::table("route")).map_or(Known::NoWay, Known::Gateway)
}

#[cfg(target_os = "linux")]
fn gateway_v6(local: IpAddr) -> Option<Gateway> {
    linux::gateway_v6(&linux::table("ipv6_route"), &linux::table("if_inet6"), local)
}

#[cfg(not(target_os = "linux"))]
fn gateway_v4() -> Known {
    Known::Nothing
}

/// Without a router there is nobody to ask.
#[cfg(not(target_os = "linux"))]
fn gateway_v6(_: IpAddr) -> Option<Gateway> {
    None
}

/// Linux's tables of routes.
#[cfg(target_os = "linux")]
mod linux {
    use super::Gateway;
    use std::fs::File;
    use std::io::Read;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// Of the routing flags: the route is up, and leads by a gateway.
    const UP_AND_GATEWAY: u32 = 1 | 2;
    /// Of a table so much is looked at: a machine that routes for many has a long one.
    const MAX_TABLE: u64 = 1 << 20;

    /// A table of this thread's network, which need not be that of the process.
    pub(super) fn table(name: &str) -> String {
        let mut text = String::new();
        if let Ok(file) = File::open(format!("/proc/thread-self/net/{name}")) {
            // What was read before an error is of use as well.
            let _ = file.take(MAX_TABLE).read_to_string(&mut text);
        }
        text
    }

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

    /// The same of IPv6, at the interface that has the address `local` by the table of addresses: a router elsewhere,
    /// beside a tunnel perhaps, does not know it. Of a route there are: destination and length, source and length,
    /// gateway, metric, counters, flags, interface; of an address: itself, number of the interface, length, scope,
    /// flags, interface. All numbers are hexadecimal.
    pub(super) fn gateway_v6(routes: &str, addresses: &str, local: IpAddr) -> Option<Gateway> {
        let address_of = |field: &str| Some(Ipv6Addr::from_bits(u128::from_str_radix(field, 16).ok()?));
        let (interface, name) = addresses.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[address, number, _, _, _, name] = &fields[..] else { return None };
            (IpAddr::V6(address_of(address)?) == local).then_some((hex(Some(number))?, name))
        })?;
        let routes = routes.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[destination, length, _, _, gateway, metric, _, _, flags, at] = &fields[..] else {
                return None;
            };
            let default = hex(Some(length))? == 0 && destination.bytes().all(|digit| digit == b'0');
            let leads = hex(Some(flags))? & UP_AND_GATEWAY == UP_AND_GATEWAY;
            (default && leads && at == name).then_some((hex(Some(metric))?, address_of(gateway)?))
        });
        let (_, address) = routes.min_by_key(|(metric, _)| *metric)?;
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
        let at = |local: &str| gateway_v6(&routes.concat(), addresses, local.parse().unwrap());
        let gateway =
            |address: &str, interface| Some(Gateway { address: address.parse().unwrap(), interface });
        assert_eq!(at("2001:db8::2"), gateway("fe80::1", 12));
        assert_eq!(at("2001:db8:0:1::2"), gateway("fe80::9", 31), "the one that knows the address");
        assert_eq!(at("2001:db8::3"), None);
        let local = "2001:db8::2".parse().unwrap();
        for (routes, addresses) in [("", addresses), (&routes.concat(), ""), ("x\n0 0 0\n", "y\n")] {
            assert_eq!(gateway_v6(routes, addresses, local), None);
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
