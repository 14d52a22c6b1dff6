//! Peer exchange (BEP 11): whom a peer has connected to and whom it has lost since its last message.

use super::dictionary;
use crate::{Fault, limits};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use quelea_bencode::{Item, Value};

/// What is known of a contact, as bits (BEP 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// It prefers encryption.
    pub const ENCRYPTION: Self = Self(0x01);
    /// It wants nothing: a seed, or a partial one (BEP 21).
    pub const UPLOAD_ONLY: Self = Self(0x02);
    /// It speaks uTP.
    pub const UTP: Self = Self(0x04);
    /// It speaks `ut_holepunch` (BEP 55).
    pub const HOLEPUNCH: Self = Self(0x08);
    /// The sender called it, so it can be reached.
    pub const REACHABLE: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A message of `ut_pex`. The addresses are hearsay: any of them may be nobody's, or a victim's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pex {
    /// Peers that the sender has connected to.
    pub added: Vec<(SocketAddr, Flags)>,
    /// Peers that the sender has lost.
    pub dropped: Vec<SocketAddr>,
}

impl Pex {
    /// Reads the payload of an extended message: at most [`limits::PEX_CONTACTS`] of each list and family, IPv4
    /// first. Flags count as unset where they are missing.
    ///
    /// # Errors
    /// [`Fault::NotADictionary`]; [`Fault::Entry`] for a list that is no string or has a part of a contact.
    pub fn parse(payload: &[u8]) -> Result<Self, Fault> {
        let (said, _) = dictionary(payload, "ut_pex")?;
        let mut added = Vec::new();
        for (key, flags_key, length) in [("added", "added.f", V4), ("added6", "added6.f", V6)] {
            let flags = said.get(flags_key.as_bytes()).and_then(Value::as_bytes).unwrap_or_default();
            let flags = flags.iter().copied().map(Flags).chain(core::iter::repeat(Flags::default()));
            added.extend(contacts(&said, key, length)?.zip(flags));
        }
        let mut dropped = Vec::new();
        for (key, length) in [("dropped", V4), ("dropped6", V6)] {
            dropped.extend(contacts(&said, key, length)?);
        }
        Ok(Self { added, dropped })
    }

    /// The payload of an extended message. All six entries are there, as most clients write them.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut append =
            |key: &str, bytes: &[u8]| entries.entry(key.into()).or_default().extend_from_slice(bytes);
        for key in ["added", "added.f", "added6", "added6.f", "dropped", "dropped6"] {
            append(key, &[]);
        }
        for (contact, flags) in &self.added {
            let (key, flags_key) =
                if contact.is_ipv4() { ("added", "added.f") } else { ("added6", "added6.f") };
            append(key, &compact(*contact));
            append(flags_key, &[flags.0]);
        }
        for contact in &self.dropped {
            append(if contact.is_ipv4() { "dropped" } else { "dropped6" }, &compact(*contact));
        }
        Item::Dict(entries.into_iter().map(|(key, bytes)| (key, Item::Bytes(bytes))).collect()).encode()
    }
}

/// Bytes of an IPv4 contact.
const V4: usize = 6;
/// Bytes of an IPv6 contact.
const V6: usize = 18;

/// The contacts of a list; none when there is no such list.
fn contacts<'a>(
    said: &Value<'a>,
    key: &'static str,
    length: usize,
) -> Result<impl Iterator<Item = SocketAddr> + use<'a>, Fault> {
    let bytes = match said.get(key.as_bytes()) {
        Some(list) => list.as_bytes().filter(|bytes| bytes.len().is_multiple_of(length)),
        None => Some(&[][..]),
    };
    let bytes = bytes.ok_or(Fault::Entry { message: "ut_pex", entry: key })?;
    Ok(bytes.chunks_exact(length).filter_map(contact).take(limits::PEX_CONTACTS))
}

/// A contact of 6 or 18 bytes.
fn contact(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let port = u16::from_be_bytes(*port);
    if let Ok(octets) = <[u8; 4]>::try_from(ip) {
        return Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into());
    }
    let octets = <[u8; 16]>::try_from(ip).ok()?;
    Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, 0).into())
}

fn compact(contact: SocketAddr) -> Vec<u8> {
    let mut bytes = match contact {
        SocketAddr::V4(contact) => contact.ip().octets().to_vec(),
        SocketAddr::V6(contact) => contact.ip().octets().to_vec(),
    };
    bytes.extend_from_slice(&contact.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn lists_with_a_part_of_a_contact_are_faults() {
        for (payload, entry) in [
            (&b"d5:added5:abcdee"[..], "added"),
            (b"d6:added66:abcdefe", "added6"),
            (b"d7:droppedi1ee", "dropped"),
            (b"d8:dropped61:xe", "dropped6"),
        ] {
            assert_eq!(Pex::parse(payload), Err(Fault::Entry { message: "ut_pex", entry }));
        }
        assert_eq!(Pex::parse(b"de"), Ok(Pex::default()));
        assert_eq!(Pex::parse(b"le"), Err(Fault::NotADictionary { message: "ut_pex" }));
    }

    #[test]
    fn what_exceeds_the_limit_is_not_read() {
        let many = SocketAddr::from(([1, 2, 3, 4], 5));
        let pex = Pex { added: vec![(many, Flags::UTP); 10_000], dropped: vec![many; 10_000] };
        let read = Pex::parse(&pex.encode()).unwrap();
        assert_eq!((read.added.len(), read.dropped.len()), (limits::PEX_CONTACTS, limits::PEX_CONTACTS));
    }

    #[test]
    fn too_few_flags_count_as_unset() {
        let read = Pex::parse(b"d5:added12:abcdefghijkl7:added.f1:\x11e").unwrap();
        assert!(read.added[0].1.has(Flags::REACHABLE.with(Flags::ENCRYPTION)));
        assert!(!read.added[0].1.has(Flags::UTP));
        assert_eq!(read.added[1].1, Flags::default());
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_again(
            v4 in prop::collection::vec(any::<(Ipv4Addr, u16, u8)>(), 0..50),
            v6 in prop::collection::vec(any::<(Ipv6Addr, u16, u8)>(), 0..50)
        ) {
            let v4 = v4.into_iter().map(|(ip, port, flags)| (SocketAddr::from((ip, port)), Flags(flags)));
            let v6 = v6.into_iter().map(|(ip, port, flags)| (SocketAddr::from((ip, port)), Flags(flags)));
            let added: Vec<_> = v4.chain(v6).collect();
            let dropped = added.iter().map(|(contact, _)| *contact).collect();
            let pex = Pex { added, dropped };
            prop_assert_eq!(Pex::parse(&pex.encode()), Ok(pex));
        }

        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>) {
            let _ = Pex::parse(&payload);
        }
    }
}
