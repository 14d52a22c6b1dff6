//! Clients and versions by peer id: the conventions that BEP 20 collects, and those in use beside it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

/// How a client of Azureus style writes its version into the bytes behind its two letters.
#[derive(Clone, Copy)]
enum Version {
    /// Not worth showing.
    Hidden,
    /// `1293` is 1.2.9.
    Three,
    /// `8421` is 8.4.2.1.
    Four,
    /// `4630` is 4.6.3 and `4631` is 4.6.3.1.
    ThreeOrFour,
    /// `0241` is 2.41.
    Pairs,
    /// `F...` is 15.x.
    Major,
    /// `791B` is 7.9.1 (Beta), in hexadecimal digits.
    MicroTorrent,
    /// `110Q-` is 1.1.0 and `1110Q` is 1.1.10.
    MicroTorrentWeb,
    /// `51R.` is 5.1.27 and 5.1.x where the third is no digit.
    FreeDownloadManager,
    /// `246326` is 2.4.6-326.
    BitLord,
    /// `33D1` is 3.3 Dev 1.
    KTorrent,
    /// `0091` is 0.09.1.
    PicoTorrent,
    /// `0072` is 0.72, `111Z` is 1.11 (Dev), `400B` is 4.0.0 (Beta).
    Transmission,
    /// `9992` is 9.9.92 and `9990` is 9.9.9.
    Xfplay,
}

use Version::{
    BitLord, Four, FreeDownloadManager, Hidden, KTorrent, Major, MicroTorrent, MicroTorrentWeb, Pairs,
    PicoTorrent, Three, ThreeOrFour, Transmission, Xfplay,
};

