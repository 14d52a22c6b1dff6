//! Sessions that find each other by the DHT alone, over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::dht::{Announce, Id, Item, RouterState, Standing, Told, public_key};
use quelea::{AddTorrent, Event, Events, MagnetRequest, Session, Settings, State, Torrent};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A session on loopback that joins the DHT by these nodes, and by no other.
fn session(directory: &Path, bootstrap: &[String], change: impl FnOnce(&mut Settings)) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    settings.dht = true;
    settings.dht_bootstrap = bootstrap.to_vec();
    change(&mut settings);
    Session::start(settings).unwrap()
}

fn address(session: &Session) -> String {
    format!("127.0.0.1:{}", session.port())
}

/// A network of nodes that know each other, and what keeps their directory.
async fn network(count: usize) -> (tempfile::TempDir, Vec<Session>) {
    let directory = tempfile::tempdir().unwrap();
    let first = session(directory.path(), &[], |_| {});
    let bootstrap = [address(&first)];
    let mut all = vec![first];
    all.extend((1..count).map(|_| session(directory.path(), &bootstrap, |_| {})));
    for session in &all[1..] {
        assert_eq!(session.dht().unwrap().joined().await.unwrap(), Standing::Joined);
    }
    (directory, all)
}

/// Waits until nodes were told of a torrent.
async fn announced(told: &mut Events, torrent: &Torrent) {
    let is_told =
        |event| matches!(event, Event::DhtAnswered { id, announced_to: 1.., .. } if id == torrent.id());
    while !is_told(told.next().await.unwrap()) {}
}

async fn complete(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        assert_ne!(torrent.snapshot().state, State::Failed, "{:?}", torrent.snapshot().error);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn close(sessions: Vec<Session>) {
    for session in sessions {
        session.close().await;
    }
}

#[test]
fn a_torrent_without_a_tracker_is_found_by_the_dht() {
    run(async {
        let (_directory, nodes) = network(6).await;
        let bootstrap = [address(&nodes[0])];
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(500_000, 1))];
        write(seed_dir.path(), "file", &files);
        let bytes_of_it = torrent("file", &files, 65_536);
        let seed = session(seed_dir.path(), &bootstrap, |_| {});
        let mut told = seed.events();
        let seeded = seed.add(add(&bytes_of_it)).await.unwrap();
        complete(&seeded).await;
        announced(&mut told, &seeded).await;
        let leech = session(leech_dir.path(), &bootstrap, |_| {});
        complete(&leech.add(add(&bytes_of_it)).await.unwrap()).await;
        assert!(std::fs::read(leech_dir.path().join("file")).unwrap() == files[0].1);
        // Nodes that were asked know the torrent.
        let mut known = 0;
        for node in &nodes {
            known += node.dht().unwrap().status().await.unwrap().stats.torrents;
        }
        assert!(known > 0);
        close(nodes).await;
        close(vec![seed, leech]).await;
    });
}

#[test]
fn peers_that_run_nodes_tell_each_other_of_them() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(300_000, 1))];
        write(seed_dir.path(), "file", &files);
        let bytes_of_it = torrent("file", &files, 65_536);
        // Neither knows any node before the other says so.
        let seed = session(seed_dir.path(), &[], |_| {});
        let leech = session(leech_dir.path(), &[], |_| {});
        assert_eq!(leech.dht().unwrap().joined().await.unwrap(), Standing::Alone);
        complete(&seed.add(add(&bytes_of_it)).await.unwrap()).await;
        let mut adding: AddTorrent = add(&bytes_of_it);
        adding.peers = vec![address(&seed).parse().unwrap()];
        complete(&leech.add(adding).await.unwrap()).await;
        for session in [&seed, &leech] {
            while session.dht().unwrap().joined().await.unwrap() != Standing::Joined {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        close(vec![seed, leech]).await;
    });
}

