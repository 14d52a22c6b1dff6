//! What is done to a torrent's files, whether or not it runs, and what the next session makes of it.
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
use quelea::{AddTorrent, Error, Event, Events, Existing, Priority, Session, Settings, State, Torrent};
use rights::holds_any;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const PIECE: usize = 32_768;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A torrent, a directory where all of it lies, places to move to, one of them on another file system if there is
/// one.
struct Bed {
    folder: tempfile::TempDir,
    memory: Option<tempfile::TempDir>,
    files: Vec<(&'static str, Vec<u8>)>,
    torrent: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![
            ("a", bytes(40 * PIECE + 5, 1)),
            ("sub/b", bytes(8 * PIECE, 2)),
            ("sub/c", bytes(100_000, 3)),
            ("sub/d", bytes(30 * PIECE, 4)),
        ];
        write(&folder.path().join("seed"), "folder", &files);
        let torrent = torrent("folder", &files, PIECE);
        Self { folder, memory: tempfile::tempdir_in("/dev/shm").ok(), files, torrent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A place on another file system, where there is one.
    fn far(&self, name: &str) -> PathBuf {
        self.memory.as_ref().unwrap_or(&self.folder).path().join(name)
    }

    fn length(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn settings(&self, directory: &str) -> Settings {
        let mut settings = Settings::new(self.path(directory));
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        settings
    }

    async fn seed(&self) -> Session {
        let seed = Session::start(self.settings("seed")).unwrap();
        seed.add(add(&self.torrent)).await.unwrap();
        seed
    }

    fn leech(&self) -> Session {
        let mut settings = self.settings("out");
        settings.state_dir = Some(self.path("state"));
        Session::start(settings).unwrap()
    }

    fn from(&self, seed: &Session) -> AddTorrent {
        let mut torrent = add(&self.torrent);
        torrent.peers = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())];
        torrent
    }

    /// Every file has its content at these paths.
    fn assert_at(&self, directory: &Path, paths: &[&str]) {
        for (path, (name, bytes)) in paths.iter().zip(&self.files) {
            let found = std::fs::read(directory.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(found == *bytes, "{name} differs at {path}");
        }
    }
}

const NAMES: [&str; 4] = ["folder/a", "folder/sub/b", "folder/sub/c", "folder/sub/d"];

async fn complete(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        assert_ne!(torrent.snapshot().state, State::Failed, "{:?}", torrent.snapshot().error);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn next(events: &mut Events) -> Event {
    events.next().await.expect("the session is open")
}

/// Whether pieces were hashed when a torrent was added, and how many were good.
async fn hashed(events: &mut Events) -> (bool, u32) {
    let mut hashed = false;
    loop {
        match next(events).await {
            Event::Progress(_, snapshot) => hashed |= snapshot.state == State::Checking,
            Event::Checked { good, .. } => return (hashed, good),
            _ => {}
        }
    }
}

#[test]
fn files_move_to_and_fro_while_they_are_downloaded_and_the_next_session_finds_them() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        let mut events = leech.events();
        for place in ["near", "far", "other", "far"] {
            let to = if place == "far" { bed.far(place) } else { bed.path(place) };
            leeched.move_to(&to, Existing::Refuse).outcome().await.unwrap();
            assert_eq!(leeched.placement().await.unwrap().directory, to);
        }
        while !matches!(next(&mut events).await, Event::FilesMoved { .. }) {}
        complete(&leeched).await;
        leech.close().await;
        assert_eq!(leeched.snapshot().downloaded - leeched.snapshot().wasted, bed.length());
        bed.assert_at(&bed.far("far"), &NAMES);
        for gone in ["out", "near", "other"] {
            let left = std::fs::read_dir(bed.path(gone)).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "something is left in {gone}");
        }
        // The directory that it was added with leads there, and nothing is hashed or fetched.
        for _ in 0..2 {
            let again = bed.leech();
            let mut events = again.events();
            let torrent = again.add(bed.from(&seed)).await.unwrap();
            assert!(!hashed(&mut events).await.0, "it was hashed");
            assert_eq!(torrent.placement().await.unwrap().directory, bed.far("far"));
            complete(&torrent).await;
            again.close().await;
            assert_eq!(torrent.snapshot().downloaded, 0);
        }
        // So does the one where it is; and it can go home.
        let again = bed.leech();
        let torrent = again.add(bed.from(&seed)).await.unwrap();
        torrent.move_to(bed.path("out"), Existing::Refuse).outcome().await.unwrap();
        again.close().await;
        bed.assert_at(&bed.path("out"), &NAMES);
        let again = bed.leech();
        let mut events = again.events();
        let torrent = again.add(bed.from(&seed)).await.unwrap();
        assert!(!hashed(&mut events).await.0, "it was hashed at home");
        assert_eq!(torrent.placement().await.unwrap().directory, bed.path("out"));
        again.close().await;
        seed.close().await;
    });
}

