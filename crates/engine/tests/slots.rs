//! The session's upload slots, over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod hostile;

use hostile::peer::{CHOKE, HAVE_NONE, INTERESTED, MODERN, NOT_INTERESTED, Peer, UNCHOKE, message as framed};
use hostile::{HONEST, OURS, made, run, until};
use quelea::{Session, Settings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;

/// A peer that takes note of whether it may ask.
struct Taker {
    unchoked: Arc<AtomicBool>,
    writer: OwnedWriteHalf,
}

impl Taker {
    async fn greet(to: SocketAddr, info_hash: [u8; 20], number: usize) -> Self {
        let mut peer = Peer::connect_to(to, HONEST).await.unwrap();
        let id = format!("-XX0000-{number:012}");
        let hello = [&b"\x13BitTorrent protocol"[..], &MODERN, &info_hash, id.as_bytes()].concat();
        peer.send(&[hello, framed(HAVE_NONE, &[]), framed(INTERESTED, &[])].concat()).await.unwrap();
        peer.stream.read_exact(&mut [0; 68]).await.unwrap();
        let (reader, writer) = peer.stream.into_split();
        let unchoked = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&unchoked);
        tokio::spawn(async move {
            let mut reader = reader;
            let mut length = [0; 4];
            while reader.read_exact(&mut length).await.is_ok() {
                let mut payload = vec![0; u32::from_be_bytes(length) as usize];
                reader.read_exact(&mut payload).await.unwrap();
                match payload.first() {
                    Some(&CHOKE) => noted.store(false, Ordering::Relaxed),
                    Some(&UNCHOKE) => noted.store(true, Ordering::Relaxed),
                    _ => {}
                }
            }
        });
        Self { unchoked, writer }
    }

    fn is_unchoked(&self) -> bool {
        self.unchoked.load(Ordering::Relaxed)
    }
}

#[test]
fn a_session_has_so_many_slots_for_all_torrents_and_passes_on_one_that_is_free() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(directory.path());
        settings.port = 0;
        settings.bind = vec![OURS.into()];
        settings.upload_slots = 2;
        let session = Session::start(settings).unwrap();
        let began = Instant::now();
        let address = SocketAddr::new(OURS.into(), session.port());
        let mut takers = Vec::new();
        for number in 0..4 {
            let (name, files) = (format!("t{number}"), [("", made::bytes(40_000, number))]);
            made::write(directory.path(), &name, &files);
            let torrent = made::add(&made::torrent(&name, &files, 16_384));
            let info_hash = torrent.metainfo.info.hashes.wire();
            session.add(torrent).await.unwrap();
            takers.push(Taker::greet(address, info_hash, number as usize).await);
        }
        let held = || takers.iter().filter(|taker| taker.is_unchoked()).count();
        until(|| held() == 2).await;
        // Nobody is given a third one before the first turn is over, after ten seconds.
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(held() <= 2 || began.elapsed() > Duration::from_secs(8));
        }
        let holder = takers.iter().position(Taker::is_unchoked).unwrap();
        let held_before: Vec<bool> = takers.iter().map(Taker::is_unchoked).collect();
        takers[holder].writer.write_all(&framed(NOT_INTERESTED, &[])).await.unwrap();
        let another = |takers: &[Taker]| {
            takers.iter().zip(&held_before).any(|(taker, before)| taker.is_unchoked() && !before)
        };
        until(|| another(&takers)).await;
        session.set_upload_slots(10);
        takers[holder].writer.write_all(&framed(INTERESTED, &[])).await.unwrap();
        until(|| takers.iter().all(Taker::is_unchoked)).await;
        session.close().await;
    });
}

#[test]
fn more_peers_than_a_torrent_or_the_session_may_have_are_never_held() {
    run(async {
        // Connections of the session, peers of a torrent; what can be held of eight that want to be.
        for (connections, peers, held) in [(3, 200, 3), (200, 2, 4)] {
            let directory = tempfile::tempdir().unwrap();
            let mut settings = Settings::new(directory.path());
            settings.port = 0;
            settings.bind = vec![OURS.into()];
            settings.max_connections = connections;
            settings.max_peers = peers;
            let session = Session::start(settings).unwrap();
            let address = SocketAddr::new(OURS.into(), session.port());
            let mut torrents = Vec::new();
            let mut strangers = Vec::new();
            for name in ["a", "b"] {
                let files = [("", made::bytes(40_000, 1))];
                made::write(directory.path(), name, &files);
                let torrent = made::add(&made::torrent(name, &files, 16_384));
                let info_hash = torrent.metainfo.info.hashes.wire();
                torrents.push(session.add(torrent).await.unwrap());
                for number in 0..4 {
                    let mut peer = Peer::connect_to(address, HONEST).await.unwrap();
                    let id = format!("-XX0000-{name}{number:011}");
                    let hello =
                        [&b"\x13BitTorrent protocol"[..], &MODERN, &info_hash, id.as_bytes()].concat();
                    // One that is one too many may be refused before it has said anything.
                    let _ =
                        peer.send(&[hello, framed(HAVE_NONE, &[]), framed(INTERESTED, &[])].concat()).await;
                    strangers.push(peer);
                }
            }
            let connected =
                || torrents.iter().map(|torrent| torrent.snapshot().peers_connected).sum::<usize>();
            until(|| connected() >= held).await;
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(connected() <= held, "{} are held, {held} may be", connected());
                assert!(torrents.iter().all(|torrent| torrent.snapshot().peers_connected <= peers));
            }
            drop(strangers);
            session.close().await;
        }
    });
}
