//! Whole downloads on loopback, from one `quelea` to another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

const PIECE: usize = 16 * 1024;
const FILES: [(&str, usize); 4] =
    [("a.bin", 100_000), ("empty", 0), ("sub/b.bin", 300_001), ("sub/c.txt", 7)];

/// A folder with a seed's files, an empty output directory, and a torrent of the files.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        let mut list = String::new();
        for (at, (path, length)) in FILES.iter().enumerate() {
            // Not periodic in the piece length, and different in every file.
            let content: Vec<u8> =
                (0..*length).map(|n| ((n * (at + 3)) % 251) as u8 ^ (n >> 8) as u8).collect();
            let place = folder.path().join("seed/name").join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, &content).unwrap();
            let elements: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            list.push_str(&format!("d6:lengthi{length}e4:pathl{elements}ee"));
            all.extend(content);
        }
        let hashes: Vec<u8> = all.chunks(PIECE).flat_map(quelea_digest::sha1).collect();
        let mut torrent =
            format!("d4:infod5:filesl{list}e4:name4:name12:piece lengthi{PIECE}e6:pieces{}:", hashes.len())
                .into_bytes();
        torrent.extend(hashes);
        torrent.extend(b"ee");
        std::fs::write(folder.path().join("t.torrent"), torrent).unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A download into the folder's directory `to`, on loopback alone.
    fn quelea(&self, to: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUELEA_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", "/nonexistent").env("QUELEA_STATE_DIR", "none");
        command.env("QUELEA_NO_DHT", "yes").env("QUELEA_NO_PORT_MAP", "yes");
        command.arg(self.path("t.torrent")).arg("-o").arg(self.path(to)).args([
            "-p",
            "0",
            "--no-lsd",
            "--bind",
            "127.0.0.1",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A seed that runs until it is dropped or told to stop.
struct Seed {
    process: Child,
    stderr: BufReader<ChildStderr>,
    address: String,
}

impl Seed {
    fn start(bed: &Bed) -> Self {
        let mut process = bed.quelea("seed").args(["--seed", "-v"]).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut told = String::new();
        let mut port = None;
        while !told.contains("complete") {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the seed ended: {told}");
            port =
                port.or_else(|| line.trim().split_once("listening port=").map(|(_, port)| port.to_owned()));
            told.push_str(&line);
        }
        Self { process, stderr, address: format!("127.0.0.1:{}", port.expect("a port is logged")) }
    }

    /// Interrupts it; gives its exit code and the rest of what it told.
    fn stop(mut self) -> (Option<i32>, String) {
        interrupt(&self.process);
        let mut told = String::new();
        self.stderr.read_to_string(&mut told).unwrap();
        (self.process.wait().unwrap().code(), told)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What Ctrl-C does.
fn interrupt(process: &Child) {
    let command = format!("kill -INT {}", process.id());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
}

fn told(output: &Output) -> String {
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn same(left: &Path, right: &Path) -> bool {
    std::fs::read(left).unwrap() == std::fs::read(right).unwrap()
}

#[test]
fn every_byte_comes_over_and_both_sides_sum_up() {
    let bed = Bed::new();
    let seed = Seed::start(&bed);
    let output = bed.quelea("out").args(["--peer", &seed.address]).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("out/name: complete, 391 KiB in "), "{told}");
    for (path, _) in FILES {
        assert!(same(&bed.path("seed/name").join(path), &bed.path("out/name").join(path)), "{path}");
    }
    let (code, told) = seed.stop();
    assert_eq!(code, Some(0), "{told}");
    let (_, sum) = told.trim_end().rsplit_once('\n').unwrap();
    assert!(sum.starts_with("name: ") && sum.contains(" uploaded, ratio "), "{told}");
}

#[test]
fn what_is_there_already_needs_no_peer() {
    let bed = Bed::new();
    let output = bed.quelea("seed").output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.ends_with("seed/name: complete, 391 KiB, all of which was there already\n"), "{told}");
}

#[test]
fn only_selected_files_are_fetched() {
    let bed = Bed::new();
    let seed = Seed::start(&bed);
    let output =
        bed.quelea("out").args(["--peer", &seed.address, "--select", "*.bin", "-q"]).output().unwrap();
    assert_eq!((output.status.code(), told(&output).as_str()), (Some(0), ""));
    for path in ["a.bin", "sub/b.bin"] {
        assert!(same(&bed.path("seed/name").join(path), &bed.path("out/name").join(path)), "{path}");
    }
    assert!(!bed.path("out/name/sub/c.txt").exists());
}

#[test]
fn files_without_priority_are_not_fetched_and_the_others_come_in_order() {
    let bed = Bed::new();
    let seed = Seed::start(&bed);
    let mut command = bed.quelea("out");
    command.args([
        "--peer",
        &seed.address,
        "--sequential",
        "--priority",
        "*.bin=0",
        "--priority",
        "sub=7",
        "-q",
    ]);
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), told(&output).as_str()), (Some(0), ""));
    for path in ["sub/b.bin", "sub/c.txt"] {
        assert!(same(&bed.path("seed/name").join(path), &bed.path("out/name").join(path)), "{path}");
    }
    assert!(!bed.path("out/name/a.bin").exists());
    let output = bed.quelea("out").args(["--priority", "sub=8"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told(&output).contains("'8' is not a priority from 0 (not wanted) to 7 (first)"),
        "{}",
        told(&output)
    );
}

#[test]
fn an_interrupted_download_says_how_to_go_on_and_does() {
    let bed = Bed::new();
    // The pieces of the first file, less one.
    std::fs::create_dir(bed.path("out/name")).unwrap();
    let content = std::fs::read(bed.path("seed/name/a.bin")).unwrap();
    std::fs::write(bed.path("out/name/a.bin"), &content[..5 * PIECE]).unwrap();
    let mut process = bed.quelea("out").spawn().unwrap();
    let mut stderr = BufReader::new(process.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("5 of 25 pieces were there already") {
        assert!(stderr.read_line(&mut text).unwrap() > 0, "{text}");
    }
    interrupt(&process);
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.ends_with("name: stopped at 20.4%; the same command goes on from there\n"), "{text}");

    let seed = Seed::start(&bed);
    let output = bed.quelea("out").args(["--peer", &seed.address]).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("of which 311 KiB came in"), "{told}");
    assert!(same(&bed.path("seed/name/a.bin"), &bed.path("out/name/a.bin")));
}

#[test]
fn a_disk_that_cannot_be_written_to_is_named() {
    let bed = Bed::new();
    std::fs::write(bed.path("out/name"), b"a file where a folder must be").unwrap();
    let output = bed.quelea("out").output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("out/name"), "{told}");
    assert_eq!(std::fs::read(bed.path("out/name")).unwrap(), b"a file where a folder must be");
}

#[test]
fn an_address_that_is_not_ours_cannot_be_listened_on() {
    let bed = Bed::new();
    // No interface has this address (RFC 5737).
    let output = bed.quelea("out").args(["--bind", "192.0.2.1"]).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("192.0.2.1"), "{told}");
}
