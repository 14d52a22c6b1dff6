//! The extension handshake (BEP 10): what a peer says of itself, at the beginning and whenever it changes.

use super::{Extension, Ids, dictionary, number};
use crate::{Fault, limits};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use quelea_bencode::{Item, Value};

/// What an extension handshake can say. Everything is optional; `None` is "not said".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtensionHandshake {
    /// `m`: the numbers that the sender gives extensions.
    pub ids: Ids,
    /// `v`: the client's name and version, cut to [`limits::CLIENT_NAME`] characters that can be shown.
    pub client: Option<String>,
    /// `p`: the TCP port the sender listens on; never 0.
    pub port: Option<u16>,
    /// `reqq`: how many requests the sender keeps without dropping any; never 0.
    pub requests: Option<u32>,
    /// `yourip`: the receiver's address as the sender sees it. A hint: whoever sends it may lie.
    pub your_ip: Option<IpAddr>,
    /// `ipv4`: the sender's address of that family.
    pub ipv4: Option<Ipv4Addr>,
    /// `ipv6`: the sender's address of that family.
    pub ipv6: Option<Ipv6Addr>,
    /// `metadata_size`: bytes of the info dictionary (BEP 9), 1 to [`limits::METADATA`].
    pub metadata_size: Option<u32>,
    /// `upload_only`: the sender wants nothing any more (BEP 21).
    pub upload_only: Option<bool>,
    /// `e`: the sender prefers encryption.
    pub encryption: Option<bool>,
    /// `complete_ago`: seconds since the sender became complete (libtorrent); not negative.
    pub complete_ago: Option<u32>,
}

impl ExtensionHandshake {
    /// Reads the payload of an extended message with number 0.
    ///
    /// Entries that are not what they should be count as not said, and what follows the dictionary is ignored:
    /// peers are many, and each entry stands for itself.
    ///
    /// # Errors
    /// [`Fault::NotADictionary`].
    pub fn parse(payload: &[u8]) -> Result<Self, Fault> {
        let (said, _) = dictionary(payload, "extension handshake")?;
        let mut ids = Ids::default();
        if let Some(numbers) = said.get(b"m") {
            for extension in Extension::ALL {
                if let Some(id) = number(numbers, extension.name()) {
                    ids.set(extension, id);
                }
            }
        }
        Ok(Self {
            ids,
            client: said.get(b"v").and_then(Value::as_bytes).map(presentable).filter(|name| !name.is_empty()),
            port: number(&said, "p").filter(|port| *port != 0),
            requests: number(&said, "reqq").filter(|requests| *requests != 0),
            your_ip: said.get(b"yourip").and_then(Value::as_bytes).and_then(address),
            ipv4: octets(&said, b"ipv4").map(Ipv4Addr::from_octets),
            ipv6: octets(&said, b"ipv6").map(Ipv6Addr::from_octets),
            metadata_size: number(&said, "metadata_size").filter(|size| {
                *size > 0 && usize::try_from(*size).is_ok_and(|size| size <= limits::METADATA)
            }),
            upload_only: number::<i64>(&said, "upload_only").map(|flag| flag != 0),
            encryption: number::<i64>(&said, "e").map(|flag| flag != 0),
            complete_ago: number(&said, "complete_ago"),
        })
    }

    /// The payload of an extended message with number 0.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = self.ids.mentioned().map(|(extension, id)| (extension.name(), i64::from(id)));
        let mut said: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
        let mut say = |key: &str, value: Option<Item>| {
            if let Some(value) = value {
                said.insert(key.into(), value);
            }
        };
        let integer = |number: u32| Item::Int(i64::from(number));
        say("m", Some(Item::dict(numbers)));
        say("v", self.client.as_ref().map(|name| Item::Bytes(name.as_bytes().to_vec())));
        say("p", self.port.map(|port| integer(u32::from(port))));
        say("reqq", self.requests.map(integer));
        say(
            "yourip",
            self.your_ip.map(|ip| match ip {
                IpAddr::V4(ip) => Item::Bytes(ip.octets().to_vec()),
                IpAddr::V6(ip) => Item::Bytes(ip.octets().to_vec()),
            }),
        );
        say("ipv4", self.ipv4.map(|ip| Item::Bytes(ip.octets().to_vec())));
        say("ipv6", self.ipv6.map(|ip| Item::Bytes(ip.octets().to_vec())));
        say("metadata_size", self.metadata_size.map(integer));
        say("upload_only", self.upload_only.map(|flag| integer(u32::from(flag))));
        say("e", self.encryption.map(|flag| integer(u32::from(flag))));
        say("complete_ago", self.complete_ago.map(integer));
        Item::Dict(said).encode()
    }

    /// Takes over what a later handshake of the same peer says; what it does not mention stays.
    pub fn update(&mut self, later: Self) {
        self.ids.update(&later.ids);
        self.client = later.client.or(self.client.take());
        self.port = later.port.or(self.port);
        self.requests = later.requests.or(self.requests);
        self.your_ip = later.your_ip.or(self.your_ip);
        self.ipv4 = later.ipv4.or(self.ipv4);
        self.ipv6 = later.ipv6.or(self.ipv6);
        self.metadata_size = later.metadata_size.or(self.metadata_size);
        self.upload_only = later.upload_only.or(self.upload_only);
        self.encryption = later.encryption.or(self.encryption);
        self.complete_ago = later.complete_ago.or(self.complete_ago);
    }
}