#[test]
fn a_move_that_cannot_be_says_why_and_the_torrent_goes_on() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        let mut events = leech.events();
        write(&bed.path("taken"), "folder", &[("a", b"theirs".to_vec())]);
        let error = leeched.move_to(bed.path("taken"), Existing::Refuse).outcome().await.unwrap_err();
        assert!(error.to_string().contains("taken/folder/a\" is there already; move it away"), "{error}");
        loop {
            if let Event::MoveFailed { message, .. } = next(&mut events).await {
                assert!(message.contains("is there already"), "{message}");
                break;
            }
        }
        std::fs::write(bed.path("file"), "").unwrap();
        assert!(leeched.move_to(bed.path("file"), Existing::Refuse).outcome().await.is_err());
        assert_eq!(std::fs::read(bed.path("taken/folder/a")).unwrap(), b"theirs");
        complete(&leeched).await;
        bed.assert_at(&bed.path("out"), &NAMES);
        leeched.move_to(bed.path("taken"), Existing::Replace).outcome().await.unwrap();
        bed.assert_at(&bed.path("taken"), &NAMES);
        // What is adopted is hashed: here a file of which two pieces are wrong.
        let mut wrong = bed.files[0].1.clone();
        wrong[PIECE] ^= 1;
        wrong[5 * PIECE] ^= 1;
        write(&bed.path("adopted"), "folder", &[("a", wrong)]);
        leeched.move_to(bed.path("adopted"), Existing::Adopt).outcome().await.unwrap();
        complete(&leeched).await;
        let snapshot = leeched.snapshot();
        assert_eq!(snapshot.downloaded - snapshot.wasted, bed.length() + 2 * PIECE as u64);
        bed.assert_at(&bed.path("adopted"), &NAMES);
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn names_are_new_at_once_and_remembered() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        leeched.rename("folder/sub", "folder/other/deep").await.unwrap();
        leeched.rename("folder/a", "folder/A b").await.unwrap();
        for bad in ["", "..", "../x", "/x", "folder/con", "folder/a:b", "folder/x.", "folder/other/deep/b"] {
            let error = leeched.rename("folder/A b", bad).await.unwrap_err();
            assert!(matches!(error, Error::BadName(_) | Error::Storage(_)), "{bad}: {error}");
        }
        assert!(matches!(leeched.rename("folder/a", "folder/x").await, Err(Error::NoSuchFile(_))));
        complete(&leeched).await;
        let names = ["folder/A b", "folder/other/deep/b", "folder/other/deep/c", "folder/other/deep/d"];
        bed.assert_at(&bed.path("out"), &names);
        leeched.rename("folder", "all").await.unwrap();
        let names = names.map(|name| name.replace("folder", "all"));
        let names = names.each_ref().map(String::as_str);
        bed.assert_at(&bed.path("out"), &names);
        assert!(!bed.path("out/folder").exists());
        leech.close().await;
        let again = bed.leech();
        let mut events = again.events();
        let torrent = again.add(bed.from(&seed)).await.unwrap();
        assert!(!hashed(&mut events).await.0, "it was hashed");
        let placement = torrent.placement().await.unwrap();
        assert_eq!(placement.paths, names.map(PathBuf::from));
        torrent.move_to(bed.far("far"), Existing::Refuse).outcome().await.unwrap();
        again.close().await;
        bed.assert_at(&bed.far("far"), &names);
        seed.close().await;
    });
}

