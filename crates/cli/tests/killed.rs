//! Downloads that are killed (`kill -9`) at random moments: every one goes on where it was, no piece that is whole
//! is fetched again, and none is called good that is not.
//!
//! `QUELEA_KILLS` says how often (40 if it does not); the moments are random in every run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]
#![cfg(unix)]

use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// Small and large pieces; files that end within pieces.
const TORRENTS: [(&str, usize, &[usize]); 2] = [
    ("small", 16 * 1024, &[7_000_000, 5, 4_000_001, 0, 900_000]),
    ("large", 1024 * 1024, &[19_000_000, 8_500_007]),
];

/// A torrent, a seed's files, and places to download to.
struct Bed {
    folder: tempfile::TempDir,
    name: &'static str,
    piece_length: usize,
    lengths: &'static [usize],
    content: Vec<u8>,
}

impl Bed {
    fn new((name, piece_length, lengths): (&'static str, usize, &'static [usize])) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let total = lengths.iter().sum::<usize>();
        // Never a zero, so that a hole is never right, and not periodic in the piece length.
        let content: Vec<u8> = (0..total).map(|n| ((n % 251) as u8 ^ (n >> 12) as u8) | 1).collect();
        let mut list = String::new();
        let mut rest = content.as_slice();
        for (number, length) in lengths.iter().enumerate() {
            let (file, after) = rest.split_at(*length);
            rest = after;
            let path = folder.path().join("seed").join(name).join(format!("f{number}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
            list.push_str(&format!("d6:lengthi{length}e4:pathl2:f{number}ee"));
        }
        let hashes: Vec<u8> = content.chunks(piece_length).flat_map(quelea_digest::sha1).collect();
        let head = format!(
            "d4:infod5:filesl{list}e4:name{}:{name}12:piece lengthi{piece_length}e6:pieces{}:",
            name.len(),
            hashes.len()
        );
        let torrent = [head.as_bytes(), &hashes, b"ee"].concat();
        std::fs::write(folder.path().join("t.torrent"), torrent).unwrap();
        Self { folder, name, piece_length, lengths, content }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn quelea(&self, to: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUELEA_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", "/nonexistent");
        command.env("QUELEA_NO_DHT", "yes").env("QUELEA_NO_PORT_MAP", "yes");
        command.arg(self.path("t.torrent")).arg("-o").arg(self.path(to));
        command.args(["-p", "0", "--bind", "127.0.0.1", "--no-lsd"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn leech(&self, round: usize, seed: &Seed) -> Command {
        let mut command = self.quelea(&format!("out-{round}"));
        command.args(["--json", "--quiet", "--peer", &seed.address]);
        command.arg("--state-dir").arg(self.path("state"));
        command
    }

    /// What is on the disk, in the torrent's order; zeros where there is nothing.
    fn on_disk(&self, round: usize) -> Vec<u8> {
        let folder = self.path(&format!("out-{round}")).join(self.name);
        let mut all = Vec::new();
        for (number, length) in self.lengths.iter().enumerate() {
            let mut file = std::fs::read(folder.join(format!("f{number}"))).unwrap_or_default();
            file.resize(*length, 0);
            all.extend(file);
        }
        all
    }

    /// When something was written there last.
    fn written(&self, round: usize) -> Option<SystemTime> {
        let folder = self.path(&format!("out-{round}")).join(self.name);
        let files = std::fs::read_dir(folder).ok()?;
        files.filter_map(|file| file.ok()?.metadata().ok()?.modified().ok()).max()
    }

    /// The numbers of whole pieces, and of the bytes that are in none, on the disk.
    fn whole(&self, round: usize) -> (u64, u64) {
        let found = self.on_disk(round);
        let pairs = self.content.chunks(self.piece_length).zip(found.chunks(self.piece_length));
        let missing = pairs.clone().filter(|(real, found)| real != found).map(|(real, _)| real.len() as u64);
        (pairs.filter(|(real, found)| real == found).count() as u64, missing.sum())
    }
}

/// A seed that runs until it is dropped.
struct Seed {
    process: Child,
    address: String,
}

impl Seed {
    fn start(bed: &Bed) -> Self {
        let mut command = bed.quelea("seed");
        let mut process = command.args(["--seed", "-v", "--state-dir", "none"]).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let (mut told, mut port) = (String::new(), None);
        while port.is_none() || !told.contains("complete") {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the seed ended: {told}");
            port =
                port.or_else(|| line.trim().split_once("listening port=").map(|(_, port)| port.to_owned()));
            told.push_str(&line);
        }
        // It says more than a pipe holds if nobody listens.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { process, address: format!("127.0.0.1:{}", port.unwrap()) }
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The JSON lines of a program that has ended.
fn lines(process: &mut Child) -> Vec<Value> {
    let mut text = String::new();
    process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    // A kill may have cut the last one.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn event<'a>(lines: &'a [Value], name: &str) -> Option<&'a Value> {
    lines.iter().find(|line| line["event"] == name)
}

/// A random number below `limit`.
fn random(limit: u64) -> u64 {
    RandomState::new().hash_one(()) % limit
}

fn same_as_disk(bed: &Bed, lines: &[Value], good: u64, round: usize) {
    let Some(checked) = event(lines, "checked") else { return };
    assert_eq!(checked["pieces_good"], good, "{} round {round}: {lines:?}", bed.name);
}

/// Kills downloads until that was done so often; how many kills came in the middle.
fn kill_downloads(bed: &Bed, kills: u32) -> u32 {
    let seed = Seed::start(bed);
    let (mut killed, mut midway, mut round) = (0, 0, 0);
    // Microseconds. Grows and shrinks so that many kills come in the middle, however slow the machine is.
    let mut patience = 20_000;
    while killed < kills {
        round += 1;
        for _ in 0..=random(3) {
            let ((good, _), written) = (bed.whole(round), bed.written(round));
            let mut process = bed.leech(round, &seed).spawn().unwrap();
            // Three of four kills wait until something is written; the others come while it starts and checks.
            let waits = random(4) > 0;
            while waits && bed.written(round) == written && process.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(random(patience)));
            if process.try_wait().unwrap().is_some() {
                patience = (patience * 3 / 4).max(1_000);
            } else {
                process.kill().unwrap();
                killed += 1;
            }
            let status = process.wait().unwrap();
            let lines = lines(&mut process);
            same_as_disk(bed, &lines, good, round);
            let (after, missing) = bed.whole(round);
            assert!(after >= good, "{} round {round}: {good} pieces were whole, but {after} are", bed.name);
            midway += u32::from(status.code().is_none() && after > 0 && missing > 0);
            if after == good {
                patience = (patience * 5 / 4).min(2_000_000);
            } else if missing == 0 {
                patience = (patience * 3 / 4).max(1_000);
            }
            assert!(status.success() || status.code().is_none(), "{status}: {lines:?}");
        }
        let (good, missing) = bed.whole(round);
        let mut process = bed.leech(round, &seed).spawn().unwrap();
        let lines = lines(&mut process);
        assert!(process.wait().unwrap().success(), "{lines:?}");
        same_as_disk(bed, &lines, good, round);
        let completed = event(&lines, "completed").expect("it is complete");
        assert_eq!(completed["downloaded"], missing, "{} round {round}: {lines:?}", bed.name);
        assert!(bed.on_disk(round) == bed.content, "{} round {round} differs", bed.name);
        std::fs::remove_dir_all(bed.path(&format!("out-{round}"))).unwrap();
    }
    eprintln!("{}: {killed} kills, {midway} in the middle, {round} downloads", bed.name);
    assert!(!left_over(&bed.path("state")), "the state was damaged");
    midway
}

/// Whether a database was put aside.
fn left_over(state: &Path) -> bool {
    let names = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name());
    names.into_iter().any(|name| name.to_string_lossy().contains("aside"))
}

fn kills() -> u32 {
    std::env::var("QUELEA_KILLS").ok().map_or(40, |kills| kills.parse().expect("QUELEA_KILLS is a number"))
}

#[test]
fn downloads_of_small_pieces_survive_kills() {
    let midway = kill_downloads(&Bed::new(TORRENTS[0]), kills().div_ceil(2));
    assert!(midway > 0, "no kill came in the middle");
}

#[test]
fn downloads_of_large_pieces_survive_kills() {
    let midway = kill_downloads(&Bed::new(TORRENTS[1]), kills().div_ceil(2));
    assert!(midway > 0, "no kill came in the middle");
}
