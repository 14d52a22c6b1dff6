//! The task that fetches a torrent's metadata: feeds its machine, and does what the machine says.
//!
//! Its mailbox takes the messages of a torrent's task, so that whoever finds peers (trackers, the DHT, the local
//! network) tells both alike; it ends when the session has dropped its side, or nobody waits for the result any more.

mod connection;

pub(crate) use connection::answer;

use super::ToTorrent;
use super::dialling::Dialling;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::events::{Event, TorrentId};
use crate::snapshot::TrackerStatus;
use connection::{FromPeer, Seen, dial};
use quelea_discovery::Source;
use quelea_net::Binding;
use quelea_swarm::event::{Hello, Refusal};
use quelea_swarm::metadata::{Fetch, Output, Progress};
use quelea_swarm::peers::PeerKey;
use quelea_time::Time;
use quelea_wire::encoder::encode;
use quelea_wire::{Message, PeerId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

/// Reports of all connections that may wait: each may be a long message.
const REPORTS: usize = 16;
/// Messages that may wait for a peer: it is never asked for more than 16 pieces.
const MESSAGES: usize = 64;

/// What the connections of a fetch share.
pub(crate) struct FetchIo {
    pub(crate) binding: Arc<Binding>,
    /// The connections that the session may still have.
    pub(crate) connections: Arc<Semaphore>,
    /// The turns at making them.
    pub(crate) dialling: Arc<Dialling>,
    /// What is held for the session's peers.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) info_hash: [u8; 20],
    pub(crate) peer_id: PeerId,
    reports: mpsc::Sender<FromPeer>,
}

impl FetchIo {
    /// What the connections share, and where their reports come out.
    pub(crate) fn new(
        binding: Arc<Binding>,
        connections: Arc<Semaphore>,
        dialling: Arc<Dialling>,
        ledger: Arc<Ledger>,
        info_hash: [u8; 20],
        peer_id: PeerId,
    ) -> (Arc<Self>, Reports) {
        let (reports, from_peers) = mpsc::channel(REPORTS);
        let io = Self { binding, connections, dialling, ledger, info_hash, peer_id, reports };
        (Arc::new(io), Reports(from_peers))
    }
}

/// What the connections of a fetch report.
pub(crate) struct Reports(mpsc::Receiver<FromPeer>);

/// Everything that a fetch's task is made from.
pub(crate) struct FetchTask {
    pub(crate) id: TorrentId,
    pub(crate) machine: Fetch,
    pub(crate) io: Arc<FetchIo>,
    pub(crate) reports: Reports,
    pub(crate) clock: Clock,
    pub(crate) mailbox: mpsc::Receiver<ToTorrent>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) figures: watch::Sender<Figures>,
}

/// How far a fetch is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) progress: Progress,
    pub(crate) trackers: Vec<TrackerStatus>,
}

/// How a fetch ended.
pub(crate) enum Outcome {
    /// With this dictionary.
    Done(Vec<u8>),
    /// The hashes belong to different torrents.
    Contradiction,
    /// The session is over.
    Closed,
}

/// What is left of a fetch: the peers that it knows.
pub(crate) struct Remains {
    machine: Fetch,
}

impl Remains {
    /// The peers that the download can begin with.
    pub(crate) fn peers(&self, private: bool) -> Vec<(SocketAddr, Source)> {
        self.machine.known_peers(private)
    }
}

struct Running {
    task: FetchTask,
    outboxes: BTreeMap<PeerKey, mpsc::Sender<Vec<u8>>>,
    outcome: Option<Outcome>,
    trackers: Vec<TrackerStatus>,
}

impl FetchTask {
    /// Runs until the metadata is here, the session is over, or nobody waits for it any more: then there is no outcome.
    pub(crate) async fn run<T>(self, waited_for: &mut oneshot::Sender<T>) -> (Option<Outcome>, Remains) {
        let mut running =
            Running { task: self, outboxes: BTreeMap::new(), outcome: None, trackers: Vec::new() };
        running.run(waited_for).await;
        (running.outcome.take(), Remains { machine: running.task.machine })
    }
}

