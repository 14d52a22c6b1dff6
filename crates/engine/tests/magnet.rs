//! Sessions that have nothing of a torrent but a magnet link.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod hostile;

use hostile::made::{add, bytes, torrent, write};
use hostile::peer::{EXTENDED, MODERN, message};
use hostile::tracker::{Tracker, answer, compact, with_head};
use hostile::{HONEST, HOSTILE, OURS, run, session, until};
use quelea::{AddTorrent, Error, Event, Fetched, MagnetRequest, Session, State};
use quelea_bencode::Item;
use quelea_metainfo::{Address, InfoHashes, Magnet, Metainfo};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A torrent of three files in a folder, its files, and a session that seeds it.
struct Seed {
    torrent: Vec<u8>,
    files: Vec<(&'static str, Vec<u8>)>,
    session: Session,
    _directory: TempDir,
}

impl Seed {
    async fn of(info: impl FnOnce(&mut Vec<u8>)) -> Self {
        let files = vec![("a", bytes(100_000, 1)), ("b/c", bytes(5, 2)), ("d", bytes(300_000, 3))];
        let mut torrent = torrent("folder", &files, 32_768);
        info(&mut torrent);
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "folder", &files);
        let session = session(HONEST, &directory);
        session.add(add(&torrent)).await.unwrap();
        Self { torrent, files, session, _directory: directory }
    }

    fn metainfo(&self) -> Metainfo {
        Metainfo::parse(&self.torrent).unwrap()
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(HONEST.into(), self.session.port())
    }

    /// A link with its address.
    fn link(&self) -> Magnet {
        Magnet { peers: vec![Address::Ip(self.address())], ..self.metainfo().magnet() }
    }
}

/// A stranger that gives this dictionary to one peer after the other. Where it listens.
async fn giver(at: Ipv4Addr, info_hash: [u8; 20], dictionary: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One that has heard enough may go at any moment.
            let _ = give(stream, info_hash, &dictionary).await;
        }
    });
    address
}

async fn give(mut stream: TcpStream, info_hash: [u8; 20], dictionary: &[u8]) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 68]).await?;
    let hello = [&b"\x13BitTorrent protocol"[..], &MODERN, &info_hash, b"-XX0000-000000000000"].concat();
    stream.write_all(&hello).await?;
    let size = dictionary.len();
    let said = format!("\0d1:md11:ut_metadatai9ee13:metadata_sizei{size}ee");
    stream.write_all(&message(EXTENDED, said.as_bytes())).await?;
    loop {
        let length = stream.read_u32().await? as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        // What is asked for is piece 0: there is no other.
        if payload.starts_with(&[EXTENDED, 9]) {
            let head = format!("\x01d8:msg_typei1e5:piecei0e10:total_sizei{size}ee");
            let mut said = head.into_bytes();
            said.extend_from_slice(dictionary);
            stream.write_all(&message(EXTENDED, &said)).await?;
        }
    }
}

async fn follow(session: &Session, magnet: Magnet) -> quelea::Result<Fetched> {
    session.fetch_metadata(MagnetRequest::new(magnet)).unwrap().finished().await
}

#[test]
fn a_link_with_a_peer_leads_to_the_whole_torrent() {
    run(async {
        let seed = Seed::of(|_| {}).await;
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let mut link = seed.link();
        link.web_seeds = vec!["http://w.example/".into()];
        let fetched = follow(&ours, link).await.unwrap();
        assert_eq!(fetched.metainfo().info, seed.metainfo().info);
        assert_eq!(fetched.metainfo().web_seeds, ["http://w.example/"]);
        assert_eq!(fetched.peers().collect::<Vec<_>>(), [seed.address()]);
        // Nobody names the peer again: the download begins with whom the fetch knew.
        let torrent = ours.add(AddTorrent::from_magnet(fetched)).await.unwrap();
        until(|| torrent.snapshot().state == State::Seeding).await;
        for (path, bytes) in &seed.files {
            assert_eq!(std::fs::read(directory.path().join("folder").join(path)).unwrap(), *bytes);
        }
        // Who has it by a link gives it on.
        let (third_directory, third) = (tempfile::tempdir().unwrap(), Ipv4Addr::new(127, 0, 1, 2));
        let third = session(third, &third_directory);
        let at = SocketAddr::new(OURS.into(), ours.port());
        let link = Magnet { peers: vec![Address::Ip(at)], ..seed.metainfo().magnet() };
        assert_eq!(follow(&third, link).await.unwrap().metainfo().info, seed.metainfo().info);
        for session in [ours, third, seed.session] {
            session.close().await;
        }
    });
}