#[test]
fn priorities_change_while_it_runs_and_no_byte_is_fetched_twice() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        let mut some = bed.from(&seed);
        some.wanted = Some(vec![false, true, false, false]);
        let leeched = leech.add(some).await.unwrap();
        complete(&leeched).await;
        let (off, on) = (Priority::UNWANTED, Priority::USUAL);
        let none = leeched.set_file_priorities(vec![off; 4]).await;
        assert!(matches!(none, Err(Error::NothingSelected)), "{none:?}");
        leeched.set_file_priorities(vec![off, off, Priority::HIGHEST, off]).await.unwrap();
        complete(&leeched).await;
        assert!(!bed.path("out/folder/a").exists());
        leeched.set_file_priorities(vec![on, off, on, off]).await.unwrap();
        complete(&leeched).await;
        leech.close().await;
        // It is remembered, unless somebody says otherwise.
        let leech = bed.leech();
        let leeched_again = leech.add(bed.from(&seed)).await.unwrap();
        assert_eq!(leeched_again.placement().await.unwrap().wanted, [true, false, true, false]);
        complete(&leeched_again).await;
        assert_eq!(leeched_again.snapshot().downloaded, 0);
        leeched_again.set_file_priorities(vec![on; 4]).await.unwrap();
        complete(&leeched_again).await;
        let sum = |torrent: &Torrent| torrent.snapshot().downloaded - torrent.snapshot().wasted;
        assert_eq!(sum(&leeched) + sum(&leeched_again), bed.length());
        bed.assert_at(&bed.path("out"), &NAMES);
        let left: Vec<_> =
            std::fs::read_dir(bed.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["folder"], "the part file is left");
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn what_is_good_after_a_recheck_is_what_is_on_the_disk() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        complete(&leeched).await;
        let pieces = leeched.snapshot().pieces;
        seed.close().await;
        let mut changed = bed.files[0].1.clone();
        changed[7 * PIECE] ^= 1;
        std::fs::write(bed.path("out/folder/a"), changed).unwrap();
        std::fs::remove_file(bed.path("out/folder/sub/b")).unwrap();
        let mut events = leech.events();
        let recheck = leeched.recheck();
        let progress = recheck.progress();
        recheck.outcome().await.unwrap();
        assert_eq!(progress.checked(), pieces);
        let (hashed, good) = hashed(&mut events).await;
        assert!(hashed, "nobody saw it");
        // One piece, and the file's eight that begin and end within others.
        assert_eq!(good, pieces - 1 - 9);
        assert_eq!(leeched.snapshot().state, State::Downloading);
        let seed = bed.seed().await;
        let before = leeched.snapshot().downloaded;
        leech.close().await;
        let leech = bed.leech();
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        complete(&leeched).await;
        assert!(before >= bed.length());
        assert_eq!(leeched.snapshot().downloaded, 10 * PIECE as u64);
        bed.assert_at(&bed.path("out"), &NAMES);
        // One that is cancelled changes nothing that it has not looked at.
        loop {
            let recheck = leeched.recheck();
            recheck.progress().cancel();
            // It may be over before it is cancelled.
            if recheck.outcome().await.is_err() {
                break;
            }
        }
        complete(&leeched).await;
        assert_eq!(leeched.snapshot().pieces_have, pieces);
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn what_is_incomplete_lies_apart_and_moves_when_it_is_complete() {
    run(async {
        let bed = Bed::new();
        let seed = bed.seed().await;
        for (state, incomplete) in [("state", bed.path("incomplete")), ("none", bed.far("incomplete"))] {
            let mut settings = bed.settings("out");
            settings.state_dir = (state == "state").then(|| bed.path("state"));
            settings.incomplete_dir = Some(incomplete.clone());
            let leech = Session::start(settings.clone()).unwrap();
            let mut events = leech.events();
            let leeched = leech.add(add(&bed.torrent)).await.unwrap();
            assert_eq!(leeched.placement().await.unwrap().directory, incomplete);
            leech.close().await;
            drop(events);
            let leech = Session::start(settings.clone()).unwrap();
            events = leech.events();
            let leeched = leech.add(bed.from(&seed)).await.unwrap();
            assert_eq!(leeched.placement().await.unwrap().directory, incomplete);
            let mut moved = false;
            loop {
                match next(&mut events).await {
                    Event::FilesMoved { directory, .. } => moved = directory == bed.path("out"),
                    Event::Completed(_) => break,
                    _ => {}
                }
            }
            assert!(moved, "it was complete before it was there");
            bed.assert_at(&bed.path("out"), &NAMES);
            leech.close().await;
            let left = std::fs::read_dir(&incomplete).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "something is left");
            let leech = Session::start(settings).unwrap();
            let leeched = leech.add(bed.from(&seed)).await.unwrap();
            complete(&leeched).await;
            assert_eq!(leeched.placement().await.unwrap().directory, bed.path("out"));
            leech.close().await;
            std::fs::remove_dir_all(bed.path("out")).unwrap();
        }
        seed.close().await;
    });
}