/// Clients of Azureus style, by their two letters.
const AZUREUS: &[(&[u8; 2], &str, Version)] = &[
    (b"7T", "aTorrent", Three),
    (b"AB", "AnyEvent BitTorrent", Three),
    (b"AD", "Advanced Download Manager", Three),
    (b"AG", "Ares", Three),
    (b"AR", "Arctic", Four),
    (b"AV", "Avicora", Four),
    (b"AX", "BitPump", Pairs),
    (b"AZ", "Azureus / Vuze", Four),
    (b"A~", "Ares", Three),
    (b"BB", "BitBuddy", Four),
    (b"BC", "BitComet", Pairs),
    (b"BD", "BD", Four),
    (b"BE", "BitTorrent SDK", Four),
    (b"BF", "Bitflu", Four),
    (b"BG", "BTG", Four),
    (b"BI", "BiglyBT", Four),
    (b"BL", "BitLord", BitLord),
    (b"BN", "Baidu Netdisk", Hidden),
    (b"BP", "BitTorrent Pro", Four),
    (b"BR", "BitRocket", Four),
    (b"BS", "BTSlave", Four),
    (b"BT", "BitTorrent", MicroTorrent),
    (b"BW", "BitTorrent Web", MicroTorrentWeb),
    (b"BX", "Bittorrent X", Four),
    (b"CD", "Enhanced CTorrent", Pairs),
    (b"CT", "CTorrent", Pairs),
    (b"DE", "Deluge", ThreeOrFour),
    (b"DP", "Propagate Data Client", Four),
    (b"EB", "EBit", Four),
    (b"ES", "Electric Sheep", Three),
    (b"FC", "FileCroc", Four),
    (b"FD", "Free Download Manager", FreeDownloadManager),
    (b"FG", "FlashGet", Pairs),
    (b"FL", "Folx", Major),
    (b"FT", "FoxTorrent", Four),
    (b"FW", "FrostWire", Three),
    (b"FX", "Freebox BitTorrent", Pairs),
    (b"GS", "GSTorrent", Four),
    (b"GT", "anacrolix/torrent", ThreeOrFour),
    (b"HL", "Halite", Three),
    (b"HN", "Hydranode", Four),
    (b"KG", "KGet", Four),
    (b"KT", "KTorrent", KTorrent),
    (b"LH", "LH-ABC", Four),
    (b"LP", "Lphant", Pairs),
    (b"LT", "libtorrent", ThreeOrFour),
    (b"LW", "LimeWire", Hidden),
    (b"Lr", "LibreTorrent", Three),
    (b"MG", "MediaGet", Pairs),
    (b"MK", "Meerkat", Four),
    (b"MO", "MonoTorrent", Four),
    (b"MP", "MooPolice", Three),
    (b"MR", "Miro", Four),
    (b"MT", "MoonlightTorrent", Four),
    (b"NP", "NP", Four),
    (b"NX", "Net Transport", Four),
    (b"OT", "OmegaTorrent", Four),
    (b"PD", "Pando", Four),
    (b"PI", "PicoTorrent", PicoTorrent),
    (b"QD", "QQDownload", Four),
    (b"QL", "Quelea", ThreeOrFour),
    (b"QT", "Qt 4 Torrent example", Four),
    (b"RT", "Retriever", Four),
    (b"SB", "Swiftbit", Four),
    (b"SS", "SwarmScope", Four),
    (b"ST", "SymTorrent", Four),
    (b"SZ", "Shareaza", Four),
    (b"S~", "Shareaza alpha/beta", Four),
    (b"TB", "Torch Browser", Hidden),
    (b"TL", "Tribler", Three),
    (b"TN", "TorrentDotNET", Four),
    (b"TR", "Transmission", Transmission),
    (b"TS", "TorrentStorm", Four),
    (b"TT", "TuoTu", Three),
    (b"UL", "uLeecher!", Four),
    (b"UM", "µTorrent Mac", MicroTorrent),
    (b"UT", "µTorrent", MicroTorrent),
    (b"UW", "µTorrent Web", MicroTorrentWeb),
    (b"VG", "Vagaa", Four),
    (b"WD", "WebTorrent Desktop", Four),
    (b"WS", "HTTP Seed", Hidden),
    (b"WT", "BitLet", Hidden),
    (b"WW", "WebTorrent", Four),
    (b"WY", "FireTorrent", Four),
    (b"XF", "Xfplay", Xfplay),
    (b"XL", "Xunlei", Four),
    (b"XT", "XanTorrent", Four),
    (b"XX", "Xtorrent", Hidden),
    (b"ZT", "ZipTorrent", Four),
    (b"lt", "libTorrent (rTorrent)", ThreeOrFour),
    (b"qB", "qBittorrent", ThreeOrFour),
    (b"rQ", "rqbit", ThreeOrFour),
    (b"st", "sharktorrent", Four),
    (b"wF", "wF", Four),
];

/// Clients whose id begins with one letter and version digits padded with dashes ("Shadow's style").
const SHADOW: &[(u8, &str)] = &[
    (b'A', "ABC"),
    (b'O', "Osprey Permaseed"),
    (b'Q', "BTQueue"),
    (b'R', "Tribler"),
    (b'S', "Shad0w"),
    (b'T', "BitTornado"),
    (b'U', "UPnP NAT Bit Torrent"),
];

/// Clients whose id begins with these bytes and decimal numbers with dashes between ("Bram's style").
const DASHED: &[(&[u8], &str)] = &[(b"A2-", "aria2"), (b"M", "BitTorrent"), (b"Q", "Queen Bee")];

/// Clients that tell nothing but their name.
const PLAIN: &[(&[u8], &str)] = &[
    (b"-BOW", "Bits on Wheels"),
    (b"346------", "TorrenTopia 1.90"),
    (b"AZ2500BT", "BitTyrant 1.1"),
    (b"FD6", "Free Download Manager 6"),
    (b"\0\x02BS", "BitSpirit 2"),
    (b"\0\x03BS", "BitSpirit 3"),
];

/// The name of the client that makes such ids, if there is one we know.
pub(super) fn name(id: &[u8; 20]) -> Option<String> {
    mldonkey(id)
        .or_else(|| {
            PLAIN.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, name)| (*name).to_owned())
        })
        .or_else(|| azureus(id))
        .or_else(|| dashed(id))
        .or_else(|| shadow(id))
        .or_else(|| bitcomet(id))
        .or_else(|| three_letters(id))
}

