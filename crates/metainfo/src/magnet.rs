//! Magnet links (BEP 9, "magnet URI format"; BEP 52 for `btmh`; BEP 53 for `so`).

use crate::hashes::{InfoHashes, from_base32, from_hex, to_hex};
use crate::path::clean_text;
use crate::{Error, Info, Metainfo, Selection, urls};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

/// The longest link that is read, in bytes: 4 MiB.
const MAX_LINK_LENGTH: usize = 4 << 20;

/// The most addresses of each kind that are taken from a link.
const MAX_ADDRESSES: usize = 4_096;

/// The most addresses that are told as ignored.
const MAX_IGNORED: usize = 16;

/// A magnet link.
///
/// Its [`Display`](fmt::Display) is a link that reads as the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnet {
    /// The torrent's hashes (`xt`).
    pub hashes: InfoHashes,
    /// The name to show until the torrent's own is known (`dn`), on one line. It may hold separators: clean it
    /// with [`clean_element`](crate::path::clean_element) before it names anything on a disk.
    pub name: Option<String>,
    /// The http, https and udp trackers (`tr`), none twice.
    pub trackers: Vec<String>,
    /// The http and https web seeds (`ws`), none twice.
    pub web_seeds: Vec<String>,
    /// Peers to connect to (`x.pe`), none twice.
    pub peers: Vec<Address>,
    /// Nodes of the DHT (`dht`, which no BEP has but clients write), none twice.
    pub nodes: Vec<Address>,
    /// The files to download, if the link says (`so`).
    pub select_only: Option<Selection>,
}

/// An address of a link that is none and was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The parameter: `tr`, `ws`, `x.pe` or `dht`.
    pub parameter: &'static str,
    /// What the link says, made harmless and on one line.
    pub value: String,
}

/// Where a peer or a node is: an address or a name, and a port that is not 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv4 or IPv6 address.
    Ip(SocketAddr),
    /// A name to look up.
    Name(String, u16),
}

impl Address {
    /// The address of `host`, which is an IP address without brackets or a DNS name. `None` if it is neither, or
    /// the port is 0.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let name = !host.is_empty() && host.len() <= 253;
        let name = name
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        match host.parse::<IpAddr>() {
            _ if port == 0 => None,
            Ok(ip) => Some(Self::Ip(SocketAddr::new(ip, port))),
            Err(_) => name.then(|| Self::Name(host.to_string(), port)),
        }
    }

    /// Reads `host:port`; an IPv6 address stands in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        match host.strip_prefix('[') {
            Some(rest) => {
                rest.strip_suffix(']').filter(|ip| ip.contains(':')).and_then(|ip| Self::new(ip, port))
            }
            None if host.contains(':') => None,
            None => Self::new(host, port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl Magnet {
    /// Reads a link. A bare info-hash counts as one: v1 in 40 hexadecimal or 32 base32 digits, v2 in 64 hexadecimal ones.
    ///
    /// Parameters may be numbered (`tr.1`) and come in any case and order; unknown ones are ignored, and so are
    /// addresses that are none. `&amp;` is taken for `&`.
    ///
    /// # Errors
    /// [`Error::NotMagnet`], [`Error::MagnetWithoutHash`], [`Error::MagnetHash`], [`Error::MagnetHashes`],
    /// [`Error::TooLong`].
    pub fn parse(link: &str) -> Result<Self, Error> {
        Self::parse_telling(link).map(|(magnet, _)| magnet)
    }

    /// As [`Magnet::parse`], with the trackers, web seeds, peers and nodes that are ignored because they are none, at
    /// most 16.
    ///
    /// # Errors
    /// Those of [`Magnet::parse`].
    pub fn parse_telling(link: &str) -> Result<(Self, Vec<Ignored>), Error> {
        if link.len() > MAX_LINK_LENGTH {
            return Err(Error::TooLong { length: link.len(), limit: MAX_LINK_LENGTH });
        }
        let link = link.trim();
        if let Some(hash) = v1_hash(link.as_bytes()) {
            return Reader { v1: Some(hash), ..Reader::default() }.finish();
        }
        if let Some(hash) = from_hex(link.as_bytes()) {
            return Reader { v2: Some(hash), ..Reader::default() }.finish();
        }
        let (scheme, parameters) = link.split_once(":?").ok_or(Error::NotMagnet)?;
        if !scheme.eq_ignore_ascii_case("magnet") {
            return Err(Error::NotMagnet);
        }
        let mut reader = Reader::default();
        for parameter in parameters.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            reader.parameter(key.strip_prefix("amp;").unwrap_or(key), value)?;
        }
        reader.finish()
    }
}

