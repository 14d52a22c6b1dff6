//! Fetching the metadata of torrents that only a magnet link is known of.
//!
//! Whoever looks for peers on a torrent's behalf begins in [`Session::seek`] and ends in [`Session::end_fetch`]: until
//! the metadata is here it is not known whether the torrent is private, and from then on it is the torrent's own affair.

use super::{Session, Shared, WeakSession};
use crate::driver::ToTorrent;
use crate::driver::accept::{Door, FetchDoor};
use crate::driver::metadata::{FetchIo, FetchTask, Figures, Outcome, Remains};
use crate::driver::trackers::Missing;
use crate::events::TorrentId;
use crate::magnet::{Fetched, Fetching, MagnetRequest};
use crate::mapping::Transport;
use crate::{Error, Result};
use quelea_discovery::Source;
use quelea_metainfo::{Address, Info, Magnet};
use quelea_swarm::metadata::{Config, Fetch};
use quelea_tracker::LEFT_UNKNOWN;
use quelea_tracker::{Announcer, Identity};
use quelea_wire::PeerId;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages that may wait for a fetch.
const MAILBOX: usize = 256;
/// Connected peers of one fetch, at most: metadata is small, and those that have none give way.
const PEERS: usize = 40;

/// A torrent whose metadata is being fetched, as those who find peers know it.
pub(crate) struct Seeking {
    pub(crate) id: TorrentId,
    /// Tells it from an earlier fetch under the same name.
    pub(crate) number: u64,
    pub(crate) info_hash: [u8; 20],
    /// Takes what a torrent's mailbox takes of addresses. The fetch ends when this is gone.
    pub(crate) mailbox: mpsc::Sender<ToTorrent>,
}

/// What is left of a fetch for the torrent that it led to.
pub(crate) struct Heritage {
    id: TorrentId,
    number: u64,
    info_hash: [u8; 20],
    peer_id: PeerId,
    private: bool,
    pub(crate) peers: Vec<(SocketAddr, Source)>,
    session: WeakSession,
    claimed: AtomicBool,
}

impl Session {
    /// Begins to fetch the metadata that a magnet link leads to: from the link's peers, those that its trackers name,
    /// those that call us, and those that they know.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when the torrent is in the session, or its metadata is being fetched; [`Error::Closed`].
    pub fn fetch_metadata(&self, request: MagnetRequest) -> Result<Fetching> {
        self.fetch(request, None)
    }

    /// Begins to fetch metadata, under the name of a link that is among the torrents if there is one.
    pub(super) fn fetch(&self, request: MagnetRequest, link: Option<TorrentId>) -> Result<Fetching> {
        let MagnetRequest { magnet, peers } = request;
        let info_hash = magnet.hashes.wire();
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (id, number, peer_id, seed, events) = {
            let mut shared = self.shared();
            let events = shared.events.clone().ok_or(Error::Closed)?;
            let known = link.is_none() && shared.hashes.contains(&info_hash);
            if known || shared.fetching.contains_key(&info_hash) {
                return Err(Error::Duplicate);
            }
            let id = link.unwrap_or(TorrentId(shared.next_id));
            shared.next_id = shared.next_id.max(id.0 + 1);
            let number = shared.next_fetch;
            shared.next_fetch += 1;
            let seeking = Seeking { id, number, info_hash, mailbox: mailbox.clone() };
            shared.fetching.insert(info_hash, seeking);
            (id, number, PeerId::own(&mut shared.rng), shared.rng.u64(..), events)
        };
        let inner = &self.inner;
        let (io, reports) = FetchIo::new(
            Arc::clone(&inner.binding),
            Arc::clone(&inner.connections),
            Arc::clone(&inner.dialling),
            Arc::clone(&inner.ledger),
            info_hash,
            peer_id,
        );
        let config = Config {
            hashes: magnet.hashes,
            peer_id,
            client: format!("Quelea {}", env!("CARGO_PKG_VERSION")),
            port: Some(inner.outside.port(Transport::Tcp)),
            max_peers: inner.descriptors.peers.min(PEERS),
            max_half_open: inner.descriptors.half_open,
            peer_exchange: inner.settings.pex,
            seed,
        };
        let mut machine = Fetch::new(inner.clock.now(), config);
        self.block(&mut machine);
        inner.outside.addresses().into_iter().for_each(|ip| machine.handle_external(ip));
        let (figures, shown) = watch::channel(Figures::default());
        let task = FetchTask {
            id,
            machine,
            io: Arc::clone(&io),
            reports,
            clock: inner.clock,
            mailbox: messages,
            events,
            figures,
        };
        let worker = inner.workers.place();
        inner.doors.set(info_hash, Door::Fetching(FetchDoor { io, worker: worker.clone() }));
        self.seek(id, peer_id, &magnet, &mailbox);
        let named: Vec<Address> =
            magnet.peers.iter().cloned().chain(peers.into_iter().map(Address::Ip)).collect();
        worker.spawn(call(Arc::clone(&inner.binding), named, mailbox.downgrade()));
        let (done, result) = oneshot::channel();
        worker.spawn(follow(self.weak(), task, magnet, (number, peer_id), done));
        Ok(Fetching { id, figures: shown, result })
    }

