//! Peers that connect to us: one listening port for all torrents.

use super::dial::{HANDSHAKE, answer, read_handshake};
use super::{ToTorrent, TorrentIo};
use quelea_wire::Handshake;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

/// Handshakes under way at most; more wait in the system's queue.
const HANDSHAKES: usize = 256;
/// How long to wait when no connection can be accepted, which mostly means that no file may be opened.
const PAUSE: Duration = Duration::from_millis(200);

/// How to reach a torrent.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) torrent: mpsc::Sender<ToTorrent>,
    pub(crate) io: Arc<TorrentIo>,
    pub(crate) worker: Handle,
}

/// The torrents that take connections, by info-hash.
#[derive(Default)]
pub(crate) struct Doors {
    by_hash: Mutex<HashMap<[u8; 20], Door>>,
}

impl Doors {
    /// Opens a door. Whether there was none for this torrent.
    pub(crate) fn open(&self, info_hash: [u8; 20], door: Door) -> bool {
        let mut doors = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        match doors.entry(info_hash) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(door);
                true
            }
        }
    }

    pub(crate) fn close(&self, info_hash: &[u8; 20]) {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner).remove(info_hash);
    }

    fn find(&self, info_hash: &[u8; 20]) -> Option<Door> {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner).get(info_hash).cloned()
    }
}

/// Accepts connections until the session ends.
pub(crate) async fn accept(listener: TcpListener, doors: Arc<Doors>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let doors = Arc::clone(&doors);
                tokio::spawn(async move {
                    welcome(stream, canonical(address), &doors).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reads the handshake and brings the connection to its torrent's worker.
async fn welcome(mut stream: TcpStream, address: SocketAddr, doors: &Doors) {
    let theirs: Handshake = match tokio::time::timeout(HANDSHAKE, read_handshake(&mut stream)).await {
        Ok(Ok(theirs)) => theirs,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an incoming handshake failed");
            return;
        }
        Err(_) => return,
    };
    let Some(door) = doors.find(&theirs.info_hash) else { return };
    let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { return };
    let worker = door.worker.clone();
    worker.spawn(async move {
        if let Ok(stream) = TcpStream::from_std(stream) {
            answer(stream, address, theirs, door.torrent, door.io).await;
        }
    });
}

/// An IPv4 address that came as an IPv6 one is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