/// `-TR4000-` and what is random.
fn azureus(id: &[u8; 20]) -> Option<String> {
    let [b'-', first, second, bytes @ ..] = id else { return None };
    let (_, name, version) = AZUREUS.iter().find(|(code, _, _)| **code == [*first, *second])?;
    let head: &[u8; 6] = bytes.first_chunk()?;
    Some(match version.read(head) {
        Some(version) => format!("{name} {version}"),
        None => (*name).to_owned(),
    })
}

impl Version {
    /// The version in the six bytes behind the letters; `None` when these are no digits.
    fn read(self, bytes: &[u8; 6]) -> Option<String> {
        let [a, b, c, d, e, _] = *bytes;
        let three = |third: u32| Some(format!("{}.{}.{third}", digit(a)?, digit(b)?));
        match self {
            Hidden => None,
            Three => three(digit(c)?),
            Four => Some(format!("{}.{}", three(digit(c)?)?, digit(d)?)),
            ThreeOrFour if d == b'0' || digit(d).is_none() => three(digit(c)?),
            ThreeOrFour => Four.read(bytes),
            Pairs => Some(format!("{}.{:02}", decimal(&[a, b])?, decimal(&[c, d])?)),
            Major => Some(format!("{}.x", digit(a)?)),
            MicroTorrent => {
                let hex = |byte: u8| char::from(byte).to_digit(16);
                Some(format!("{}.{}.{}{}", hex(a)?, hex(b)?, hex(c)?, stage(d)))
            }
            MicroTorrentWeb if e == b'-' => three(decimal(&[c])?),
            MicroTorrentWeb => three(decimal(&[c, d])?),
            FreeDownloadManager => match digit(c) {
                Some(third) => three(third),
                None => Some(format!("{}.{}.x", digit(a)?, digit(b)?)),
            },
            BitLord => Some(format!("{}-{:03}", three(digit(c)?)?, decimal(&bytes[3..])?)),
            KTorrent => match c {
                b'D' => Some(format!("{}.{} Dev {}", digit(a)?, digit(b)?, digit(d)?)),
                b'R' => Some(format!("{}.{} RC {}", digit(a)?, digit(b)?, digit(d)?)),
                _ => three(digit(c)?),
            },
            PicoTorrent => Some(format!("{}.{:02}.{}", digit(a)?, decimal(&[b, c])?, digit(d)?)),
            Transmission => match (a, b, c) {
                (b'0', b'0', b'0') => Some(format!("0.{}", decimal(&[d])?)),
                (b'0', b'0', _) => Some(format!("0.{:02}", decimal(&[c, d])?)),
                (b'0'..=b'3', _, _) => Some(format!("{}.{:02}{}", digit(a)?, decimal(&[b, c])?, stage(d))),
                _ => Some(format!("{}{}", three(digit(c)?)?, stage(d))),
            },
            Xfplay if d == b'0' => three(digit(c)?),
            Xfplay => three(decimal(&[c, d])?),
        }
    }
}

/// What a letter behind a version says of it.
const fn stage(letter: u8) -> &'static str {
    match letter {
        b'A' => " (Alpha)",
        b'B' => " (Beta)",
        b'X' | b'Z' => " (Dev)",
        _ => "",
    }
}

/// A digit, or a letter that counts on: `A` is 10, `a` is 36.
fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'a'..=b'z' => byte - b'a' + 36,
        _ => return None,
    }))
}

/// A number in at most nine decimal digits.
fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// `-ML2.7.2-` and what is random.
fn mldonkey(id: &[u8; 20]) -> Option<String> {
    let rest = id.strip_prefix(b"-ML")?;
    let version = rest.split(|byte| *byte == b'-').next()?;
    let sound = version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    Some(match core::str::from_utf8(version) {
        Ok(version) if sound && !version.is_empty() => format!("MLdonkey {version}"),
        Ok(_) | Err(_) => "MLdonkey".to_owned(),
    })
}

