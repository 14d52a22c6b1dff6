//! Peer addresses as trackers pack them (BEP 23, and BEP 7 for IPv6).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How many peers of one answer are kept; a tracker that was asked for a few hundred has no reason to send more.
pub const MAX_PEERS: usize = 2000;

/// Bytes of an IPv4 address and port.
pub(crate) const COMPACT_V4: usize = 6;
/// Bytes of an IPv6 address and port.
pub(crate) const COMPACT_V6: usize = 18;

/// Appends the peers of a compact list, six bytes each. A last one that is cut off is left out.
pub(crate) fn push_compact_v4(peers: &mut Vec<SocketAddr>, bytes: &[u8]) {
    for &[a, b, c, d, high, low] in bytes.as_chunks::<COMPACT_V4>().0 {
        push(peers, IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes([high, low]));
    }
}

/// Appends the peers of a compact list, eighteen bytes each. A last one that is cut off is left out.
pub(crate) fn push_compact_v6(peers: &mut Vec<SocketAddr>, bytes: &[u8]) {
    for chunk in bytes.as_chunks::<COMPACT_V6>().0 {
        if let Some((ip, &port)) =
            chunk.split_first_chunk::<16>().and_then(|(ip, rest)| Some((ip, rest.first_chunk()?)))
        {
            push(peers, IpAddr::V6(Ipv6Addr::from(*ip)), u16::from_be_bytes(port));
        }
    }
}

/// Appends one peer unless nobody can be reached there, or there are [`MAX_PEERS`] already.
pub(crate) fn push(peers: &mut Vec<SocketAddr>, ip: IpAddr, port: u16) {
    let ip = ip.to_canonical();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if port == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast || peers.len() >= MAX_PEERS {
        return;
    }
    peers.push(SocketAddr::new(ip, port));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_cut_off_peer_is_left_out() {
        let mut peers = Vec::new();
        push_compact_v4(&mut peers, &[1, 2, 3, 4, 0x1a, 0xe1, 5, 6]);
        assert_eq!(peers, ["1.2.3.4:6881".parse().unwrap()]);
    }

    #[test]
    fn mapped_addresses_are_what_they_map() {
        let mut peers = Vec::new();
        push_compact_v6(&mut peers, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4, 0x1a, 0xe1]);
        assert_eq!(peers, ["1.2.3.4:6881".parse().unwrap()]);
    }

    #[test]
    fn addresses_where_nobody_is_are_left_out() {
        let mut peers = Vec::new();
        for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
            push(&mut peers, ip.parse().unwrap(), 6881);
        }
        push(&mut peers, IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        assert!(peers.is_empty());
    }

    #[test]
    fn peers_of_one_answer_are_bounded() {
        let mut peers = Vec::new();
        push_compact_v4(&mut peers, &vec![1; 6 * (MAX_PEERS + 10)]);
        assert_eq!(peers.len(), MAX_PEERS);
    }
}
