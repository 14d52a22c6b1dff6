//! Twenty bytes that a peer calls itself (BEP 20): ours, and what those of others tell of their client.

mod clients;

use alloc::string::String;
use core::fmt::{self, Write};
use fastrand::Rng;

/// A peer's name for itself: any bytes, by convention its client's and some random ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

/// How our own ids begin: Azureus style, two letters and four digits of version, as in `-QL0100-` (BEP 20).
pub const OWN_PREFIX: [u8; 8] = [
    b'-',
    b'Q',
    b'L',
    version_digit(env!("CARGO_PKG_VERSION_MAJOR")),
    version_digit(env!("CARGO_PKG_VERSION_MINOR")),
    version_digit(env!("CARGO_PKG_VERSION_PATCH")),
    b'0',
    b'-',
];

/// A number below 36 as one digit or letter, the larger ones as `Z`.
const fn version_digit(number: &str) -> u8 {
    let digits = number.as_bytes();
    let mut value = 0;
    let mut at = 0;
    while at < digits.len() {
        value = value * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    match value {
        0..=9 => b'0' + value as u8,
        10..=35 => b'A' + (value - 10) as u8,
        _ => b'Z',
    }
}

impl PeerId {
    /// An id of our own: [`OWN_PREFIX`] and twelve random letters and digits, which need no escaping in an
    /// announce.
    pub fn own(rng: &mut Rng) -> Self {
        let mut id = [0; 20];
        let (prefix, random) = id.split_at_mut(OWN_PREFIX.len());
        prefix.copy_from_slice(&OWN_PREFIX);
        random.fill_with(|| rng.alphanumeric() as u8);
        Self(id)
    }

    /// The client's name and version as far as the id tells, for display; else the first eight bytes, escaped.
    ///
    /// Every character of it is printable. Whoever wants to can claim to be any client.
    pub fn client(&self) -> String {
        clients::name(&self.0).unwrap_or_else(|| escaped(&self.0[..8]))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// Bytes as printable ASCII: what is none, and the percent sign, as `%` and two hexadecimal digits.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use fastrand::Rng;
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn our_ids_name_us_and_differ() {
        let mut rng = Rng::with_seed(1);
        let id = PeerId::own(&mut rng);
        assert!(id.0.starts_with(b"-QL"));
        assert!(id.to_string().starts_with("-QL") && id.0.iter().all(u8::is_ascii_graphic));
        assert!(id.client().starts_with("Quelea "));
        assert_ne!(id, PeerId::own(&mut rng));
        assert_eq!(id, PeerId::own(&mut Rng::with_seed(1)));
    }

    #[test]
    fn versions_beyond_nine_are_letters() {
        assert_eq!(
            [version_digit("0"), version_digit("10"), version_digit("35"), version_digit("36")],
            *b"0AZZ"
        );
    }

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(PeerId(*b"\x1b[2J\0%\xff abcdefghijkl").client(), "%1B[2J%00%25%FF%20");
    }

    proptest! {
        #[test]
        fn any_id_has_a_printable_name(id in any::<[u8; 20]>(), code in 0..clients::CODES, version in any::<[u8; 5]>()) {
            let mut known = id;
            known[0] = b'-';
            known[1..3].copy_from_slice(&clients::code(code));
            known[3..8].copy_from_slice(&version);
            for id in [id, known] {
                let name = PeerId(id).client();
                prop_assert!(!name.is_empty() && !name.chars().any(char::is_control), "{:?}", name);
                prop_assert!(PeerId(id).to_string().is_ascii());
            }
        }
    }
}
