//! The names that the network has for a torrent.

use alloc::string::String;
use alloc::vec::Vec;

/// A torrent's info-hashes: SHA-1 of the info dictionary for a torrent with a v1 half (BEP 3), SHA-256 for one
/// with a v2 half (BEP 52), both for a hybrid. Never neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHashes {
    pub(crate) v1: Option<[u8; 20]>,
    pub(crate) v2: Option<[u8; 32]>,
}

impl InfoHashes {
    /// These hashes, or `None` when there is neither.
    pub const fn new(v1: Option<[u8; 20]>, v2: Option<[u8; 32]>) -> Option<Self> {
        if v1.is_none() && v2.is_none() { None } else { Some(Self { v1, v2 }) }
    }

    /// The SHA-1 info-hash.
    pub const fn v1(&self) -> Option<[u8; 20]> {
        self.v1
    }

    /// The SHA-256 info-hash.
    pub const fn v2(&self) -> Option<[u8; 32]> {
        self.v2
    }

    /// The 20 bytes that handshakes, trackers and the DHT know the torrent by: the v1 hash, or else the first 20
    /// bytes of the v2 hash (BEP 52, "infohash").
    pub fn wire(&self) -> [u8; 20] {
        match (self.v1, self.v2) {
            (Some(v1), _) => v1,
            (None, Some(v2)) => *v2.first_chunk().unwrap_or(&[0; 20]),
            (None, None) => [0; 20],
        }
    }

    /// The v1 hash as 40 hexadecimal digits.
    pub fn v1_hex(&self) -> Option<String> {
        self.v1.map(|hash| to_hex(&hash))
    }

    /// The v2 hash as 64 hexadecimal digits.
    pub fn v2_hex(&self) -> Option<String> {
        self.v2.map(|hash| to_hex(&hash))
    }
}

/// `bytes` as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that these hexadecimal digits of either case stand for.
pub(crate) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes?.try_into().ok() } else { None }
}

/// The 20 bytes that these 32 base32 characters of either case stand for (RFC 4648, section 6).
pub(crate) fn from_base32(text: &[u8]) -> Option<[u8; 20]> {
    let mut out = [0; 20];
    let (groups, rest) = text.as_chunks::<8>();
    if groups.len() != 4 || !rest.is_empty() {
        return None;
    }
    for (group, bytes) in groups.iter().zip(out.as_chunks_mut::<5>().0) {
        let mut bits = 0u64;
        for character in group {
            let value = match character.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter - b'A',
                digit @ b'2'..=b'7' => digit - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        *bytes = *bits.to_be_bytes().last_chunk()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_knows_a_pure_v2_torrent_by_the_first_20_bytes() {
        let v2: [u8; 32] = core::array::from_fn(|at| at as u8);
        let hashes = InfoHashes::new(None, Some(v2)).unwrap();
        assert_eq!(hashes.wire(), core::array::from_fn(|at| at as u8));
        assert_eq!(InfoHashes::new(Some([9; 20]), Some(v2)).unwrap().wire(), [9; 20]);
        assert_eq!(InfoHashes::new(None, None), None);
    }

    #[test]
    fn hexadecimal_and_base32_say_the_same() {
        let hash = from_hex::<20>(b"d2354010A3CA4ADE5b7427bb093a62a3899ff381").unwrap();
        assert_eq!(from_base32(b"2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B"), Some(hash));
        assert_eq!(from_base32(b"2i2uaefdzjfn4w3ue65qsotcuoez744b"), Some(hash));
        assert_eq!(to_hex(&hash), "d2354010a3ca4ade5b7427bb093a62a3899ff381");
        assert_eq!(from_base32(b"2I2UAEFDZJFN4W3UE65QSOTCUOEZ7441"), None);
        assert_eq!(from_hex::<20>(b"d2354010A3CA4ADE5b7427bb093a62a3899ff38"), None);
        assert_eq!(from_hex::<2>(b"+1f2"), None);
    }
}
