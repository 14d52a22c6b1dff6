//! What a peer did wrong.

/// A breach of the protocol. It ends the connection it came from and concerns nobody else.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The handshake does not begin with the protocol's name.
    #[error("not a BitTorrent handshake: byte {at} is 0x{found:02x}")]
    NotBitTorrent {
        /// The number of the first wrong byte, from 0.
        at: usize,
        /// What stood there.
        found: u8,
    },
    /// A message of a fixed layout has another length.
    #[error("message {id} has {length} bytes, which its layout does not allow")]
    Length {
        /// The message's number.
        id: u8,
        /// Its length as announced, with the byte for the number.
        length: u32,
    },
    /// A message is longer than we accept.
    #[error("message {id} announces {length} bytes, more than the {limit} allowed")]
    TooLong {
        /// The message's number.
        id: u8,
        /// Its length as announced, with the byte for the number.
        length: u32,
        /// The most that is accepted.
        limit: usize,
    },
    /// The pool gave a buffer of another length than was asked for: a defect of ours, not of the peer's.
    #[error("bug: a buffer of {given} bytes was given for a block of {wanted}")]
    Buffer {
        /// The block's length in bytes.
        wanted: usize,
        /// The buffer's length in bytes.
        given: usize,
    },
    /// A bitfield's length does not fit the number of pieces.
    #[error("bitfield of {found} bytes for {pieces} pieces, which take {expected}")]
    BitfieldLength {
        /// Bytes that came.
        found: usize,
        /// Bytes that there should be.
        expected: usize,
        /// The number of pieces.
        pieces: u32,
    },
    /// A bit is set behind a bitfield's last piece.
    #[error("bitfield of {pieces} pieces has bits set beyond the last one")]
    SpareBits {
        /// The number of pieces.
        pieces: u32,
    },
    /// The payload of an extended message is not bencoding, or not a dictionary.
    #[error("{message} is not a bencoded dictionary")]
    NotADictionary {
        /// Which message.
        message: &'static str,
    },
    /// The payload of an extended message lacks an entry, or has it with a value that cannot be.
    #[error("{message}: {entry} is missing or makes no sense")]
    Entry {
        /// Which message.
        message: &'static str,
        /// Which entry of it.
        entry: &'static str,
    },
}
