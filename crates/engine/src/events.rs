//! What a session tells: a stream of events that never holds the engine up.

use crate::dht::{Router, RouterState};
use crate::{PortMapping, Snapshot};
use quelea_swarm::queue::{Goal, Then};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast;

/// The target of log lines that say what an event says, so that a program that shows events can leave them out.
pub(crate) const TARGET: &str = "quelea_event";

/// Names a torrent within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorrentId(pub(crate) u64);

impl fmt::Display for TorrentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Something happened. Its `Display` is one line for a person.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A torrent's figures, about four times a second while it is active.
    Progress(TorrentId, Arc<Snapshot>),
    /// Data that lay in the directory already has been checked: this many of the pieces are good.
    Checked {
        /// The torrent.
        id: TorrentId,
        /// Pieces that are good.
        good: u32,
        /// Pieces in all.
        pieces: u32,
    },
    /// All wanted files are complete and written.
    Completed(TorrentId),
    /// The torrent pauses because of its disk. What was verified is kept, and it goes on by itself once that
    /// is mended.
    Failed {
        /// The torrent.
        id: TorrentId,
        /// What went wrong, where, and what to do.
        message: String,
    },
    /// The trouble with its disk is over and the torrent goes on.
    Resumed(TorrentId),
    /// A torrent came into the session, or back from the library.
    Added(TorrentId),
    /// The metadata of a magnet link is here: from now on it is a torrent like any other.
    MetadataFetched(TorrentId),
    /// A torrent has left the session; with `data` its files are gone too.
    Removed {
        /// The torrent.
        id: TorrentId,
        /// Whether its files were deleted.
        data: bool,
    },
    /// A person has paused it, or it has reached its goal.
    Paused(TorrentId),
    /// It begins, or goes on, when its turn comes.
    Wanted(TorrentId),
    /// It waits for a place.
    Queued(TorrentId),
    /// Its place in the queue is this one, from 0.
    Moved(TorrentId, usize),
    /// Its labels are others.
    Labelled(TorrentId),
    /// Its trackers are others.
    TrackersChanged(TorrentId),
    /// Its goals are others.
    GoalsChanged(TorrentId),
    /// It has seeded enough, and is paused or leaves.
    GoalReached {
        /// The torrent.
        id: TorrentId,
        /// The goal.
        goal: Goal,
        /// What follows.
        then: Then,
    },
    /// Its files are in this directory from here on.
    FilesMoved {
        /// The torrent.
        id: TorrentId,
        /// The download directory.
        directory: PathBuf,
    },
    /// Its files could not go to another directory, and are where they were.
    MoveFailed {
        /// The torrent.
        id: TorrentId,
        /// What went wrong, where, and what to do.
        message: String,
    },
    /// Files of it are called otherwise.
    FilesRenamed(TorrentId),
    /// Its files are wanted more or less than before.
    PrioritiesChanged(TorrentId),
    /// Something that stops nothing but that the user should know.
    Warning(String),
    /// A tracker answered.
    TrackerAnswered {
        /// The torrent.
        id: TorrentId,
        /// The tracker.
        url: String,
        /// Addresses it named.
        peers: usize,
    },
    /// A tracker did not answer, or refused.
    TrackerFailed {
        /// The torrent.
        id: TorrentId,
        /// The tracker.
        url: String,
        /// Why.
        message: String,
    },
    /// The node of the DHT knows others.
    DhtJoined {
        /// How many.
        nodes: usize,
    },
    /// No node of the DHT answers. It goes on being tried.
    DhtAlone {
        /// What became of those by which it should be joined.
        routers: Vec<Router>,
    },
    /// A search for a torrent in the DHT has ended.
    DhtAnswered {
        /// The torrent.
        id: TorrentId,
        /// Peers that were found.
        peers: usize,
        /// Nodes that we are announced to.
        announced_to: usize,
    },
    /// A piece did not match its hash and is fetched again.
    PieceFailed {
        /// The torrent.
        id: TorrentId,
        /// The piece.
        piece: u32,
    },
    /// A peer was banned for sending bad data or breaking the protocol.
    PeerBanned {
        /// The torrent.
        id: TorrentId,
        /// Its address.
        address: IpAddr,
        /// What it did.
        reason: &'static str,
    },
    /// A gateway forwards a port to the session, in place of the one told before for the same transport and family.
    PortMapped(PortMapping),
    /// It forwards it no more.
    PortMappingLost(PortMapping),
    /// No gateway forwards the session's port; here is what each method met. They are tried again later.
    PortNotMapped(String),
    /// The world sees the session at this address.
    ExternalAddress(IpAddr),
    /// The reader was too slow and missed this many events; snapshots are still true.
    Missed(u64),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Progress(id, snapshot) => write!(f, "{id} {snapshot}"),
            Self::Checked { id, good, pieces } => {
                write!(f, "{id} checked: {good} of {pieces} pieces are good")
            }
            Self::Completed(id) => write!(f, "{id} complete"),
            Self::Failed { id, message } => write!(f, "{id} pauses: {message}"),
            Self::Added(id) => write!(f, "{id} added"),
            Self::MetadataFetched(id) => write!(f, "{id} has its metadata"),
            Self::Removed { id, data: false } => write!(f, "{id} removed"),
            Self::Removed { id, data: true } => write!(f, "{id} removed with its files"),
            Self::Paused(id) => write!(f, "{id} paused"),
            Self::Wanted(id) => write!(f, "{id} runs when its turn comes"),
            Self::Queued(id) => write!(f, "{id} waits for a place"),
            Self::Moved(id, position) => write!(f, "{id} is at place {position}"),
            Self::Labelled(id) => write!(f, "{id} has other labels"),
            Self::TrackersChanged(id) => write!(f, "{id} has other trackers"),
            Self::GoalsChanged(id) => write!(f, "{id} has other goals"),
            Self::GoalReached { id, goal, then } => {
                let goal = match goal {
                    Goal::Ratio => "given as much as it should",
                    Goal::SeedTime => "seeded as long as it should",
                    Goal::Idle => "waited for peers as long as it should",
                };
                let then = match then {
                    Then::Pause => "pauses",
                    Then::Remove => "leaves",
                    Then::RemoveWithData => "leaves with its files",
                };
                write!(f, "{id} has {goal} and {then}")
            }
            Self::Resumed(id) => write!(f, "{id} goes on"),
            Self::FilesMoved { id, directory } => write!(f, "{id} is in {directory:?}"),
            Self::MoveFailed { id, message } => write!(f, "{id} stays where it is: {message}"),
            Self::FilesRenamed(id) => write!(f, "{id} has files renamed"),
            Self::PrioritiesChanged(id) => write!(f, "{id} has other priorities"),
            Self::Warning(message) => f.write_str(message),
            Self::TrackerAnswered { id, url, peers } => write!(f, "{id} {url} named {peers} peers"),
            Self::TrackerFailed { id, url, message } => write!(f, "{id} {url}: {message}"),
            Self::DhtJoined { nodes } => write!(f, "the DHT is joined: {nodes} nodes answer"),
            Self::DhtAlone { routers } => {
                f.write_str("no node of the DHT answers")?;
                let mut before = ": ";
                for Router { name, state } in routers {
                    let state = match state {
                        RouterState::Resolving => "is being looked up",
                        RouterState::Failed(why) => why.as_str(),
                        RouterState::Asked => "does not answer",
                        RouterState::Answered => "answers, and knows nobody",
                    };
                    write!(f, "{before}{name} ({state})")?;
                    before = ", ";
                }
                Ok(())
            }
            Self::DhtAnswered { id, peers, announced_to } => {
                write!(f, "{id} the DHT named {peers} peers; {announced_to} nodes know of us")
            }
            Self::PieceFailed { id, piece } => write!(f, "{id} piece {piece} did not match its hash"),
            Self::PeerBanned { id, address, reason } => write!(f, "{id} banned {address}: {reason}"),
            Self::PortMapped(mapping) => write_mapping(f, mapping),
            Self::PortMappingLost(mapping) if mapping.local.is_ipv6() => {
                let PortMapping { transport, local, .. } = mapping;
                write!(f, "the router lets others in to {transport} port {local} no more")
            }
            Self::PortMappingLost(mapping) => {
                write!(f, "{} port {} is forwarded no more", mapping.transport, mapping.external_port)
            }
            Self::PortNotMapped(reasons) => write!(f, "no gateway forwards the port: {reasons}"),
            Self::ExternalAddress(address) => write!(f, "the world sees us at {address}"),
            Self::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

fn write_mapping(f: &mut fmt::Formatter<'_>, mapping: &PortMapping) -> fmt::Result {
    let PortMapping { transport, method, local, external_ip, external_port, .. } = mapping;
    if local.is_ipv6() {
        return write!(f, "the router lets others in to {transport} port {local} ({method})");
    }
    match external_ip {
        Some(ip) => write!(f, "{transport} port {} is forwarded", SocketAddr::new(*ip, *external_port))?,
        None => write!(f, "{transport} port {external_port} is forwarded")?,
    }
    write!(f, " to {local} ({method})")?;
    match external_ip {
        Some(ip) if !crate::mapping::is_public(*ip) => {
            write!(f, ", but by a gateway that is behind another one")
        }
        Some(_) | None => Ok(()),
    }
}

/// A subscription to a session's events, from the moment it was made.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; `None` when the session has closed.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
