//! Disks that refuse, through the whole program: it says which file and what to do, pauses, and goes on when that is
//! mended. Small file systems are mounted in a namespace of this process's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]
#![cfg(target_os = "linux")]

mod support;

use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Bed, Leech, Seed};

const FILES: [(&str, usize); 3] = [("a", 3 << 20), ("sub/b", 2 << 20), ("c", 12_345)];

fn bed() -> Bed {
    Bed::new("name", 64 * 1024, &FILES)
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap()
}

/// A program that has mounts of its own, for as long as this lives.
struct Mounts {
    holder: std::process::Child,
}

impl Mounts {
    /// `None`, which is told, where none can be made; never with CI=true.
    fn new() -> Option<Self> {
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let how = if root { "-m" } else { "-Urm" };
        let mut command = Command::new("unshare");
        command.args([how, "sh", "-c", "mount --make-rprivate / && echo ready && exec sleep 600"]);
        let made = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        if let Ok(mut holder) = made {
            let mut answer = [0; 6];
            let stdout = holder.stdout.as_mut().unwrap();
            if std::io::Read::read_exact(stdout, &mut answer).is_ok() {
                return Some(Self { holder });
            }
            let _ = holder.wait();
        }
        assert!(std::env::var("CI").is_err(), "mounts of a test's own are needed");
        eprintln!("skipped: no namespace of mounts can be made here");
        None
    }

    /// This command, with these mounts.
    fn inside(&self, command: &Command) -> Command {
        let id = self.holder.id();
        let mut entered = Command::new("nsenter");
        entered.args(["-t", &id.to_string(), "-m", "-U", "--preserve-credentials"]);
        if std::fs::read_link(format!("/proc/{id}/ns/user")).ok()
            == std::fs::read_link("/proc/self/ns/user").ok()
        {
            entered = Command::new("nsenter");
            entered.args(["-t", &id.to_string(), "-m"]);
        }
        entered.arg(command.get_program()).args(command.get_args());
        support::alone(&mut entered);
        entered
    }

    /// Runs a line of shell.
    fn run(&self, line: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let output = self.inside(&command).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What of the torrent is not in `to` as it should be, seen from inside.
    fn assert_whole(&self, bed: &Bed, to: &Path) {
        for (path, _) in FILES {
            let (seed, out) = (bed.file(&bed.path("seed"), path), bed.file(to, path));
            self.run(&format!("cmp '{}' '{}'", seed.display(), out.display()));
        }
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// An empty folder for the download, where something is mounted on.
fn mounted(bed: &Bed, mounts: &Mounts, options: &str) -> PathBuf {
    let out = bed.path("out");
    std::fs::create_dir(&out).unwrap();
    mounts.run(&format!("mount -t tmpfs -o {options} none '{}'", out.display()));
    out
}

#[test]
fn a_full_disk_is_waited_for_and_the_download_goes_on_when_it_has_grown() {
    let Some(mounts) = Mounts::new() else { return };
    let bed = bed();
    let seed = Seed::start(&bed);
    let out = mounted(&bed, &mounts, "size=2m");
    let mut leech = Leech::start(mounts.inside(&bed.leech(&out, &seed)));
    let paused = leech.event("paused");
    let text = message(&paused);
    assert!(text.contains(out.to_str().unwrap()) && text.contains("free some space"), "{text}");
    mounts.run(&format!("mount -o remount,size=16m '{}'", out.display()));
    leech.event("resumed");
    let completed = leech.event("completed");
    assert_eq!(leech.wait(), Some(0));
    let total: usize = FILES.iter().map(|(_, length)| length).sum();
    assert_eq!(completed["downloaded"].as_u64(), Some(total as u64), "nothing is fetched twice");
    mounts.assert_whole(&bed, &out);
}

#[test]
fn a_disk_that_is_read_only_is_waited_for() {
    let Some(mounts) = Mounts::new() else { return };
    let bed = bed();
    let seed = Seed::start(&bed);
    let out = mounted(&bed, &mounts, "size=16m");
    mounts.run(&format!("mount -o remount,ro '{}'", out.display()));
    let mut leech = Leech::start(mounts.inside(&bed.leech(&out, &seed)));
    let paused = leech.event("paused");
    let text = message(&paused);
    assert!(text.contains(out.to_str().unwrap()) && text.contains("can be written to"), "{text}");
    mounts.run(&format!("mount -o remount,rw '{}'", out.display()));
    leech.event("completed");
    assert_eq!(leech.wait(), Some(0));
    mounts.assert_whole(&bed, &out);
}

#[test]
fn who_may_not_write_is_told_and_goes_on_when_he_may() {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let bed = bed();
    let seed = Seed::start(&bed);
    let out = bed.path("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::create_dir(bed.path("state")).unwrap();
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o555)).unwrap();
    let mut command = bed.leech(&out, &seed);
    if root {
        // What root may not do must be tried as somebody else.
        let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        open(out.parent().unwrap());
        open(&bed.path("state"));
        std::fs::copy(env!("CARGO_BIN_EXE_quelea"), bed.path("quelea")).unwrap();
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(bed.path("quelea"));
        other.args(command.get_args());
        support::alone(&mut other);
        command = other;
    }
    let mut leech = Leech::start(command);
    let paused = leech.event("paused");
    let text = message(&paused);
    assert!(text.contains(out.to_str().unwrap()) && text.contains("check its permissions"), "{text}");
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o777)).unwrap();
    leech.event("completed");
    assert_eq!(leech.wait(), Some(0));
    assert_eq!(bed.differences(&out), [""; 0]);
}

