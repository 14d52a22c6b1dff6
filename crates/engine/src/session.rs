//! A session: its threads, its listening port, its torrents.

mod adding;
mod arranging;
mod blocking;
mod checking;
mod closing;
mod deeds;
mod dht;
pub(crate) mod fetching;
mod figures;
mod keeping;
mod limiting;
mod links;
mod memory;
mod reaching;
mod removing;
mod roster;
pub(crate) mod slots;
mod starting;
mod waking;

use crate::clock::Clock;
use crate::descriptors::Descriptors;
use crate::driver::accept::Doors;
use crate::driver::dht::Desk;
use crate::driver::dialling::Dialling;
use crate::driver::ledger::Ledger;
use crate::driver::limiter::Limiter;
use crate::driver::local::Neighbours;
use crate::driver::trackers::Trackers;
use crate::entry::Entry;
use crate::events::TorrentId;
use crate::outside::Outside;
use crate::session::fetching::Seeking;
use crate::worker::Workers;
use crate::{Error, Event, Events, Result, Settings, Torrent};
use quelea_block::Pool;
use quelea_net::Binding;
use quelea_resume::{Keeper, Library};
use quelea_storage::{CheckHandle, Claims, FilePool, Pipeline};
use quelea_swarm::queue::{Newcomer, Queue};
use quelea_time::Time;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};

/// A running engine. A cheap handle: clones are the same session.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    clock: Clock,
    workers: Workers,
    pool: Pool,
    files: FilePool,
    /// Which torrents work on which files.
    claims: Claims,
    descriptors: Descriptors,
    connections: Arc<Semaphore>,
    dialling: Arc<Dialling>,
    ledger: Arc<Ledger>,
    blocked: Mutex<blocking::Blocked>,
    pipeline: Arc<Pipeline>,
    binding: Arc<Binding>,
    port: u16,
    outside: Arc<Outside>,
    mappers: Vec<reaching::StopMapper>,
    doors: Arc<Doors>,
    trackers: Arc<Trackers>,
    dht: Option<Arc<Desk>>,
    neighbours: Option<Arc<Neighbours>>,
    keeper: Option<Arc<Keeper>>,
    limiter: Arc<Limiter>,
    told: Mutex<limiting::Told>,
    slots: Mutex<slots::Slots>,
    /// Open once the session has brought its torrents back.
    library: OnceLock<Arc<Library>>,
    parts: Mutex<memory::Parts>,
    /// Wakes who serves the queue's times.
    stir: Arc<Notify>,
    /// Those who move files to other directories; more at a time would only let disks seek.
    movers: Arc<Semaphore>,
    state: Mutex<Shared>,
}

struct Shared {
    /// The torrents whose metadata is being fetched, by info-hash.
    fetching: HashMap<[u8; 20], Seeking>,
    /// Every torrent, whether or not its task runs.
    torrents: BTreeMap<TorrentId, Arc<Entry>>,
    /// The magnet links among the torrents, whose metadata is still to be fetched.
    links: BTreeMap<TorrentId, Arc<Entry>>,
    /// The info-hashes of both.
    hashes: HashSet<[u8; 20]>,
    next_id: u64,
    /// The number of the next fetch of metadata.
    next_fetch: u64,
    queue: Queue<TorrentId>,
    /// Who waits for a torrent to start.
    waiting: HashMap<TorrentId, oneshot::Sender<Result<()>>>,
    /// Torrents that wait until their data may be checked.
    checks: HashMap<TorrentId, oneshot::Sender<()>>,
    /// The checks that go on before torrents run.
    checking: HashMap<TorrentId, CheckHandle>,
    rng: fastrand::Rng,
    /// Gone once the session is closed, so that subscribers see the end.
    events: Option<broadcast::Sender<Event>>,
}

impl Shared {
    /// A torrent is in the session from here on, whose info-hash no other has.
    fn take_in(&mut self, entry: &Arc<Entry>, newcomer: Newcomer, now: Time) {
        self.hashes.insert(entry.info_hash);
        self.torrents.insert(entry.id, Arc::clone(entry));
        self.queue.insert(now, entry.id, newcomer);
        entry.position.store(self.queue.order().len() - 1, Ordering::Relaxed);
    }

    /// Cuts short the checking of a torrent's data, or the waiting for its turn.
    fn stop_checking(&mut self, id: TorrentId) {
        // Whoever waits to check is told by this that it will not.
        self.checks.remove(&id);
        if let Some(check) = self.checking.get(&id) {
            check.cancel();
        }
    }

    /// Tells who listens.
    fn tell(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }
}

/// A session that a torrent's handle does not keep alive.
#[derive(Clone)]
pub(crate) struct WeakSession {
    inner: Weak<Inner>,
}

impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        self.inner.upgrade().map(|inner| Session { inner })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("port", &self.inner.port).finish_non_exhaustive()
    }
}

impl Session {
    /// The port that peers can connect to.
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// What happens from here on.
    pub fn events(&self) -> Events {
        let receiver = match &self.shared().events {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        };
        Events { receiver }
    }

    /// The torrents of the session, in the order they were added, magnet links without metadata among them.
    pub fn torrents(&self) -> Vec<Torrent> {
        let mut all: BTreeMap<TorrentId, Arc<Entry>> = self.shared().links.clone();
        all.extend(self.entries().into_iter().map(|entry| (entry.id, entry)));
        all.into_values().map(|entry| self.handle(entry)).collect()
    }

    fn handle(&self, entry: Arc<Entry>) -> Torrent {
        Torrent::new(entry, WeakSession { inner: Arc::downgrade(&self.inner) })
    }

    /// Who talks to trackers, and where that runs.
    pub(crate) fn announcing(&self) -> (Arc<Trackers>, Runtime) {
        (Arc::clone(&self.inner.trackers), self.inner.workers.home())
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.shared().torrents.values().cloned().collect()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what may wait for the disk on a disk thread.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, result) = oneshot::channel();
        self.inner.pipeline.run(move || {
            let _ = done.send(work());
        });
        result.await.map_err(|_| Error::Closed)
    }
}
