//! Datagrams and what they say (KRPC: BEP 5, with BEP 32, 33, 42, 43, 44 and 51).
//!
//! [`Packet::parse`] borrows from the datagram; writing appends to a buffer, keys in order. What another node sends is
//! read leniently where nothing is ambiguous: an unknown key is ignored, a value of a wrong type counts as absent
//! where it is optional.

mod address;
mod read;
mod write;

pub use address::{Nodes, compact_address, compact_nodes};
pub use read::Unreadable;
pub use write::{Compact, write_error, write_query, write_response};

use crate::Id;
use crate::bloom::Bloom;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// No datagram is longer: more might not pass every path whole.
pub const MAX_PACKET: usize = 1_400;
/// An item's value has at most this many bytes (BEP 44).
pub const MAX_VALUE: usize = 1_000;
/// A salt has at most this many bytes (BEP 44).
pub const MAX_SALT: usize = 64;

/// Error codes (BEP 5, BEP 44).
pub mod code {
    /// Something else.
    pub const GENERIC: i64 = 201;
    /// The server cannot do it.
    pub const SERVER: i64 = 202;
    /// A malformed packet, an invalid argument, a bad token.
    pub const PROTOCOL: i64 = 203;
    /// An unknown method.
    pub const METHOD: i64 = 204;
    /// A value that is too long.
    pub const VALUE_TOO_BIG: i64 = 205;
    /// A signature that does not verify.
    pub const BAD_SIGNATURE: i64 = 206;
    /// A salt that is too long.
    pub const SALT_TOO_BIG: i64 = 207;
    /// Compare and swap: the sequence number has changed.
    pub const CAS_MISMATCH: i64 = 301;
    /// The sequence number is lower than that of what is stored.
    pub const SEQUENCE_TOO_LOW: i64 = 302;
}

/// A datagram.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet<'a> {
    /// What the asker calls its query; answers repeat it.
    pub transaction: &'a [u8],
    /// The client and its version.
    pub version: Option<&'a [u8]>,
    /// The sender answers no queries (BEP 43).
    pub read_only: bool,
    /// The address at which the sender of an answer sees us (BEP 42).
    pub seen_as: Option<SocketAddr>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a datagram says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// A question.
    Query(Query<'a>),
    /// An answer. Boxed, as it is ten times as large as the others.
    Response(alloc::boxed::Box<Response<'a>>),
    /// A refusal.
    Error {
        /// One of [`code`].
        code: i64,
        /// Why, in words.
        text: &'a [u8],
    },
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query<'a> {
    /// Who asks.
    pub id: Id,
    /// What is asked.
    pub method: Method<'a>,
    /// The families of nodes that are wanted (BEP 32); neither is set where nothing was said.
    pub want: Want,
}

/// Families of nodes (BEP 32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method<'a> {
    /// Are you there?
    Ping,
    /// Which nodes are near this id?
    FindNode(Id),
    /// Who shares this torrent?
    GetPeers {
        /// The torrent.
        info_hash: Id,
        /// Rather no seeds (BEP 33).
        no_seeds: bool,
        /// Filters with all addresses are wanted (BEP 33).
        scrape: bool,
    },
    /// I share this torrent.
    AnnouncePeer {
        /// The torrent.
        info_hash: Id,
        /// The port that I listen on; `None` for the one that the datagram came from.
        port: Option<u16>,
        /// What the answer to `get_peers` held.
        token: &'a [u8],
        /// I have all of it (BEP 33).
        seed: bool,
    },
    /// What is stored here (BEP 44)?
    Get {
        /// The item.
        target: Id,
        /// Only what is newer than this.
        newer_than: Option<i64>,
    },
    /// Store this (BEP 44).
    Put {
        /// What the answer to `get` held.
        token: &'a [u8],
        /// The value as it is encoded.
        value: &'a [u8],
        /// Who signed it, for an item that may change.
        signed: Option<Signed<'a>>,
        /// The sequence number that it replaces.
        replaces: Option<i64>,
    },
    /// Some torrents that you know (BEP 51), and nodes near this id.
    SampleInfohashes(Id),
    /// Something that this version does not know, about this id if it named one.
    Unknown(Option<Id>),
}

/// What makes an item one that only its owner can change (BEP 44).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The owner's Ed25519 key.
    pub key: &'a [u8; 32],
    /// Distinguishes the owner's items.
    pub salt: &'a [u8],
    /// Grows with each change.
    pub sequence: i64,
    /// Of salt, sequence number and value.
    pub signature: &'a [u8; 64],
}

/// An answer. Which fields it has follows from the question.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<'a> {
    /// Who answers.
    pub id: Id,
    /// Nodes near what was asked for, IPv4.
    pub nodes4: Nodes<'a>,
    /// Nodes near what was asked for, IPv6 (BEP 32).
    pub nodes6: Nodes<'a>,
    /// Peers.
    pub values: Vec<SocketAddr>,
    /// Lets us write here.
    pub token: Option<&'a [u8]>,
    /// Addresses of seeds (BEP 33).
    pub seeds: Option<Bloom>,
    /// Addresses of peers that are no seeds (BEP 33).
    pub peers: Option<Bloom>,
    /// An item's value as it is encoded (BEP 44).
    pub value: Option<&'a [u8]>,
    /// An item's key.
    pub key: Option<&'a [u8; 32]>,
    /// An item's signature.
    pub signature: Option<&'a [u8; 64]>,
    /// An item's sequence number.
    pub sequence: Option<i64>,
    /// Torrents that the node knows (BEP 51).
    pub samples: Option<&'a [u8]>,
    /// Seconds after which it may be asked for others (BEP 51).
    pub interval: Option<i64>,
    /// How many it knows in all (BEP 51).
    pub known: Option<i64>,
}

impl<'a> Response<'a> {
    /// An answer that only says who gives it.
    pub fn new(id: Id) -> Self {
        Self {
            id,
            nodes4: Nodes::none(false),
            nodes6: Nodes::none(true),
            values: Vec::new(),
            token: None,
            seeds: None,
            peers: None,
            value: None,
            key: None,
            signature: None,
            sequence: None,
            samples: None,
            interval: None,
            known: None,
        }
    }
}

impl Method<'_> {
    /// What the question is about.
    pub fn target(&self) -> Option<Id> {
        match *self {
            Self::Ping | Self::Put { .. } => None,
            Self::FindNode(target)
            | Self::Get { target, .. }
            | Self::SampleInfohashes(target)
            | Self::GetPeers { info_hash: target, .. }
            | Self::AnnouncePeer { info_hash: target, .. } => Some(target),
            Self::Unknown(target) => target,
        }
    }
}
