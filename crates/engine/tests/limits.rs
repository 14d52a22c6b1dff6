//! Limits of sessions and torrents, over loopback. What a limit forbids must not happen, however fast the machine;
//! how near a limit is reached is tested in virtual time, beside `quelea_swarm::limit`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{AddTorrent, AlternativeLimits, Limits, Schedule, Session, Settings, State, Torrent};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of the torrent.
const LENGTH: usize = 3 << 20;
const RATE: u64 = 1 << 20;
/// The least time in which that many bytes can pass: a burst and a round are less than half a second's bytes.
const LEAST: Duration = Duration::from_millis(2_500);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

fn session(directory: &Path, change: impl FnOnce(&mut Settings)) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    change(&mut settings);
    Session::start(settings).unwrap()
}

fn from(mut torrent: AddTorrent, seed: &Session) -> AddTorrent {
    torrent.peers = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())];
    torrent
}

fn down(rate: u64) -> Limits {
    Limits { download: NonZeroU64::new(rate), ..Limits::NONE }
}

fn up(rate: u64) -> Limits {
    Limits { upload: NonZeroU64::new(rate), ..Limits::NONE }
}

async fn complete(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A seed and a leech that are to be limited; the time from the add until the leech has everything.
async fn transfer(
    seed_settings: impl FnOnce(&mut Settings),
    leech_settings: impl FnOnce(&mut Settings),
    wish: impl FnOnce(&mut AddTorrent),
) -> Duration {
    let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = [("", bytes(LENGTH, 1))];
    let torrent = torrent("file", &files, 65_536);
    write(seed_dir.path(), "file", &files);
    let seed = session(seed_dir.path(), seed_settings);
    let leech = session(leech_dir.path(), leech_settings);
    seed.add(add(&torrent)).await.unwrap();
    let began = Instant::now();
    let mut wished = from(add(&torrent), &seed);
    wish(&mut wished);
    let leeched = leech.add(wished).await.unwrap();
    complete(&leeched).await;
    let took = began.elapsed();
    assert!(std::fs::read(leech_dir.path().join("file")).unwrap() == files[0].1);
    assert_eq!(leeched.snapshot().wasted, 0);
    leech.close().await;
    seed.close().await;
    took
}

#[test]
fn a_session_receives_no_faster_than_its_limit() {
    run(async {
        let took = transfer(|_| {}, |settings| settings.limits = down(RATE), |_| {}).await;
        assert!(took >= LEAST, "{took:?}");
    });
}

#[test]
fn a_session_sends_no_faster_than_its_limit() {
    run(async {
        let took = transfer(|settings| settings.limits = up(RATE), |_| {}, |_| {}).await;
        assert!(took >= LEAST, "{took:?}");
    });
}

#[test]
fn a_torrent_has_a_limit_of_its_own() {
    run(async {
        let took = transfer(|_| {}, |_| {}, |torrent| torrent.limits = down(RATE)).await;
        assert!(took >= LEAST, "{took:?}");
    });
}

#[test]
fn local_peers_are_exempt_where_that_is_asked_for() {
    run(async {
        // At this rate it would take far longer than the test's patience.
        let exempt = |settings: &mut Settings| {
            settings.limits = down(1_024);
            settings.exempt_local_peers = true;
        };
        transfer(|_| {}, exempt, |_| {}).await;
    });
}

#[test]
fn a_limit_that_is_lifted_holds_nobody_up_any_longer() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(LENGTH, 2))];
        let torrent = torrent("file", &files, 65_536);
        write(seed_dir.path(), "file", &files);
        let seed = session(seed_dir.path(), |_| {});
        let leech = session(leech_dir.path(), |settings| settings.limits = down(2_048));
        seed.add(add(&torrent)).await.unwrap();
        let leeched = leech.add(from(add(&torrent), &seed)).await.unwrap();
        while leeched.snapshot().peers_connected == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What is left would take twenty minutes.
        leech.set_limits(Limits::NONE).await;
        complete(&leeched).await;
        // And the torrent's own limit comes and goes as well.
        leeched.set_limits(down(5)).await;
        assert_eq!(leeched.limits(), down(5));
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn other_limits_hold_at_once_when_they_are_turned_on_or_off() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(LENGTH, 3))];
        let torrent = torrent("file", &files, 65_536);
        write(seed_dir.path(), "file", &files);
        let seed = session(seed_dir.path(), |_| {});
        // They would hold at no time of the week.
        let slow = AlternativeLimits::new(down(2_048), Schedule::default());
        let leech = session(leech_dir.path(), |settings| settings.alternative_limits = Some(slow));
        assert!(!leech.uses_alternative_limits());
        leech.use_alternative_limits(true).await;
        assert!(leech.uses_alternative_limits());
        seed.add(add(&torrent)).await.unwrap();
        let leeched = leech.add(from(add(&torrent), &seed)).await.unwrap();
        while leeched.snapshot().peers_connected == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        // At that rate the test's patience is not enough for a tenth of it.
        assert!(leeched.snapshot().downloaded < LENGTH as u64 / 10, "{}", leeched.snapshot().downloaded);
        leech.use_alternative_limits(false).await;
        complete(&leeched).await;
        // All of the week, so at once.
        let always = "mon-sun 00:00-24:00".parse().unwrap();
        leech.set_alternative_limits(Some(AlternativeLimits::new(down(5), always))).await;
        assert!(leech.uses_alternative_limits());
        leech.set_alternative_limits(None).await;
        assert!(!leech.uses_alternative_limits());
        leech.close().await;
        seed.close().await;
    });
}
