//! Several torrents in one call, goals for seeding, and what programs are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(unix)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PIECE: usize = 16 * 1024;

/// A folder with torrents of one file each, `seed/` with the files, and `out/` without.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["seed", "out"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        for (at, name) in names.iter().enumerate() {
            let content: Vec<u8> = (0..100_000).map(|n: usize| ((n * (at + 3)) % 251) as u8).collect();
            std::fs::write(folder.path().join("seed").join(name), &content).unwrap();
            let hashes: Vec<u8> = content.chunks(PIECE).flat_map(quelea_digest::sha1).collect();
            let head = format!(
                "d4:infod6:lengthi{}e4:name{}:{name}12:piece lengthi{PIECE}e6:pieces{}:",
                content.len(),
                name.len(),
                hashes.len()
            );
            let torrent = [head.as_bytes(), &hashes, b"ee"].concat();
            std::fs::write(folder.path().join(format!("{name}.torrent")), torrent).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A download into the folder's directory `to`, on loopback alone.
    fn get(&self, torrents: &[&str], to: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUELEA_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", "/nonexistent").env("QUELEA_STATE_DIR", "none");
        command.env("QUELEA_NO_DHT", "yes").env("QUELEA_NO_PORT_MAP", "yes");
        command.args(torrents.iter().map(|name| self.path(&format!("{name}.torrent"))));
        command.arg("-o").arg(self.path(to)).args(["-p", "0", "--bind", "127.0.0.1", "--no-lsd"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn events(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of this kind about the torrent of this name.
fn of<'a>(events: &'a [Value], kind: &str, name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind && event["name"] == name).collect()
}

/// A seed of torrents of the bed, which is killed when dropped.
struct Seed {
    process: Option<Child>,
    address: String,
}

impl Seed {
    fn start(bed: &Bed, torrents: &[&str], options: &[&str]) -> Self {
        let log = bed.path("seed.log");
        let mut command = bed.get(torrents, "seed");
        let process = command.args(["--seed", "--log-file"]).arg(&log).args(options).spawn().unwrap();
        let mut seed = Self { process: Some(process), address: String::new() };
        while seed.address.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let port = text.split_once("listening port=").and_then(|(_, rest)| rest.lines().next());
            if text.matches(": complete, ").count() == torrents.len() {
                seed.address = format!("127.0.0.1:{}", port.unwrap().trim());
            }
            assert_eq!(seed.process.as_mut().unwrap().try_wait().unwrap(), None, "{text}");
        }
        seed
    }

    fn stop(self) -> Output {
        let command = format!("kill -INT {}", self.process.as_ref().unwrap().id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
        self.wait()
    }

    fn wait(mut self) -> Output {
        self.process.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn same(left: &Path, right: &Path) -> bool {
    std::fs::read(left).unwrap() == std::fs::read(right).unwrap()
}

#[test]
fn several_torrents_come_over_together_and_are_summed_up() {
    let bed = Bed::new(&["a", "b", "c"]);
    let seed = Seed::start(&bed, &["a", "b", "c"], &[]);
    let output = bed.get(&["a", "b", "c"], "out").args(["--peer", &seed.address]).output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for name in ["a", "b", "c"] {
        assert!(told.contains(&format!("out/{name}: complete, 97.7 KiB in ")), "{told}");
        assert!(same(&bed.path(&format!("seed/{name}")), &bed.path(&format!("out/{name}"))));
    }
    let (_, last) = told.trim_end().rsplit_once('\n').unwrap();
    assert!(last.starts_with("3 torrents: complete, 293 KiB in "), "{told}");
    let output = seed.stop();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("\nb: 97.7 KiB uploaded, ratio 1.00\n"), "{}", stderr(&output));
}

#[test]
fn one_that_cannot_be_read_does_not_hold_up_the_others() {
    let bed = Bed::new(&["a", "b"]);
    std::fs::write(bed.path("bad.torrent"), b"i0e").unwrap();
    let output = bed.get(&["bad", "a", "missing", "b"], "seed").output().unwrap();
    let told = stderr(&output);
    // What could not be read weighs more than what is no torrent.
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("`torrent` must be a dictionary\n"), "{told}");
    assert!(told.contains("missing.torrent: No such file or directory\n"), "{told}");
    assert!(told.contains("seed/a: complete") && told.contains("seed/b: complete"), "{told}");
}

#[test]
fn one_that_cannot_be_written_does_not_hold_up_the_others() {
    let bed = Bed::new(&["a", "b"]);
    std::fs::remove_file(bed.path("seed/a")).unwrap();
    std::fs::create_dir(bed.path("seed/a")).unwrap();
    let output = bed.get(&["a", "b"], "seed").output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("seed/b: complete"), "{told}");
    assert!(told.contains("seed/a"), "{told}");
}

#[test]
fn a_torrent_given_twice_is_downloaded_once() {
    let bed = Bed::new(&["a"]);
    let output = bed.get(&["a", "a"], "seed").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("a.torrent: the same torrent is given twice\n"));
}