/// `M4-20-8-`, `A2-1-18-8-` and what is random.
fn dashed(id: &[u8; 20]) -> Option<String> {
    DASHED.iter().find_map(|(prefix, name)| {
        let mut numbers = id.strip_prefix(*prefix)?.split(|byte| *byte == b'-').map(decimal);
        Some(format!("{name} {}.{}.{}", numbers.next()??, numbers.next()??, numbers.next()??))
    })
}

/// `S58B-----` and what is random: digits, letters (`A` is 10, `a` is 36) up to the dashes.
fn shadow(id: &[u8; 20]) -> Option<String> {
    let (_, name) = SHADOW.iter().find(|(letter, _)| *letter == id[0])?;
    let (version, rest) = id[1..].split_at(5);
    if !rest.starts_with(b"---") {
        return None;
    }
    let mut text = format!("{name} ");
    let mut between = "";
    for byte in version.iter().take_while(|byte| **byte != b'-') {
        text.push_str(&format!("{between}{}", digit(*byte)?));
        between = ".";
    }
    if between.is_empty() { None } else { Some(text) }
}

/// `exbc`, two bytes of version, and `LORD` when it is BitLord.
fn bitcomet(id: &[u8; 20]) -> Option<String> {
    let rest = id.strip_prefix(b"exbc").or_else(|| id.strip_prefix(b"FUTB"))?;
    let [major, minor, rest @ ..] = rest else { return None };
    let name = if rest.starts_with(b"LORD") { "BitLord" } else { "BitComet" };
    Some(format!("{name} {major}.{minor:02}"))
}

/// `TIX0193-`, `XBT054d-`, `OP8501`.
fn three_letters(id: &[u8; 20]) -> Option<String> {
    match id {
        [b'T', b'I', b'X', a, b, c, d, ..] => {
            Some(format!("Tixati {}.{:02}", decimal(&[*a, *b])?, decimal(&[*c, *d])?))
        }
        [b'X', b'B', b'T', a, b, c, build, ..] => {
            let debug = if *build == b'd' { " (Debug)" } else { "" };
            Some(format!("XBT Client {}.{}.{}{debug}", decimal(&[*a])?, decimal(&[*b])?, decimal(&[*c])?))
        }
        [b'O', b'P', build @ ..] => Some(format!("Opera (build {})", decimal(&build[..4])?)),
        _ => None,
    }
}

/// How many clients of Azureus style there are.
#[cfg(test)]
pub(super) const CODES: usize = AZUREUS.len();

/// The letters of one of them.
#[cfg(test)]
pub(super) const fn code(at: usize) -> [u8; 2] {
    *AZUREUS[at].0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str) -> Option<String> {
        let mut bytes = [b'x'; 20];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        name(&bytes)
    }

    #[test]
    fn codes_are_sorted_and_differ() {
        assert!(AZUREUS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn names_the_styles_of_bep_20() {
        for (id, name) in [
            ("-qB4630-", "qBittorrent 4.6.3"),
            ("-qB4631-", "qBittorrent 4.6.3.1"),
            ("-DE211s-", "Deluge 2.1.1.54"),
            ("-LT20B0-", "libtorrent 2.0.11"),
            ("-ML2.7.2-kgjjfkd", "MLdonkey 2.7.2"),
            ("M4-20-8-", "BitTorrent 4.20.8"),
            ("T03I-----", "BitTornado 0.3.18"),
            ("XBT054d-", "XBT Client 0.5.4 (Debug)"),
            ("OP8501ab", "Opera (build 8501)"),
            ("-BOWA0C-", "Bits on Wheels"),
            ("346------", "TorrenTopia 1.90"),
            ("\0\x03BS", "BitSpirit 3"),
            ("-UT!!!!-", "µTorrent"),
        ] {
            assert_eq!(client(id).as_deref(), Some(name), "{id}");
        }
        for unknown in ["-ZZ0000-", "S58B--x--", "S---------", "TIXxx93-", "Mx-20-8-", ""] {
            assert_eq!(client(unknown), None, "{unknown}");
        }
    }
}
