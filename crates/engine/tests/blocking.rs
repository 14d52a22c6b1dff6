//! Addresses that a session has nothing to do with, over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::dht::Standing;
use quelea::{AddTorrent, BlockList, Filter, Session, Settings, State, Torrent};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

fn session(directory: &Path) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec![HERE];
    Session::start(settings).unwrap()
}

fn from(mut torrent: AddTorrent, seed: &Session) -> AddTorrent {
    torrent.peers = vec![SocketAddr::new(HERE, seed.port())];
    torrent
}

async fn complete(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn who_is_banned_is_not_met_until_the_ban_is_taken_back() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(300_000, 1))];
        let torrent = torrent("file", &files, 65_536);
        write(seed_dir.path(), "file", &files);
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        seed.add(add(&torrent)).await.unwrap();
        assert!(leech.ban(HERE).await && !leech.ban(HERE).await);
        assert_eq!(leech.banned(), [HERE]);
        let leeched = leech.add(from(add(&torrent), &seed)).await.unwrap();
        // The seed's address was refused, so nothing is known and nothing is tried.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((leeched.snapshot().peers_connected, leeched.snapshot().peers_known), (0, 0));
        assert!(leech.unban(HERE).await);
        // Who was banned may come again.
        let third_dir = tempfile::tempdir().unwrap();
        let third = session(third_dir.path());
        let thirded = third.add(from(add(&torrent), &seed)).await.unwrap();
        complete(&thirded).await;
        seed.close().await;
        third.close().await;
        leech.close().await;
    });
}

#[test]
fn a_list_of_ranges_ends_connections_and_keeps_strangers_out() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(300_000, 2))];
        let torrent = torrent("file", &files, 65_536);
        write(seed_dir.path(), "file", &files);
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        let list = BlockList::parse(b"loopback:127.0.0.0-127.255.255.255").unwrap();
        seed.set_filter(list.filter).await;
        let seeded = seed.add(add(&torrent)).await.unwrap();
        let leeched = leech.add(from(add(&torrent), &seed)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((seeded.snapshot().peers_connected, leeched.snapshot().wanted_have), (0, 0));
        // The leech tries again after a while; another one at once.
        seed.set_filter(Filter::EMPTY).await;
        let other_dir = tempfile::tempdir().unwrap();
        let other = session(other_dir.path());
        let othered = other.add(from(add(&torrent), &seed)).await.unwrap();
        complete(&othered).await;
        other.close().await;
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn a_ban_ends_connections_at_once_and_outlasts_the_session() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(300_000, 3))];
        let torrent = torrent("file", &files, 65_536);
        write(seed_dir.path(), "file", &files);
        let kept = |directory: &Path| {
            let mut settings = Settings::new(directory);
            settings.port = 0;
            settings.bind = vec![HERE];
            settings.state_dir = Some(leech_dir.path().join("state"));
            // Somebody is connected until he is banned.
            settings.limits.download = std::num::NonZeroU64::new(1_000);
            Session::start(settings).unwrap()
        };
        let seed = session(seed_dir.path());
        seed.add(add(&torrent)).await.unwrap();
        let other: IpAddr = "2001:db8::1".parse().unwrap();
        let leech = kept(leech_dir.path());
        // Before anything is remembered.
        assert!(leech.ban(other).await);
        leech.restore().await.unwrap();
        let leeched = leech.add(from(add(&torrent), &seed)).await.unwrap();
        while leeched.snapshot().peers_connected == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let third: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(leech.ban(HERE).await && leech.ban(third).await && leech.unban(third).await);
        while leeched.snapshot().peers_connected > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        leech.close().await;
        let leech = kept(leech_dir.path());
        let leeched = leech.restore().await.unwrap().remove(0);
        assert_eq!(leech.banned(), [HERE, other]);
        while leeched.snapshot().state != State::Downloading {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        leeched.add_peers(&[SocketAddr::new(HERE, seed.port())]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((leeched.snapshot().peers_connected, leeched.snapshot().peers_known), (0, 0));
        assert!(leech.unban(HERE).await && leech.unban(other).await);
        leech.close().await;
        let leech = kept(leech_dir.path());
        leech.restore().await.unwrap();
        assert_eq!(leech.banned(), [] as [IpAddr; 0]);
        leech.close().await;
        seed.close().await;
    });
}

/// A session with a node of the DHT, which joins by these.
fn node(directory: &Path, bootstrap: &[&Session]) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec![HERE];
    settings.dht = true;
    settings.dht_bootstrap = bootstrap.iter().map(|node| format!("{HERE}:{}", node.port())).collect();
    Session::start(settings).unwrap()
}

async fn nodes(session: &Session) -> usize {
    session.dht().unwrap().status().await.unwrap().stats.nodes.iter().sum()
}

/// Sends a ping.
fn ping(socket: &UdpSocket, node: &Session, transaction: u8) {
    let mut ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t1:".to_vec();
    ping.push(transaction);
    ping.extend(b"1:y1:qe");
    socket.send_to(&ping, (HERE, node.port())).unwrap();
}

/// Whether what has come answers a ping with this transaction; pings of the node's own are left aside.
fn answered(socket: &UdpSocket, transaction: u8) -> bool {
    let mut buffer = [0; 1_500];
    let answers = [b"1:t1:".as_slice(), &[transaction]].concat();
    while let Ok(length) = socket.recv(&mut buffer) {
        if buffer[..length].ends_with(b"1:y1:re") {
            return buffer[..length].windows(answers.len()).any(|bytes| bytes == answers);
        }
    }
    false
}

#[test]
fn the_dht_knows_and_answers_nobody_who_is_blocked() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let first = node(directory.path(), &[]);
        let second = node(directory.path(), &[&first]);
        assert_eq!(second.dht().unwrap().joined().await.unwrap(), Standing::Joined);
        while nodes(&first).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let blocked = UdpSocket::bind("127.0.0.2:0").unwrap();
        let free = UdpSocket::bind("127.0.0.3:0").unwrap();
        for socket in [&blocked, &free] {
            socket.set_nonblocking(true).unwrap();
        }
        let list = |text: &[u8]| BlockList::parse(text).unwrap().filter;
        first.set_filter(list(b"one:127.0.0.2-127.0.0.2")).await;
        assert!(nodes(&first).await > 0);
        ping(&blocked, &first, b'1');
        ping(&free, &first, b'2');
        // The one that came later has its answer, and the other one has none.
        while !answered(&free, b'2') {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!answered(&blocked, b'1'));
        first.set_filter(Filter::EMPTY).await;
        assert!(first.ban("127.0.0.3".parse().unwrap()).await);
        assert!(nodes(&first).await > 0, "it has heard of that");
        ping(&free, &first, b'3');
        ping(&blocked, &first, b'4');
        while !answered(&blocked, b'4') {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!answered(&free, b'3'));
        first.set_filter(list(b"all:127.0.0.0-127.255.255.255")).await;
        assert_eq!(nodes(&first).await, 0);
        first.close().await;
        second.close().await;
    });
}