#[test]
fn what_stands_in_a_files_way_is_named() {
    type Prepare = fn(&Path);
    let cases: [(&str, Prepare, &str); 4] = [
        ("name/a", |at| symlink("/nonexistent", at).unwrap(), "which is not there; bring that back"),
        (
            "name/a",
            |at| symlink(at.parent().unwrap(), at).unwrap(),
            "but a file belongs there; remove the link",
        ),
        ("name/a", |at| std::fs::create_dir(at).unwrap(), "not an ordinary file; move it away"),
        ("name/sub", |at| std::fs::write(at, "theirs").unwrap(), "where a folder belongs: move it away"),
    ];
    let bed = bed();
    let seed = Seed::start(&bed);
    for (number, (place, prepare, words)) in cases.into_iter().enumerate() {
        let out = bed.path(&format!("out-{number}"));
        std::fs::create_dir_all(out.join("name")).unwrap();
        prepare(&out.join(place));
        let mut leech = Leech::start(bed.leech(&out, &seed));
        let failed = leech.event("failed");
        let text = message(&failed);
        assert!(text.contains(out.join(place).to_str().unwrap()), "{text}");
        assert!(text.contains(words), "{text}");
        assert_eq!(leech.wait(), Some(4), "{text}");
    }
}

#[test]
fn links_of_the_user_are_written_through() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let (out, other) = (bed.path("out"), bed.path("other"));
    std::fs::create_dir_all(out.join("name")).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    symlink("../../other", out.join("name/sub")).unwrap();
    let mut leech = Leech::start(bed.leech(&out, &seed));
    leech.event("completed");
    assert_eq!(leech.wait(), Some(0));
    assert_eq!(bed.differences(&out), [""; 0]);
    assert!(out.join("name/sub").symlink_metadata().unwrap().is_symlink());
    assert!(std::fs::read_dir(&other).unwrap().count() > 0);
}

#[test]
fn a_name_that_is_too_long_is_told_with_its_path() {
    let long = "n".repeat(300);
    let bed = Bed::new("name", 64 * 1024, &[("a", 100_000), ("b", 100_000)]);
    let seed = Seed::start(&bed);
    // The folder above is what is too long: a torrent's own names are cut.
    let mut leech = Leech::start(bed.leech(&bed.path(&long), &seed));
    let line = leech.until("trouble", |line| line["event"] == "failed" || line["event"] == "paused");
    let text = message(&line);
    assert!(text.contains(&long) && text.contains("name too long"), "{text}");
}

#[test]
fn a_file_that_is_longer_is_not_cut() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let out = bed.path("out");
    std::fs::create_dir_all(out.join("name")).unwrap();
    std::fs::write(out.join("name/c"), vec![b'x'; 20_000]).unwrap();
    let mut leech = Leech::start(bed.leech(&out, &seed));
    let failed = leech.event("failed");
    let text = message(&failed);
    assert!(text.contains("name/c") && text.contains("20000") && text.contains("12345"), "{text}");
    assert_eq!(leech.wait(), Some(4));
    assert_eq!(std::fs::read(out.join("name/c")).unwrap(), vec![b'x'; 20_000]);
}

#[test]
fn files_that_were_cut_or_changed_between_two_runs_are_mended() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let out = bed.path("out");
    for round in 0..3 {
        let mut leech = Leech::start(bed.leech(&out, &seed));
        let completed = leech.event("completed");
        assert_eq!(leech.wait(), Some(0));
        assert_eq!(bed.differences(&out), [""; 0], "round {round}");
        let came = completed["downloaded"].as_u64().unwrap();
        if round > 0 {
            assert!((1..2_500_000).contains(&came), "round {round} fetched {came} bytes");
        }
        let file = std::fs::File::options().write(true).open(bed.file(&out, "a")).unwrap();
        match round {
            0 => file.set_len(1 << 20).unwrap(),
            _ => std::os::unix::fs::FileExt::write_all_at(&file, b"changed", 1_000_000).unwrap(),
        }
    }
}

#[test]
fn files_that_vanish_under_a_download_are_told_and_fetched_again_by_the_next_run() {
    let Some(mounts) = Mounts::new() else { return };
    let bed = bed();
    let seed = Seed::start(&bed);
    // Room for some of it, so that the download is held in the middle.
    let out = mounted(&bed, &mounts, "size=2m");
    let mut leech = Leech::start(mounts.inside(&bed.leech(&out, &seed)));
    leech.event("paused");
    mounts.run(&format!("rm -r '{0}/name' && mount -o remount,size=32m '{0}'", out.display()));
    let told = leech.until("the loss", |line| {
        line["event"] == "paused" && message(line).contains("vanished") || line["event"] == "completed"
    });
    assert_eq!(told["event"], "paused", "files that are gone were called complete");
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(4));
    let mut again = Leech::start(mounts.inside(&bed.leech(&out, &seed)));
    again.event("completed");
    assert_eq!(again.wait(), Some(0));
    mounts.assert_whole(&bed, &out);
}

#[test]
fn a_directory_that_is_mounted_at_two_places_is_written_by_one_process() {
    let Some(mounts) = Mounts::new() else { return };
    let bed = bed();
    let seed = Seed::start(&bed);
    let (out, again) = (bed.path("out"), bed.path("again"));
    std::fs::create_dir(&out).unwrap();
    std::fs::create_dir(&again).unwrap();
    mounts.run(&format!("mount --bind '{}' '{}'", out.display(), again.display()));
    let mut first = bed.leech(&out, &seed);
    first.args(["--max-download", "64K"]);
    let mut first = Leech::start(mounts.inside(&first));
    first.event("progress");
    let mut second = bed.get(&again);
    second.args(["--json", "--peer", &seed.address, "--state-dir", "none"]);
    let mut second = Leech::start(mounts.inside(&second));
    let failed = second.event("failed");
    assert!(message(&failed).contains("worked on by another program"), "{failed}");
    assert_eq!(second.wait(), Some(4));
}
