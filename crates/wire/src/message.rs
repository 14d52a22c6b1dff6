//! The messages of a connection after its handshake (BEP 3 "peer messages", BEP 5, 6, 10, 52).
//!
//! The piece message is not among them: its block has a buffer of its own
//! ([`Event::Block`](crate::decoder::Event::Block), [`piece_header`](crate::encoder::piece_header)).

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Numbers of messages as they stand behind the length (BEP 3, 5, 6, 10, 52).
pub mod id {
    /// BEP 3.
    pub const CHOKE: u8 = 0;
    /// BEP 3.
    pub const UNCHOKE: u8 = 1;
    /// BEP 3.
    pub const INTERESTED: u8 = 2;
    /// BEP 3.
    pub const NOT_INTERESTED: u8 = 3;
    /// BEP 3.
    pub const HAVE: u8 = 4;
    /// BEP 3.
    pub const BITFIELD: u8 = 5;
    /// BEP 3.
    pub const REQUEST: u8 = 6;
    /// BEP 3.
    pub const PIECE: u8 = 7;
    /// BEP 3.
    pub const CANCEL: u8 = 8;
    /// BEP 5.
    pub const PORT: u8 = 9;
    /// BEP 6.
    pub const SUGGEST: u8 = 13;
    /// BEP 6.
    pub const HAVE_ALL: u8 = 14;
    /// BEP 6.
    pub const HAVE_NONE: u8 = 15;
    /// BEP 6.
    pub const REJECT: u8 = 16;
    /// BEP 6.
    pub const ALLOWED_FAST: u8 = 17;
    /// BEP 10.
    pub const EXTENDED: u8 = 20;
    /// BEP 52.
    pub const HASH_REQUEST: u8 = 21;
    /// BEP 52.
    pub const HASHES: u8 = 22;
    /// BEP 52.
    pub const HASH_REJECT: u8 = 23;
}

/// One message. Numbers are as the peer gave them: no index has been checked against a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Nothing, to show that the connection lives (BEP 3: about every two minutes).
    KeepAlive,
    /// Requests are not answered until unchoke.
    Choke,
    /// Requests are answered.
    Unchoke,
    /// The sender wants pieces that the receiver has.
    Interested,
    /// The sender wants none of the receiver's pieces.
    NotInterested,
    /// The sender has this piece.
    Have(u32),
    /// Which pieces the sender has, as [`Bitfield::as_wire`](crate::bitfield::Bitfield::as_wire) lays them out.
    Bitfield(Vec<u8>),
    /// The sender wants this block.
    Request(BlockSpan),
    /// The sender does not want this block any longer.
    Cancel(BlockSpan),
    /// The UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// The sender would like to send this piece (BEP 6).
    Suggest(u32),
    /// The sender has every piece (BEP 6).
    HaveAll,
    /// The sender has no piece (BEP 6).
    HaveNone,
    /// The sender will not answer this request (BEP 6).
    Reject(BlockSpan),
    /// This piece is given even while choking (BEP 6).
    AllowedFast(u32),
    /// A message of an extension (BEP 10).
    Extended {
        /// 0 for the extension handshake, else the number that the receiver's handshake gave the extension.
        id: u8,
        /// What follows.
        payload: Vec<u8>,
    },
    /// The sender wants hashes (BEP 52).
    HashRequest(Box<HashSpan>),
    /// Hashes that were asked for (BEP 52).
    Hashes {
        /// What was asked for.
        span: Box<HashSpan>,
        /// The hashes, 32 bytes each: those of the base layer, then the uncles towards the root.
        hashes: Vec<u8>,
    },
    /// The sender will not give these hashes (BEP 52).
    HashReject(Box<HashSpan>),
    /// A message of this number, which we do not know, was skipped. It cannot be sent.
    Unknown(u8),
}

/// A run of bytes inside a piece as a peer names it; it need not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSpan {
    /// The piece's number.
    pub piece: u32,
    /// Where the run begins, in bytes from the piece's beginning.
    pub begin: u32,
    /// How long it is, in bytes.
    pub length: u32,
}

/// A run of hashes in a file's tree as a peer names it; it need not exist (BEP 52, "hash request").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashSpan {
    /// The root of the file's tree.
    pub pieces_root: [u8; 32],
    /// The lowest layer, counted from the leaves.
    pub base_layer: u32,
    /// The first hash in that layer.
    pub index: u32,
    /// How many hashes of that layer.
    pub length: u32,
    /// How many layers above it are proven.
    pub proof_layers: u32,
}

impl HashSpan {
    /// Bytes on the wire.
    pub(crate) const LENGTH: usize = 48;

    /// Reads the 48 bytes that a message with a span begins with; `None` when there are fewer.
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Self> {
        let (pieces_root, rest) = bytes.split_first_chunk::<32>()?;
        let mut words =
            rest.chunks_exact(4).map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        Some(Self {
            pieces_root: *pieces_root,
            base_layer: words.next()?,
            index: words.next()?,
            length: words.next()?,
            proof_layers: words.next()?,
        })
    }
}