impl Running {
    async fn run<T>(&mut self, waited_for: &mut oneshot::Sender<T>) {
        self.drain();
        while self.outcome.is_none() {
            let due = self.task.machine.timeout();
            let clock = self.task.clock;
            tokio::select! {
                () = waited_for.closed() => return,
                message = self.task.mailbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => self.outcome = Some(Outcome::Closed),
                },
                Some(report) = self.task.reports.0.recv() => self.hear(report),
                () = clock.sleep_until(due) => self.task.machine.handle_timeout(clock.now()),
            }
            self.drain();
            self.publish();
        }
    }

    fn now(&self) -> Time {
        self.task.clock.now()
    }

    fn handle(&mut self, message: ToTorrent) {
        let now = self.now();
        let machine = &mut self.task.machine;
        match message {
            ToTorrent::Addresses { found, source } => machine.handle_addresses(now, found, source),
            ToTorrent::Face(face) => face.addresses.into_iter().for_each(|ip| machine.handle_external(ip)),
            ToTorrent::Filter(filter) => machine.set_filter(now, filter),
            ToTorrent::Ban { ip, banned: true } => machine.handle_ban(now, ip),
            ToTorrent::Ban { ip, banned: false } => machine.handle_unban(ip),
            ToTorrent::Trackers { statuses, .. } => self.trackers = statuses,
            // The rest concerns pieces and files, of which there are none.
            ToTorrent::Connected { .. }
            | ToTorrent::ConnectFailed(_)
            | ToTorrent::Report(_)
            | ToTorrent::Verified { .. }
            | ToTorrent::Finished(_)
            | ToTorrent::DiskTrouble(_)
            | ToTorrent::Mended(_)
            | ToTorrent::Retry
            | ToTorrent::OpenPieces(_)
            | ToTorrent::Sequential(_)
            | ToTorrent::SuperSeeding(_)
            | ToTorrent::DownloadLimited(_)
            | ToTorrent::Change(_)
            | ToTorrent::Changed(_)
            | ToTorrent::Where(_)
            | ToTorrent::Stop(_) => {}
        }
    }

    fn hear(&mut self, report: FromPeer) {
        let now = self.now();
        match report {
            FromPeer::Connected { hello, reply } => {
                let admitted = self.let_in(hello);
                let key = admitted.as_ref().ok().map(|(key, _)| *key);
                // A connection that ended meanwhile is none.
                if let (Err(_), Some(key)) = (reply.send(admitted), key) {
                    self.outboxes.remove(&key);
                    self.task.machine.handle_disconnected(now, key);
                }
            }
            FromPeer::ConnectFailed(address) => self.task.machine.handle_connect_failed(now, address),
            FromPeer::Saw(key, seen) => match seen {
                Seen::Message(message) => self.task.machine.handle_message(now, key, &message),
                Seen::Alive => self.task.machine.handle_alive(now, key),
                Seen::Closed => {
                    self.outboxes.remove(&key);
                    self.task.machine.handle_disconnected(now, key);
                }
                Seen::Fault(what) => {
                    self.outboxes.remove(&key);
                    self.task.machine.handle_fault(now, key, what);
                }
            },
        }
    }

    fn let_in(&mut self, hello: Hello) -> Result<(PeerKey, mpsc::Receiver<Vec<u8>>), Refusal> {
        let key = self.task.machine.handle_connected(self.task.clock.now(), hello)?;
        let (outbox, messages) = mpsc::channel(MESSAGES);
        self.outboxes.insert(key, outbox);
        Ok((key, messages))
    }

    /// Does what the machine wants.
    fn drain(&mut self) {
        while let Some(output) = self.task.machine.poll_output() {
            match output {
                Output::Connect(address) => _ = tokio::spawn(dial(address, Arc::clone(&self.task.io))),
                Output::Send(key, message) => self.send(key, &message),
                Output::Disconnect(key, why) => {
                    tracing::debug!(peer = %key, ?why, "disconnecting");
                    self.outboxes.remove(&key);
                }
                Output::Banned(address, reason) => {
                    // Nobody listening is no fault.
                    let _ = self.task.events.send(Event::PeerBanned { id: self.task.id, address, reason });
                }
                Output::Done(bytes) => self.outcome = Some(Outcome::Done(bytes)),
                Output::Contradiction => self.outcome = Some(Outcome::Contradiction),
            }
        }
    }

    fn send(&mut self, key: PeerKey, message: &Message) {
        let Some(outbox) = self.outboxes.get(&key) else { return };
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        if outbox.try_send(bytes).is_err() {
            // It does not read what it asked for.
            self.outboxes.remove(&key);
            self.task.machine.handle_disconnected(self.task.clock.now(), key);
        }
    }

    fn publish(&self) {
        let progress = self.task.machine.progress();
        self.task.figures.send_if_modified(|figures| {
            let modified = figures.progress != progress || figures.trackers != self.trackers;
            if modified {
                *figures = Figures { progress, trackers: self.trackers.clone() };
            }
            modified
        });
    }
}