#[test]
fn a_seed_that_rests_moves_and_is_removed_where_it_is() {
    run(async {
        let bed = Bed::new();
        let mut settings = bed.settings("seed");
        settings.state_dir = Some(bed.path("state"));
        settings.rest_after = Duration::from_millis(50);
        let seed = Session::start(settings).unwrap();
        seed.restore().await.unwrap();
        let seeded = seed.add(add(&bed.torrent)).await.unwrap();
        // The right to the torrent goes with its task.
        let rests = async || {
            while !holds_nothing(&bed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        rests().await;
        seeded.move_to(bed.path("moved"), Existing::Refuse).outcome().await.unwrap();
        rests().await;
        seeded.rename("folder/a", "folder/e").await.unwrap();
        bed.assert_at(&bed.path("moved"), &["folder/e", "folder/sub/b", "folder/sub/c", "folder/sub/d"]);
        rests().await;
        write(&bed.path("moved"), "folder", &[("a", b"somebody else's".to_vec())]);
        seeded.remove(true).await.unwrap();
        let left: Vec<_> = std::fs::read_dir(bed.path("moved/folder")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(std::fs::read(bed.path("moved/folder/a")).unwrap(), b"somebody else's");
        seed.close().await;
    });
}

#[test]
fn without_state_the_session_itself_knows_where_the_files_are() {
    run(async {
        let bed = Bed::new();
        let seed = bed.seed().await;
        let seeded = seed.torrents().remove(0);
        seeded.move_to(bed.path("moved"), Existing::Refuse).outcome().await.unwrap();
        seeded.rename("folder/a", "folder/e").await.unwrap();
        seeded.pause().await.unwrap();
        seeded.resume().await.unwrap();
        complete(&seeded).await;
        let placement = seeded.placement().await.unwrap();
        assert_eq!(placement.directory, bed.path("moved"));
        assert_eq!(placement.paths[0], Path::new("folder/e"));
        seeded.pause().await.unwrap();
        seeded.remove(true).await.unwrap();
        assert!(!bed.path("moved/folder").exists());
        seed.close().await;
    });
}

#[test]
fn priorities_that_were_changed_hold_after_a_pause_and_in_the_next_session() {
    run(async {
        let bed = Bed::new();
        let seed = bed.seed().await;
        let leech = bed.leech();
        leech.restore().await.unwrap();
        let mut torrent = bed.from(&seed);
        torrent.wanted = Some(vec![true, false, false, false]);
        let leeched = leech.add(torrent).await.unwrap();
        complete(&leeched).await;
        let files = [0, 7, 0, 0].map(|number| Priority::new(number).unwrap()).to_vec();
        leeched.set_file_priorities(files).await.unwrap();
        complete(&leeched).await;
        leeched.pause().await.unwrap();
        leeched.resume().await.unwrap();
        complete(&leeched).await;
        assert_eq!(leeched.placement().await.unwrap().wanted, [false, true, false, false]);
        leech.close().await;
        let leech = bed.leech();
        let again = leech.restore().await.unwrap().remove(0);
        assert_eq!(again.placement().await.unwrap().wanted, [false, true, false, false]);
        leech.close().await;
        seed.close().await;
    });
}

/// Whether it has no task: then it has no right to its torrent either.
fn holds_nothing(bed: &Bed) -> bool {
    holds_any(&bed.path("state/locks")).is_ok_and(|any| !any)
}

#[test]
fn a_paused_torrent_is_arranged_and_stays_paused_also_in_the_next_session() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        leech.restore().await.unwrap();
        let mut some = bed.from(&seed);
        some.wanted = Some(vec![true, true, true, false]);
        let leeched = leech.add(some).await.unwrap();
        complete(&leeched).await;
        leeched.pause().await.unwrap();
        let downloaded = leeched.snapshot().downloaded;
        let still = |torrent: &Torrent| {
            assert_eq!(torrent.snapshot().state, State::Paused);
            assert!(holds_nothing(&bed), "it holds its files");
        };
        leeched.move_to(bed.far("far"), Existing::Refuse).outcome().await.unwrap();
        still(&leeched);
        assert_eq!(leeched.placement().await.unwrap().directory, bed.far("far"));
        leeched.rename("folder/sub", "folder/other").await.unwrap();
        still(&leeched);
        let error = leeched.rename("folder/sub", "folder/x").await.unwrap_err();
        assert!(matches!(error, Error::NoSuchFile(_)), "{error}");
        let moving = leeched.move_to(bed.path("never"), Existing::Refuse);
        moving.progress().cancel();
        assert!(matches!(moving.outcome().await, Err(Error::Storage(_))));
        assert!(!bed.path("never/folder/a").exists());
        leeched.set_file_priorities(vec![Priority::USUAL; 4]).await.unwrap();
        still(&leeched);
        assert!(leeched.snapshot().wanted_have < leeched.snapshot().wanted_length);
        leeched.set_labels(&["label".to_owned()]).await.unwrap();
        leeched.add_tracker(0, "http://127.0.0.1:9/announce").await.unwrap();
        let names = ["folder/a", "folder/other/b", "folder/other/c", "folder/other/d"];
        still(&leeched);
        leech.close().await;
        let leech = bed.leech();
        let leeched = leech.restore().await.unwrap().remove(0);
        still(&leeched);
        let placement = leeched.placement().await.unwrap();
        assert_eq!((placement.directory, placement.wanted), (bed.far("far"), vec![true; 4]));
        assert_eq!(placement.paths, names.map(PathBuf::from));
        assert_eq!(leeched.labels(), ["label"]);
        assert_eq!(leeched.trackers().len(), 1);
        still(&leeched);
        let mut events = leech.events();
        leeched.resume().await.unwrap();
        leeched.add_peers(&[SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())]).await.unwrap();
        assert!(!hashed(&mut events).await.0, "it was hashed");
        complete(&leeched).await;
        bed.assert_at(&bed.far("far"), &names);
        assert_eq!(downloaded + leeched.snapshot().downloaded, bed.length());
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn a_recheck_of_a_paused_torrent_leaves_it_paused_with_what_is_on_the_disk() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.leech());
        leech.restore().await.unwrap();
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        complete(&leeched).await;
        leeched.pause().await.unwrap();
        let pieces = leeched.snapshot().pieces;
        let mut changed = bed.files[0].1.clone();
        changed[7 * PIECE] ^= 1;
        std::fs::write(bed.path("out/folder/a"), changed).unwrap();
        let mut events = leech.events();
        let recheck = leeched.recheck();
        let progress = recheck.progress();
        recheck.outcome().await.unwrap();
        assert_eq!(progress.checked(), pieces);
        assert_eq!(hashed(&mut events).await, (true, pieces - 1));
        let snapshot = leeched.snapshot();
        assert_eq!((snapshot.state, snapshot.pieces_have), (State::Paused, pieces - 1));
        assert!(holds_nothing(&bed), "it holds its files");
        leech.close().await;
        let leech = bed.leech();
        let leeched = leech.restore().await.unwrap().remove(0);
        assert_eq!(leeched.snapshot().pieces_have, pieces - 1);
        leeched.resume().await.unwrap();
        leeched.add_peers(&[SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())]).await.unwrap();
        complete(&leeched).await;
        assert_eq!(leeched.snapshot().downloaded, PIECE as u64);
        leech.close().await;
        seed.close().await;
    });
}

