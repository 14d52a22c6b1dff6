//! What is remembered between two sessions, and what happens when the disk refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{AddTorrent, Error, Event, Events, Existing, Priority, Session, Settings, State, Torrent};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const PIECE: usize = 32_768;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A torrent, a directory where all of it lies, one to download to, and one for the state.
struct Bed {
    folder: tempfile::TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
    torrent: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The first two files end where pieces end.
        let files =
            vec![("a", bytes(4 * PIECE, 1)), ("sub/b", bytes(8 * PIECE, 2)), ("sub/c", bytes(100_000, 3))];
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

    fn length(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
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

    /// Downloads all of it to `out`, with state.
    async fn download(&self) {
        let (seed, leech) = (self.seed().await, self.session("out", true));
        let leeched = leech.add(self.from(&seed)).await.unwrap();
        complete(&leeched).await;
        leech.close().await;
        seed.close().await;
        self.assert_whole();
    }

    fn assert_whole(&self) {
        for (path, bytes) in &self.files {
            assert!(std::fs::read(self.path("out/folder").join(path)).unwrap() == *bytes, "{path} differs");
        }
    }

    /// Starts again; how many pieces were found good, and how many of them had to be hashed.
    async fn start_again(&self) -> (u32, u32) {
        let session = self.session("out", true);
        let mut events = session.events();
        let torrent = session.add(add(&self.torrent)).await.unwrap();
        let counts = found(&mut events).await;
        assert_eq!(torrent.snapshot().pieces_have, counts.0);
        session.close().await;
        counts
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

/// The first warning, before which nothing is told of what was found.
async fn warning(events: &mut Events) -> String {
    loop {
        match next(events).await {
            Event::Warning(warning) => return warning,
            Event::Added(_) => {}
            other => panic!("no warning, but {other}"),
        }
    }
}

/// Pieces that were found good, and pieces that were hashed for it.
async fn found(events: &mut Events) -> (u32, u32) {
    let mut reports = Vec::new();
    loop {
        match next(events).await {
            Event::Progress(_, snapshot) if snapshot.state == State::Checking => {
                reports.push(snapshot.pieces_checked);
            }
            Event::Checked { good, pieces, .. } => {
                // The last report says all; the fewest that are left out of any are those that were trusted.
                let first = reports.iter().min().copied();
                return (good, first.map_or(0, |first| pieces - first + 1));
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_complete_is_not_hashed_again() {
    run(async {
        let bed = Bed::new();
        bed.download().await;
        for _ in 0..2 {
            assert_eq!(bed.start_again().await, (bed.pieces(), 0));
        }
        let session = bed.session("out", true);
        let torrent = session.add(add(&bed.torrent)).await.unwrap();
        let snapshot = torrent.snapshot();
        assert_eq!(snapshot.state, State::Seeding);
        session.close().await;
        let snapshot = torrent.snapshot();
        assert_eq!((snapshot.downloaded, snapshot.downloaded_ever), (0, bed.length()));
    });
}

#[test]
fn only_the_pieces_of_a_file_that_changed_are_hashed() {
    run(async {
        let bed = Bed::new();
        bed.download().await;
        let mut changed = bed.files[1].1.clone();
        changed[3 * PIECE] ^= 1;
        std::fs::write(bed.path("out/folder/sub/b"), changed).unwrap();
        let (good, hashed) = bed.start_again().await;
        assert_eq!(good, bed.pieces() - 1);
        assert!(hashed <= 8, "{hashed} pieces were hashed");
        // It is known from here on.
        assert_eq!(bed.start_again().await, (bed.pieces() - 1, 0));
        let (seed, leech) = (bed.seed().await, bed.session("out", true));
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        complete(&leeched).await;
        assert_eq!(leeched.snapshot().downloaded, PIECE as u64);
        leech.close().await;
        seed.close().await;
        bed.assert_whole();
    });
}

#[test]
fn a_file_of_zeros_with_the_length_and_time_of_the_real_one_is_not_taken_for_it() {
    run(async {
        let bed = Bed::new();
        bed.download().await;
        let path = bed.path("out/folder/a");
        let time = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, vec![0; 4 * PIECE]).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(bed.start_again().await.0, bed.pieces() - 4);
    });
}

#[test]
fn a_file_that_was_removed_or_cut_is_missed() {
    run(async {
        let bed = Bed::new();
        bed.download().await;
        std::fs::remove_file(bed.path("out/folder/a")).unwrap();
        let cut = std::fs::File::options().write(true).open(bed.path("out/folder/sub/b")).unwrap();
        cut.set_len(PIECE as u64 + 5).unwrap();
        assert_eq!(bed.start_again().await.0, bed.pieces() - 4 - 7);
        std::fs::remove_dir_all(bed.path("out")).unwrap();
        let session = bed.session("out", true);
        let torrent = session.add(add(&bed.torrent)).await.unwrap();
        assert_eq!(torrent.snapshot().pieces_have, 0);
        session.close().await;
    });
}

#[test]
fn an_unwanted_file_that_becomes_wanted_is_fetched_and_the_rest_is_kept() {
    run(async {
        let bed = Bed::new();
        let seed = bed.seed().await;
        let leech = bed.session("out", true);
        let mut some = bed.from(&seed);
        some.wanted = Some(vec![true, false, true]);
        complete(&leech.add(some.clone()).await.unwrap()).await;
        leech.close().await;
        let leech = bed.session("out", true);
        let mut events = leech.events();
        some.wanted = Some(vec![true, false, true]);
        leech.add(some).await.unwrap();
        assert_eq!(found(&mut events).await.1, 0);
        leech.close().await;
        let leech = bed.session("out", true);
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        complete(&leeched).await;
        assert_eq!(leeched.snapshot().downloaded, 8 * PIECE as u64);
        leech.close().await;
        seed.close().await;
        bed.assert_whole();
    });
}

#[test]
fn another_session_on_the_same_torrent_and_directory_is_refused() {
    run(async {
        let bed = Bed::new();
        let first = bed.session("out", true);
        first.add(add(&bed.torrent)).await.unwrap();
        // The same directory by another name.
        std::os::unix::fs::symlink(bed.path("out"), bed.path("link")).unwrap();
        std::fs::create_dir_all(bed.path("out")).unwrap();
        for directory in ["out", "link", "seed/../out"] {
            let second = bed.session(directory, true);
            match second.add(add(&bed.torrent)).await {
                Err(error @ Error::InUse { process: Some(process), .. }) => {
                    assert_eq!(process, std::process::id());
                    assert!(error.to_string().contains("out") || directory == "link", "{error}");
                }
                other => panic!("{directory} is not refused: {other:?}"),
            }
            second.close().await;
        }
        let elsewhere = bed.session("elsewhere", true);
        elsewhere.add(add(&bed.torrent)).await.unwrap();
        elsewhere.close().await;
        first.close().await;
        let again = bed.session("out", true);
        again.add(add(&bed.torrent)).await.unwrap();
        again.close().await;
    });
}

#[test]
fn a_file_that_is_not_the_torrents_is_refused_unless_it_may_be_overwritten() {
    run(async {
        let bed = Bed::new();
        let seed = bed.seed().await;
        for remembers in [true, false] {
            // One is shorter and one has the right length.
            write(
                &bed.path("out"),
                "folder",
                &[("a", b"my only copy".to_vec()), ("sub/c", bytes(100_000, 9))],
            );
            let session = bed.session("out", remembers);
            let Err(error) = session.add(bed.from(&seed)).await else { panic!("not refused") };
            assert!(error.to_string().contains("folder/a"), "{error}");
            assert_eq!(std::fs::read(bed.path("out/folder/a")).unwrap(), b"my only copy");
            // No file but those.
            assert_eq!(std::fs::read_dir(bed.path("out/folder/sub")).unwrap().count(), 1);
            let mut torrent = bed.from(&seed);
            torrent.overwrite = true;
            complete(&session.add(torrent).await.unwrap()).await;
            session.close().await;
            bed.assert_whole();
            // Without state, too, what is there is the torrent's.
            let again = bed.session("out", remembers);
            complete(&again.add(add(&bed.torrent)).await.unwrap()).await;
            again.close().await;
            std::fs::remove_dir_all(bed.path("out")).unwrap();
        }
        seed.close().await;
    });
}

#[test]
fn a_file_that_is_not_the_torrents_outlasts_its_removal_with_data() {
    run(async {
        let bed = Bed::new();
        let session = bed.session("out", true);
        write(&bed.path("out"), "folder", &[("a", b"my only copy".to_vec())]);
        let mut paused = add(&bed.torrent);
        paused.paused = true;
        session.add(paused).await.unwrap().remove(true).await.unwrap();
        assert_eq!(std::fs::read(bed.path("out/folder/a")).unwrap(), b"my only copy");
        session.close().await;
    });
}

#[test]
fn a_damaged_state_is_kept_aside_and_everything_is_checked() {
    run(async {
        let bed = Bed::new();
        bed.download().await;
        std::fs::write(bed.path("state/state.db"), vec![0x5a; 30_000]).unwrap();
        let session = bed.session("out", true);
        let mut events = session.events();
        session.add(add(&bed.torrent)).await.unwrap();
        let warning = warning(&mut events).await;
        assert!(warning.contains("state.db.aside-1"), "{warning}");
        let (good, hashed) = found(&mut events).await;
        assert_eq!(good, bed.pieces());
        assert!(hashed > 0);
        session.close().await;
        assert_eq!(std::fs::read(bed.path("state/state.db.aside-1")).unwrap(), vec![0x5a; 30_000]);
        assert_eq!(bed.start_again().await, (bed.pieces(), 0));
    });
}

#[test]
fn without_a_place_for_the_state_it_works_all_the_same() {
    run(async {
        let bed = Bed::new();
        std::fs::write(bed.path("state"), "in the way").unwrap();
        let (seed, leech) = (bed.seed().await, bed.session("out", true));
        let mut events = leech.events();
        let leeched = leech.add(bed.from(&seed)).await.unwrap();
        warning(&mut events).await;
        complete(&leeched).await;
        leech.close().await;
        seed.close().await;
        bed.assert_whole();
    });
}

#[test]
fn files_are_not_moved_or_renamed_where_that_cannot_be_remembered() {
    run(async {
        let bed = Bed::new();
        std::fs::create_dir_all(bed.path("state/state.db")).unwrap();
        let session = bed.session("seed", true);
        let torrent = session.add(add(&bed.torrent)).await.unwrap();
        let moved = torrent.move_to(bed.path("elsewhere"), Existing::Refuse).outcome().await;
        let renamed = torrent.rename("folder/a", "folder/other").await;
        for refused in [moved, renamed] {
            let reason = refused.unwrap_err().to_string();
            assert!(reason.contains("no state of this torrent can be kept"), "{reason}");
        }
        session.close().await;
        for (path, bytes) in &bed.files {
            assert!(std::fs::read(bed.path("seed/folder").join(path)).unwrap() == *bytes, "{path} differs");
        }
    });
}

#[test]
fn a_disk_that_refuses_makes_a_pause_and_nothing_is_lost_when_it_is_mended() {
    run(async {
        let bed = Bed::new();
        let leech = bed.session("out", true);
        let mut events = leech.events();
        let leeched = leech.add(add(&bed.torrent)).await.unwrap();
        // What was made for locks alone.
        std::fs::remove_dir_all(bed.path("out/folder/sub")).unwrap();
        std::fs::write(bed.path("out/folder/sub"), "in the way").unwrap();
        let seed = bed.session("seed", false);
        seed.add(bed.from(&leech)).await.unwrap();
        let message = loop {
            if let Event::Failed { message, .. } = next(&mut events).await {
                break message;
            }
        };
        assert!(message.contains("out/folder/sub"), "{message}");
        while leeched.snapshot().state != State::Failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // As long as it lasts, trying changes nothing.
        leeched.resume().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(leeched.snapshot().state, State::Failed);
        std::fs::remove_file(bed.path("out/folder/sub")).unwrap();
        while leeched.snapshot().state == State::Failed {
            leeched.resume().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while !matches!(next(&mut events).await, Event::Resumed(id) if id == leeched.id()) {}
        // The seed comes back, or another one does.
        let other = bed.session("seed", false);
        other.add(bed.from(&leech)).await.unwrap();
        complete(&leeched).await;
        let snapshot = leeched.snapshot();
        assert_eq!((snapshot.downloaded - snapshot.wasted, snapshot.error.clone()), (bed.length(), None));
        leech.close().await;
        seed.close().await;
        other.close().await;
        bed.assert_whole();
        assert_eq!(bed.start_again().await, (bed.pieces(), 0));
    });
}

#[test]
fn pieces_of_a_file_that_is_deselected_while_they_wait_for_the_disk_do_not_count_as_wanted() {
    run(async {
        let bed = Bed::new();
        let leech = bed.session("out", true);
        let leeched = leech.add(add(&bed.torrent)).await.unwrap();
        // The first file cannot be written: its pieces are good, and wait.
        std::fs::remove_file(bed.path("out/folder/a")).unwrap();
        std::fs::create_dir_all(bed.path("out/folder/a")).unwrap();
        let seed = bed.session("seed", false);
        seed.add(bed.from(&leech)).await.unwrap();
        while leeched.snapshot().state != State::Failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let wanted = [Priority::UNWANTED, Priority::USUAL, Priority::USUAL];
        leeched.set_file_priorities(wanted.to_vec()).await.unwrap();
        leeched.resume().await.unwrap();
        while leeched.snapshot().state == State::Failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let other = bed.session("seed", false);
        other.add(bed.from(&leech)).await.unwrap();
        complete(&leeched).await;
        let snapshot = leeched.snapshot();
        let wanted = bed.length() - bed.files[0].1.len() as u64;
        assert_eq!((snapshot.wanted_length, snapshot.wanted_have), (wanted, wanted));
        assert!(snapshot.pieces_have > (wanted as usize / PIECE) as u32 + 1, "none of them waited");
        leech.close().await;
        seed.close().await;
        other.close().await;
    });
}

#[test]
fn state_directories_keep_sessions_apart() {
    run(async {
        let bed = Bed::new();
        bed.download().await;
        assert!(bed.path("state/state.db").is_file());
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&bed.path("state").metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "others can read it");
        let (good, hashed) = {
            let session = bed.session("out", false);
            let mut events = session.events();
            session.add(add(&bed.torrent)).await.unwrap();
            let counts = found(&mut events).await;
            session.close().await;
            counts
        };
        assert_eq!(good, bed.pieces());
        assert!(hashed > 0, "nothing was to be remembered");
        assert!(!Path::new(&bed.path("out/state.db")).exists());
    });
}

/// A peer that has everything, sends so many blocks, and then says no more. Its address.
fn tired_seed(content: Vec<u8>, mut blocks: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut handshake = [0; 68];
        peer.read_exact(&mut handshake).unwrap();
        // No extensions, and a peer id of its own (BEP 3).
        handshake[20..28].fill(0);
        handshake[48..].fill(b'x');
        peer.write_all(&handshake).unwrap();
        // One piece, which it has; unchoke.
        peer.write_all(&[0, 0, 0, 2, 5, 0x80, 0, 0, 0, 1, 1]).unwrap();
        let mut length = [0; 4];
        while peer.read_exact(&mut length).is_ok() {
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            peer.read_exact(&mut message).unwrap();
            if message.first() == Some(&6) && blocks > 0 {
                blocks -= 1;
                let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap()) as usize;
                let (begin, length) = (number(5), number(9));
                let mut answer = (9 + length as u32).to_be_bytes().to_vec();
                answer.push(7);
                answer.extend(&message[1..9]);
                answer.extend(&content[begin..begin + length]);
                peer.write_all(&answer).unwrap();
            }
        }
    });
    address
}

#[test]
fn a_piece_that_was_not_whole_is_gone_on_with() {
    run(async {
        const BLOCK: u64 = 16_384;
        let bed = Bed::new();
        let content = bytes(16 * BLOCK as usize, 9);
        let torrent = torrent("one", &[("", content.clone())], content.len());
        for round in 1..=2 {
            let session = bed.session("out", true);
            let mut one = add(&torrent);
            one.peers = vec![tired_seed(content.clone(), 5)];
            let leeched = session.add(one).await.unwrap();
            while leeched.snapshot().wanted_received < round * 5 * BLOCK {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            session.close().await;
            let snapshot = leeched.snapshot();
            assert_eq!(
                (snapshot.downloaded, snapshot.downloaded_ever, snapshot.wanted_have),
                (5 * BLOCK, round * 5 * BLOCK, 0)
            );
        }
        let session = bed.session("out", true);
        let mut one = add(&torrent);
        one.peers = vec![tired_seed(content.clone(), 100)];
        let leeched = session.add(one).await.unwrap();
        complete(&leeched).await;
        assert_eq!(leeched.snapshot().downloaded, 6 * BLOCK);
        session.close().await;
        assert!(std::fs::read(bed.path("out/one")).unwrap() == content);
    });
}
