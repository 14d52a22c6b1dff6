//! Sessions that are killed (`kill -9`) at random moments while they download, move, rename and want more or less of
//! their torrents: each next session finds every file in one place, everything that was told to be verified and nothing
//! that is not, and no verified byte is fetched again.
//!
//! `QUELEA_KILLS` says how often (10 if it does not); moments and deeds are random in every run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]
#![cfg(unix)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{
    Error, Event, Existing, Limits, Placement, Priority, Session, Settings, Snapshot, State, Torrent,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Where the session that is to be killed finds its world; its peer; its random seed, 0 to finish.
const VARIABLES: [&str; 3] = ["QUELEA_KILLED_IN", "QUELEA_KILLED_PEER", "QUELEA_KILLED_SEED"];
/// Far more than a session takes to begin, or to finish.
const PATIENCE: Duration = Duration::from_secs(240);
/// Looks at what a moment ago did not fit.
const LOOKS: u32 = 1_200;
/// What the seed sends at most, so that there is time to be killed.
const RATE: u64 = 8 << 20;
/// Payload in memory, and on its way, that a kill may cost.
const MEMORY: usize = 1 << 20;
const UNDER_WAY: u64 = 2 << 20;

/// Names, piece lengths and files.
type Kind = (&'static str, usize, &'static [(&'static str, usize)]);

const KINDS: [Kind; 3] = [
    (
        "alpha",
        16_384,
        &[("a", 2_500_000), ("sub/b", 5), ("sub/c", 1_900_001), ("sub/deep/d", 0), ("e", 700_000)],
    ),
    ("beta", 262_144, &[("a", 4_000_000), ("b", 2_500_007), ("sub/c", 1_000_000)]),
    ("gamma", 65_536, &[("", 3_000_000)]),
];

/// The files of a torrent; made once, since it takes a while.
fn payload(kind: Kind) -> &'static [(&'static str, Vec<u8>)] {
    type Files = Vec<(&'static str, Vec<u8>)>;
    static ALL: [OnceLock<Files>; KINDS.len()] = [const { OnceLock::new() }; KINDS.len()];
    let number = KINDS.iter().position(|other| other.0 == kind.0).expect("one of ours");
    ALL[number].get_or_init(|| {
        let seeds = number as u64 * 100..;
        kind.2.iter().zip(seeds).map(|(&(path, length), seed)| (path, bytes(length, seed))).collect()
    })
}

fn metainfo(kind: Kind) -> Vec<u8> {
    torrent(kind.0, payload(kind), kind.1)
}

fn length(kind: Kind) -> u64 {
    kind.2.iter().map(|(_, length)| *length as u64).sum()
}

fn kind_of(name: &str) -> Kind {
    *KINDS.iter().find(|kind| kind.0 == name).expect("one of ours")
}

/// A world: directories to be in, two of them on another file system if there is one.
struct World {
    near: PathBuf,
    far: PathBuf,
}

impl World {
    fn of(folder: &Path) -> Self {
        let far = std::fs::read_link(folder.join("far")).unwrap_or_else(|_| folder.join("also-near"));
        Self { near: folder.join("files"), far }
    }

    fn places(&self) -> [PathBuf; 5] {
        let (near, far) = (&self.near, &self.far);
        [near.join("out"), near.join("incomplete"), near.join("one"), far.join("two"), far.join("three")]
    }

    /// Every file that lies anywhere, parts of unwanted ones left out.
    fn found(&self) -> BTreeSet<PathBuf> {
        fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                } else if !entry.file_name().to_string_lossy().ends_with(".parts") {
                    found.insert(entry.path());
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.near, &mut found);
        walk(&self.far, &mut found);
        found
    }
}

/// What lies of a torrent on the disk, found without the library: good pieces, and others that cannot be judged because
/// they have bytes of a file that is not wanted, which may lie in the part file.
fn on_disk(kind: Kind, placement: &Placement) -> (u32, u32) {
    let (mut content, mut is_wanted) = (Vec::new(), Vec::new());
    for ((path, wanted), (_, length)) in placement.paths.iter().zip(&placement.wanted).zip(kind.2) {
        let mut found = std::fs::read(placement.directory.join(path)).unwrap_or_default();
        found.resize(*length, 0);
        content.extend(found);
        is_wanted.extend(std::iter::repeat_n(*wanted, *length));
    }
    let real: Vec<u8> = payload(kind).iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let (mut good, mut unknown) = (0, 0);
    let pieces = content.chunks(kind.1).zip(is_wanted.chunks(kind.1));
    for (real, (found, wanted)) in real.chunks(kind.1).zip(pieces) {
        if quelea_digest::sha1(real) == quelea_digest::sha1(found) {
            good += 1;
        } else if wanted.contains(&false) {
            unknown += 1;
        }
    }
    (good, unknown)
}

// The session that is killed.

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

fn settings(world: &World, folder: &Path, incomplete: bool) -> Settings {
    let mut settings = Settings::new(world.near.join("out"));
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    settings.memory = MEMORY;
    settings.state_dir = Some(folder.join("state"));
    settings.incomplete_dir = incomplete.then(|| world.near.join("incomplete"));
    settings
}

async fn settled(torrent: &Torrent) -> Arc<Snapshot> {
    loop {
        let snapshot = torrent.snapshot();
        match snapshot.state {
            State::Downloading | State::Seeding => return snapshot,
            State::Failed => panic!("{}: {:?}", torrent.name(), snapshot.error),
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// Holds what the session says against what lies on the disk; what does not fit. Files that are complete may be on their
/// way from the directory for incomplete ones, so the caller looks again.
async fn look(world: &World, torrents: &[Torrent]) -> Result<Vec<String>, String> {
    let (mut own, mut found) = (BTreeSet::new(), Vec::new());
    for torrent in torrents {
        let (name, snapshot) = (torrent.name(), settled(torrent).await);
        let placement = torrent.placement().await.unwrap();
        let (good, unknown) = on_disk(kind_of(name), &placement);
        let have = snapshot.pieces_have;
        if have < good || have > good + unknown {
            return Err(format!(
                "{name}: it calls {have} pieces good; {good} are, and perhaps {unknown} more"
            ));
        }
        own.extend(placement.paths.iter().map(|path| placement.directory.join(path)));
        found.push(format!("found {name} {have} {}", torrent.labels().join("")));
    }
    let strays: Vec<_> = world.found().difference(&own).cloned().collect();
    if strays.is_empty() {
        Ok(found)
    } else {
        Err(format!("these are nobody's: {strays:?}; theirs are {own:?}"))
    }
}

/// Waits until what the session says is what lies on the disk, which is no more than a moment.
async fn check(world: &World, torrents: &[Torrent]) {
    let mut looks = 0;
    loop {
        match look(world, torrents).await {
            Ok(found) => return found.iter().for_each(|line| say(line)),
            Err(why) => assert!(looks < LOOKS, "{why}"),
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Does one thing to a torrent after the other.
async fn rummage(torrent: Torrent, places: [PathBuf; 5], peer: SocketAddr, mut rng: fastrand::Rng) {
    let files = kind_of(torrent.name()).2.len();
    loop {
        tokio::time::sleep(Duration::from_millis(rng.u64(0..60))).await;
        // One of three times it does not run meanwhile.
        let pauses = rng.u32(0..3) == 0;
        if pauses {
            torrent.pause().await.unwrap();
        }
        let done = match rng.u32(0..10) {
            0..4 => {
                let moving = torrent.move_to(&places[rng.usize(0..5)], Existing::Refuse);
                if rng.u32(0..4) == 0 {
                    let progress = moving.progress();
                    let after = Duration::from_micros(rng.u64(0..20_000));
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        progress.cancel();
                    });
                    // It may be over before.
                    let _ = moving.outcome().await;
                    Ok(())
                } else {
                    moving.outcome().await
                }
            }
            4..6 => {
                let paths = torrent.placement().await.unwrap().paths;
                let path = &paths[rng.usize(0..paths.len())];
                let folder = path.components().count() > 1 && rng.bool();
                let from = if folder { path.parent().unwrap() } else { path.as_path() };
                let to = format!("{}/{}", torrent.name(), rng.u32(..));
                // A folder cannot go into itself.
                if from == Path::new(torrent.name()) { Ok(()) } else { torrent.rename(from, to).await }
            }
            6..8 => {
                let mut wanted: Vec<Priority> =
                    (0..files).map(|_| Priority::new(rng.u8(0..8)).unwrap()).collect();
                wanted[rng.usize(0..files)] = Priority::HIGHEST;
                match torrent.set_file_priorities(wanted).await {
                    // The one that is wanted may have no bytes.
                    Err(Error::NothingSelected) => Ok(()),
                    done => done,
                }
            }
            8 => {
                let number = torrent.labels().first().map_or(0, |label| label.parse::<u32>().unwrap());
                torrent.set_labels(&[(number + 1).to_string()]).await.unwrap();
                say(&format!("label {} {}", torrent.name(), number + 1));
                Ok(())
            }
            _ => torrent.recheck().outcome().await,
        };
        if pauses {
            torrent.resume().await.unwrap();
            settled(&torrent).await;
            torrent.add_peers(&[peer]).await.unwrap();
        }
        match done {
            Ok(()) | Err(Error::Busy) => {}
            Err(error) => panic!("{}: {error}", torrent.name()),
        }
    }
}

async fn live(folder: &Path, peer: SocketAddr, seed: u64) {
    let world = World::of(folder);
    let mut rng = fastrand::Rng::with_seed(seed);
    let session = Session::start(settings(&world, folder, folder.join("apart").exists())).unwrap();
    // State that could not be kept explains what is found later.
    let mut events = session.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Warning(warning) = event {
                eprintln!("{warning}");
            }
        }
    });
    let mut torrents = session.restore().await.unwrap();
    for kind in KINDS {
        if torrents.iter().all(|torrent| torrent.name() != kind.0) {
            let mut adding = add(&metainfo(kind));
            adding.labels = vec!["0".into()];
            torrents.push(session.add(adding).await.unwrap());
        }
    }
    for torrent in &torrents {
        // It may have been killed between the one and the other.
        if torrent.snapshot().state == State::Paused {
            torrent.resume().await.unwrap();
        }
    }
    check(&world, &torrents).await;
    say("ready");
    for torrent in &torrents {
        torrent.add_peers(&[peer]).await.unwrap();
    }
    if seed == 0 {
        for torrent in &torrents {
            let files = kind_of(torrent.name()).2.len();
            torrent.set_file_priorities(vec![Priority::USUAL; files]).await.unwrap();
        }
        for torrent in &torrents {
            while settled(torrent).await.state != State::Seeding {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        check(&world, &torrents).await;
        for torrent in &torrents {
            let placement = torrent.placement().await.unwrap();
            let found = on_disk(kind_of(torrent.name()), &placement);
            assert_eq!(found, (torrent.snapshot().pieces, 0), "{}", torrent.name());
        }
        session.close().await;
        return;
    }
    for torrent in torrents {
        let watched = torrent.clone();
        tokio::spawn(rummage(torrent, world.places(), peer, rng.fork()));
        tokio::spawn(async move {
            let mut told = 0;
            loop {
                let have = watched.snapshot().pieces_have;
                if have > told {
                    told = have;
                    say(&format!("have {} {have}", watched.name()));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    std::future::pending::<()>().await;
}

#[test]
#[ignore = "the one that the others start and kill"]
fn lives_until_it_is_killed() {
    let [folder, peer, seed] = VARIABLES.map(|name| std::env::var(name).expect("started by another test"));
    // A deed that fails must end the session, not its own task alone.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::exit(3);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(live(Path::new(&folder), peer.parse().unwrap(), seed.parse().unwrap()));
}

// The one that kills.

/// A world's life, and what is known of it.
struct Life {
    folder: tempfile::TempDir,
    _far: Option<tempfile::TempDir>,
    peer: SocketAddr,
    /// Pieces that were said to be verified, and the number that was said to be kept, of each torrent.
    told: BTreeMap<String, (u32, u32)>,
}

/// A session that runs, and what it says.
struct Victim {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Life {
    fn new(peer: SocketAddr, apart: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let far = tempfile::tempdir_in("/dev/shm").ok();
        if let Some(far) = &far {
            std::os::unix::fs::symlink(far.path(), folder.path().join("far")).unwrap();
        }
        if apart {
            std::fs::write(folder.path().join("apart"), "").unwrap();
        }
        Self { folder, _far: far, peer, told: BTreeMap::new() }
    }

    fn start(&self, seed: u64) -> Victim {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "lives_until_it_is_killed", "--ignored", "--nocapture"]);
        let values = [self.folder.path().display().to_string(), self.peer.to_string(), seed.to_string()];
        command.envs(VARIABLES.into_iter().zip(values));
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (heard, out) = (Arc::clone(&lines), process.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Victim { process, lines, reader: Some(reader) }
    }

    /// Takes note of what was said, which must go on from what was said before.
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["found", name, have, label] => {
                    let (have, label) = (have.parse().unwrap(), label.parse().unwrap());
                    let before = self.told.entry(name.to_owned()).or_default();
                    assert!(
                        have >= before.0,
                        "{name}: {} pieces were verified, now there are {have}",
                        before.0
                    );
                    assert!(label >= before.1, "{name}: label {} was kept, now it is {label}", before.1);
                    *before = (have, label);
                }
                ["have", name, have] => {
                    self.told.entry(name.to_owned()).or_default().0 = have.parse().unwrap();
                }
                ["label", name, label] => {
                    self.told.entry(name.to_owned()).or_default().1 = label.parse().unwrap();
                }
                _ => {}
            }
        }
    }
}

impl Victim {
    fn has_said(&self, word: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line == word)
    }

    fn end(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.process.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        (status, lines)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn random(limit: u64) -> u64 {
    RandomState::new().hash_one(()) % limit
}

/// Lives one life through so many kills; whether all of it was downloaded in the end, and no byte too many.
fn live_through(kills: u32, apart: bool, seed: &Session) {
    let peer = SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port());
    let sent = || seed.torrents().iter().map(|torrent| torrent.snapshot().uploaded).sum::<u64>();
    let before = sent();
    let mut life = Life::new(peer, apart);
    for kill in 0..kills {
        let mut victim = life.start(random(u64::MAX) | 1);
        #[allow(clippy::disallowed_methods, reason = "a process that hangs is waited for by the real clock")]
        let began = std::time::Instant::now();
        // One of four is killed while it begins.
        let early = random(4) == 0;
        while !early && !victim.has_said("ready") {
            assert!(
                victim.process.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE,
                "kill {kill}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random(if early { 150_000 } else { 400_000 })));
        victim.process.kill().unwrap();
        let (status, lines) = victim.end();
        assert!(status.code().is_none(), "it ended by itself before kill {kill}: {status}, {lines:#?}");
        life.hear(&lines);
    }
    let (status, lines) = life.start(0).end();
    life.hear(&lines);
    assert!(status.success(), "{status} {lines:#?}");
    // The seed's figures are a moment old.
    std::thread::sleep(Duration::from_millis(600));
    let (sent, total) = (sent() - before, KINDS.into_iter().map(length).sum::<u64>());
    let allowed = total + u64::from(kills) * (MEMORY as u64 + UNDER_WAY);
    eprintln!("{kills} kills: {sent} bytes were sent of {total}");
    assert!(sent <= allowed, "{sent} bytes were sent of {total}; {allowed} at most could be lost");
}

fn kills() -> u32 {
    std::env::var("QUELEA_KILLS").ok().map_or(10, |kills| kills.parse().expect("QUELEA_KILLS is a number"))
}

#[test]
fn whatever_is_done_to_torrents_a_kill_leaves_them_whole() {
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        write(folder.path(), kind.0, payload(kind));
    }
    let mut settings = Settings::new(folder.path());
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    settings.limits = Limits { upload: NonZeroU64::new(RATE), ..Limits::NONE };
    settings.rest_after = Duration::from_secs(3_600);
    let seed = Session::start(settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for kind in KINDS {
        runtime.block_on(seed.add(add(&metainfo(kind)))).unwrap();
    }
    let mut left = kills();
    let mut apart = false;
    while left > 0 {
        // So few that something is left to download for most of them.
        let kills = left.min(10);
        live_through(kills, apart, &seed);
        left -= kills;
        apart = !apart;
    }
    runtime.block_on(seed.close());
}
