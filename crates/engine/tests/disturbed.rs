//! What other programs do to a torrent's files while it runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{AddTorrent, Event, Events, Session, Settings, State, Torrent};
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

/// A torrent, a directory where all of it lies, and others to download to.
struct Bed {
    folder: tempfile::TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
    torrent: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The files end where pieces end.
        let files = vec![("a", bytes(4 * PIECE, 1)), ("b", bytes(8 * PIECE, 2))];
        write(&folder.path().join("seed"), "folder", &files);
        let torrent = torrent("folder", &files, PIECE);
        Self { folder, files, torrent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pieces(&self) -> u32 {
        self.files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>().div_ceil(PIECE) as u32
    }

    fn session(&self, directory: &str, remembers: bool) -> Session {
        let mut settings = Settings::new(self.path(directory));
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        settings.state_dir = remembers.then(|| self.path("state"));
        Session::start(settings).unwrap()
    }

    async fn seed(&self) -> Session {
        let seed = self.session("seed", false);
        seed.add(add(&self.torrent)).await.unwrap();
        seed
    }

    fn from(&self, seed: &Session) -> AddTorrent {
        let mut torrent = add(&self.torrent);
        torrent.peers = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())];
        torrent
    }

    fn assert_whole(&self) {
        for (path, bytes) in &self.files {
            assert!(std::fs::read(self.path("out/folder").join(path)).unwrap() == *bytes, "{path} differs");
        }
    }

    /// Starts again; how many pieces were found good, and whether any had to be hashed for it.
    async fn start_again(&self) -> (u32, bool) {
        let session = self.session("out", true);
        let mut events = session.events();
        session.add(add(&self.torrent)).await.unwrap();
        let mut hashed = false;
        let good = loop {
            match next(&mut events).await {
                Event::Progress(_, snapshot) => hashed |= snapshot.state == State::Checking,
                Event::Checked { good, .. } => break good,
                _ => {}
            }
        };
        session.close().await;
        (good, hashed)
    }
}

async fn complete(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        assert_ne!(torrent.snapshot().state, State::Failed, "{:?}", torrent.snapshot().error);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn next(events: &mut Events) -> Event {
    events.next().await.expect("the session is open")
}

/// Another program writes a byte that was not there.
fn damage(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], 500).unwrap();
}

#[test]
fn what_another_program_changes_right_after_the_download_is_not_trusted_by_the_next_start() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.session("out", true));
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        complete(&leeched).await;
        seed.close().await;
        // The clock that stamps are made by goes on.
        tokio::time::sleep(Duration::from_millis(50)).await;
        damage(&bed.path("out/folder/a"));
        leech.close().await;
        let (good, hashed) = bed.start_again().await;
        assert_eq!(good, bed.pieces() - 1);
        assert!(hashed);
    });
}

#[test]
fn a_download_fetches_again_what_another_program_damages_while_it_runs() {
    run(async {
        let bed = Bed::new();
        let (seed, leech) = (bed.seed().await, bed.session("out", true));
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        let mut events = leech.events();
        complete(&leeched).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        damage(&bed.path("out/folder/a"));
        // Somebody reads it, if it is not looked at before for being saved.
        let other = bed.session("other", false);
        let wants = other.add(bed.from(&leech)).await.unwrap();
        loop {
            match next(&mut events).await {
                Event::Warning(warning) if warning.contains("damaged 1 of its pieces") => break,
                _ => {}
            }
        }
        assert!(leeched.snapshot().pieces_have >= bed.pieces() - 1);
        let again = bed.session("seed", false);
        again.add(bed.from(&leech)).await.unwrap();
        complete(&leeched).await;
        bed.assert_whole();
        assert_eq!(leeched.snapshot().pieces_have, bed.pieces());
        drop(wants);
        for session in [leech, seed, other, again] {
            session.close().await;
        }
        assert_eq!(bed.start_again().await, (bed.pieces(), false));
    });
}

#[test]
fn a_seed_looks_at_a_changed_file_again_and_gives_nobody_what_is_wrong() {
    run(async {
        let bed = Bed::new();
        let seed = bed.session("seed", false);
        let seeded = seed.add(add(&bed.torrent)).await.unwrap();
        let mut events = seed.events();
        tokio::time::sleep(Duration::from_millis(50)).await;
        damage(&bed.path("seed/folder/a"));
        // A file is looked at once a second at most.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let first = bed.session("first", false);
        let leeched = first.add(bed.from(&seed)).await.unwrap();
        loop {
            match next(&mut events).await {
                Event::Warning(warning) if warning.contains("damaged 1 of its pieces") => break,
                _ => {}
            }
        }
        while seeded.snapshot().state != State::Downloading {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seeded.snapshot().pieces_have, bed.pieces() - 1);
        let second = bed.session("second", false);
        let other = second.add(bed.from(&seed)).await.unwrap();
        while other.snapshot().pieces_have < bed.pieces() - 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Nothing that was sent was bad.
        assert_eq!((leeched.snapshot().wasted, other.snapshot().wasted), (0, 0));
        for session in [seed, first, second] {
            session.close().await;
        }
    });
}

#[test]
fn a_file_that_vanishes_while_it_is_seeded_makes_a_pause_until_it_is_back() {
    run(async {
        let bed = Bed::new();
        let seed = bed.session("seed", false);
        let seeded = seed.add(add(&bed.torrent)).await.unwrap();
        std::fs::rename(bed.path("seed/folder/a"), bed.path("aside")).unwrap();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let leech = bed.session("out", false);
        leech.add(bed.from(&seed)).await.unwrap();
        while seeded.snapshot().state != State::Failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            seeded.snapshot().error.as_ref().unwrap().contains("folder/a"),
            "{:?}",
            seeded.snapshot().error
        );
        assert!(!bed.path("seed/folder/a").exists());
        std::fs::rename(bed.path("aside"), bed.path("seed/folder/a")).unwrap();
        seeded.resume().await.unwrap();
        while seeded.snapshot().state != State::Seeding {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seeded.snapshot().pieces_have, bed.pieces());
        leech.close().await;
        seed.close().await;
    });
}
