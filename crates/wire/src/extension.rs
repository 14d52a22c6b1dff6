//! Extended messages (BEP 10): which extensions there are, and the numbers that each side gives them.

pub mod dont_have;
pub mod handshake;
pub mod metadata;
pub mod pex;

use quelea_bencode::{Limits, Value, parse_prefix};

use crate::Fault;

/// The number of the extension handshake itself (BEP 10).
pub const HANDSHAKE: u8 = 0;

/// An extension that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// `ut_metadata`: the info dictionary in pieces (BEP 9).
    Metadata,
    /// `ut_pex`: peers that the peer is connected to (BEP 11).
    Pex,
    /// `lt_donthave`: a piece that the peer has no longer (BEP 54).
    DontHave,
    /// `upload_only`: the peer begins or ceases to want nothing (BEP 21 while a connection lives; libtorrent's
    /// message of one byte).
    UploadOnly,
}

impl Extension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Metadata, Self::Pex, Self::DontHave, Self::UploadOnly];

    /// Its name in the `m` dictionary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "ut_metadata",
            Self::Pex => "ut_pex",
            Self::DontHave => "lt_donthave",
            Self::UploadOnly => "upload_only",
        }
    }

    /// The number that we give it in our own handshakes, always the same: what an extended message from a peer
    /// carries. Never [`HANDSHAKE`].
    pub const fn own_id(self) -> u8 {
        self.index() as u8 + 1
    }

    /// The extension that a peer means by a number of ours.
    pub fn of_own_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.own_id() == id)
    }

    const fn index(self) -> usize {
        match self {
            Self::Metadata => 0,
            Self::Pex => 1,
            Self::DontHave => 2,
            Self::UploadOnly => 3,
        }
    }
}

/// The numbers that one peer gave the extensions: what an extended message to that peer must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids([Option<u8>; Extension::ALL.len()]);

impl Ids {
    /// Those of our own handshakes.
    pub fn own(extensions: &[Extension]) -> Self {
        let mut ids = Self::default();
        for extension in extensions {
            ids.set(*extension, extension.own_id());
        }
        ids
    }

    /// The number to send this extension's messages with; `None` when the peer does not take them.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        self.0[extension.index()].filter(|id| *id != 0)
    }

    /// Gives an extension a number; 0 turns it off.
    pub const fn set(&mut self, extension: Extension, id: u8) {
        self.0[extension.index()] = Some(id);
    }

    /// Takes over what a later handshake says. What it does not mention stays (BEP 10: "the m dictionary is
    /// additive").
    pub fn update(&mut self, later: &Self) {
        for (id, later) in self.0.iter_mut().zip(later.0) {
            *id = later.or(*id);
        }
    }

    fn mentioned(&self) -> impl Iterator<Item = (Extension, u8)> {
        Extension::ALL.into_iter().filter_map(|extension| Some((extension, self.0[extension.index()]?)))
    }
}

/// The dictionary that a payload begins with, and what follows it.
fn dictionary<'a>(payload: &'a [u8], message: &'static str) -> Result<(Value<'a>, &'a [u8]), Fault> {
    match parse_prefix(payload, Limits::PACKET) {
        Ok((value, used)) if value.as_dict().is_some() => {
            Ok((value, payload.get(used..).unwrap_or_default()))
        }
        Ok(_) | Err(_) => Err(Fault::NotADictionary { message }),
    }
}

/// An entry that is a number of this type.
fn number<N: TryFrom<i64>>(dictionary: &Value<'_>, key: &str) -> Option<N> {
    N::try_from(dictionary.get(key.as_bytes())?.as_int()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_numbers_are_found_again_and_are_no_handshake() {
        for extension in Extension::ALL {
            assert_ne!(extension.own_id(), HANDSHAKE);
            assert_eq!(Extension::of_own_id(extension.own_id()), Some(extension));
            assert_eq!(Ids::own(&[extension]).id(extension), Some(extension.own_id()));
        }
        assert_eq!(Extension::of_own_id(HANDSHAKE), None);
        assert_eq!(Extension::of_own_id(200), None);
    }

    #[test]
    fn later_numbers_add_replace_and_turn_off() {
        let mut ids = Ids::default();
        ids.set(Extension::Metadata, 3);
        ids.set(Extension::Pex, 4);
        let mut later = Ids::default();
        later.set(Extension::Pex, 0);
        later.set(Extension::DontHave, 9);
        ids.update(&later);
        assert_eq!(ids.id(Extension::Metadata), Some(3));
        assert_eq!(ids.id(Extension::Pex), None);
        assert_eq!(ids.id(Extension::DontHave), Some(9));
        assert_eq!(ids.id(Extension::UploadOnly), None);
    }
}