#[test]
fn a_tracker_that_a_link_names_is_asked_and_hears_one_hello_of_fetch_and_download() {
    run(async {
        let seed = Seed::of(|_| {}).await;
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (queries, peer) = (Arc::clone(&asked), seed.address());
        let tracker = Tracker::http(move |mut query| {
            queries.lock().unwrap().push(query.target.clone());
            async move { query.say(&with_head(&answer(&compact([peer])))).await }
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let magnet = Magnet { trackers: vec![tracker.url.clone()], ..seed.metainfo().magnet() };
        let fetched = follow(&ours, magnet).await.unwrap();
        assert_eq!(fetched.metainfo().trackers, [[tracker.url.clone()]]);
        let torrent = ours.add(AddTorrent::from_magnet(fetched)).await.unwrap();
        until(|| torrent.snapshot().state == State::Seeding).await;
        ours.close().await;
        let asked = asked.lock().unwrap().clone();
        let of = |event: &str| asked.iter().filter(|query| query.contains(&format!("event={event}"))).count();
        assert_eq!((of("started"), of("stopped")), (1, 1), "{asked:?}");
        assert!(asked.first().is_some_and(|query| query.contains("left=16384")), "{asked:?}");
        seed.session.close().await;
    });
}

#[test]
fn a_private_torrent_begins_with_nobody_but_whom_its_trackers_named() {
    run(async {
        // The last entry of the info dictionary, which ends with the torrent.
        let make_private = |torrent: &mut Vec<u8>| {
            let inside = torrent.len() - 2;
            torrent.splice(inside..inside, *b"7:privatei1e");
        };
        let seed = Seed::of(make_private).await;
        assert!(seed.metainfo().info.private);
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let fetched = follow(&ours, seed.link()).await.unwrap();
        assert!(fetched.metainfo().info.private);
        assert_eq!(fetched.peers().count(), 0, "the link named it, and no tracker did");
        ours.close().await;
        seed.session.close().await;
    });
}

#[test]
fn a_peer_that_calls_gives_the_metadata_as_well() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let seed = Seed::of(|_| {}).await;
        let mut fetching = ours.fetch_metadata(MagnetRequest::new(seed.metainfo().magnet())).unwrap();
        // Somebody who has it is told of us, and we of nobody.
        let again = tempfile::tempdir().unwrap();
        write(again.path(), "folder", &seed.files);
        let caller = session(Ipv4Addr::new(127, 0, 1, 3), &again);
        let mut adding = add(&seed.torrent);
        adding.peers = vec![SocketAddr::new(OURS.into(), ours.port())];
        caller.add(adding).await.unwrap();
        let fetched = fetching.finished().await.unwrap();
        assert_eq!(fetched.metainfo().info, seed.metainfo().info);
        for session in [ours, caller, seed.session] {
            session.close().await;
        }
    });
}

