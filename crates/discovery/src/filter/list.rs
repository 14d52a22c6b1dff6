//! Lists of blocked addresses as people publish them.
//!
//! A line is a range in one of three forms: `name:1.2.3.0-1.2.3.255` (PeerGuardian, "p2p"),
//! `001.002.003.000 - 001.002.003.255 , 100 , name` (eMule, "dat", where a level above 127 blocks nothing), or an address
//! or a network, `1.2.3.0/24`, `2001:db8::/32`. What follows `#` is a comment.

use super::{Filter, TooManyRanges};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

/// Levels from here on block nothing (eMule).
const HARMLESS: u32 = 128;

/// A list that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList {
    /// What it blocks.
    pub filter: Filter,
    /// Lines that are none of the forms, and what the first of them says.
    pub unread: usize,
    /// The number of the first of those lines, from 1.
    pub first_unread: Option<usize>,
}

impl BlockList {
    /// Reads a list; bytes that are no UTF-8, as some lists have in names, do no harm.
    ///
    /// # Errors
    /// [`TooManyRanges`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TooManyRanges> {
        let (mut v4, mut v6): (Vec<RangeInclusive<Ipv4Addr>>, Vec<RangeInclusive<Ipv6Addr>>) =
            (Vec::new(), Vec::new());
        let (mut unread, mut first_unread) = (0, None);
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match read(line) {
                Some(Some((IpAddr::V4(first), IpAddr::V4(last)))) => v4.push(first..=last),
                Some(Some((IpAddr::V6(first), IpAddr::V6(last)))) => v6.push(first..=last),
                Some(None) => {}
                Some(Some(_)) | None => {
                    unread += 1;
                    first_unread.get_or_insert(number + 1);
                }
            }
        }
        Ok(Self { filter: Filter::new(v4, v6)?, unread, first_unread })
    }
}

type Range = (IpAddr, IpAddr);

/// The range of a line; `Some(None)` for one that blocks nothing, `None` for what is no range.
fn read(line: &str) -> Option<Option<Range>> {
    if let Some(range) = network(line).or_else(|| between(line)) {
        return Some(Some(range));
    }
    let mut fields = line.split(',');
    if let (Some(range), Some(level)) = (fields.next().and_then(between), fields.next()) {
        let level: u32 = level.trim().parse().ok()?;
        return Some((level < HARMLESS).then_some(range));
    }
    let (_, range) = line.rsplit_once(':')?;
    between(range).map(Some)
}

/// `first-last`.
fn between(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-')?;
    Some((address(first)?, address(last)?))
}

/// An address; its numbers may begin with zeros, as eMule writes them.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| (1..=3).contains(&part.len()))?;
        *octet = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then(|| IpAddr::from(octets))
}

/// An address, or a network with the length of its prefix.
fn network(text: &str) -> Option<Range> {
    let Some((start, prefix)) = text.split_once('/') else {
        let ip = address(text)?;
        return Some((ip, ip));
    };
    let prefix: u32 = prefix.trim().parse().ok()?;
    match address(start)? {
        IpAddr::V4(ip) if prefix <= 32 => {
            let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let first = ip.to_bits() & !host;
            Some((Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | host).into()))
        }
        IpAddr::V6(ip) if prefix <= 128 => {
            let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
            let first = ip.to_bits() & !host;
            Some((Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | host).into()))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blocks(list: &str, ip: &str) -> bool {
        let list = BlockList::parse(list.as_bytes()).unwrap();
        assert_eq!(list.unread, 0, "line {:?}", list.first_unread);
        list.filter.blocks(ip.parse().unwrap())
    }

    #[test]
    fn every_form_is_read() {
        for list in [
            "Somebody: a name, with marks:1.2.3.0-1.2.3.255",
            "001.002.003.000 - 001.002.003.255 , 100 , Somebody",
            "1.2.3.0/24 # a network",
            "1.2.3.0-1.2.3.255\r",
        ] {
            assert!(blocks(list, "1.2.3.0") && blocks(list, "1.2.3.255"), "{list}");
            assert!(!blocks(list, "1.2.2.255") && !blocks(list, "1.2.4.0"), "{list}");
        }
        assert!(blocks("1.2.3.4", "1.2.3.4") && !blocks("1.2.3.4", "1.2.3.5"));
        assert!(blocks("2001:db8::/32", "2001:db8:1::1") && !blocks("2001:db8::/32", "2001:db9::"));
        assert!(blocks("0.0.0.0/0", "255.255.255.255") && blocks("::/0", "::1"));
    }

    #[test]
    fn a_harmless_level_and_comments_block_nothing() {
        assert!(!blocks("001.002.003.000 - 001.002.003.255 , 128 , Friends", "1.2.3.4"));
        assert!(!blocks("# 1.2.3.4\n\n", "1.2.3.4"));
    }

    #[test]
    fn lines_that_are_no_ranges_are_counted() {
        let list = BlockList::parse(b"1.2.3.4\nnonsense\n1.2.3.0/33\n300.1.1.1\n1.2.3.4-::1\n").unwrap();
        assert_eq!((list.unread, list.first_unread), (4, Some(2)));
        assert!(list.filter.blocks("1.2.3.4".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = BlockList::parse(&bytes);
        }
    }
}
