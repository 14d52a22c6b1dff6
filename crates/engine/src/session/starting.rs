//! Starting a session: its threads and its listening port.

use super::dht::Starting;
use super::limiting::{Told, follow_schedule};
use super::reaching::{follow_outside, mapping_task};
use super::slots::Slots;
use super::{Inner, Session, Shared, roster};
use crate::clock::Clock;
use crate::descriptors::Descriptors;
use crate::driver::accept::{Doors, KNOCKS, Reception, accept};
use crate::driver::carrier::Carrier;
use crate::driver::dht::{Refused as UdpRefused, Sockets};
use crate::driver::dialling::Dialling;
use crate::driver::http::Http;
use crate::driver::ledger::Ledger;
use crate::driver::limiter::Limiter;
use crate::driver::local::Neighbours;
use crate::driver::mapping::Family;
use crate::driver::trackers::Trackers;
use crate::driver::udp;
use crate::outside::Outside;
use crate::worker::Workers;
use crate::{Error, Event, Result, Settings};
use quelea_block::Pool;
use quelea_net::Binding;
use quelea_resume::Keeper;
use quelea_storage::{Claims, FilePool, Pipeline};
use quelea_swarm::limit::Tree;
use quelea_swarm::queue::Queue;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc};

/// Ports tried after the wanted one.
const PORT_TRIES: u16 = 10;
/// Torrents that are moved to other directories at a time.
const MOVERS: usize = 2;
/// Events a slow reader may be behind.
const EVENTS: usize = 4_096;

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
        let descriptors = Descriptors::of_process(settings.max_open_files, settings.max_peers);
        let connections =
            Arc::new(Semaphore::new(descriptors.connections.min(settings.max_connections.max(1))));
        let reception = Arc::new(Reception::new(Arc::clone(&connections), descriptors.handshakes));
        let (knocks, knocking) = mpsc::channel(KNOCKS);
        let doors = Arc::new(Doors::new(knocks));
        let home = workers.home();
        let (port, sockets) = {
            let _inside = home.enter();
            let Listening { listeners, port, sockets } = listen(&binding, settings.port, settings.dht)?;
            for listener in listeners {
                home.spawn(accept(listener, Arc::clone(&doors), Arc::clone(&reception)));
            }
            (port, sockets)
        };
        let (udp, requests) = mpsc::channel(udp::QUEUE);
        home.spawn(udp::run(Arc::clone(&binding), rng.u64(..), clock, requests));
        let (events, _) = broadcast::channel(EVENTS);
        let teller = events.downgrade();
        let warn = move |message: String| {
            tracing::warn!(target: crate::events::TARGET, "{message}");
            if let Some(events) = teller.upgrade() {
                let _ = events.send(Event::Warning(message));
            }
        };
        let outside = Arc::new(Outside::new(clock, port, events.downgrade()));
        let mut mappers = Vec::new();
        for family in [Family::V4, Family::V6] {
            let Some(config) = settings.mapper(port, rng.u64(..)) else { continue };
            let mut nonce = [0; 12];
            rng.fill(&mut nonce);
            let (task, stopper) = mapping_task(family, config, nonce, &outside, clock, &binding);
            home.spawn(task.run());
            mappers.push(stopper);
        }
        let warn = Arc::new(warn);
        let pipeline = Arc::new(pipeline);
        let dht = Starting {
            settings: &settings,
            clock,
            binding: &binding,
            outside: &outside,
            home: &home,
            pipeline: &pipeline,
            events: &events,
            warn: &*warn,
        };
        let dht = sockets.and_then(|(sockets, refused)| dht.start(sockets, refused, &mut rng));
        let keep = |directory| Keeper::start(directory, move |message| warn(message)).map(Arc::new);
        let keeper = settings.state_dir.clone().map(keep).transpose().map_err(Error::Start)?;
        let limiter = Limiter::new(clock, settings.exempt_local_peers, settings.count_overhead);
        home.spawn(Limiter::run(Arc::downgrade(&limiter)));
        let told = Told::new(settings.limits, settings.alternative_limits.clone());
        limiter.set(Tree::ROOT, settings.limits);
        let dialling = Dialling::new(clock, settings.max_half_open, settings.connects_per_second);
        let dialling = Arc::new(dialling);
        let (found, finding) = mpsc::channel(KNOCKS);
        let http = Arc::new(Http::new(Arc::clone(&binding)));
        let (of_carrier, bound) = (Arc::clone(&outside), Arc::clone(&binding));
        let carrier = Arc::new(Carrier { http, udp, binding: bound, outside: of_carrier });
        let neighbours = settings.lsd.then(|| {
            let (binding, found) = (Arc::clone(&binding), found.clone());
            Arc::new(Neighbours::new(clock, binding, port, random_seed(), found))
        });
        if let Some(neighbours) = &neighbours {
            home.spawn(Arc::clone(neighbours).run());
        }
        let trackers = Arc::new(Trackers::new(clock, carrier, events.downgrade(), found));
        workers.announcing().spawn(Arc::clone(&trackers).run());
        let stir = Arc::new(Notify::new());
        let shared = Shared {
            fetching: HashMap::new(),
            torrents: BTreeMap::new(),
            links: BTreeMap::new(),
            hashes: HashSet::new(),
            next_id: 1,
            next_fetch: 0,
            queue: Queue::new(settings.queue, settings.goals),
            waiting: HashMap::new(),
            checks: HashMap::new(),
            checking: HashMap::new(),
            rng,
            events: Some(events),
        };
        let slots = settings.upload_slots;
        let inner = Inner {
            pool: Pool::new(settings.memory),
            files: FilePool::new(descriptors.files),
            claims: Claims::default(),
            descriptors,
            connections,
            dialling,
            ledger: Arc::new(Ledger::new(clock)),
            blocked: Mutex::default(),
            settings,
            clock,
            workers,
            pipeline,
            binding,
            port,
            outside: Arc::clone(&outside),
            mappers,
            doors,
            trackers,
            dht,
            neighbours,
            keeper,
            limiter,
            told,
            slots: Slots::new(clock.now(), slots),
            library: OnceLock::new(),
            parts: Mutex::default(),
            stir: Arc::clone(&stir),
            movers: Arc::new(Semaphore::new(MOVERS)),
            state: Mutex::new(shared),
        };
        let inner = Arc::new(inner);
        home.spawn(roster::run(Arc::downgrade(&inner), clock, stir, knocking, finding));
        home.spawn(follow_schedule(Arc::downgrade(&inner)));
        home.spawn(follow_outside(Arc::downgrade(&inner), outside));
        Ok(Self { inner })
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

/// What is listened on.
struct Listening {
    listeners: Vec<TcpListener>,
    port: u16,
    /// The UDP sockets of the same port, and those that could not be had; `None` where none are wanted.
    sockets: Option<(Sockets, Vec<UdpRefused>)>,
}

/// Listens on every bound address, on one port for all: the wanted one, or the next that is free. Where any will do it
/// is one whose UDP port is free as well; one that was asked for is taken for TCP alone, which more depends upon.
fn listen(binding: &Binding, wanted: u16, udp: bool) -> Result<Listening> {
    let tries = if wanted == 0 { PORT_TRIES } else { PORT_TRIES.min(u16::MAX - wanted) };
    let mut refused = None;
    for offset in 0..=tries {
        let port = if wanted == 0 { 0 } else { wanted + offset };
        match listen_on(binding, port) {
            Ok((listeners, port)) => {
                let sockets = udp.then(|| Sockets::open(binding, port));
                let half = sockets.as_ref().is_some_and(|(_, refused)| !refused.is_empty());
                if half && wanted == 0 && offset < tries {
                    continue;
                }
                return Ok(Listening { listeners, port, sockets });
            }
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

/// A seed from the system's randomness, which the standard library's hash maps are keyed with.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
