//! The one message of local discovery, which looks like HTTP (BEP 14, "Protocol").

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// An info-hash of version 1, or a shortened one of version 2.
pub type InfoHash = [u8; 20];

/// Where it is sent in IPv4 networks (BEP 14).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 143);
/// Where it is sent in IPv6 networks (BEP 14).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f);
/// The port of both groups (BEP 14).
pub const PORT: u16 = 6_771;

/// Bytes of a datagram that we send, at most (BEP 14).
pub const MAX_LENGTH: usize = 1_400;
/// Info-hashes of a message that we send: as many as fit.
pub const HASHES: usize = (MAX_LENGTH - FRAME) / HASH_LINE;
/// Info-hashes that are read of one message.
pub const HASHES_READ: usize = 64;
/// Bytes of a cookie that is read.
pub const COOKIE: usize = 64;

/// Bytes of all lines but those of info-hashes, with the longer group, the longest port, and a cookie of ours.
const FRAME: usize = 128;
/// `Infohash: `, 40 digits, the end of a line.
const HASH_LINE: usize = 52;

/// Somebody takes part in torrents and listens at a port of the address that this comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The TCP port; never 0.
    pub port: u16,
    /// At least one, none twice.
    pub hashes: Vec<InfoHash>,
    /// By which its sender knows its own messages.
    pub cookie: Option<String>,
}

/// Why a datagram is no message of local discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin with `BT-SEARCH * HTTP/1.`.
    #[error("no BT-SEARCH")]
    NoSearch,
    /// No port, or 0.
    #[error("no port that a peer can listen on")]
    NoPort,
    /// None of 40 hexadecimal digits.
    #[error("no info-hash")]
    NoHash,
}

impl Search {
    /// Reads a datagram. Lines that are not known, and info-hashes that are none, are left out.
    ///
    /// # Errors
    /// A [`Malformed`].
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut lines = datagram.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let first = lines.next().unwrap_or_default();
        if !first.starts_with(b"BT-SEARCH * HTTP/1.") {
            return Err(Malformed::NoSearch);
        }
        let (mut port, mut hashes, mut cookie) = (None, Vec::new(), None);
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"port") {
                port = decimal(value);
            } else if name.eq_ignore_ascii_case(b"infohash") {
                let hash = info_hash(value).filter(|hash| !hashes.contains(hash));
                hashes.extend(hash.filter(|_| hashes.len() < HASHES_READ));
            } else if name.eq_ignore_ascii_case(b"cookie") && value.len() <= COOKIE {
                cookie = core::str::from_utf8(value).ok().map(String::from);
            }
        }
        let port = port.filter(|&port| port != 0).ok_or(Malformed::NoPort)?;
        if hashes.is_empty() { Err(Malformed::NoHash) } else { Ok(Self { port, hashes, cookie }) }
    }

    /// The datagram for one of the groups: at most [`MAX_LENGTH`] bytes with [`HASHES`] info-hashes and a cookie of
    /// 32 bytes.
    pub fn encode(&self, group: SocketAddr) -> Vec<u8> {
        let mut text = format!("BT-SEARCH * HTTP/1.1\r\nHost: {group}\r\nPort: {}\r\n", self.port);
        for hash in &self.hashes {
            text.push_str("Infohash: ");
            text.extend(hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit));
            text.push_str("\r\n");
        }
        if let Some(cookie) = &self.cookie {
            text.push_str("cookie: ");
            text.push_str(cookie);
            text.push_str("\r\n");
        }
        text.push_str("\r\n\r\n");
        text.into_bytes()
    }
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn decimal(value: &[u8]) -> Option<u16> {
    core::str::from_utf8(value).ok()?.parse().ok()
}

fn info_hash(value: &[u8]) -> Option<InfoHash> {
    let digits: &[u8; 40] = value.try_into().ok()?;
    let mut hash = [0; 20];
    for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? * 16 + low?) as u8;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn the_longest_message_that_we_send_fits() {
        let hashes = (0..HASHES as u8).map(|number| [number; 20]).collect();
        let search = Search { port: u16::MAX, hashes, cookie: Some("x".repeat(32)) };
        let longest = search.encode((GROUP_V6, PORT).into());
        assert!((MAX_LENGTH - 2 * HASH_LINE..=MAX_LENGTH).contains(&longest.len()), "{}", longest.len());
    }

    #[test]
    fn what_is_read_is_bounded() {
        let hashes: Vec<InfoHash> = (0..200).map(|number| [number; 20]).collect();
        let many = Search { port: 1, hashes, cookie: Some("x".repeat(COOKIE + 1)) };
        let read = Search::parse(&many.encode((GROUP_V4, PORT).into())).unwrap();
        assert_eq!((read.hashes.len(), read.cookie), (HASHES_READ, None));
    }

    #[test]
    fn an_info_hash_that_is_none_spoils_no_other() {
        let text = format!(
            "BT-SEARCH * HTTP/1.1\r\nPort: 7\r\nInfohash: {}\r\nInfohash: zz\r\nInfohash: {}\r\nX\r\n\r\n",
            "é".repeat(20),
            "aB".repeat(20)
        );
        assert_eq!(Search::parse(text.as_bytes()).unwrap().hashes, [[0xab; 20]]);
    }

    #[test]
    fn what_follows_an_empty_line_is_not_read() {
        let text =
            b"BT-SEARCH * HTTP/1.1\r\nInfohash: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\nPort: 7\r\n";
        assert_eq!(Search::parse(text), Err(Malformed::NoPort));
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_again(
            port in 1u16.., mut hashes in prop::collection::vec(any::<InfoHash>(), 1..=HASHES),
            cookie in prop::option::of("[!-~]{0,32}"), six: bool
        ) {
            hashes.sort_unstable();
            hashes.dedup();
            let search = Search { port, hashes, cookie };
            let group = if six { (GROUP_V6, PORT).into() } else { (GROUP_V4, PORT).into() };
            let datagram = search.encode(group);
            prop_assert!(datagram.len() <= MAX_LENGTH);
            prop_assert_eq!(Search::parse(&datagram), Ok(search));
        }

        #[test]
        fn no_bytes_make_it_panic(tail: Vec<u8>, lines in prop::collection::vec("[PIc][a-z:0-9 ]{0,60}\r?\n", 0..9)) {
            let mut datagram = b"BT-SEARCH * HTTP/1.1\r\n".to_vec();
            datagram.extend(lines.concat().bytes());
            datagram.extend(tail);
            if let Ok(search) = Search::parse(&datagram) {
                prop_assert!(search.port != 0 && !search.hashes.is_empty());
            }
        }
    }

    #[test]
    fn words_are_said_once() {
        let hashes = vec![[1; 20], [2; 20]];
        let search = Search { port: 6_881, hashes, cookie: Some("name".into()) };
        let text = String::from_utf8(search.encode((GROUP_V4, PORT).into())).unwrap();
        assert!(text.starts_with("BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n"));
        assert!(text.ends_with("\r\ncookie: name\r\n\r\n\r\n"));
        assert!(
            search.encode((GROUP_V6, PORT).into()).windows(24).any(|at| at == b"[ff15::efc0:988f]:6771\r\n")
        );
    }
}