/// A name as text without control characters, which could reach a terminal, and of bounded length.
fn presentable(name: &[u8]) -> String {
    let name = name.get(..name.len().min(limits::CLIENT_NAME * 4)).unwrap_or_default();
    let text = String::from_utf8_lossy(name);
    let shown = |character: &char| !character.is_control() && !is_format(*character);
    text.chars().filter(shown).take(limits::CLIENT_NAME).collect::<String>().trim().into()
}

/// Whether a character is invisible or turns the direction of what follows.
const fn is_format(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::from(octets).to_canonical())
}

fn octets<const N: usize>(said: &Value<'_>, key: &[u8]) -> Option<[u8; N]> {
    said.get(key)?.as_bytes()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn any_handshake() -> impl Strategy<Value = ExtensionHandshake> {
        let first = (
            prop::collection::vec((0..Extension::ALL.len(), any::<u8>()), 0..5),
            prop::option::of("[ -~µ]{0,60}[!-~]"),
            prop::option::of(1u16..),
            prop::option::of(1u32..),
            prop::option::of(any::<IpAddr>().prop_map(|ip| ip.to_canonical())),
        );
        let second = (
            prop::option::of(any::<Ipv4Addr>()),
            prop::option::of(any::<Ipv6Addr>()),
            prop::option::of(1..=limits::METADATA as u32),
            prop::option::of(any::<bool>()),
            prop::option::of(any::<bool>()),
            prop::option::of(any::<u32>()),
        );
        (first, second).prop_map(|(first, second)| {
            let mut ids = Ids::default();
            for (at, id) in first.0 {
                ids.set(Extension::ALL[at], id);
            }
            ExtensionHandshake {
                ids,
                client: first.1.map(|name| name.trim().to_string()),
                port: first.2,
                requests: first.3,
                your_ip: first.4,
                ipv4: second.0,
                ipv6: second.1,
                metadata_size: second.2,
                upload_only: second.3,
                encryption: second.4,
                complete_ago: second.5,
            }
        })
    }

    #[test]
    fn values_that_cannot_be_count_as_not_said() {
        for entry in [
            "13:metadata_sizei-1e",
            "13:metadata_sizei0e",
            "13:metadata_sizei33554433e",
            "13:metadata_size1:9",
            "1:pi0e",
            "1:pi65536e",
            "4:reqqi0e",
            "4:reqqi-5e",
            "6:yourip5:12345",
            "4:ipv416:0123456789abcdef",
            "1:v0:",
            "1:v2:\x1b\x07",
            "1:mi5e",
            "1:md6:ut_pexi256ee",
            "1:md6:ut_pex1:1e",
        ] {
            let said = ExtensionHandshake::parse(format!("d{entry}e").as_bytes()).unwrap();
            assert_eq!(said, ExtensionHandshake::default(), "{entry}");
        }
    }

    #[test]
    fn a_name_is_cut_and_cleaned() {
        let name = |bytes: &[u8]| {
            let said = Item::dict([("v", Item::Bytes(bytes.to_vec()))]).encode();
            ExtensionHandshake::parse(&said).unwrap().client.unwrap()
        };
        assert_eq!(name(b" \x1b[31mred\n\xff "), "[31mred\u{fffd}");
        assert_eq!(name("exe\u{202e}txt".as_bytes()), "exetxt");
        assert_eq!(name(&[b'x'; 100_000]).len(), limits::CLIENT_NAME);
        assert_eq!(name("µ".repeat(500).as_bytes()).chars().count(), limits::CLIENT_NAME);
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let mapped: Ipv6Addr = "::ffff:192.0.2.7".parse().unwrap();
        let said = Item::dict([("yourip", Item::Bytes(mapped.octets().to_vec()))]).encode();
        let said = ExtensionHandshake::parse(&said).unwrap();
        assert_eq!(said.your_ip, Some(IpAddr::from([192, 0, 2, 7])));
    }

    #[test]
    fn what_is_no_dictionary_is_a_fault() {
        for payload in [&b""[..], b"garbage", b"le", b"i1e", b"d1:m", b"d1:pi1e"] {
            assert!(
                matches!(ExtensionHandshake::parse(payload), Err(Fault::NotADictionary { .. })),
                "{payload:?}"
            );
        }
        assert!(ExtensionHandshake::parse(b"dexxx").is_ok(), "what follows is ignored");
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_again(said in any_handshake()) {
            prop_assert_eq!(ExtensionHandshake::parse(&said.encode()), Ok(said));
        }

        #[test]
        fn a_later_handshake_says_more_and_takes_nothing_back(first in any_handshake(), later in any_handshake()) {
            let mut both = first.clone();
            both.update(later.clone());
            prop_assert_eq!(both.port, later.port.or(first.port));
            prop_assert_eq!(&both.client, &later.client.clone().or_else(|| first.client.clone()));
            let mut again = both.clone();
            again.update(later);
            prop_assert_eq!(&again, &both);
            again.update(ExtensionHandshake::default());
            prop_assert_eq!(&again, &both);
        }

        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>) {
            let _ = ExtensionHandshake::parse(&payload);
        }
    }
}
