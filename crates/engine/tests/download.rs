//! Sessions that download from each other over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{AddTorrent, Error, Event, Session, Settings, State, Torrent};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

fn session(directory: &Path) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    Session::start(settings).unwrap()
}

fn address(session: &Session) -> SocketAddr {
    SocketAddr::new("127.0.0.1".parse().unwrap(), session.port())
}

fn from(mut torrent: AddTorrent, peers: &[&Session]) -> AddTorrent {
    torrent.peers = peers.iter().map(|session| address(session)).collect();
    torrent
}

async fn complete(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        assert_ne!(torrent.snapshot().state, State::Failed, "{:?}", torrent.snapshot().error);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn same(directory: &Path, name: &str, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = if path.is_empty() { directory.join(name) } else { directory.join(name).join(path) };
        assert!(std::fs::read(&path).unwrap() == *bytes, "{} differs", path.display());
    }
}

#[test]
fn a_file_goes_from_one_session_to_three() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(5_000_000, 1))];
        let torrent = torrent("file", &files, 65_536);
        write(seed_dir.path(), "file", &files);
        let seed = session(seed_dir.path());
        let seeded = seed.add(add(&torrent)).await.unwrap();
        assert_eq!(seeded.snapshot().fraction(), 1.0, "data that is there is found");
        let mut leeches = Vec::new();
        for number in 0..3 {
            let directory = leech_dir.path().join(number.to_string());
            let leech = session(&directory);
            let leeched = leech.add(from(add(&torrent), &[&seed])).await.unwrap();
            leeches.push((directory, leech, leeched));
        }
        for (directory, leech, leeched) in &leeches {
            complete(leeched).await;
            same(directory, "file", &files);
            assert_eq!(leeched.snapshot().wasted, 0);
            leech.close().await;
        }
        seed.close().await;
    });
}

#[test]
fn many_files_of_all_sizes_arrive_whole() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [
            ("empty", Vec::new()),
            ("a/one", bytes(1, 1)),
            ("a/b/larger", bytes(300_000, 2)),
            ("a/b/empty too", Vec::new()),
            ("last", bytes(70_001, 3)),
        ];
        let torrent = torrent("folder", &files, 32_768);
        write(seed_dir.path(), "folder", &files);
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        seed.add(add(&torrent)).await.unwrap();
        let mut events = leech.events();
        let leeched = leech.add(from(add(&torrent), &[&seed])).await.unwrap();
        while !matches!(events.next().await, Some(Event::Completed(id)) if id == leeched.id()) {}
        same(leech_dir.path(), "folder", &files);
        leech.close().await;
        assert!(
            events.next().await.is_some_and(|event| matches!(event, Event::Progress(..)))
                || events.next().await.is_none()
        );
        seed.close().await;
    });
}