    /// Looks for peers on behalf of a torrent of which only the link is known.
    fn seek(&self, id: TorrentId, peer_id: PeerId, magnet: &Magnet, mailbox: &mpsc::Sender<ToTorrent>) {
        let (seed, key) = {
            let mut shared = self.shared();
            (shared.rng.u64(..), shared.rng.u32(..))
        };
        let announcer = Announcer::new(tiers(magnet), seed);
        let identity = Identity {
            info_hash: magnet.hashes.wire(),
            peer_id: peer_id.0,
            port: self.inner.outside.port(Transport::Tcp),
            key,
        };
        let missing = Missing { of_torrent: LEFT_UNKNOWN, of_wanted: LEFT_UNKNOWN };
        self.inner.trackers.enter(id, announcer, identity, missing);
        self.inner.trackers.attach(id, mailbox);
        if let Some(desk) = &self.inner.dht {
            desk.add_routers(magnet.nodes.iter().map(ToString::to_string));
            desk.enter_link(id, magnet.hashes.wire(), mailbox);
        }
        if let Some(neighbours) = &self.inner.neighbours {
            neighbours.enter_link(magnet.hashes.wire(), mailbox);
        }
    }

    /// Ends a fetch. What comes back ends when the trackers have heard of it.
    pub(super) fn end_fetch(&self, seeking: &Seeking) -> Option<oneshot::Receiver<()>> {
        self.inner.doors.close(&seeking.info_hash);
        self.leave_elsewhere(seeking.id, &seeking.info_hash);
        self.inner.trackers.leave(seeking.id)
    }

    /// Nobody but trackers hears of a torrent any more.
    fn leave_elsewhere(&self, id: TorrentId, info_hash: &[u8; 20]) {
        if let Some(desk) = &self.inner.dht {
            desk.leave(id);
        }
        if let Some(neighbours) = &self.inner.neighbours {
            neighbours.leave(info_hash);
        }
    }

    /// The mailboxes of all fetches.
    pub(super) fn fetches(&self) -> Vec<mpsc::Sender<ToTorrent>> {
        self.shared().fetching.values().map(|seeking| seeking.mailbox.clone()).collect()
    }

    /// Takes a fetch out of the session, if it is there still.
    fn give_up_fetch(&self, number: u64, info_hash: &[u8; 20]) {
        self.give_up_fetch_if(info_hash, |seeking| seeking.number == number);
    }

    /// Takes the fetch of this name out of the session, if it is there still.
    pub(super) fn give_up_fetch_of(&self, id: TorrentId, info_hash: &[u8; 20]) {
        self.give_up_fetch_if(info_hash, |seeking| seeking.id == id);
    }

    fn give_up_fetch_if(&self, info_hash: &[u8; 20], ours: impl Fn(&Seeking) -> bool) {
        let seeking = {
            let mut shared = self.shared();
            if shared.fetching.get(info_hash).is_some_and(ours) {
                shared.fetching.remove(info_hash)
            } else {
                None
            }
        };
        if let Some(seeking) = seeking {
            // Nobody waits for the goodbye but the end of the session, which asks for itself.
            drop(self.end_fetch(&seeking));
        }
    }

    pub(super) fn weak(&self) -> WeakSession {
        WeakSession { inner: Arc::downgrade(&self.inner) }
    }
}

