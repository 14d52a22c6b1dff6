//! Magnet links among a session's torrents: seen, paused, removed, and brought back by the next session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::queue::{Goals, Then};
use quelea::{AddMagnet, Error, Event, Session, Settings, State, Torrent};
use quelea_metainfo::{Address, Magnet, Metainfo, Selection};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A torrent of three files, a session that seeds it, and a link that leads to nobody.
struct Bed {
    folder: tempfile::TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
    torrent: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![("a", bytes(65_536, 1)), ("b", bytes(65_536, 2)), ("c", bytes(65_536, 3))];
        write(&folder.path().join("seed"), "folder", &files);
        let torrent = torrent("folder", &files, 32_768);
        Self { folder, files, torrent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, directory: &str, state: Option<&str>) -> Session {
        let mut settings = Settings::new(self.path(directory));
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        settings.state_dir = state.map(|state| self.path(state));
        Session::start(settings).unwrap()
    }

    async fn seed(&self) -> (Session, SocketAddr) {
        let seed = self.start("seed", None);
        seed.add(add(&self.torrent)).await.unwrap();
        let address = SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port());
        (seed, address)
    }

    /// A session with a library.
    async fn session(&self, state: &str) -> (Session, Vec<Torrent>) {
        let session = self.start("out", Some(state));
        let torrents = session.restore().await.unwrap();
        (session, torrents)
    }

    fn magnet(&self) -> Magnet {
        Metainfo::parse(&self.torrent).unwrap().magnet()
    }
}

async fn becomes(torrent: &Torrent, state: State) {
    while torrent.snapshot().state != state {
        assert!(
            state == State::Failed || torrent.snapshot().error.is_none(),
            "{:?}",
            torrent.snapshot().error
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What is on the disk at this moment, as after a kill.
fn copy_state(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn a_link_is_a_torrent_of_the_session_and_after_a_kill_of_the_next_and_becomes_what_it_leads_to() {
    run(async {
        let bed = Bed::new();
        let (session, none) = bed.session("state").await;
        assert!(none.is_empty());
        let mut magnet = bed.magnet();
        magnet.trackers = vec!["http://127.0.0.1:1/announce".into()];
        magnet.select_only = Some(Selection::parse("0,2"));
        let mut link = AddMagnet::new(magnet.clone());
        link.output_dir = Some(bed.path("elsewhere"));
        link.labels = vec!["linux".into()];
        link.sequential = true;
        let goals = Goals { ratio: Some(1.5), then: Then::Pause, ..Goals::default() };
        link.goals = Some(goals);
        let added = session.add_magnet(link.clone()).await.unwrap();
        let again = session.add_magnet(link).await;
        assert!(matches!(again, Err(Error::Duplicate)));
        assert!(matches!(session.add(add(&bed.torrent)).await, Err(Error::Duplicate)));
        assert_eq!(session.torrents().len(), 1);
        let snapshot = added.snapshot();
        assert_eq!((snapshot.state, snapshot.name.as_str()), (State::FetchingMetadata, "folder"));
        assert_eq!((snapshot.fraction(), snapshot.trackers.len()), (0.0, 1));
        assert!(matches!(added.info(), Err(Error::NoMetadata)));
        assert!(matches!(added.placement().await, Err(Error::NoMetadata)));
        copy_state(&bed.path("state"), &bed.path("killed"));
        session.close().await;

        let (session, torrents) = bed.session("killed").await;
        let mut events = session.events();
        let [back] = torrents.as_slice() else { panic!("{torrents:?}") };
        assert_eq!((back.id(), back.info_hash()), (added.id(), added.info_hash()));
        assert_eq!(back.snapshot().state, State::FetchingMetadata);
        assert_eq!((back.labels(), back.is_sequential()), (vec!["linux".to_owned()], true));
        assert_eq!(back.goals().unwrap(), goals);
        assert_eq!(back.trackers()[0].url, magnet.trackers[0]);
        let (seed, address) = bed.seed().await;
        back.add_peers(&[address]).await.unwrap();
        while !matches!(events.next().await.unwrap(), Event::MetadataFetched(id) if id == back.id()) {}
        becomes(back, State::Seeding).await;
        assert_eq!(back.info().unwrap().name, "folder");
        assert_eq!((back.labels(), back.goals().unwrap()), (vec!["linux".to_owned()], goals));
        for (number, (name, bytes)) in bed.files.iter().enumerate() {
            let found = std::fs::read(bed.path("elsewhere/folder").join(name));
            assert_eq!(found.is_ok_and(|found| found == *bytes), number != 1, "{name}");
        }
        assert_eq!(session.torrents().len(), 1);
        session.close().await;
        let (session, torrents) = bed.session("killed").await;
        let [torrent] = torrents.as_slice() else { panic!("{torrents:?}") };
        assert_eq!(torrent.id(), added.id());
        becomes(torrent, State::Seeding).await;
        session.close().await;
        seed.close().await;
    });
}

#[test]
fn the_peers_of_a_link_are_called_by_the_next_session_too() {
    run(async {
        let bed = Bed::new();
        let (seed, address) = bed.seed().await;
        let (session, _) = bed.session("state").await;
        let mut link = AddMagnet::new(Magnet { peers: vec![Address::Ip(address)], ..bed.magnet() });
        link.paused = true;
        let paused = session.add_magnet(link).await.unwrap();
        assert_eq!(paused.snapshot().state, State::Paused);
        session.close().await;
        let (session, torrents) = bed.session("state").await;
        let [back] = torrents.as_slice() else { panic!("{torrents:?}") };
        assert_eq!(back.snapshot().state, State::Paused);
        back.resume().await.unwrap();
        becomes(back, State::Seeding).await;
        session.close().await;
        seed.close().await;
    });
}

#[test]
fn a_link_can_be_paused_and_resumed_at_any_moment_and_removed_for_good() {
    run(async {
        let bed = Bed::new();
        let (session, _) = bed.session("state").await;
        let link = session.add_magnet(AddMagnet::new(bed.magnet())).await.unwrap();
        for _ in 0..10 {
            link.pause().await.unwrap();
            assert_eq!(link.snapshot().state, State::Paused);
            assert!(link.add_peers(&[]).await.is_err(), "nobody takes them");
            link.resume().await.unwrap();
            assert_eq!(link.snapshot().state, State::FetchingMetadata);
            link.add_peers(&[]).await.unwrap();
        }
        link.remove(true).await.unwrap();
        assert!(matches!(link.pause().await, Err(Error::Gone)));
        assert!(session.torrents().is_empty());
        session.close().await;
        let (session, torrents) = bed.session("state").await;
        assert!(torrents.is_empty());
        // Its place is free.
        let (seed, address) = bed.seed().await;
        let mut link = AddMagnet::new(bed.magnet());
        link.peers = vec![address];
        let torrent = session.add_magnet(link).await.unwrap();
        becomes(&torrent, State::Seeding).await;
        session.close().await;
        seed.close().await;
    });
}

#[test]
fn a_link_that_selects_no_file_stays_and_says_so() {
    run(async {
        let bed = Bed::new();
        let (seed, address) = bed.seed().await;
        let (session, _) = bed.session("state").await;
        let magnet = Magnet { select_only: Some(Selection::parse("7")), ..bed.magnet() };
        let mut link = AddMagnet::new(magnet);
        link.peers = vec![address];
        let link = session.add_magnet(link).await.unwrap();
        becomes(&link, State::Failed).await;
        assert!(link.snapshot().error.as_deref().unwrap().contains("no file"), "{:?}", link.snapshot().error);
        link.remove(false).await.unwrap();
        session.close().await;
        seed.close().await;
    });
}