#[test]
fn two_torrents_never_write_to_the_same_file() {
    let bed = Bed::new(&["a", "b"]);
    let mut other = std::fs::read(bed.path("b.torrent")).unwrap();
    let at = other.windows(8).position(|part| part == b"4:name1:").unwrap() + 8;
    other[at] = b'a';
    std::fs::write(bed.path("other.torrent"), other).unwrap();
    let output = bed.get(&["a", "other"], "seed").output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("seed/a\" is there already and is not this torrent's"),
        "{}",
        stderr(&output)
    );
    // Where nothing is there the first has the file.
    let seed = Seed::start(&bed, &["a"], &[]);
    let output = bed.get(&["a", "other"], "out").args(["--peer", &seed.address]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(std::fs::read(bed.path("out/a")).unwrap(), std::fs::read(bed.path("seed/a")).unwrap());
}

#[test]
fn two_torrents_that_are_complete_may_have_the_same_files() {
    let bed = Bed::new(&["a"]);
    let mut other = std::fs::read(bed.path("a.torrent")).unwrap();
    let end = other.len() - 2;
    other.splice(end..end, *b"7:privatei1e");
    std::fs::write(bed.path("other.torrent"), other).unwrap();
    let output = bed.get(&["a", "other"], "seed").args(["--seed-time", "1s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("seed/a: complete").count(), 2, "{}", stderr(&output));
}

#[test]
fn a_seed_ends_when_it_has_sent_enough() {
    let bed = Bed::new(&["a"]);
    let seed = Seed::start(&bed, &["a"], &["--seed-ratio", "1", "--seed-time", "1h"]);
    let output = bed.get(&["a"], "out").args(["--peer", &seed.address]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = seed.wait();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("a: 97.7 KiB uploaded, ratio 1.00\n"), "{}", stderr(&output));
}

#[test]
fn a_seed_ends_when_its_time_is_over() {
    let bed = Bed::new(&["a"]);
    let output = bed.get(&["a"], "seed").args(["--seed-time", "1s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("a: 0 B uploaded, ratio 0.00\n"), "{}", stderr(&output));
}

#[test]
fn programs_are_told_in_lines_of_json() {
    let bed = Bed::new(&["a", "b"]);
    let seed = Seed::start(&bed, &["a", "b"], &[]);
    std::fs::write(bed.path("bad.torrent"), b"i0e").unwrap();
    std::fs::write(bed.path("out/b"), &std::fs::read(bed.path("seed/b")).unwrap()[..2 * PIECE]).unwrap();
    let output =
        bed.get(&["a", "bad", "b"], "out").args(["--peer", &seed.address, "--json"]).output().unwrap();
    seed.stop();
    let events = events(&output);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    for name in ["a", "b"] {
        let about: Vec<&Value> = events.iter().filter(|event| event["name"] == name).collect();
        assert_eq!(about[0]["event"], "added", "{events:#?}");
        assert_eq!(about[0]["info_hash"].as_str().unwrap().len(), 40);
        assert_eq!(about[0]["total_length"], 100_000);
        assert!(about[0]["path"].as_str().unwrap().ends_with(&format!("out/{name}")));
        assert!(about[0]["source"].as_str().unwrap().ends_with(&format!("{name}.torrent")));
        assert!(about.iter().all(|event| event["info_hash"] == about[0]["info_hash"]));
        let completed = of(&events, "completed", name);
        assert_eq!(completed.len(), 1);
        assert!(completed[0]["seconds"].is_number());
    }
    let checked = of(&events, "checked", "b");
    assert_eq!((&checked[0]["pieces_good"], &checked[0]["pieces"]), (&Value::from(2), &Value::from(7)));
    assert_eq!(of(&events, "completed", "b")[0]["downloaded"], 100_000 - 2 * PIECE);
    for progress in events.iter().filter(|event| event["event"] == "progress") {
        for field in
            ["wanted_have", "pieces_have", "download_rate", "upload_rate", "peers_connected", "wasted"]
        {
            assert!(progress[field].is_u64(), "{field}: {progress}");
        }
        assert!(["checking", "downloading", "seeding"].contains(&progress["state"].as_str().unwrap()));
    }
    let failed: Vec<&Value> = events.iter().filter(|event| event["event"] == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["exit_code"], 3);
    assert!(failed[0]["message"].as_str().unwrap().contains("must be a dictionary"));
    assert_eq!(events.last().unwrap(), &serde_json::json!({"event": "ended", "exit_code": 3}));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn when_nobody_reads_the_json_the_download_stops() {
    let bed = Bed::new(&["a"]);
    // Nobody has the torrent: without a reader's leaving this would go on for ever.
    let mut child = bed.get(&["a"], "out").arg("--json").spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn the_log_file_holds_what_was_told_and_is_added_to() {
    let bed = Bed::new(&["a"]);
    let log = bed.path("log");
    for round in 1..=2 {
        let output = bed.get(&["a"], "seed").arg("-q").arg("--log-file").arg(&log).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text.matches("listening port=").count(), round, "{text}");
        assert_eq!(text.matches("seed/a: complete, 97.7 KiB").count(), round, "{text}");
        assert!(!text.contains('\x1b'));
    }
    let output = bed.get(&["a"], "seed").arg("--log-file").arg(bed.path("no/such")).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).starts_with("quelea: cannot write the log to "), "{}", stderr(&output));
}