impl Magnet {
    /// The torrent of this link, of which `info` was fetched, with the link's trackers (each a tier, since they may not
    /// share what they know), web seeds and nodes.
    pub fn metainfo(&self, info: Info) -> Metainfo {
        Metainfo {
            info,
            trackers: self.trackers.iter().map(|url| alloc::vec![url.clone()]).collect(),
            web_seeds: self.web_seeds.clone(),
            http_seeds: Vec::new(),
            nodes: self.nodes.clone(),
            encoding: None,
            comment: None,
            created_by: None,
            creation_date: None,
            piece_layers: BTreeMap::new(),
        }
    }
}

impl FromStr for Magnet {
    type Err = Error;
    fn from_str(link: &str) -> Result<Self, Error> {
        Self::parse(link)
    }
}

/// What has been read of a link.
#[derive(Default)]
struct Reader {
    v1: Option<[u8; 20]>,
    v2: Option<[u8; 32]>,
    name: Option<String>,
    trackers: Vec<String>,
    web_seeds: Vec<String>,
    peers: Vec<Address>,
    nodes: Vec<Address>,
    select_only: Option<Selection>,
    /// What the lists have, with the parameter it came from.
    seen: BTreeSet<(&'static str, String)>,
    ignored: Vec<Ignored>,
}

impl Reader {
    fn parameter(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let key = key.to_ascii_lowercase();
        let key = match key.rsplit_once('.') {
            Some((name, number))
                if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                name
            }
            Some(_) | None => &key,
        };
        match key {
            "xt" => self.topic(&unescape(value, b'+'))?,
            "dn" if self.name.is_none() => {
                self.name = Some(clean_text(&String::from_utf8_lossy(&unescape(value, b' '))));
            }
            "tr" => {
                let url = text(value).as_deref().and_then(urls::tracker).map(ToString::to_string);
                self.list("tr", value, url, |reader| &mut reader.trackers);
            }
            "ws" => {
                let url = text(value).and_then(|url| urls::web_seed(&url));
                self.list("ws", value, url, |reader| &mut reader.web_seeds);
            }
            "x.pe" => {
                let peer = text(value).and_then(|at| Address::parse(&at));
                self.list("x.pe", value, peer, |reader| &mut reader.peers);
            }
            "dht" => {
                let node = text(value).and_then(|at| Address::parse(&at));
                self.list("dht", value, node, |reader| &mut reader.nodes);
            }
            "so" => {
                let chosen = Selection::parse(&text(value).unwrap_or_default());
                self.select_only =
                    Some(self.select_only.as_ref().map_or(chosen.clone(), |had| had.union(&chosen)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts an address at the end of its list, unless it is there or the list is full; one that is `None` is noted.
    fn list<T: ToString>(
        &mut self,
        parameter: &'static str,
        text: &str,
        address: Option<T>,
        list: impl Fn(&mut Self) -> &mut Vec<T>,
    ) {
        match address {
            Some(address)
                if list(self).len() < MAX_ADDRESSES && self.seen.insert((parameter, address.to_string())) =>
            {
                list(self).push(address);
            }
            None if self.ignored.len() < MAX_IGNORED && !text.is_empty() => {
                let value = clean_text(&String::from_utf8_lossy(&unescape(text, b'+')));
                self.ignored.push(Ignored { parameter, value });
            }
            Some(_) | None => {}
        }
    }

    /// Takes a hash from an exact topic; other kinds of topics are ignored.
    fn topic(&mut self, topic: &[u8]) -> Result<(), Error> {
        const PREFIX_LENGTH: usize = "urn:btih:".len();
        let Some((prefix, hash)) = topic.split_at_checked(PREFIX_LENGTH) else { return Ok(()) };
        if prefix.eq_ignore_ascii_case(b"urn:btih:") {
            let hash = v1_hash(hash).ok_or(Error::MagnetHash)?;
            if *self.v1.get_or_insert(hash) != hash {
                return Err(Error::MagnetHashes);
            }
        } else if prefix.eq_ignore_ascii_case(b"urn:btmh:") {
            // A multihash: 0x12 for SHA-256, 0x20 for its 32 bytes.
            let hash = hash.strip_prefix(b"1220").and_then(from_hex).ok_or(Error::MagnetHash)?;
            if *self.v2.get_or_insert(hash) != hash {
                return Err(Error::MagnetHashes);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(Magnet, Vec<Ignored>), Error> {
        let magnet = Magnet {
            hashes: InfoHashes::new(self.v1, self.v2).ok_or(Error::MagnetWithoutHash)?,
            name: self.name,
            trackers: self.trackers,
            web_seeds: self.web_seeds,
            peers: self.peers,
            nodes: self.nodes,
            select_only: self.select_only,
        };
        Ok((magnet, self.ignored))
    }
}

fn v1_hash(text: &[u8]) -> Option<[u8; 20]> {
    from_hex(text).or_else(|| from_base32(text))
}

/// The text that `value` stands for, if it is UTF-8.
fn text(value: &str) -> Option<String> {
    String::from_utf8(unescape(value, b'+')).ok()
}

/// The bytes that `value` stands for: `%` and two hexadecimal digits are one byte, a half escape is itself, `+`
/// is `plus`.
fn unescape(value: &str, plus: u8) -> Vec<u8> {
    let mut rest = value.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        match (first, after.split_at_checked(2)) {
            (b'%', Some((digits, behind))) if let Some([byte]) = from_hex(digits) => {
                out.push(byte);
                rest = behind;
                continue;
            }
            (b'+', _) => out.push(plus),
            (byte, _) => out.push(*byte),
        }
        rest = after;
    }
    out
}

/// `text` with all but unreserved characters (RFC 3986, section 2.3) escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                write!(f, "{}", char::from(byte))
            }
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("magnet:")?;
        let mut separator = '?';
        let mut separator = || core::mem::replace(&mut separator, '&');
        if let Some(v1) = self.hashes.v1() {
            write!(f, "{}xt=urn:btih:{}", separator(), to_hex(&v1))?;
        }
        if let Some(v2) = self.hashes.v2() {
            write!(f, "{}xt=urn:btmh:1220{}", separator(), to_hex(&v2))?;
        }
        if let Some(name) = &self.name {
            write!(f, "&dn={}", Escaped(name))?;
        }
        self.trackers.iter().try_for_each(|url| write!(f, "&tr={}", Escaped(url)))?;
        self.web_seeds.iter().try_for_each(|url| write!(f, "&ws={}", Escaped(url)))?;
        self.peers.iter().try_for_each(|peer| write!(f, "&x.pe={peer}"))?;
        self.nodes.iter().try_for_each(|node| write!(f, "&dht={node}"))?;
        if let Some(files) = &self.select_only {
            write!(f, "&so={files}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    fn read(parameters: &str) -> Magnet {
        Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}&{parameters}")).unwrap()
    }

    #[test]
    fn a_bare_hash_is_a_link() {
        assert_eq!(Magnet::parse(HASH).unwrap().to_string(), format!("magnet:?xt=urn:btih:{HASH}"));
        assert_eq!(Magnet::parse("2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B").unwrap().hashes.wire()[0], 0xd2);
        let v2 = "0123456789abcdef".repeat(4);
        assert_eq!(Magnet::parse(&v2).unwrap().to_string(), format!("magnet:?xt=urn:btmh:1220{v2}"));
    }

    #[test]
    fn escapes_and_pluses_are_undone() {
        assert_eq!(read("dn=a+b%20c%2Bd%4").name.as_deref(), Some("a b c+d%4"));
        assert_eq!(read("tr=http%3A%2F%2Ft%2Fa+b%2Bc").trackers, ["http://t/a+b+c"]);
        assert_eq!(read("dn=a%00%E2%80%AEb").name.as_deref(), Some("a__b"));
        assert_eq!(read("dn=%e6%97%a5").name.as_deref(), Some("日"));
    }

    #[test]
    fn numbered_and_html_escaped_parameters_count() {
        let magnet = read("tr.1=http://a&amp;TR.2=http://b&tr.x=http://c&tr=http://a");
        assert_eq!(magnet.trackers, ["http://a", "http://b"]);
    }

    #[test]
    fn peers_are_addresses_or_names_with_a_port() {
        let peers = |text: &str| read(text).peers.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            peers("x.pe=foo.com:1337&x.pe=[::1]:45&x.pe=1.2.3.4:1"),
            ["foo.com:1337", "[::1]:45", "1.2.3.4:1"]
        );
        let none = [
            "1.2.3.4:0",
            "1.2.3.4:65536",
            ":80",
            "[::1",
            "1.2.3.4",
            "<x>:1",
            "::1:80",
            "[1.2.3.4]:5",
            "a:+1",
        ];
        for peer in none {
            assert!(peers(&format!("x.pe={peer}")).is_empty(), "{peer}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_told() {
        let link = format!(
            "magnet:?xt=urn:btih:{HASH}&tr=http%3A%2F%2Fa&tr=wss://b&TR.2=http:/c%1b&ws=ftp://d&x.pe=e&dht=f:0&tr="
        );
        let (magnet, ignored) = Magnet::parse_telling(&link).unwrap();
        assert_eq!(magnet.trackers, ["http://a"]);
        let told: Vec<_> = ignored.iter().map(|each| (each.parameter, &*each.value)).collect();
        assert_eq!(
            told,
            [("tr", "wss://b"), ("tr", "http:/c_"), ("ws", "ftp://d"), ("x.pe", "e"), ("dht", "f:0")]
        );
        let many = Magnet::parse_telling(&format!("{link}{}", "&tr=x".repeat(99))).unwrap().1;
        assert_eq!(many.len(), MAX_IGNORED);
    }

    #[test]
    fn selections_are_added_up() {
        assert_eq!(read("so=2-4&so=1&so=x").select_only.unwrap().to_string(), "1-4");
        assert_eq!(read("so=").select_only, Some(Selection::default()));
        assert_eq!(read("dn=x").select_only, None);
    }

    #[test]
    fn two_different_hashes_are_refused() {
        let other = "f".repeat(40);
        assert_eq!(
            Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}&xt=urn:btih:{other}")),
            Err(Error::MagnetHashes)
        );
        assert!(Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}&xt.2=URN:BTIH:{HASH}")).is_ok());
    }

    proptest! {
        #[test]
        fn a_link_printed_reads_the_same(
            name in proptest::option::of(any::<String>()), v2 in any::<Option<[u8; 32]>>(),
            path in any::<String>(), port in 1u16.., files in proptest::option::of("[0-9]{1,3}(,[0-9]{1,3}-[0-9]{3})?")
        ) {
            let link = Magnet {
                hashes: InfoHashes { v1: v2.is_none_or(|hash| hash[0] < 128).then_some([7; 20]), v2 },
                name: name.map(|name| clean_text(&name)),
                trackers: urls::tracker(&format!("http://t/{path}")).map(String::from).into_iter().collect(),
                web_seeds: urls::web_seed(&format!("https://t/{path}")).into_iter().collect(),
                peers: [Address::parse(&format!("[::1]:{port}")).unwrap(), Address::new("a.b", port).unwrap()].into(),
                nodes: [Address::new("127.0.0.1", port).unwrap()].into(),
                select_only: files.map(|files| Selection::parse(&files)),
            };
            prop_assert_eq!(Magnet::parse(&link.to_string()), Ok(link));
        }

        #[test]
        fn reads_or_refuses_any_text(text in any::<String>(), tail in "(&?(xt|tr|dn|so|x\\.pe|ws)(\\.[0-9a])?=[%a-f0-9:+\\-,&;.\\[\\]/]{0,40}){0,5}") {
            _ = Magnet::parse(&text);
            if let Ok(magnet) = Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}{tail}")) {
                prop_assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
            }
        }
    }
}