#[test]
fn what_lies_there_unchecked_is_arranged_first_and_checked_when_the_torrent_runs() {
    run(async {
        let bed = Bed::new();
        for state in [true, false] {
            write(&bed.path("out"), "folder", &bed.files);
            let mut settings = bed.settings("out");
            settings.state_dir = state.then(|| bed.path("state"));
            let session = Session::start(settings).unwrap();
            let mut events = session.events();
            let mut paused = add(&bed.torrent);
            paused.paused = true;
            let torrent = session.add(paused).await.unwrap();
            assert_eq!(torrent.placement().await.unwrap().paths, NAMES.map(PathBuf::from));
            torrent.rename("folder/a", "folder/e").await.unwrap();
            torrent.move_to(bed.far("far"), Existing::Refuse).outcome().await.unwrap();
            torrent
                .set_file_priorities(vec![
                    Priority::HIGHEST,
                    Priority::USUAL,
                    Priority::USUAL,
                    Priority::UNWANTED,
                ])
                .await
                .unwrap();
            let placement = torrent.placement().await.unwrap();
            assert_eq!(
                (&*placement.wanted, torrent.snapshot().state),
                (&[true, true, true, false][..], State::Paused)
            );
            torrent.resume().await.unwrap();
            let (hashed, good) = hashed(&mut events).await;
            assert_eq!((hashed, good), (true, torrent.snapshot().pieces));
            complete(&torrent).await;
            bed.assert_at(&bed.far("far"), &["folder/e", "folder/sub/b", "folder/sub/c", "folder/sub/d"]);
            torrent.remove(true).await.unwrap();
            session.close().await;
            assert!(!bed.far("far/folder").exists(), "something is left");
        }
    });
}

