//! A session: its threads, its listening port, its torrents.

use crate::clock::Clock;
use crate::driver::accept::{Door, Doors, accept};
use crate::driver::http::Http;
use crate::driver::torrent::{Published, TorrentTask};
use crate::driver::tracker::{self, Carrier};
use crate::driver::udp::{self, UdpRequest};
use crate::driver::{ToTorrent, TorrentIo};
use crate::events::TorrentId;
use crate::opening::{Opened, Place};
use crate::resume::{Begun, Keeper, Plan, Record, SavedBlock};
use crate::torrent::Handle;
use crate::worker::Workers;
use crate::{AddTorrent, Error, Event, Events, Result, Settings, Snapshot, State, Torrent};
use quelea_block::{BLOCK_LENGTH, Pool};
use quelea_metainfo::geometry::{Geometry, PieceIndex};
use quelea_metainfo::{Info, Metainfo};
use quelea_net::Binding;
use quelea_storage::{
    CheckJob, CheckOutcome, CheckProgress, FilePool, FileSpec, Options, Pipeline, part_file_name,
};
use quelea_swarm::torrent::{Config, Torrent as Machine};
use quelea_tracker::{Announcer, Identity};
use quelea_wire::{Bitfield, PeerId};
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Ports tried after the wanted one.
const PORT_TRIES: u16 = 10;
/// Events a slow reader may be behind.
const EVENTS: usize = 4_096;
/// Messages that may wait for a torrent's task.
const MAILBOX: usize = 1_024;
/// Connections under way of one torrent.
const HALF_OPEN: usize = 32;

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
    pipeline: Arc<Pipeline>,
    binding: Arc<Binding>,
    port: u16,
    doors: Arc<Doors>,
    http: Arc<Http>,
    udp: mpsc::Sender<UdpRequest>,
    keeper: Option<Arc<Keeper>>,
    state: Mutex<Shared>,
}

struct Shared {
    torrents: Vec<Torrent>,
    next_id: u64,
    rng: fastrand::Rng,
    /// Gone once the session is closed, so that subscribers see the end.
    events: Option<broadcast::Sender<Event>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("port", &self.inner.port).finish_non_exhaustive()
    }
}

