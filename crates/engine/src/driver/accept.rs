//! Peers that connect to us: one listening port for all torrents.

use super::dial::{HANDSHAKE, answer, read_handshake};
use super::metadata::{self, FetchIo};
use super::{ToTorrent, TorrentIo};
use crate::events::TorrentId;
use quelea_swarm::handshakes::{HandshakeKey, Handshakes};
use quelea_wire::Handshake;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// A peer waits so long for a torrent to wake.
const WAKING: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted, which mostly means that the whole system has no files left.
const PAUSE: Duration = Duration::from_millis(200);

/// Torrents that wait to be woken because somebody knocks.
pub(crate) const KNOCKS: usize = 256;

/// How to reach a torrent.
#[derive(Clone)]
pub(crate) enum Door {
    /// Its task runs.
    Open(OpenDoor),
    /// It rests, and is woken for who knocks.
    Resting(TorrentId),
    /// Its metadata is being fetched.
    Fetching(FetchDoor),
}

/// Somebody knocks at the door of a torrent that rests.
pub(crate) struct Knock {
    pub(crate) torrent: TorrentId,
    /// Told when it is awake, or cannot be woken.
    pub(crate) awake: oneshot::Sender<()>,
}

/// How to reach a torrent whose task runs.
#[derive(Clone)]
pub(crate) struct OpenDoor {
    pub(crate) torrent: mpsc::Sender<ToTorrent>,
    pub(crate) io: Arc<TorrentIo>,
    pub(crate) worker: Handle,
}

/// How to reach the fetching of a torrent's metadata.
#[derive(Clone)]
pub(crate) struct FetchDoor {
    pub(crate) io: Arc<FetchIo>,
    pub(crate) worker: Handle,
}

/// The torrents that take connections, by info-hash.
pub(crate) struct Doors {
    by_hash: Mutex<HashMap<[u8; 20], Door>>,
    knocks: mpsc::Sender<Knock>,
}

impl Doors {
    /// No doors. Who rests is woken by who reads the knocks.
    pub(crate) fn new(knocks: mpsc::Sender<Knock>) -> Self {
        Self { by_hash: Mutex::default(), knocks }
    }

    /// Sets a torrent's door.
    pub(crate) fn set(&self, info_hash: [u8; 20], door: Door) {
        self.doors().insert(info_hash, door);
    }

    pub(crate) fn close(&self, info_hash: &[u8; 20]) {
        self.doors().remove(info_hash);
    }

    /// The door of a torrent, which is woken if it rests.
    async fn find(&self, info_hash: &[u8; 20]) -> Option<Door> {
        let torrent = match self.doors().get(info_hash)? {
            door @ (Door::Open(_) | Door::Fetching(_)) => return Some(door.clone()),
            Door::Resting(torrent) => *torrent,
        };
        let (awake, awoken) = oneshot::channel();
        self.knocks.try_send(Knock { torrent, awake }).ok()?;
        tokio::time::timeout(WAKING, awoken).await.ok()?.ok()?;
        self.doors().get(info_hash).cloned()
    }

    fn doors(&self) -> MutexGuard<'_, HashMap<[u8; 20], Door>> {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many may be let in, over all listening sockets.
pub(crate) struct Reception {
    connections: Arc<Semaphore>,
    half_open: Mutex<HalfOpen>,
}

/// Handshakes under way.
struct HalfOpen {
    handshakes: Handshakes,
    /// Each is given up when its sender is dropped.
    kept: HashMap<HandshakeKey, oneshot::Sender<()>>,
}

/// A place among the handshakes under way, given back when it is dropped.
struct Place {
    reception: Arc<Reception>,
    key: HandshakeKey,
}

impl Reception {
    /// At most `handshakes` are under way, and no more connections are made than `connections` has left: more wait
    /// in the system's queue.
    pub(crate) fn new(connections: Arc<Semaphore>, handshakes: usize) -> Self {
        let half_open = HalfOpen { handshakes: Handshakes::new(handshakes), kept: HashMap::new() };
        Self { connections, half_open: Mutex::new(half_open) }
    }

    /// A place for a handshake with somebody at this address, and what is told when it must be given up.
    fn place(self: &Arc<Self>, address: IpAddr) -> (Place, oneshot::Receiver<()>) {
        let (keep, given_up) = oneshot::channel();
        let mut half_open = self.half_open();
        let (key, gives_way) = half_open.handshakes.begin(address);
        if let Some(other) = gives_way {
            half_open.kept.remove(&other);
        }
        half_open.kept.insert(key, keep);
        (Place { reception: Arc::clone(self), key }, given_up)
    }

    fn half_open(&self) -> MutexGuard<'_, HalfOpen> {
        self.half_open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut half_open = self.reception.half_open();
        half_open.handshakes.end(self.key);
        half_open.kept.remove(&self.key);
    }
}

/// Accepts connections until the session ends.
pub(crate) async fn accept(listener: TcpListener, doors: Arc<Doors>, reception: Arc<Reception>) {
    let mut failing = false;
    loop {
        let Ok(connection) = Arc::clone(&reception.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                failing = false;
                let address = canonical(address);
                let (place, given_up) = reception.place(address.ip());
                let doors = Arc::clone(&doors);
                tokio::spawn(async move {
                    tokio::select! {
                        () = welcome(stream, address, &doors, connection) => {}
                        _ = given_up => tracing::debug!("a handshake gave way to newer ones"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Once, however long it lasts.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reads the handshake and brings the connection, with its place among all connections, to its torrent's worker.
async fn welcome(
    mut stream: TcpStream,
    address: SocketAddr,
    doors: &Doors,
    connection: OwnedSemaphorePermit,
) {
    let theirs: Handshake = match tokio::time::timeout(HANDSHAKE, read_handshake(&mut stream)).await {
        Ok(Ok(theirs)) => theirs,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an incoming handshake failed");
            return;
        }
        Err(_) => return,
    };
    let Some(door) = doors.find(&theirs.info_hash).await else { return };
    let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { return };
    match door {
        Door::Open(OpenDoor { torrent, io, worker }) => {
            worker.spawn(async move {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    answer(stream, address, theirs, torrent, io).await;
                }
                drop(connection);
            });
        }
        Door::Fetching(FetchDoor { io, worker }) => {
            worker.spawn(async move {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    metadata::answer(stream, address, theirs, io).await;
                }
                drop(connection);
            });
        }
        // It could not be woken.
        Door::Resting(_) => {}
    }
}

/// An IPv4 address that came as an IPv6 one is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
