//! The first 68 bytes of a connection, both ways (BEP 3, "peer protocol"; the reserved bits of BEP 5, 6, 10, 52).

use crate::Fault;
use crate::peer_id::PeerId;
use core::fmt;

/// Bytes of a handshake.
pub const LENGTH: usize = 68;

/// What every handshake begins with: its own length and the protocol's name (BEP 3).
const PROTOCOL: [u8; 20] = *b"\x13BitTorrent protocol";

/// An extension that the reserved bytes announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Extended messages (BEP 10).
    ExtensionProtocol,
    /// Fast extension (BEP 6).
    Fast,
    /// A DHT node runs beside (BEP 5).
    Dht,
    /// A hybrid torrent's peer of the v1 swarm that can speak v2 (BEP 52, "Upgrade Path").
    V2,
}

impl Feature {
    /// The reserved byte and the bit in it.
    const fn place(self) -> (usize, u8) {
        match self {
            Self::ExtensionProtocol => (5, 0x10),
            Self::Fast => (7, 0x04),
            Self::Dht => (7, 0x01),
            Self::V2 => (7, 0x10),
        }
    }
}

/// The eight reserved bytes. Bits that we do not know are kept and mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// No extension.
    pub const NONE: Self = Self([0; 8]);

    /// The same with this extension announced.
    #[must_use]
    pub const fn with(mut self, feature: Feature) -> Self {
        let (at, bit) = feature.place();
        self.0[at] |= bit;
        self
    }

    /// Whether this extension is announced.
    pub const fn has(self, feature: Feature) -> bool {
        let (at, bit) = feature.place();
        self.0[at] & bit != 0
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({:016x})", u64::from_be_bytes(self.0))
    }
}

/// What each side says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Which extensions the sender speaks.
    pub reserved: Reserved,
    /// The torrent: SHA-1 of its info dictionary, or the first 20 bytes of the v2 hash (BEP 52).
    pub info_hash: [u8; 20],
    /// Who the sender is.
    pub peer_id: PeerId,
}

impl Handshake {
    /// The handshake as bytes.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let parts = [&PROTOCOL[..], &self.reserved.0, &self.info_hash, &self.peer_id.0];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

/// Takes a handshake as it comes, in pieces of any size.
///
/// Either read into [`HandshakeDecoder::room`] and tell [`HandshakeDecoder::commit`] how much came (the room
/// ends where the handshake ends, so that nothing of what follows is read), or give bytes to
/// [`HandshakeDecoder::feed`].
#[derive(Debug, Clone)]
pub struct HandshakeDecoder {
    bytes: [u8; LENGTH],
    filled: usize,
}

impl Default for HandshakeDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl HandshakeDecoder {
    /// A decoder that has seen nothing.
    pub const fn new() -> Self {
        Self { bytes: [0; LENGTH], filled: 0 }
    }

    /// Where the next bytes go; empty when the handshake is whole.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// Says that `n` bytes were read into the room; gives the handshake when it is whole.
    ///
    /// # Errors
    /// [`Fault::NotBitTorrent`] at the first byte that differs from the protocol's name, however little came.
    pub fn commit(&mut self, n: usize) -> Result<Option<Handshake>, Fault> {
        self.filled = self.filled.saturating_add(n).min(LENGTH);
        let seen = self.bytes.iter().take(self.filled);
        if let Some((at, (found, _))) =
            seen.zip(&PROTOCOL).enumerate().find(|(_, (found, right))| found != right)
        {
            return Err(Fault::NotBitTorrent { at, found: *found });
        }
        Ok(if self.filled == LENGTH { self.whole() } else { None })
    }

    /// Takes bytes from the front of `bytes`, no more than the handshake has; gives it when it is whole.
    ///
    /// # Errors
    /// Those of [`HandshakeDecoder::commit`].
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Result<Option<Handshake>, Fault> {
        let room = self.room();
        let n = room.len().min(bytes.len());
        let (taken, rest) = bytes.split_at(n);
        room[..n].copy_from_slice(taken);
        *bytes = rest;
        self.commit(n)
    }

    /// The torrent that is asked for, as soon as it is known: a peer who is called may answer before the
    /// caller's peer id has come.
    pub fn info_hash(&self) -> Option<[u8; 20]> {
        if self.filled < 48 { None } else { self.bytes.get(28..)?.first_chunk().copied() }
    }

    fn whole(&self) -> Option<Handshake> {
        let (_, rest) = self.bytes.split_first_chunk::<20>()?;
        let (reserved, rest) = rest.split_first_chunk()?;
        let (info_hash, rest) = rest.split_first_chunk()?;
        let (peer_id, _) = rest.split_first_chunk()?;
        Some(Handshake { reserved: Reserved(*reserved), info_hash: *info_hash, peer_id: PeerId(*peer_id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const FEATURES: [Feature; 4] = [Feature::ExtensionProtocol, Feature::Fast, Feature::Dht, Feature::V2];

    #[test]
    fn features_are_bits_of_their_own() {
        for one in FEATURES {
            for other in FEATURES {
                assert_eq!(Reserved::NONE.with(one).has(other), one == other);
            }
        }
        let all = FEATURES.into_iter().fold(Reserved::NONE, Reserved::with);
        assert_eq!(all.0, [0, 0, 0, 0, 0, 0x10, 0, 0x15]);
    }

    #[test]
    fn the_first_wrong_byte_is_told_as_soon_as_it_comes() {
        let mut decoder = HandshakeDecoder::new();
        assert_eq!(decoder.feed(&mut &b"\x13BitT"[..]), Ok(None));
        assert_eq!(decoder.feed(&mut &b"x"[..]), Err(Fault::NotBitTorrent { at: 5, found: b'x' }));
        let mut web = HandshakeDecoder::new();
        assert_eq!(web.feed(&mut &b"GET / HTTP/1.1"[..]), Err(Fault::NotBitTorrent { at: 0, found: b'G' }));
    }

    proptest! {
        #[test]
        fn the_handshake_does_not_depend_on_the_cuts(
            reserved: [u8; 8], info_hash: [u8; 20], id: [u8; 20], cuts in prop::collection::vec(0usize..20, 0..40)
        ) {
            let sent = Handshake { reserved: Reserved(reserved), info_hash, peer_id: PeerId(id) };
            let mut stream = sent.encode().to_vec();
            stream.extend_from_slice(b"more");
            let mut left = &stream[..];
            let mut decoder = HandshakeDecoder::new();
            let mut cuts = cuts.into_iter();
            let received = loop {
                let (mut chunk, _) = left.split_at(cuts.next().unwrap_or(68).min(left.len()));
                let before = chunk.len();
                let whole = decoder.feed(&mut chunk).unwrap();
                left = &left[before - chunk.len()..];
                let seen = stream.len() - left.len();
                prop_assert_eq!(decoder.info_hash(), (seen >= 48).then_some(info_hash));
                if let Some(whole) = whole {
                    break whole;
                }
            };
            prop_assert_eq!(received, sent);
            prop_assert_eq!(left, b"more");
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut decoder = HandshakeDecoder::new();
            for chunk in chunks {
                let _ = decoder.feed(&mut &chunk[..]);
                let _ = decoder.commit(chunk.len());
            }
        }
    }
}