/// What reaches a UDP port until it has been silent for long enough, after the first datagram of `patience`.
fn silence(socket: &UdpSocket, patience: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut buffer = [0; 2_048];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

#[test]
fn nothing_of_a_private_torrent_goes_to_the_dht() {
    run(async {
        // The one node that there is writes down all that it is told.
        let spy = UdpSocket::bind("127.0.0.1:0").unwrap();
        let spy_address = spy.local_addr().unwrap();
        let node = tempfile::tempdir().unwrap();
        let first = session(node.path(), &[], |_| {});
        let seed_dir = tempfile::tempdir().unwrap();
        let files = [("", bytes(300_000, 1))];
        write(seed_dir.path(), "file", &files);
        // The last key of the info dictionary.
        let mut bytes_of_it = torrent("file", &files, 65_536);
        bytes_of_it.truncate(bytes_of_it.len() - 2);
        bytes_of_it.extend(b"7:privatei1eee");
        let bootstrap = [spy_address.to_string(), address(&first)];
        let seed = session(seed_dir.path(), &bootstrap, |_| {});
        let mut adding = add(&bytes_of_it);
        assert!(adding.metainfo.info.private);
        adding.metainfo.nodes = vec![quelea_metainfo::Address::parse("127.0.0.1:9").unwrap()];
        let private = seed.add(adding).await.unwrap();
        complete(&private).await;
        let dht = seed.dht().unwrap();
        assert_eq!(dht.joined().await.unwrap(), Standing::Joined);
        // A peer that has the DHT's bit is given none, and no port; nor is its own node asked.
        let peers_node = UdpSocket::bind("127.0.0.1:0").unwrap();
        let told = shake_hands(&seed, private.info_hash(), peers_node.local_addr().unwrap().port()).await;
        assert_eq!(told.reserved & 1, 0, "the DHT's bit");
        assert!(!told.messages.contains(&9), "{:?}", told.messages);
        let status = dht.status().await.unwrap();
        assert_eq!((status.announced, status.stats.searches), (0, 0));
        assert!(status.routers.iter().all(|router| router.name != "127.0.0.1:9"), "{:?}", status.routers);
        // A public torrent is announced by the same session, so that silence means something.
        let public_files = [("", bytes(100_000, 2))];
        write(seed_dir.path(), "public", &public_files);
        let public = seed.add(add(&torrent("public", &public_files, 65_536))).await.unwrap();
        let hash = public.info_hash();
        let (mut heard_public, mut heard_private) = (false, false);
        while !heard_public {
            let Some(datagram) = silence(&spy, PATIENCE) else { panic!("the spy heard nothing") };
            let has = |hash: &[u8]| datagram.windows(20).any(|window| window == hash);
            heard_public |= has(&hash);
            heard_private |= has(&private.info_hash());
            tokio::task::yield_now().await;
        }
        assert!(!heard_private);
        assert_eq!(silence(&peers_node, Duration::from_millis(1)), None);
        assert_eq!(first.dht().unwrap().status().await.unwrap().announced, 0);
        close(vec![first, seed]).await;
    });
}

struct Heard {
    reserved: u8,
    /// The numbers of the messages that came first.
    messages: Vec<u8>,
}

/// Connects as a peer that runs a node, and hears what the session says until it has said what it has.
async fn shake_hands(session: &Session, info_hash: [u8; 20], node: u16) -> Heard {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address(session)).await.unwrap();
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\x01".to_vec();
    hello.extend(info_hash);
    hello.extend(b"-XX0000-aaaaaaaaaaaa");
    hello.extend([0, 0, 0, 3, 9]);
    hello.extend(node.to_be_bytes());
    stream.write_all(&hello).await.unwrap();
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs).await.unwrap();
    // Interested: the answer to it comes after everything that is said at first.
    stream.write_all(&[0, 0, 0, 1, 2]).await.unwrap();
    let mut messages = Vec::new();
    while messages.last() != Some(&1) {
        let length = stream.read_u32().await.unwrap();
        let mut message = vec![0; length as usize];
        stream.read_exact(&mut message).await.unwrap();
        messages.extend(message.first());
    }
    Heard { reserved: theirs[27], messages }
}