#[test]
fn a_queued_torrent_is_arranged_and_one_that_may_run_meanwhile_does_so_afterwards() {
    run(async {
        let bed = Bed::new();
        let seed = bed.seed().await;
        let mut settings = bed.settings("out");
        settings.state_dir = Some(bed.path("state"));
        let mut limits = settings.queue;
        settings.queue.downloads = Some(0);
        let leech = Session::start(settings).unwrap();
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        assert_eq!(leeched.snapshot().state, State::Queued);
        leeched.rename("folder", "all").await.unwrap();
        assert_eq!(leeched.snapshot().state, State::Queued);
        let (moving, recheck) = (leeched.move_to(bed.far("far"), Existing::Refuse), leeched.recheck());
        limits.downloads = None;
        leech.set_queue_limits(limits);
        moving.outcome().await.unwrap();
        recheck.outcome().await.unwrap();
        leeched.add_peers(&[SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())]).await.unwrap();
        complete(&leeched).await;
        bed.assert_at(
            &bed.far("far"),
            &NAMES.map(|name| name.replace("folder", "all")).each_ref().map(String::as_str),
        );
        // One that leaves meanwhile says so.
        leeched.pause().await.unwrap();
        let (moving, removed) = (leeched.move_to(bed.path("out"), Existing::Refuse), leeched.remove(true));
        removed.await.unwrap();
        let left = moving.outcome().await;
        assert!(matches!(left, Ok(()) | Err(Error::Gone | Error::Closed | Error::Storage(_))), "{left:?}");
        assert!(!bed.path("out/all").exists() && !bed.far("far/all").exists(), "something is left");
        assert!(matches!(leeched.rename("all", "x").await, Err(Error::Gone)));
        leech.close().await;
        seed.close().await;
    });
}
