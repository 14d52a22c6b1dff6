//! The vocabulary between a torrent's machine and whoever drives it.

use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use quelea_discovery::Parting;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_wire::handshake::Reserved;
use quelea_wire::{Message, PeerId};

/// A peer whose handshake is done.
#[derive(Debug, Clone, Copy)]
pub struct Hello {
    /// Its address: for a peer that connected to us, its port is not one to connect to.
    pub address: SocketAddr,
    /// Whether it connected to us.
    pub incoming: bool,
    /// The id it gave.
    pub peer_id: PeerId,
    /// What it supports.
    pub reserved: Reserved,
}

/// Why a peer whose handshake is done is not let in.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The torrent has as many peers as it may.
    Full,
    /// Its address is banned.
    Banned,
    /// The address filter blocks it.
    Blocked,
    /// It is connected already.
    Duplicate,
    /// It is this very client.
    Ourselves,
    /// Too many connections from its address.
    Crowd,
    /// The torrent is stopped.
    Stopped,
}

/// Why a connection ends.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// It said nothing for too long.
    Silent,
    /// Both have everything: there is nothing to exchange.
    BothSeeds,
    /// Another connection to the same peer is kept.
    Twin,
    /// Neither side wants anything of the other, and somebody else wants the place.
    Useless,
    /// Its address was banned.
    Banned,
    /// The address filter blocks it.
    Blocked,
    /// It gave least of many, and others wait for a place.
    Outdone,
    /// It broke the protocol, in this way.
    Fault(&'static str),
    /// The torrent stops.
    Stopped,
}

impl Farewell {
    /// What the end says of the peer's address.
    pub(crate) fn parting(self) -> Parting {
        match self {
            Self::Silent | Self::Stopped => Parting::Lost,
            Self::Fault(_) => Parting::Faulty,
            Self::BothSeeds | Self::Twin | Self::Useless | Self::Banned | Self::Blocked | Self::Outdone => {
                Parting::Unneeded
            }
        }
    }
}

/// What became of a piece that was to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It matched its hash and is written.
    Written,
    /// It did not match its hash.
    Mismatch,
}

/// What a machine wants done. `B` is a block of payload; the machine never looks inside.
#[derive(Debug)]
pub enum Output<B> {
    /// Connect to this address, and answer with
    /// [`handle_connected`](crate::torrent::Torrent::handle_connected) or
    /// [`handle_connect_failed`](crate::torrent::Torrent::handle_connect_failed).
    Connect(SocketAddr),
    /// Send this message.
    Send(PeerKey, Message),
    /// Read this block and send it, then tell [`handle_uploaded`](crate::torrent::Torrent::handle_uploaded).
    Upload(PeerKey, Span),
    /// Whether to read from this connection. What a peer that cannot be told of lost requests (BEP 6) asks beyond what
    /// is kept for it waits in its socket; at most [`READ_ALREADY`](crate::torrent::READ_ALREADY) of its messages may
    /// come after it was to be read no more.
    Read(PeerKey, bool),
    /// End this connection; no further call for it is needed.
    Disconnect(PeerKey, Farewell),
    /// Hash these blocks, write them if they match, and answer with
    /// [`handle_verdict`](crate::torrent::Torrent::handle_verdict).
    Verify {
        /// The piece.
        piece: PieceIndex,
        /// Its blocks in order.
        blocks: Vec<B>,
        /// Whether the answer should have each block's digest even when the piece is good.
        digest_blocks: bool,
    },
    /// Something worth telling.
    Event(Event),
}

/// Something worth telling.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// This piece is verified and written.
    PieceDone(PieceIndex),
    /// This piece did not match its hash.
    PieceFailed(PieceIndex),
    /// All wanted pieces are verified and written.
    Completed,
    /// A peer is connected after a time without any: our own network was gone, and is back.
    FoundBack,
    /// A peer runs a node of the DHT at this address (BEP 5).
    Node(SocketAddr),
    /// A peer sees us at this address (BEP 10, `yourip`).
    SeenAt {
        /// The peer's own address.
        by: IpAddr,
        /// Ours, as it says.
        address: IpAddr,
    },
    /// This address was banned, for this reason.
    Banned(IpAddr, &'static str),
}