#[test]
fn a_public_torrents_peer_is_told_of_the_node_and_its_own_is_asked() {
    run(async {
        let seed_dir = tempfile::tempdir().unwrap();
        let files = [("", bytes(300_000, 1))];
        write(seed_dir.path(), "file", &files);
        let seed = session(seed_dir.path(), &[], |_| {});
        let public = seed.add(add(&torrent("file", &files, 65_536))).await.unwrap();
        complete(&public).await;
        let peers_node = UdpSocket::bind("127.0.0.1:0").unwrap();
        let told = shake_hands(&seed, public.info_hash(), peers_node.local_addr().unwrap().port()).await;
        assert_eq!(told.reserved & 1, 1, "the DHT's bit");
        assert!(told.messages.contains(&9), "{:?}", told.messages);
        let asked =
            tokio::task::spawn_blocking(move || silence(&peers_node, PATIENCE)).await.unwrap().unwrap();
        assert!(asked.windows(9).any(|window| window == b"find_node"), "{asked:?}");
        seed.close().await;
    });
}

#[test]
fn items_are_stored_and_found() {
    run(async {
        let (_directory, nodes) = network(8).await;
        let (one, other) = (nodes[2].dht().unwrap(), nodes[5].dht().unwrap());
        let fixed = Item::fixed(b"12:Hello World!".to_vec()).unwrap();
        let target = fixed.target();
        assert!(one.put(fixed.clone(), None).await.unwrap().written > 0);
        assert_eq!(other.fixed_item(target).await.unwrap().0, Some(fixed));
        let seed = [9; 32];
        for sequence in [1, 2] {
            let value = format!("i{sequence}e").into_bytes();
            let owned = Item::sign(seed, b"salt".to_vec(), sequence, value).unwrap();
            assert!(one.put(owned.clone(), None).await.unwrap().written > 0);
            let found = other.owned_item(public_key(seed), b"salt".to_vec()).await.unwrap().0;
            assert_eq!(found, Some(owned));
        }
        assert_eq!(other.owned_item(public_key(seed), Vec::new()).await.unwrap().0, None);
        close(nodes).await;
    });
}

#[test]
fn a_person_finds_peers_counts_them_and_hears_of_torrents() {
    run(async {
        let (_directory, nodes) = network(8).await;
        let hash = Id([5; 20]);
        let announce = Announce { port: Some(4_444), seed: true };
        for node in &nodes[1..4] {
            let mut search = node.dht().unwrap().find_peers(hash, Some(announce)).await.unwrap();
            while search.next().await.is_some() {}
        }
        let asker = nodes[6].dht().unwrap();
        let mut search = asker.find_peers(hash, None).await.unwrap();
        let (mut peers, mut done) = (Vec::new(), None);
        while let Some(told) = search.next().await {
            match told {
                Told::Peers(found) => peers.extend(found),
                Told::Done(found) => done = Some(found),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(peers, ["127.0.0.1:4444".parse::<SocketAddr>().unwrap()]);
        assert!(!done.unwrap().nodes.is_empty());
        let counted = asker.scrape(hash).await.unwrap();
        assert!(counted.seeds.unwrap() > 0.5, "{counted:?}");
        let mut sampled = Vec::new();
        let mut samples = asker.sample_infohashes(hash).await.unwrap();
        while let Some(told) = samples.next().await {
            if let Told::Torrents { info_hashes, .. } = told {
                sampled.extend(info_hashes);
            }
        }
        assert!(sampled.contains(&hash));
        close(nodes).await;
    });
}

#[test]
fn nodes_and_ids_are_there_again_in_the_next_session() {
    run(async {
        let (_directory, nodes) = network(3).await;
        let folder = tempfile::tempdir().unwrap();
        let state = |settings: &mut Settings| settings.state_dir = Some(folder.path().join("state"));
        let first = session(folder.path(), &[address(&nodes[0])], state);
        assert_eq!(first.dht().unwrap().joined().await.unwrap(), Standing::Joined);
        let ids = first.dht().unwrap().status().await.unwrap().stats.ids;
        first.close().await;
        assert!(first.dht().unwrap().status().await.is_err());
        // Nobody is named this time.
        let second = session(folder.path(), &[], state);
        assert_eq!(second.dht().unwrap().joined().await.unwrap(), Standing::Joined);
        assert_eq!(second.dht().unwrap().status().await.unwrap().stats.ids, ids);
        second.close().await;
        close(nodes).await;
    });
}

#[test]
fn routers_that_cannot_be_used_are_told() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let session =
            session(folder.path(), &["nonsense".to_owned(), "[::1]:6881".to_owned(), nobody], |_| {});
        let mut events = session.events();
        let dht = session.dht().unwrap();
        assert_eq!(dht.joined().await.unwrap(), Standing::Alone);
        let routers = dht.status().await.unwrap().routers;
        let states: Vec<&RouterState> = routers.iter().map(|router| &router.state).collect();
        assert!(matches!(states[..], [RouterState::Failed(_), RouterState::Failed(_), RouterState::Asked]));
        let told = loop {
            let event = events.next().await.unwrap();
            if matches!(event, Event::DhtAlone { .. }) {
                break event.to_string();
            }
        };
        assert!(told.contains("nonsense (not of the form HOST:PORT)"), "{told}");
        // Searches are not held up by it.
        assert_eq!(dht.scrape(Id([1; 20])).await.unwrap().nodes, []);
        session.close().await;
    });
}