#[test]
fn the_same_link_twice_is_refused_and_a_dropped_fetch_can_be_begun_again() {
    run(async {
        let seed = Seed::of(|_| {}).await;
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let silent = seed.metainfo().magnet();
        let fetching = ours.fetch_metadata(MagnetRequest::new(silent.clone())).unwrap();
        let again = ours.fetch_metadata(MagnetRequest::new(silent));
        assert!(matches!(again, Err(Error::Duplicate)));
        drop(fetching);
        until(|| ours.fetch_metadata(MagnetRequest::new(seed.metainfo().magnet())).is_ok()).await;
        let mut fetched = None;
        while fetched.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            fetched = match ours.fetch_metadata(MagnetRequest::new(seed.link())) {
                Ok(mut fetching) => Some(fetching.finished().await.unwrap()),
                Err(error) => {
                    assert!(matches!(error, Error::Duplicate));
                    None
                }
            };
        }
        // What nobody takes ends, and what was taken is a torrent of the session.
        drop(fetched);
        let torrent =
            ours.add(AddTorrent::from_magnet(follow(&ours, seed.link()).await.unwrap())).await.unwrap();
        let known = ours.fetch_metadata(MagnetRequest::new(seed.link()));
        assert!(matches!(known, Err(Error::Duplicate)));
        until(|| torrent.snapshot().state == State::Seeding).await;
        ours.close().await;
        seed.session.close().await;
    });
}

#[test]
fn the_end_of_the_session_ends_a_fetch() {
    run(async {
        let seed = Seed::of(|_| {}).await;
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let mut fetching = ours.fetch_metadata(MagnetRequest::new(seed.metainfo().magnet())).unwrap();
        ours.close().await;
        assert!(matches!(fetching.finished().await, Err(Error::Closed)));
        assert!(matches!(ours.fetch_metadata(MagnetRequest::new(seed.link())), Err(Error::Closed)));
        seed.session.close().await;
    });
}

#[test]
fn a_pure_v2_link_leads_to_metadata_and_says_that_it_cannot_be_downloaded() {
    run(async {
        // No session of ours seeds such a torrent, so a stranger gives its dictionary.
        let root = [7; 32];
        let file = Item::dict([(
            "",
            Item::dict([("length", Item::from(5)), ("pieces root", Item::from(&root[..]))]),
        )]);
        let info = Item::dict([
            ("file tree", Item::dict([("f", file)])),
            ("meta version", Item::from(2)),
            ("name", Item::from("f")),
            ("piece length", Item::from(16_384)),
        ])
        .encode();
        let hashes = InfoHashes::new(None, Some(quelea_digest::sha256(&info))).unwrap();
        let stranger = giver(HOSTILE, hashes.wire(), info).await;
        let link = format!("magnet:?xt=urn:btmh:1220{}&x.pe={stranger}", hashes.v2_hex().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let fetched = follow(&ours, Magnet::parse(&link).unwrap()).await.unwrap();
        assert_eq!(fetched.metainfo().info.name, "f");
        let refused = ours.add(AddTorrent::from_magnet(fetched)).await;
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
        ours.close().await;
    });
}

#[test]
fn who_gives_wrong_metadata_is_banned_and_not_called_for_the_download() {
    run(async {
        let seed = Seed::of(|_| {}).await;
        let hashes = seed.metainfo().info.hashes;
        let mut wrong = seed.metainfo().info.raw().to_vec();
        wrong[10] ^= 1;
        let liar = giver(HOSTILE, hashes.wire(), wrong).await;
        let directory = tempfile::tempdir().unwrap();
        let ours = session(OURS, &directory);
        let mut events = ours.events();
        let mut link = seed.metainfo().magnet();
        link.peers = vec![Address::Ip(liar)];
        let mut fetching = ours.fetch_metadata(MagnetRequest::new(link)).unwrap();
        let banned = loop {
            if let Some(Event::PeerBanned { id, address, .. }) = events.next().await {
                assert_eq!(id, fetching.id());
                break address;
            }
        };
        assert_eq!(banned, IpAddr::V4(HOSTILE));
        drop(fetching);
        let mut fetched = None;
        while fetched.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            fetched = ours.fetch_metadata(MagnetRequest::new(seed.link())).ok();
        }
        fetching = fetched.unwrap();
        let fetched = fetching.finished().await.unwrap();
        assert_eq!(fetched.peers().collect::<Vec<_>>(), [seed.address()]);
        ours.close().await;
        seed.session.close().await;
    });
}
