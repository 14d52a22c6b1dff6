//! The way out of the network, from the routing table. Nothing is sent.

use quelea_discovery::mapping::Route;
use quelea_net::Binding;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Where no router is known, our address is the one that a packet to the outside would have (RFC 5737: nobody is
/// there).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The way out for IPv4; `None` where there is none, or where the bound addresses do not lead that way.
pub(crate) fn route(binding: &Binding) -> Option<Route> {
    let gateway = match gateway() {
        Known::Gateway(gateway) => Some(gateway),
        Known::NoWay => return None,
        Known::Nothing => None,
    };
    let local = local_towards(gateway.unwrap_or(OUTSIDE))?;
    let ours = binding.is_any()
        || binding
            .listen_addresses()
            .iter()
            .any(|bound| *bound == IpAddr::V4(local) || bound.is_unspecified());
    ours.then_some(Route { local, gateway })
}

/// Our address on the way to `remote`. Connecting a UDP socket sends nothing.
fn local_towards(remote: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((remote, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(local) => Some(local),
        IpAddr::V6(_) => None,
    }
}

/// What the system tells of its default route.
enum Known {
    Gateway(Ipv4Addr),
    /// There is no default route by a gateway.
    NoWay,
    /// The system is not asked.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "Linux tells"))]
    Nothing,
}

#[cfg(target_os = "linux")]
fn gateway() -> Known {
    // Of this thread, whose network need not be that of the process.
    let table = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    default_gateway(&table).map_or(Known::NoWay, Known::Gateway)
}

#[cfg(not(target_os = "linux"))]
fn gateway() -> Known {
    Known::Nothing
}

/// The gateway of the default route with the lowest metric, of a table as in proc_net_route(5).
#[cfg(target_os = "linux")]
fn default_gateway(table: &str) -> Option<Ipv4Addr> {
    // Of the routing flags: the route is up, and leads by a gateway.
    const UP_AND_GATEWAY: u32 = 1 | 2;
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // Addresses are written as the machine has them in memory.
        let hex = |field: Option<&str>| u32::from_str_radix(field?, 16).ok();
        let (destination, gateway, flags) = (hex(fields.next())?, hex(fields.next())?, hex(fields.next())?);
        let metric: u32 = fields.nth(2)?.parse().ok()?;
        let mask = hex(fields.next())?;
        let default = destination == 0 && mask == 0 && flags & UP_AND_GATEWAY == UP_AND_GATEWAY;
        default.then(|| (metric, Ipv4Addr::from_octets(gateway.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
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
        assert_eq!(default_gateway(&table.concat()), Some(Ipv4Addr::new(192, 168, 1, 1)));
    }

    #[test]
    fn a_table_without_a_way_out_or_without_sense_has_no_gateway() {
        let local = line([192, 168, 1, 0], [0; 4], 1, 0, [255, 255, 255, 0]);
        for table in ["", HEAD, "x\ny z\n", &(HEAD.to_owned() + &local), "Iface\neth0\t0\t0\n"] {
            assert_eq!(default_gateway(table), None, "{table}");
        }
    }

    #[test]
    fn this_machine_has_a_route_or_has_none() {
        if let Some(route) = route(&Binding::default()) {
            assert!(!route.local.is_unspecified());
        }
        assert_eq!(route(&Binding::new(vec!["192.0.2.77".parse().unwrap()])), None, "not an address of ours");
    }
}
