//! Thin tasks that move bytes between sockets, disk and machines, and hold no policy.
//!
//! # Channels
//! | from | to | bound | when full |
//! |---|---|---|---|
//! | connection | torrent | one report a connection under way | it stops reading its socket |
//! | torrent | connection | [`Outbox`](crate::outbox::Outbox): granted uploads, 4 MiB of messages, which the session's ledger counts | the peer is cut off |
//! | lanes and disk | torrent | pieces open, which the memory budget bounds | the lane waits |
//! | trackers | torrent | the mailbox | it hears of the next change; the next announce names peers again |
//! | trackers, neighbours, accepting | session | 256 torrents to be woken | they are woken the next time |
//! | torrents, the library's user | node of the DHT | 256 commands | a torrent's are dropped, the user waits |
//! | node of the DHT | torrent | the mailbox | the next search names peers again |
//! | node of the DHT | searches of the user | 1,024, more than one search tells | |
//! | connection | fetching of metadata | 16 reports of all its connections | it stops reading its socket |
//! | fetching of metadata | connection | 64 messages | the peer is cut off |
//! | keeper of the state | torrent | the mailbox | the torrent misses it and hears of it again |
//! | session | subscribers | 4,096 events | the slowest misses events and is told how many |

pub(crate) mod accept;
pub(crate) mod carrier;
mod connection;
pub(crate) mod dht;
mod dial;
pub(crate) mod dialling;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod limiter;
pub(crate) mod local;
pub(crate) mod mapping;
pub(crate) mod metadata;
pub(crate) mod torrent;
pub(crate) mod trackers;
pub(crate) mod udp;

use self::torrent::changes::{Change, Changed, Placement};
use crate::driver::dialling::Dialling;
use crate::driver::ledger::Ledger;
use crate::driver::limiter::Branch;
use crate::outbox::Outbox;
use crate::outside::Face;
use crate::snapshot::TrackerStatus;
use quelea_block::{BlockBuf, Pool};
use quelea_discovery::Source;
use quelea_discovery::filter::Filter;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_net::Binding;
use quelea_storage::{PieceOutcome, Pipeline, StorageError, Store};
use quelea_swarm::event::{Hello, Refusal};
use quelea_swarm::peers::PeerKey;
use quelea_wire::message::BlockSpan;
use quelea_wire::{Message, PeerId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// What the connections of a torrent share.
pub(crate) struct TorrentIo {
    pub(crate) pool: Pool,
    pub(crate) store: Arc<Store>,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) binding: Arc<Binding>,
    /// The connections that the session may still have.
    pub(crate) connections: Arc<Semaphore>,
    /// The turns at making them.
    pub(crate) dialling: Arc<Dialling>,
    /// What is held for the session's peers.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) info_hash: [u8; 20],
    /// How many pieces there are.
    pub(crate) pieces: u32,
    pub(crate) peer_id: PeerId,
    /// The torrent in the trees of limits.
    pub(crate) limit: Branch,
    /// Whether a node of the DHT runs beside, of which its peers may know.
    pub(crate) dht: bool,
}

/// A message to a torrent's task.
pub(crate) enum ToTorrent {
    /// A handshake is done: may the peer come in?
    Connected { hello: Hello, reply: oneshot::Sender<Result<(PeerKey, Arc<Outbox>), Refusal>> },
    /// A connection could not be made.
    ConnectFailed(SocketAddr),
    /// What a connection saw.
    Report(Report),
    /// A piece was hashed, and written if it was good.
    Verified { piece: PieceIndex, outcome: PieceOutcome },
    /// All files have their lengths, or could not get them.
    Finished(Result<(), StorageError>),
    /// A file that was written to is in trouble.
    DiskTrouble(StorageError),
    /// The trouble with the disk is over, or not.
    Mended(Result<(), StorageError>),
    /// Try at once whether the trouble with the disk is over.
    Retry,
    /// Addresses were learnt.
    Addresses { found: Vec<SocketAddr>, source: Source },
    /// How others reach us.
    Face(Face),
    /// How the trackers stand.
    Trackers { statuses: Vec<TrackerStatus>, answered: bool },
    /// Pieces that may be open, as the session divides its memory.
    OpenPieces(usize),
    /// Whether pieces are taken in order.
    Sequential(bool),
    /// Whether peers are shown a piece at a time while it seeds.
    SuperSeeding(bool),
    /// Whether a limit of ours holds for what arrives.
    DownloadLimited(bool),
    /// Addresses that the session blocks from here on.
    Filter(Arc<Filter>),
    /// An address that the user has nothing to do with any more, or has again.
    Ban { ip: IpAddr, banned: bool },
    /// Change the files.
    Change(Change),
    /// The disk's part of a change is done.
    Changed(Changed),
    /// Where are the files?
    Where(oneshot::Sender<Placement>),
    /// Say goodbye with where the files are, and end.
    Stop(oneshot::Sender<Placement>),
}

/// What a connection saw.
pub(crate) struct Report {
    pub(crate) peer: PeerKey,
    pub(crate) events: Vec<Reported>,
}

/// One thing that a connection saw.
pub(crate) enum Reported {
    Message(Message),
    Block(BlockSpan, BlockBuf),
    Uploaded(Span),
    UploadFailed(Span),
    /// Bytes came, though perhaps no message is whole.
    Alive,
    /// The connection has ended.
    Closed,
    /// The connection has ended because the peer broke the protocol.
    Fault(&'static str),
}
