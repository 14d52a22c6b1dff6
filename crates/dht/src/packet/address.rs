//! Addresses and nodes in their compact forms (BEP 5, "Contact Encoding"; BEP 32).

use crate::Id;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Nodes as a packet holds them: ids with addresses of one family, without anything between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nodes<'a> {
    bytes: &'a [u8],
    v6: bool,
}

impl<'a> Nodes<'a> {
    /// No nodes of a family.
    pub const fn none(v6: bool) -> Self {
        Self { bytes: &[], v6 }
    }

    /// The nodes in these bytes; what is left over at the end is ignored, as some clients send.
    pub const fn new(bytes: &'a [u8], v6: bool) -> Self {
        Self { bytes, v6 }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (Id, SocketAddr)> + 'a {
        let size = if self.v6 { 38 } else { 26 };
        self.bytes.chunks_exact(size).filter_map(|node| {
            let (id, address) = node.split_at_checked(20)?;
            Some((Id::from_slice(id)?, address_in(address)?))
        })
    }
}

impl core::fmt::Debug for Nodes<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An address of 6 or 18 bytes.
pub(super) fn address_in(bytes: &[u8]) -> Option<SocketAddr> {
    if let Ok([a, b, c, d, port @ ..]) = <[u8; 6]>::try_from(bytes) {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes(port)));
    }
    let (ip, port) = <&[u8; 18]>::try_from(bytes).ok()?.split_at_checked(16)?;
    let ip: [u8; 16] = ip.try_into().ok()?;
    Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), u16::from_be_bytes(port.try_into().ok()?)))
}

/// Appends an address in 6 or 18 bytes.
pub fn compact_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(address.port().to_be_bytes());
}

/// Nodes of one family in their compact form.
pub fn compact_nodes(nodes: impl IntoIterator<Item = (Id, SocketAddr)>) -> Vec<u8> {
    let nodes = nodes.into_iter();
    let mut out = Vec::with_capacity(nodes.size_hint().1.unwrap_or_default() * 38);
    for (id, address) in nodes {
        out.extend(id.0);
        compact_address(address, &mut out);
    }
    out
}