impl Heritage {
    /// What a torrent of this info-hash goes on with: the fetch's name, under which it announces, if that can be kept,
    /// and the peer id. `None` where it was taken already.
    pub(super) fn claim(
        &self,
        session: &Session,
        shared: &mut Shared,
        info_hash: [u8; 20],
    ) -> Option<(Option<TorrentId>, PeerId)> {
        if self.claimed.swap(true, Ordering::Relaxed) {
            return None;
        }
        let ours = shared.fetching.get(&self.info_hash).is_some_and(|seeking| seeking.number == self.number);
        if !ours {
            return None;
        }
        shared.fetching.remove(&self.info_hash);
        if self.info_hash != info_hash {
            // The torrent's v1 swarm is another one than that of the link's v2 hash.
            session.leave_elsewhere(self.id, &self.info_hash);
            drop(session.inner.trackers.leave(self.id));
            return Some((None, self.peer_id));
        }
        if self.private {
            // It has one tracker at a time, and says hello to it under the same peer id.
            session.inner.trackers.forget(self.id);
            return Some((None, self.peer_id));
        }
        Some((Some(self.id), self.peer_id))
    }

    /// The peers that were found, by where.
    pub(super) fn peers_by_source(&self) -> BTreeMap<Source, Vec<SocketAddr>> {
        let mut by_source: BTreeMap<Source, Vec<SocketAddr>> = BTreeMap::new();
        for (address, source) in &self.peers {
            by_source.entry(*source).or_default().push(*address);
        }
        by_source
    }
}

impl Drop for Heritage {
    fn drop(&mut self) {
        if !self.claimed.load(Ordering::Relaxed)
            && let Some(session) = self.session.upgrade()
        {
            session.give_up_fetch(self.number, &self.info_hash);
        }
    }
}

impl fmt::Debug for Heritage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heritage")
            .field("id", &self.id)
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

/// A link's trackers may not share what they know, so each is a tier of its own.
fn tiers(magnet: &Magnet) -> Vec<Vec<String>> {
    magnet.trackers.iter().map(|url| vec![url.clone()]).collect()
}

/// Finds the addresses of peers that were named, and has them called.
async fn call(binding: Arc<quelea_net::Binding>, named: Vec<Address>, mailbox: mpsc::WeakSender<ToTorrent>) {
    for address in named {
        let found = match address {
            Address::Ip(address) => vec![address],
            Address::Name(host, port) => match quelea_net::resolve(&binding, &host, port).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "a peer of the magnet link cannot be called");
                    continue;
                }
            },
        };
        let Some(mailbox) = mailbox.upgrade() else { return };
        let _ = mailbox.send(ToTorrent::Addresses { found, source: Source::Manual }).await;
    }
}

/// Runs a fetch to its end, and tells who waits for it.
async fn follow(
    session: WeakSession,
    task: FetchTask,
    magnet: Magnet,
    (number, peer_id): (u64, PeerId),
    mut done: oneshot::Sender<Result<Fetched>>,
) {
    let (id, info_hash) = (task.id, task.io.info_hash);
    let (outcome, remains) = task.run(&mut done).await;
    let Some(session) = session.upgrade() else { return };
    let is_last = session.shared().fetching.get(&info_hash).is_none_or(|seeking| seeking.number == number);
    if is_last {
        session.inner.doors.close(&info_hash);
    }
    let result = match outcome {
        Some(Outcome::Done(bytes)) => {
            session.read_fetched(bytes, magnet, &remains, (id, number, info_hash, peer_id)).await
        }
        Some(Outcome::Contradiction) => Err(Error::MagnetContradiction),
        Some(Outcome::Closed) | None => Err(Error::Closed),
    };
    if result.is_err() {
        session.give_up_fetch(number, &info_hash);
    }
    // If nobody takes it, what was begun ends as it is dropped.
    let _ = done.send(result);
}

impl Session {
    /// Reads a dictionary that has the right hash.
    async fn read_fetched(
        &self,
        bytes: Vec<u8>,
        magnet: Magnet,
        remains: &Remains,
        (id, number, info_hash, peer_id): (TorrentId, u64, [u8; 20], PeerId),
    ) -> Result<Fetched> {
        let info = self.on_disk(move || Info::parse(&bytes)).await??;
        if info.private {
            self.leave_elsewhere(id, &info_hash);
        }
        let heritage = Heritage {
            id,
            number,
            info_hash,
            peer_id,
            private: info.private,
            peers: remains.peers(info.private),
            session: self.weak(),
            claimed: AtomicBool::new(false),
        };
        let metainfo = magnet.metainfo(info);
        Ok(Fetched { metainfo, select_only: magnet.select_only, heritage })
    }
}
