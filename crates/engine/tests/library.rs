//! A session's torrents: the queue, what a person does to them, and the library that brings them back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod made;
mod rights;

use made::{add, bytes, torrent, write};
use quelea::queue::{Goal, Goals, Limits, Move, Then};
use quelea::{AddTorrent, Error, Event, Session, Settings, State, Torrent};
use rights::holds_any;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const PIECE: usize = 32_768;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// Some small torrents, whose data lie in `seed`.
struct Bed {
    folder: tempfile::TempDir,
    torrents: Vec<Vec<u8>>,
}

impl Bed {
    fn new(torrents: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let torrents = (0..torrents).map(|number| {
            let name = format!("t{number}");
            let files =
                [("a", bytes(2 * PIECE, number as u64 + 1)), ("sub/b", bytes(PIECE, number as u64 + 99))];
            write(&folder.path().join("seed"), &name, &files);
            torrent(&name, &files, PIECE)
        });
        let torrents = torrents.collect();
        Self { folder, torrents }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, directory: &str) -> Settings {
        let mut settings = Settings::new(self.path(directory));
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        settings.state_dir = Some(self.path("state").join(directory));
        settings
    }

    /// A session with a library.
    async fn session(&self, directory: &str) -> (Session, Vec<Torrent>) {
        let session = Session::start(self.settings(directory)).unwrap();
        let torrents = session.restore().await.unwrap();
        (session, torrents)
    }

    fn add(&self, number: usize) -> AddTorrent {
        add(&self.torrents[number])
    }

    fn from(&self, number: usize, seed: &Session) -> AddTorrent {
        let mut torrent = self.add(number);
        torrent.peers = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())];
        torrent
    }
}