impl Session {
    /// Starts threads and listens.
    ///
    /// # Errors
    /// [`Error::Listen`] when no address could be listened on, [`Error::Start`] when threads could not be made.
    pub fn start(settings: Settings) -> Result<Self> {
        let clock = Clock::start();
        let mut rng = fastrand::Rng::with_seed(settings.random_seed.unwrap_or_else(random_seed));
        let workers = Workers::start().map_err(Error::Start)?;
        let pipeline = Pipeline::start(&pipeline_config(settings.memory)).map_err(Error::Start)?;
        let binding = Arc::new(Binding::new(settings.bind.clone()));
        let doors = Arc::new(Doors::default());
        let home = workers.home();
        let port = {
            let _inside = home.enter();
            let (listeners, port) = listen(&binding, settings.port)?;
            for listener in listeners {
                home.spawn(accept(listener, Arc::clone(&doors)));
            }
            port
        };
        let (udp, requests) = mpsc::channel(udp::QUEUE);
        home.spawn(udp::run(Arc::clone(&binding), rng.u64(..), clock, requests));
        let (events, _) = broadcast::channel(EVENTS);
        let teller = events.downgrade();
        let warn = move |message: String| {
            tracing::warn!("{message}");
            if let Some(events) = teller.upgrade() {
                let _ = events.send(Event::Warning(message));
            }
        };
        let keep = |directory| Keeper::start(directory, warn).map(Arc::new);
        let keeper = settings.state_dir.clone().map(keep).transpose().map_err(Error::Start)?;
        let inner = Inner {
            pool: Pool::new(settings.memory),
            files: FilePool::new(settings.max_open_files),
            settings,
            clock,
            workers,
            pipeline: Arc::new(pipeline),
            http: Arc::new(Http::new(Arc::clone(&binding))),
            binding,
            port,
            doors,
            udp,
            keeper,
            state: Mutex::new(Shared { torrents: Vec::new(), next_id: 1, rng, events: Some(events) }),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

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

    /// Adds a torrent: opens its files, checks data that lies there already, and starts.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Duplicate`], [`Error::NothingSelected`], [`Error::Storage`] or
    /// [`Error::Closed`].
    pub async fn add(&self, torrent: AddTorrent) -> Result<Torrent> {
        let AddTorrent { metainfo, output_dir, wanted, preallocate, peers } = torrent;
        let Metainfo { info, trackers, .. } = metainfo;
        if !info.version.has_v1() {
            return Err(Error::Unsupported(
                "it is a pure v2 torrent (BEP 52), which this version can only show",
            ));
        }
        let wanted = wanted.unwrap_or_else(|| vec![true; info.files.len()]);
        let wanted_pieces = wanted_pieces(&info, &wanted);
        if !info.files.iter().zip(&wanted).any(|(file, wanted)| *wanted && !file.pad) {
            return Err(Error::NothingSelected);
        }
        let info = Arc::new(info);
        let root = output_dir.unwrap_or_else(|| self.inner.settings.output_dir.clone());
        let (id, seed, events) = self.claim(&info)?;
        let options = Options {
            wanted: Some(wanted),
            preallocate,
            part_file: Some(part_file_name(&info.name, &info.hashes.wire())),
            pool: self.inner.files.clone(),
            ..Options::default()
        };
        let specs = file_specs(&info);
        let geometry = info.geometry;
        let (keeper, info_hash) = (self.inner.keeper.clone(), info.hashes.wire());
        let opened = self.on_disk(move || {
            let place = Place { keeper: keeper.as_deref(), info_hash, root: &root };
            Opened::open(place, specs, geometry, options)
        });
        let Opened { store, plan, mut begun } = opened.await??;
        let blocks = begun.as_mut().map(|begun| std::mem::take(&mut begun.blocks)).unwrap_or_default();
        let mut rng = fastrand::Rng::with_seed(seed);
        let io = Arc::new(TorrentIo {
            pool: self.inner.pool.clone(),
            store,
            pipeline: Arc::clone(&self.inner.pipeline),
            binding: Arc::clone(&self.inner.binding),
            info_hash: info.hashes.wire(),
            pieces: info.geometry.pieces(),
            peer_id: PeerId::own(&mut rng),
        });
        let published = Arc::new(Mutex::new(Arc::new(first_snapshot(id, &info, &wanted_pieces))));
        let found = self.check(&info, &io, &published, &events, plan.check.clone()).await?;
        let mut have = plan.trusted.clone();
        found.iter().for_each(|&piece| _ = have.set(piece));
        if io.store.has_data() {
            let _ = events.send(Event::Checked { id, good: have.count(), pieces: info.geometry.pieces() });
        }
        show_found(&published, &info.geometry, &wanted_pieces, &have);
        let (mailbox, from_all) = mpsc::channel(MAILBOX);
        let worker = self.inner.workers.place();
        let door = Door { torrent: mailbox.clone(), io: Arc::clone(&io), worker: worker.clone() };
        if !self.inner.doors.open(io.info_hash, door) {
            return Err(Error::Duplicate);
        }
        let record = self.keep(begun, &io, plan, found, &mailbox).await?;
        let before = record.as_ref().map(|record| record.before()).unwrap_or_default();
        let mut machine =
            Machine::new(self.inner.clock.now(), self.config(&info, &io, &wanted_pieces, have, rng.u64(..)));
        for SavedBlock { piece, begin, bytes } in blocks {
            if let Some(span) = info.geometry.span(piece, begin, bytes.len() as u32) {
                let mut block = io.pool.take(bytes.len());
                if block.len() == bytes.len() {
                    block.copy_from_slice(&bytes);
                    machine.restore_block(span, block);
                }
            }
        }
        let task = TorrentTask {
            id,
            machine,
            io: Arc::clone(&io),
            clock: self.inner.clock,
            mailbox: from_all,
            myself: mailbox.clone(),
            events,
            published: Arc::clone(&published),
            wanted_length: length_of(&info.geometry, &wanted_pieces),
            wanted: wanted_pieces,
            info: Arc::clone(&info),
            keeping: record.zip(self.inner.keeper.clone()),
            before,
        };
        let tiers = trackers.clone();
        let announcer = if info.private {
            Announcer::private(tiers, rng.u64(..))
        } else {
            Announcer::new(tiers, rng.u64(..))
        };
        let carrier = Arc::new(Carrier {
            http: Arc::clone(&self.inner.http),
            udp: self.inner.udp.clone(),
            binding: Arc::clone(&self.inner.binding),
            torrent: mailbox.downgrade(),
        });
        let setup = tracker::Setup {
            announcer,
            identity: Identity {
                info_hash: io.info_hash,
                peer_id: io.peer_id.0,
                port: self.inner.port,
                key: rng.u32(..),
            },
            carrier: Arc::clone(&carrier),
        };
        worker.spawn(task.run(setup));
        if !peers.is_empty() {
            let source = quelea_discovery::Source::Manual;
            let _ = mailbox.send(ToTorrent::Addresses { found: peers, source }).await;
        }
        let handle = Torrent::new(Handle { id, info, mailbox, published, carrier, worker });
        self.shared().torrents.push(handle.clone());
        self.divide_memory().await;
        Ok(handle)
    }

    /// The torrents of the session, in the order they were added.
    pub fn torrents(&self) -> Vec<Torrent> {
        self.shared().torrents.clone()
    }

    /// Tells the trackers goodbye (for a few seconds at most), finishes what is being written, and ends.
    pub async fn close(&self) {
        let torrents = {
            let mut shared = self.shared();
            shared.events = None;
            std::mem::take(&mut shared.torrents)
        };
        let mut goodbyes = Vec::new();
        for torrent in &torrents {
            self.inner.doors.close(&torrent.info_hash());
            let (done, goodbye) = oneshot::channel();
            if torrent.mailbox().send(ToTorrent::Stop(done)).await.is_ok() {
                goodbyes.push(goodbye);
            }
        }
        for goodbye in goodbyes {
            // A task that is gone has said goodbye.
            let _ = goodbye.await;
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id and a seed for a torrent that is not in the session yet.
    fn claim(&self, info: &Info) -> Result<(TorrentId, u64, broadcast::Sender<Event>)> {
        let mut shared = self.shared();
        let events = shared.events.clone().ok_or(Error::Closed)?;
        if shared.torrents.iter().any(|torrent| torrent.info_hash() == info.hashes.wire()) {
            return Err(Error::Duplicate);
        }
        let id = TorrentId(shared.next_id);
        shared.next_id += 1;
        Ok((id, shared.rng.u64(..), events))
    }

    fn config(&self, info: &Info, io: &TorrentIo, wanted: &[bool], have: Bitfield, seed: u64) -> Config {
        let mut pieces = Bitfield::none(info.geometry.pieces());
        for piece in info.geometry.iter().filter(|piece| wanted[piece.at()]) {
            pieces.set(piece);
        }
        Config {
            geometry: info.geometry,
            info_hash: io.info_hash,
            peer_id: io.peer_id,
            client: format!("Quelea {}", env!("CARGO_PKG_VERSION")),
            port: Some(self.inner.port),
            wanted: pieces,
            have,
            max_peers: self.inner.settings.max_peers,
            max_half_open: HALF_OPEN,
            upload_slots: self.inner.settings.upload_slots,
            open_pieces: self.open_pieces(&info.geometry, 1),
            seed,
        }
    }

    /// Hashes these pieces of what lies in the directory already. The good ones.
    async fn check(
        &self,
        info: &Arc<Info>,
        io: &TorrentIo,
        published: &Published,
        events: &broadcast::Sender<Event>,
        pieces: Vec<PieceIndex>,
    ) -> Result<Vec<PieceIndex>> {
        if pieces.is_empty() {
            return Ok(pieces);
        }
        let (done, checked) = oneshot::channel();
        let hashes = Arc::clone(info);
        let (shown, teller) = (Arc::clone(published), events.clone());
        // Those that need not be looked at count as looked at.
        let before = info.geometry.pieces() - pieces.len() as u32;
        let progress = move |progress: CheckProgress| {
            let pieces_checked = before + progress.checked as u32;
            let mut published = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let snapshot = Arc::new(Snapshot { pieces_checked, ..(**published).clone() });
            *published = Arc::clone(&snapshot);
            let _ = teller.send(Event::Progress(snapshot.id, snapshot));
        };
        self.inner.pipeline.check(CheckJob {
            pieces: pieces.clone(),
            store: Arc::clone(&io.store),
            expected: Box::new(move |piece| hashes.piece_hash(piece).copied().unwrap_or_default()),
            progress: Box::new(progress),
            done: Box::new(move |good| {
                let _ = done.send(good);
            }),
        });
        let CheckOutcome { good, trouble, .. } = checked.await.map_err(|_| Error::Closed)?;
        if let Some(trouble) = trouble {
            tracing::warn!(%trouble, "some data could not be checked and count as missing");
        }
        let good = |piece: &PieceIndex| good.get(piece.at()).copied().unwrap_or(false);
        Ok(pieces.into_iter().filter(good).collect())
    }

    /// Begins to remember what a torrent does, where anything is remembered.
    async fn keep(
        &self,
        begun: Option<Begun>,
        io: &TorrentIo,
        plan: Plan,
        found: Vec<PieceIndex>,
        mailbox: &mpsc::Sender<ToTorrent>,
    ) -> Result<Option<Arc<Record>>> {
        let Some((begun, keeper)) = begun.zip(self.inner.keeper.clone()) else { return Ok(None) };
        let (store, torrent) = (Arc::clone(&io.store), mailbox.downgrade());
        let on_trouble = move |error| {
            // It hears of it again, as long as it lasts.
            if let Some(torrent) = torrent.upgrade() {
                let _ = torrent.try_send(ToTorrent::DiskTrouble(error));
            }
        };
        self.on_disk(move || {
            let record = keeper.keep(begun, store, &plan, Box::new(on_trouble))?;
            if !found.is_empty() {
                record.found(found.into_iter());
                keeper.hurry();
            }
            Some(record)
        })
        .await
    }

    /// Runs what may wait for the disk on a disk thread.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, result) = oneshot::channel();
        self.inner.pipeline.run(move || {
            let _ = done.send(work());
        });
        result.await.map_err(|_| Error::Closed)
    }

    /// How many pieces a torrent may have open while it shares the memory with `torrents` in all.
    fn open_pieces(&self, geometry: &Geometry, torrents: usize) -> usize {
        let piece = (geometry.piece_length() as usize).next_multiple_of(BLOCK_LENGTH);
        (self.inner.settings.memory / torrents.max(1) / piece.max(1)).max(2)
    }

    async fn divide_memory(&self) {
        let torrents = self.torrents();
        for torrent in &torrents {
            let pieces = self.open_pieces(&torrent.info().geometry, torrents.len());
            let _ = torrent.mailbox().send(ToTorrent::OpenPieces(pieces)).await;
        }
    }
}

/// Lanes wait for company, but never for more than a quarter of the memory; and there are no more of them than
/// their buffers, when they check what is on the disk, take an eighth of it.
fn pipeline_config(memory: usize) -> quelea_storage::Config {
    let usual = quelea_storage::Config::default();
    let most = NonZeroUsize::new(memory / 8 / quelea_storage::LANE_BYTES).unwrap_or(NonZeroUsize::MIN);
    quelea_storage::Config {
        hash_lanes: usual.hash_lanes.min(most),
        batch_bytes: usual.batch_bytes.min(memory / 4),
        ..usual
    }
}

/// Listens on every bound address, on one port for all: the wanted one, or the next that is free.
fn listen(binding: &Binding, wanted: u16) -> Result<(Vec<TcpListener>, u16)> {
    let tries = if wanted == 0 { PORT_TRIES } else { PORT_TRIES.min(u16::MAX - wanted) };
    let mut refused = None;
    for offset in 0..=tries {
        let port = if wanted == 0 { 0 } else { wanted + offset };
        match listen_on(binding, port) {
            Ok((listeners, port)) => return Ok((listeners, port)),
            Err((address, source)) => {
                let taken = source.kind() == std::io::ErrorKind::AddrInUse;
                refused.get_or_insert(Error::Listen { address, source });
                if !taken {
                    break;
                }
            }
        }
    }
    Err(refused.unwrap_or(Error::Closed))
}

type Refused = (SocketAddr, std::io::Error);

fn listen_on(binding: &Binding, wanted: u16) -> std::result::Result<(Vec<TcpListener>, u16), Refused> {
    let mut port = wanted;
    let mut listeners = Vec::new();
    for local in binding.listen_addresses() {
        let address = SocketAddr::new(local, port);
        match quelea_net::listen(address) {
            Ok(listener) => {
                port = listener.local_addr().map_err(|error| (address, error))?.port();
                listeners.push(listener);
            }
            // A machine without IPv6 is no reason to give up, as long as the user did not ask for it.
            Err(error)
                if binding.is_any()
                    && !listeners.is_empty()
                    && error.kind() != std::io::ErrorKind::AddrInUse =>
            {
                tracing::debug!(%address, %error, "not listening there");
            }
            Err(error) => return Err((address, error)),
        }
    }
    Ok((listeners, port))
}

/// Which pieces hold bytes of wanted files.
fn wanted_pieces(info: &Info, wanted: &[bool]) -> Vec<bool> {
    let mut pieces = vec![false; info.geometry.pieces() as usize];
    for (file, _) in info.files.iter().zip(wanted).filter(|(file, wanted)| **wanted && !file.pad) {
        for piece in info.geometry.pieces_touching(file.offset, file.length) {
            pieces[piece as usize] = true;
        }
    }
    pieces
}

fn length_of(geometry: &Geometry, pieces: &[bool]) -> u64 {
    let lengths = geometry.iter().filter(|piece| pieces[piece.at()]);
    lengths.map(|piece| u64::from(geometry.length_of(piece))).sum()
}

fn file_specs(info: &Info) -> Vec<FileSpec> {
    let spec = |file: &quelea_metainfo::File| FileSpec {
        path: file.path.elements().collect::<PathBuf>(),
        length: file.length,
        pad: file.pad || file.link.is_some(),
    };
    info.files.iter().map(spec).collect()
}

fn first_snapshot(id: TorrentId, info: &Info, wanted: &[bool]) -> Snapshot {
    Snapshot {
        id,
        name: info.name.clone(),
        state: State::Checking,
        waiting: None,
        total_length: info.geometry.total_length(),
        wanted_length: length_of(&info.geometry, wanted),
        wanted_have: 0,
        wanted_received: 0,
        pieces: info.geometry.pieces(),
        pieces_have: 0,
        pieces_checked: 0,
        downloaded: 0,
        uploaded: 0,
        downloaded_ever: 0,
        uploaded_ever: 0,
        wasted: 0,
        download_rate: 0,
        upload_rate: 0,
        eta: None,
        peers_connected: 0,
        seeds_connected: 0,
        peers_known: 0,
        trackers: Vec::new(),
        error: None,
    }
}

/// Puts what the check found into a torrent's first figures.
fn show_found(published: &Published, geometry: &Geometry, wanted: &[bool], have: &Bitfield) {
    let found: Vec<bool> = geometry.iter().map(|piece| wanted[piece.at()] && have.has(piece)).collect();
    let wanted_have = length_of(geometry, &found);
    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
    let state = if wanted_have == published.wanted_length { State::Seeding } else { State::Downloading };
    *published = Arc::new(Snapshot {
        state,
        wanted_have,
        wanted_received: wanted_have,
        pieces_have: have.count(),
        ..(**published).clone()
    });
}

/// A seed from the system's randomness, which the standard library's hash maps are keyed with.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
