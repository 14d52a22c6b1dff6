//! Links to what somebody publishes under a key (BEP 46): which torrent that is, the DHT says.

use crate::hashes::{from_hex, to_hex};
use crate::{Error, Magnet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use quelea_bencode::Limits;

/// The longest salt (BEP 44).
const MAX_SALT: usize = 64;

/// A link to the torrent that a publisher names at the time: `magnet:?xs=urn:btpk:KEY&s=SALT`, both hexadecimal.
///
/// What else such a link holds (`dn`, `tr`, `x.pe` ...) is kept for the torrent that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherLink {
    /// The publisher's Ed25519 key.
    pub key: [u8; 32],
    /// Which of the publisher's torrents; at most 64 bytes.
    pub salt: Vec<u8>,
    /// The parameters of the link but for these two.
    others: String,
}

impl PublisherLink {
    /// A link that has nothing but what it must.
    pub fn new(key: [u8; 32], salt: Vec<u8>) -> Self {
        Self { key, salt, others: String::new() }
    }

    /// Reads a link; `None` where it names no publisher's key, as most links do not.
    pub fn parse(link: &str) -> Option<Self> {
        let (scheme, parameters) = link.trim().split_once(":?")?;
        if !scheme.eq_ignore_ascii_case("magnet") {
            return None;
        }
        let (mut key, mut salt, mut others) = (None, Vec::new(), String::new());
        for parameter in parameters.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let publisher = value.get(..9).filter(|prefix| prefix.eq_ignore_ascii_case("urn:btpk:"));
            match (name.to_ascii_lowercase().as_str(), publisher) {
                ("xs" | "xt", Some(prefix)) => key = from_hex(value.get(prefix.len()..)?.as_bytes()),
                ("s", _) => salt = bytes(value)?,
                _ => {
                    others.push('&');
                    others.push_str(parameter);
                }
            }
        }
        Some(Self { key: key?, salt, others })
    }

    /// The link to the torrent that the publisher's item names, as the DHT has it: `{"ih": 20 bytes}`.
    ///
    /// # Errors
    /// [`Error::Field`] where the item names none; those of [`Magnet::parse`].
    pub fn resolve(&self, item: &[u8]) -> Result<Magnet, Error> {
        let item = quelea_bencode::parse(item, Limits { depth: 8, items: 1_024 })?;
        let hash: Option<[u8; 20]> =
            item.get(b"ih").and_then(|hash| hash.as_bytes()).and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or(Error::field("ih", "must be an info-hash of 20 bytes"))?;
        Magnet::parse(&format!("magnet:?xt=urn:btih:{}{}", to_hex(&hash), self.others))
    }

    /// What the publisher's item holds to name this torrent.
    pub fn item(info_hash: [u8; 20]) -> Vec<u8> {
        [&b"d2:ih20:"[..], &info_hash, b"e"].concat()
    }
}

impl fmt::Display for PublisherLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xs=urn:btpk:{}", to_hex(&self.key))?;
        if !self.salt.is_empty() {
            f.write_str("&s=")?;
            self.salt.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        f.write_str(&self.others)
    }
}

/// The bytes that hexadecimal digits stand for, if they are no more than a salt has.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 2 * MAX_SALT {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| from_hex::<1>(pair).map(|[byte]| byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const KEY: &str = "8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e";

    #[test]
    fn a_link_leads_to_what_its_item_names_and_keeps_the_rest() {
        let text = format!("magnet:?xs=urn:btpk:{KEY}&s=6e&dn=things&tr=http%3A%2F%2Ft.example%2Fa");
        let link = PublisherLink::parse(&text).unwrap();
        assert_eq!((to_hex(&link.key), &link.salt[..]), (KEY.to_string(), &b"n"[..]));
        assert_eq!(PublisherLink::parse(&link.to_string()), Some(link.clone()));
        let magnet = link.resolve(&PublisherLink::item([7; 20])).unwrap();
        assert_eq!(magnet.hashes.wire(), [7; 20]);
        assert_eq!((magnet.name.as_deref(), magnet.trackers.len()), (Some("things"), 1));
        assert!(link.resolve(b"d2:ih19:aaaaaaaaaaaaaaaaaaae").is_err());
        assert!(link.resolve(b"le").is_err() && link.resolve(b"x").is_err());
    }

    #[test]
    fn other_links_and_wrong_ones_are_none() {
        for text in [
            "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567".to_string(),
            format!("magnet:?xs=urn:btpk:{}", &KEY[1..]),
            format!("magnet:?xs=urn:btpk:{KEY}&s=6"),
            format!("magnet:?xs=urn:btpk:{KEY}&s=zz"),
            format!("magnet:?xs=urn:btpk:{KEY}&s={}", "00".repeat(65)),
            format!("http:?xs=urn:btpk:{KEY}"),
            "magnet:?xs=ürn:btpk:é".to_string(),
        ] {
            assert_eq!(PublisherLink::parse(&text), None, "{text}");
        }
    }
}