#[test]
fn a_torrent_that_lost_a_file_is_never_said_to_be_complete() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // It takes a while to look at all of them.
        let names: Vec<String> = (0..500).map(|number| format!("{number:04}")).collect();
        let mut files: Vec<(&str, Vec<u8>)> =
            names.iter().map(|name| (name.as_str(), vec![1; 100])).collect();
        files.push(("last", bytes(70_001, 3)));
        let torrent = torrent("folder", &files, 32_768);
        write(seed_dir.path(), "folder", &files);
        write(leech_dir.path(), "folder", &files[500..]);
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        let mut events = leech.events();
        let leeched = leech.add(add(&torrent)).await.unwrap();
        assert!(leeched.snapshot().pieces_have > 0, "the last file was found");
        std::fs::remove_file(leech_dir.path().join("folder/last")).unwrap();
        let _seeded = seed.add(from(add(&torrent), &[&leech])).await.unwrap();
        let message = loop {
            match events.next().await.expect("a session that runs") {
                Event::Failed { message, .. } => break message,
                Event::Completed(_) => panic!("it is told to be complete"),
                Event::Progress(_, snapshot) => assert_ne!(snapshot.state, State::Seeding),
                _ => {}
            }
        };
        assert!(message.contains("last"), "{message}");
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn only_wanted_files_are_written() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("one", bytes(50_000, 1)), ("two", bytes(50_000, 2)), ("three", bytes(50_000, 3))];
        let torrent = torrent("folder", &files, 32_768);
        write(seed_dir.path(), "folder", &files);
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        seed.add(add(&torrent)).await.unwrap();
        let mut wish = from(add(&torrent), &[&seed]);
        wish.wanted = Some(vec![false, true, false]);
        let leeched = leech.add(wish).await.unwrap();
        complete(&leeched).await;
        same(leech_dir.path(), "folder", &files[1..2]);
        assert!(!leech_dir.path().join("folder/one").exists());
        assert!(!leech_dir.path().join("folder/three").exists());
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn what_was_interrupted_goes_on_where_it_was() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(3_000_000, 4))];
        let torrent = torrent("file", &files, 32_768);
        write(seed_dir.path(), "file", &files);
        // Half of it is good, a piece in between is not.
        let mut half = files[0].1[..1_500_000].to_vec();
        half[100_000] ^= 1;
        write(leech_dir.path(), "file", &[("", half)]);
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        seed.add(add(&torrent)).await.unwrap();
        let leeched = leech.add(from(add(&torrent), &[&seed])).await.unwrap();
        complete(&leeched).await;
        same(leech_dir.path(), "file", &files);
        let fetched = leeched.snapshot().downloaded;
        assert!((1_500_000..=1_600_000).contains(&fetched), "{fetched} bytes were fetched");
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn pieces_longer_than_the_memory_arrive() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("", bytes(9_000_000, 5))];
        let torrent = torrent("file", &files, 1 << 20);
        write(seed_dir.path(), "file", &files);
        let seed = session(seed_dir.path());
        seed.add(add(&torrent)).await.unwrap();
        let mut settings = Settings::new(leech_dir.path());
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        settings.memory = 1;
        let leech = Session::start(settings).unwrap();
        let leeched = leech.add(from(add(&torrent), &[&seed])).await.unwrap();
        complete(&leeched).await;
        same(leech_dir.path(), "file", &files);
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn what_cannot_be_added_is_refused_with_the_reason() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let session = session(directory.path());
        let made = torrent("file", &[("", bytes(100_000, 1))], 32_768);
        let mut nothing = add(&made);
        nothing.wanted = Some(vec![false]);
        assert!(matches!(session.add(nothing).await, Err(Error::NothingSelected)));
        session.add(add(&made)).await.unwrap();
        assert!(matches!(session.add(add(&made)).await, Err(Error::Duplicate)));
        assert!(matches!(AddTorrent::from_bytes(b"d4:infoi1ee"), Err(Error::Metainfo(_))));
        assert!(matches!(AddTorrent::from_file("no such file"), Err(Error::ReadTorrent { .. })));
        session.close().await;
        let other = torrent("other", &[("", bytes(100_000, 2))], 32_768);
        assert!(matches!(session.add(add(&other)).await, Err(Error::Closed)));
    });
}

#[test]
fn a_file_in_the_way_of_a_folder_is_told_with_its_path() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("folder"), b"in the way").unwrap();
        let session = session(directory.path());
        let made = torrent("folder", &[("one", bytes(50_000, 1)), ("two", bytes(50_000, 2))], 32_768);
        let error = session.add(add(&made)).await.unwrap_err();
        assert!(error.to_string().contains("folder"), "{error}");
        session.close().await;
        assert_eq!(std::fs::read(directory.path().join("folder")).unwrap(), b"in the way");
    });
}

#[test]
fn the_next_port_is_taken_when_one_is_in_use() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let first = session(directory.path());
        let mut settings = Settings::new(directory.path());
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        settings.port = first.port();
        let second = Session::start(settings).unwrap();
        assert_ne!(first.port(), second.port());
        first.close().await;
        second.close().await;
    });
}
