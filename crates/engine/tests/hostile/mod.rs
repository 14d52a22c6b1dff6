//! A world for tests of hostility: sessions over loopback, and strangers that speak raw bytes.
//!
//! Loopback has sixteen million addresses, so every stranger has one of its own: a session lives at [`OURS`], the
//! honest at [`HONEST`], the hostile from [`HOSTILE`] on.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../made/mod.rs"]
pub(crate) mod made;
pub(crate) mod memory;
pub(crate) mod peer;
pub(crate) mod tracker;

use made::{add, bytes, torrent, write};
use quelea::{AddTorrent, Event, Events, Session, Settings, State, Torrent};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Where the session under test lives.
pub(crate) const OURS: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Where honest peers live.
pub(crate) const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
/// Where hostile peers live.
pub(crate) const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);

/// The name of the torrent's one file.
const NAME: &str = "payload";

/// Runs a test to its end, or fails it when it hangs.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A session that listens at this address.
pub(crate) fn session(at: Ipv4Addr, directory: &TempDir) -> Session {
    let mut settings = Settings::new(directory.path());
    settings.port = 0;
    settings.bind = vec![IpAddr::V4(at)];
    Session::start(settings).unwrap()
}

/// One torrent, a session that downloads it, and the payload to hold the result against.
pub(crate) struct World {
    pub(crate) payload: Vec<u8>,
    pub(crate) piece_length: usize,
    pub(crate) metainfo: Vec<u8>,
    pub(crate) info_hash: [u8; 20],
    pub(crate) session: Session,
    pub(crate) torrent: Torrent,
    pub(crate) events: Events,
    directory: TempDir,
}

impl World {
    /// A download of `length` bytes in pieces of `piece_length`, which knows nobody yet.
    pub(crate) async fn of(length: usize, piece_length: usize) -> Self {
        Self::with(length, piece_length, |_| {}).await
    }

    /// The same, with wishes.
    pub(crate) async fn with(length: usize, piece_length: usize, wish: impl FnOnce(&mut AddTorrent)) -> Self {
        let payload = bytes(length, 7);
        let metainfo = torrent(NAME, &[("", payload.clone())], piece_length);
        let directory = tempfile::tempdir().unwrap();
        let session = session(OURS, &directory);
        let events = session.events();
        let mut adding = add(&metainfo);
        let info_hash = adding.metainfo.info.hashes.wire();
        wish(&mut adding);
        let torrent = session.add(adding).await.unwrap();
        Self { payload, piece_length, metainfo, info_hash, session, torrent, events, directory }
    }

    /// Where the session takes connections.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(OURS.into(), self.session.port())
    }

    /// How many pieces there are.
    pub(crate) fn pieces(&self) -> u32 {
        self.payload.len().div_ceil(self.piece_length) as u32
    }

    /// The bytes that a request asks for.
    pub(crate) fn block(&self, request: peer::Request) -> Vec<u8> {
        let begin = request.piece as usize * self.piece_length + request.begin as usize;
        self.payload[begin..begin + request.length as usize].to_vec()
    }

    /// An honest session with everything, which connects to `to`.
    pub(crate) async fn seed(&self, at: Ipv4Addr, to: &[SocketAddr]) -> Seed {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), NAME, &[("", self.payload.clone())]);
        let session = session(at, &directory);
        let mut adding = add(&self.metainfo);
        adding.peers = to.to_vec();
        session.add(adding).await.unwrap();
        Seed { session, at, _directory: directory }
    }

    /// Downloads the rest from an honest seed that connects to us, and checks every byte.
    pub(crate) async fn completes(self) {
        let seed = self.seed(HONEST, &[self.address()]).await;
        self.is_whole().await;
        seed.session.close().await;
        self.session.close().await;
    }

    /// Waits until the download is complete, and checks every byte.
    pub(crate) async fn is_whole(&self) {
        while self.torrent.snapshot().state != State::Seeding {
            assert_ne!(self.torrent.snapshot().state, State::Failed, "{:?}", self.torrent.snapshot().error);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let found = std::fs::read(self.directory.path().join(NAME)).unwrap();
        assert!(found == self.payload, "the file differs from the payload");
    }

    /// The next ban: whose.
    pub(crate) async fn next_ban(&mut self) -> IpAddr {
        loop {
            if let Some(Event::PeerBanned { address, .. }) = self.events.next().await {
                return address;
            }
        }
    }

    /// Everything that was told and not read yet, as far as it matters here: who was banned, and how many pieces
    /// did not match.
    pub(crate) async fn told(&mut self) -> (Vec<IpAddr>, usize) {
        let (mut banned, mut failed) = (Vec::new(), 0);
        let soon = Duration::from_millis(20);
        while let Ok(Some(event)) = tokio::time::timeout(soon, self.events.next()).await {
            match event {
                Event::PeerBanned { address, .. } => banned.push(address),
                Event::PieceFailed { .. } => failed += 1,
                _ => {}
            }
        }
        (banned, failed)
    }
}

/// An honest session that has everything.
pub(crate) struct Seed {
    pub(crate) session: Session,
    at: Ipv4Addr,
    _directory: TempDir,
}

impl Seed {
    /// Where it takes connections.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.at.into(), self.session.port())
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
