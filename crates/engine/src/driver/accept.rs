//! Peers that connect to us: one listening port for all torrents.

use super::dial::{HANDSHAKE, answer, read_handshake};
use super::metadata::{self, FetchIo};
use super::{ToTorrent, TorrentIo};
use crate::events::TorrentId;
use quelea_wire::Handshake;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Handshakes under way with one neighbour at most; more are closed, so that a crowd of one does not fill the queue.
const OF_ONE_NEIGHBOUR: usize = 16;
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

/// Counts the handshakes under way with each neighbour.
#[derive(Default)]
struct Neighbours {
    handshakes: Mutex<HashMap<IpAddr, usize>>,
}

/// A place among the handshakes under way with one neighbour, given back when it is dropped.
struct Place {
    neighbours: Arc<Neighbours>,
    neighbour: IpAddr,
}

impl Neighbours {
    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let neighbour = neighbourhood(address);
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = handshakes.entry(neighbour).or_default();
        if *under_way >= OF_ONE_NEIGHBOUR {
            return None;
        }
        *under_way += 1;
        Some(Place { neighbours: Arc::clone(self), neighbour })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut handshakes = self.neighbours.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = handshakes.get_mut(&self.neighbour) {
            *under_way -= 1;
            if *under_way == 0 {
                handshakes.remove(&self.neighbour);
            }
        }
    }
}

/// What one customer has: an IPv4 address, or the first 64 bits of an IPv6 address.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// How many may be let in, over all listening sockets.
pub(crate) struct Reception {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    neighbours: Arc<Neighbours>,
}

impl Reception {
    /// At most `handshakes` are under way, and no more connections are made than `connections` has left: more wait
    /// in the system's queue.
    pub(crate) fn new(connections: Arc<Semaphore>, handshakes: usize) -> Self {
        let handshakes = Arc::new(Semaphore::new(handshakes));
        Self { connections, handshakes, neighbours: Arc::default() }
    }
}

/// Accepts connections until the session ends.
pub(crate) async fn accept(listener: TcpListener, doors: Arc<Doors>, reception: Arc<Reception>) {
    let mut failing = false;
    loop {
        let Ok(handshake) = Arc::clone(&reception.handshakes).acquire_owned().await else { return };
        let Ok(connection) = Arc::clone(&reception.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                failing = false;
                let address = canonical(address);
                let Some(place) = reception.neighbours.place(address.ip()) else { continue };
                let doors = Arc::clone(&doors);
                tokio::spawn(async move {
                    welcome(stream, address, &doors, connection).await;
                    drop((handshake, place));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_neighbour_has_few_handshakes_under_way_and_others_have_theirs() {
        let neighbours = Arc::new(Neighbours::default());
        let of = |address: &str| neighbours.place(address.parse().unwrap());
        let mut places: Vec<Place> = (0..OF_ONE_NEIGHBOUR).filter_map(|_| of("2001:db8::1")).collect();
        assert_eq!(places.len(), OF_ONE_NEIGHBOUR);
        assert!(of("2001:db8::2").is_none(), "the same customer");
        assert!(of("2001:db8:0:1::1").is_some());
        assert!(of("1.2.3.4").is_some());
        places.pop();
        assert!(of("2001:db8::2").is_some());
        drop(places);
        assert!(neighbours.handshakes.lock().unwrap().is_empty());
    }
}