#[test]
fn a_taken_udp_port_is_told_and_tcp_goes_on() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let session = session(folder.path(), &[], |settings| settings.port = port);
        if session.port() == port {
            assert!(session.dht().is_none());
        }
        session.close().await;
    });
}

#[test]
fn a_publishers_link_leads_to_what_was_published_last() {
    run(async {
        let (_directory, nodes) = network(6).await;
        let secret = quelea::dht::make_secret().unwrap();
        let link = quelea_metainfo::PublisherLink::new(public_key(secret), b"n".to_vec());
        let reader = &nodes[4];
        assert!(matches!(
            reader.follow_publisher(link.clone()).next().await,
            Err(quelea::Error::Unpublished { nodes: 1.. })
        ));
        let mut publisher = reader.follow_publisher(link.clone()).every(Duration::from_millis(50));
        // The third is what the second was, published anew.
        for (sequence, hash) in [(1, [1; 20]), (2, [2; 20]), (3, [2; 20]), (4, [4; 20])] {
            let value = quelea_metainfo::PublisherLink::item(hash);
            let item = Item::sign(secret, b"n".to_vec(), sequence, value).unwrap();
            assert!(nodes[1].dht().unwrap().put(item, None).await.unwrap().written > 0);
            if sequence != 3 {
                assert_eq!(publisher.next().await.unwrap().hashes.wire(), hash);
            }
        }
        let waiting = tokio::time::timeout(Duration::from_millis(500), publisher.next()).await;
        assert!(waiting.is_err(), "nothing else was published");
        close(nodes).await;
        let off = tempfile::tempdir().unwrap();
        let without = session(off.path(), &[], |settings| settings.dht = false);
        assert!(matches!(without.follow_publisher(link).next().await, Err(quelea::Error::NoDht)));
        without.close().await;
    });
}

#[test]
fn whoever_follows_a_publisher_downloads_the_second_torrent_too() {
    run(async {
        let (_directory, nodes) = network(6).await;
        let bootstrap = [address(&nodes[0])];
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let seed = session(seed_dir.path(), &bootstrap, |_| {});
        let secret = quelea::dht::make_secret().unwrap();
        let link = quelea_metainfo::PublisherLink::new(public_key(secret), Vec::new());
        let leech = session(leech_dir.path(), &bootstrap, |_| {});
        let mut publisher = leech.follow_publisher(link).every(Duration::from_millis(50));
        for (sequence, name) in [(1, "first"), (2, "second")] {
            let files = [("", bytes(200_000, sequence))];
            write(seed_dir.path(), name, &files);
            let mut told = seed.events();
            let published = seed.add(add(&torrent(name, &files, 65_536))).await.unwrap();
            announced(&mut told, &published).await;
            let value = quelea_metainfo::PublisherLink::item(published.info_hash());
            let item = Item::sign(secret, Vec::new(), sequence as i64, value).unwrap();
            assert!(seed.dht().unwrap().put(item, None).await.unwrap().written > 0);
            let magnet = publisher.next().await.unwrap();
            let fetched = leech.fetch_metadata(MagnetRequest::new(magnet)).unwrap().finished().await.unwrap();
            complete(&leech.add(AddTorrent::from_magnet(fetched)).await.unwrap()).await;
            assert!(std::fs::read(leech_dir.path().join(name)).unwrap() == files[0].1);
        }
        close(nodes).await;
        close(vec![seed, leech]).await;
    });
}