async fn becomes(torrent: &Torrent, state: State) {
    while torrent.snapshot().state != state {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn states(session: &Session) -> Vec<State> {
    session.torrents().iter().map(|torrent| torrent.snapshot().state).collect()
}

#[test]
fn torrents_come_back_as_they_were() {
    run(async {
        let bed = Bed::new(4);
        let (session, none) = bed.session("out").await;
        assert!(none.is_empty());
        session.set_queue_limits(Limits { downloads: Some(1), seeds: None, checks: 1, slow: None });
        let mut first = bed.add(0);
        first.labels = vec!["linux".into(), " linux\n".into(), String::new()];
        first.super_seeding = true;
        first.sequential = true;
        first.goals = Some(Goals { ratio: Some(2.5), then: Then::Remove, ..Goals::default() });
        let first = session.add(first).await.unwrap();
        let second = session.add(bed.add(1)).await.unwrap();
        let mut third = bed.add(2);
        third.paused = true;
        let third = session.add(third).await.unwrap();
        let mut fourth = bed.add(3);
        fourth.position = Move::Top;
        let fourth = session.add(fourth).await.unwrap();
        becomes(&fourth, State::Downloading).await;
        becomes(&first, State::Queued).await;
        third.set_position(Move::To(1)).await.unwrap();
        third.add_tracker(1, "http://127.0.0.1:1/announce").await.unwrap();
        third.add_tracker(0, "udp://127.0.0.1:2").await.unwrap();
        third.replace_tracker("udp://127.0.0.1:2", "udp://127.0.0.1:3").await.unwrap();
        assert!(matches!(third.add_tracker(0, "nonsense").await, Err(Error::BadTracker { .. })));
        assert!(matches!(third.remove_tracker("udp://x").await, Err(Error::BadTracker { .. })));
        second.set_labels(&["a".into(), "b".into()]).await.unwrap();
        second.set_super_seeding(true).await;
        second.set_sequential(true).await;
        let limits = quelea::Limits { download: NonZeroU64::new(5), upload: NonZeroU64::new(7) };
        third.set_limits(limits).await;
        second.force_start().await.unwrap();
        becomes(&second, State::Downloading).await;
        let ids = [&fourth, &third, &first, &second].map(Torrent::id);
        let told = |torrents: &[Torrent]| -> Vec<_> {
            let mut all: Vec<_> = torrents
                .iter()
                .map(|torrent| {
                    let snapshot = torrent.snapshot();
                    let trackers: Vec<_> =
                        torrent.trackers().into_iter().map(|tracker| (tracker.tier, tracker.url)).collect();
                    let goals = torrent.goals().unwrap();
                    let names: Vec<_> = torrent
                        .info()
                        .unwrap()
                        .files
                        .iter()
                        .map(|file| file.path.as_str().to_owned())
                        .collect();
                    let wishes = (torrent.is_super_seeding(), torrent.is_sequential(), torrent.limits());
                    let labels = snapshot.labels.clone();
                    (snapshot.position, torrent.id(), labels, trackers, goals, names, wishes)
                })
                .collect();
            all.sort_by_key(|torrent| torrent.0);
            all
        };
        let before = told(&session.torrents());
        assert_eq!(before.iter().map(|torrent| torrent.1).collect::<Vec<_>>(), ids);
        assert_eq!(
            before[1].3,
            [(0, "udp://127.0.0.1:3".to_owned()), (1, "http://127.0.0.1:1/announce".to_owned())]
        );
        assert_eq!(before[2].2, ["linux"]);
        let none = quelea::Limits::NONE;
        assert_eq!(before[1].6, (false, false, limits));
        assert_eq!((before[2].6, before[3].6), ((true, true, none), (true, true, none)));
        // No close: what was told is there.
        drop(session);
        let mut settings = bed.settings("out");
        settings.queue = Limits { downloads: Some(1), seeds: None, checks: 1, slow: None };
        let session = loop {
            let session = Session::start(settings.clone()).unwrap();
            match session.restore().await {
                Ok(_) => break session,
                // The first one's threads are ending.
                Err(Error::Library(why)) => assert!(why.contains("another session"), "{why}"),
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(told(&session.torrents()), before);
        let find = |wanted: &Torrent| {
            session.torrents().into_iter().find(|torrent| torrent.id() == wanted.id()).unwrap()
        };
        becomes(&find(&first), State::Queued).await;
        becomes(&find(&second), State::Downloading).await;
        becomes(&find(&third), State::Paused).await;
        becomes(&find(&fourth), State::Downloading).await;
        session.close().await;
    });
}

#[test]
fn one_session_at_a_time_has_the_library() {
    run(async {
        let bed = Bed::new(1);
        let (first, _) = bed.session("out").await;
        let second = Session::start(bed.settings("out")).unwrap();
        let Err(Error::Library(why)) = second.restore().await else { panic!("both have it") };
        assert!(why.contains("another session"), "{why}");
        second.add(bed.add(0)).await.unwrap();
        second.close().await;
        assert!(first.torrents().is_empty());
        first.close().await;
    });
}

#[test]
fn a_paused_torrent_has_no_task_and_goes_on_where_it_was() {
    run(async {
        let bed = Bed::new(1);
        let (seed, _) = bed.session("seed").await;
        seed.add(bed.add(0)).await.unwrap();
        let (leech, _) = bed.session("out").await;
        let mut paused = bed.from(0, &seed);
        paused.paused = true;
        let torrent = leech.add(paused).await.unwrap();
        assert_eq!(torrent.snapshot().state, State::Paused);
        assert!(!torrent.reannounce());
        assert!(!bed.path("out").exists(), "nothing was opened");
        torrent.resume().await.unwrap();
        becomes(&torrent, State::Downloading).await;
        torrent.pause().await.unwrap();
        assert_eq!(torrent.snapshot().state, State::Paused);
        leech.close().await;
        let (leech, torrents) = bed.session("out").await;
        assert_eq!(states(&leech), [State::Paused]);
        torrents[0].resume().await.unwrap();
        // Its peer was told when it was added alone: the seed's own session dials nobody, so it is added again.
        torrents[0].remove(false).await.unwrap();
        let torrent = leech.add(bed.from(0, &seed)).await.unwrap();
        becomes(&torrent, State::Seeding).await;
        assert_eq!(torrent.snapshot().downloaded, 3 * PIECE as u64);
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn a_seed_that_nobody_wants_rests_and_wakes_for_a_peer() {
    run(async {
        let bed = Bed::new(1);
        let mut settings = bed.settings("seed");
        settings.rest_after = Duration::from_millis(100);
        let seed = Session::start(settings).unwrap();
        seed.restore().await.unwrap();
        let seeded = seed.add(bed.add(0)).await.unwrap();
        for round in 1..=2 {
            // The right to the torrent goes with its task.
            let locks = bed.path("state/seed/locks");
            while holds_any(&locks).unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(seeded.snapshot().state, State::Seeding);
            assert_eq!(seeded.info().unwrap().files.len(), 2);
            let directory = format!("out{round}");
            let (leech, _) = bed.session(&directory).await;
            let leeched = leech.add(bed.from(0, &seed)).await.unwrap();
            becomes(&leeched, State::Seeding).await;
            leech.close().await;
            while seeded.snapshot().uploaded < round * 3 * PIECE as u64 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(seeded.snapshot().uploaded_ever, round * 3 * PIECE as u64);
        }
        seed.close().await;
    });
}

#[test]
fn removing_with_data_deletes_the_torrents_own_files_alone() {
    run(async {
        let bed = Bed::new(2);
        let (session, _) = bed.session("seed").await;
        let first = session.add(bed.add(0)).await.unwrap();
        let second = session.add(bed.add(1)).await.unwrap();
        let seed = bed.path("seed");
        std::fs::write(seed.join("t0/sub/mine"), "mine").unwrap();
        std::os::unix::fs::symlink(seed.join("t0"), seed.join("link")).unwrap();
        first.remove(true).await.unwrap();
        let exists = |path: &str| Path::exists(&seed.join(path));
        assert!(!exists("t0/a") && !exists("t0/sub/b"));
        assert!(exists("t0/sub/mine") && exists("link") && exists("t1/a"));
        assert!(matches!(first.pause().await, Err(Error::Gone)));
        assert!(matches!(first.remove(true).await, Err(Error::Gone)));
        second.remove(false).await.unwrap();
        assert!(exists("t1/a") && exists("t1/sub/b"));
        assert!(session.torrents().is_empty());
        let second = session.add(bed.add(1)).await.unwrap();
        assert_eq!(second.snapshot().state, State::Seeding, "its data are found again");
        second.remove(true).await.unwrap();
        assert!(!exists("t1"), "folders that are empty go too");
        assert!(seed.exists());
        session.close().await;
        let (session, torrents) = bed.session("seed").await;
        assert!(torrents.is_empty());
        session.close().await;
    });
}

#[test]
fn removing_with_data_leaves_files_that_another_torrent_reaches_by_a_link() {
    run(async {
        let bed = Bed::new(1);
        let seed = bed.path("seed");
        // The same files in other pieces.
        let files = [("a", bytes(2 * PIECE, 1)), ("sub/b", bytes(PIECE, 99))];
        let other = torrent("t0", &files, PIECE / 2);
        std::os::unix::fs::symlink(&seed, bed.path("directory")).unwrap();
        std::fs::create_dir_all(bed.path("folder")).unwrap();
        std::os::unix::fs::symlink(seed.join("t0"), bed.path("folder/t0")).unwrap();
        std::fs::create_dir_all(bed.path("files/t0/sub")).unwrap();
        for (path, _) in &files {
            std::os::unix::fs::symlink(seed.join("t0").join(path), bed.path("files/t0").join(path)).unwrap();
        }
        let (session, _) = bed.session("seed").await;
        for by in ["directory", "folder", "files"] {
            let mut adding = add(&other);
            adding.output_dir = Some(bed.path(by));
            let linked = session.add(adding).await.unwrap();
            let torrent = session.add(bed.add(0)).await.unwrap();
            for torrent in [&linked, &torrent] {
                becomes(torrent, State::Seeding).await;
            }
            torrent.remove(true).await.unwrap();
            for (path, _) in &files {
                assert!(seed.join("t0").join(path).is_file(), "{path} was deleted, which is shared by {by}");
            }
            linked.remove(false).await.unwrap();
        }
        let torrent = session.add(bed.add(0)).await.unwrap();
        torrent.remove(true).await.unwrap();
        assert!(!seed.join("t0").exists(), "nobody else has them");
        session.close().await;
    });
}

#[test]
fn a_goal_that_is_reached_removes_the_torrent() {
    run(async {
        let bed = Bed::new(1);
        let (seed, _) = bed.session("seed").await;
        let mut events = seed.events();
        let mut torrent = bed.add(0);
        torrent.goals = Some(Goals { ratio: Some(1.0), then: Then::RemoveWithData, ..Goals::default() });
        seed.add(torrent).await.unwrap();
        let (leech, _) = bed.session("out").await;
        let leeched = leech.add(bed.from(0, &seed)).await.unwrap();
        becomes(&leeched, State::Seeding).await;
        let mut reached = false;
        loop {
            match events.next().await.unwrap() {
                Event::GoalReached { goal: Goal::Ratio, then: Then::RemoveWithData, .. } => reached = true,
                Event::Removed { data: true, .. } => break,
                _ => {}
            }
        }
        assert!(reached);
        assert!(seed.torrents().is_empty() && !bed.path("seed/t0").exists());
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn so_many_download_at_a_time_and_the_next_follows() {
    run(async {
        let bed = Bed::new(5);
        let (seed, _) = bed.session("seed").await;
        let mut settings = bed.settings("out");
        settings.queue = Limits { downloads: Some(2), seeds: Some(1), checks: 1, slow: None };
        let leech = Session::start(settings).unwrap();
        leech.restore().await.unwrap();
        for number in 0..5 {
            leech.add(bed.from(number, &seed)).await.unwrap();
        }
        let running = |states: &[State]| states.iter().filter(|state| **state == State::Downloading).count();
        assert_eq!(running(&states(&leech)), 2);
        for number in 0..2 {
            seed.add(bed.add(number)).await.unwrap();
        }
        // The first two complete; one of them seeds, and the next two download.
        loop {
            let states = states(&leech);
            let queued = states.iter().filter(|state| **state == State::Queued).count();
            let seeding = states.iter().filter(|state| **state == State::Seeding).count();
            if (seeding, queued, running(&states)) == (1, 2, 2) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        leech.close().await;
        seed.close().await;
    });
}
