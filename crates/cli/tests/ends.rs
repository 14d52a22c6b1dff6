//! When downloads end, and what then: by a signal, because they are given up, or complete.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "patience with a real process is measured in real time")]
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Bed, Leech, Seed, alone};

/// Far more than an end takes on a slow machine, and far less than what it would otherwise wait for.
const SOON: Duration = Duration::from_secs(60);

fn bed() -> Bed {
    Bed::new("name", 64 * 1024, &[("a", 3 << 20), ("sub/b", 2 << 20)])
}

/// A download to `to` of which nobody has anything.
fn lonely(bed: &Bed, to: &Path) -> Command {
    let mut command = bed.quelea();
    command.arg(bed.torrent()).arg("-o").arg(to).args(["-p", "0", "--bind", "127.0.0.1", "--json"]);
    command.arg("--state-dir").arg(bed.path("state"));
    command
}

fn signal(process: &Child, name: &str) {
    let line = format!("kill -{name} {}", process.id());
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
}

/// The exit code of a process that ends soon.
fn ends_soon(process: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() >= deadline {
            process.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_ends_a_check_that_would_take_hours() {
    let bed = Bed::of_zeros("zeros", 4 << 20, 1 << 18);
    let mut checking = Leech::start(lonely(&bed, &bed.path("seed")));
    checking.until("checking", |line| line["pieces_checked"].as_u64() > Some(0));
    let begun = Instant::now();
    checking.signal("INT");
    assert_eq!(checking.wait(), Some(130), "{}", checking.stderr());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_second_signal_ends_a_program_that_cannot_write_what_it_has_to_tell() {
    let bed = bed();
    let mut command = lonely(&bed, &bed.path("out"));
    // Each is a line of thousands of bytes on standard output, which nobody reads.
    command.args((0..60).map(|number| format!("{number}{}", "/very-long-name".repeat(260))));
    let mut process = command.spawn().unwrap();
    let mut stderr = BufReader::new(process.stderr.take().unwrap());
    let mut told = String::new();
    while told.matches("cannot read").count() < 6 {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "it ended: {told}");
    }
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    signal(&process, "INT");
    std::thread::sleep(Duration::from_millis(100));
    signal(&process, "INT");
    let code = ends_soon(&mut process);
    assert!(matches!(code, Some(4 | 130)), "{code:?}");
}

#[test]
fn what_does_not_come_is_given_up_when_the_user_says_so() {
    let bed = bed();
    for option in ["--timeout", "--stop-if-stalled"] {
        let mut command = lonely(&bed, &bed.path("out"));
        command.args([option, "2s"]);
        let mut leech = Leech::start(command);
        let warning = leech.event("warning");
        assert!(warning["message"].as_str().unwrap().contains("2s"), "{warning}");
        assert_eq!(leech.wait(), Some(7), "{option}: {}", leech.stderr());
        assert_eq!(leech.told.last().unwrap()["exit_code"], 7);
    }
    let refused = bed.quelea().arg(bed.torrent()).args(["--timeout", "0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_command_is_run_for_what_is_complete_and_its_failure_is_told() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let (out, note) = (bed.path("out"), bed.path("note"));
    let mut command = bed.leech(&out, &seed);
    let line = "printf '%s|%s|%s|%s' \"$QUELEA_TORRENT_NAME\" \"$QUELEA_TORRENT_PATH\" \
                \"$QUELEA_TORRENT_DIR\" \"$QUELEA_TORRENT_HASH\" >\"$NOTE\"; echo seen; cat";
    command.args(["--on-complete", line]).env("NOTE", &note);
    let mut leech = Leech::start(command);
    let completed = leech.event("completed");
    assert_eq!(leech.wait(), Some(0), "{}", leech.stderr());
    let hash = completed["info_hash"].as_str().unwrap();
    let (path, dir) = (out.join("name"), out.display());
    let told = std::fs::read_to_string(&note).unwrap();
    assert_eq!(told, format!("name|{}|{dir}|{hash}", path.display()));
    assert!(leech.stderr().contains("seen"), "what it prints goes to standard error");

    let mut command = bed.leech(&out, &seed);
    command.args(["--on-complete", "exit 3"]);
    let mut leech = Leech::start(command);
    let failed = leech.event("command_failed");
    assert!(failed["message"].as_str().unwrap().contains("exit status: 3"), "{failed}");
    assert_eq!(leech.wait(), Some(1));
}

#[test]
fn everything_is_hashed_once_more_when_the_user_says_so() {
    let bed = bed();
    let mut command = bed.quelea();
    command.arg(bed.torrent()).arg("-o").arg(bed.path("seed")).args(["-p", "0", "--bind", "127.0.0.1"]);
    command.args(["--hash-again", "--state-dir", "none"]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let (again, complete) = (told.find("hashed again: everything is good"), told.find(": complete"));
    assert!(again.is_some() && again < complete, "{told}");
}

#[test]
fn trackers_are_left_out_and_added() {
    let bed = bed();
    let mut command = bed.quelea();
    command
        .arg("magnet:?xt=urn:btih:0123456789012345678901234567890123456789&tr=http%3A%2F%2F127.0.0.1%3A9%2F");
    command.args(["-p", "0", "--bind", "127.0.0.1", "--state-dir", "none", "--json", "--timeout", "2s"]);
    command.args(["--exclude-tracker", "127.0.*"]).current_dir(bed.path("seed"));
    let mut alone = Leech::start(command);
    let warning = alone.event("warning");
    assert!(warning["message"].as_str().unwrap().contains("nobody to ask"), "{warning}");
    assert_eq!(alone.wait(), Some(7));

    let mut command = lonely(&bed, &bed.path("out"));
    command.args(["--add-tracker", "http://127.0.0.1:9/announce", "--exclude-tracker", "*"]);
    let mut leech = Leech::start(command);
    let tracker = leech.event("tracker");
    assert_eq!(tracker["url"], "http://127.0.0.1:9/announce");
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(130));
}

#[test]
fn a_directory_that_cannot_be_made_is_told_before_anything_begins() {
    let bed = bed();
    std::fs::write(bed.path("file"), "theirs").unwrap();
    for source in
        [bed.torrent().to_str().unwrap(), "magnet:?xt=urn:btih:0123456789012345678901234567890123456789"]
    {
        let mut command = bed.quelea();
        command.arg(source).arg("-o").arg(bed.path("file/out")).args(["-p", "0", "--bind", "127.0.0.1"]);
        let mut process = command.args(["--state-dir", "none"]).spawn().unwrap();
        assert_eq!(ends_soon(&mut process), Some(4), "{source}");
        let mut told = String::new();
        process.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.contains("cannot create the directory") && told.contains("--output-dir"), "{told}");
    }
}

#[test]
fn a_limit_on_the_length_of_files_is_told_and_kills_nobody() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let command = bed.leech(&bed.path("out"), &seed);
    let mut limited = Command::new("sh");
    // Blocks of 512 bytes or of 1,024; the state has room in both.
    limited.args(["-c", "ulimit -f 2048 && exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    alone(&mut limited);
    let mut leech = Leech::start(limited);
    let paused = leech.event("paused");
    let message = paused["message"].as_str().unwrap();
    assert!(message.contains("ulimit -f") && message.contains("/name/"), "{message}");
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(4), "{}", leech.stderr());
}

#[test]
fn what_was_begun_is_listed_resumed_and_forgotten() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let out = bed.path("out");
    let state = bed.path("state");
    let list = || -> serde_json::Value {
        let listed = bed.quelea().args(["list", "--json", "--state-dir"]).arg(&state).output().unwrap();
        assert_eq!(listed.status.code(), Some(0), "{}", String::from_utf8_lossy(&listed.stderr));
        serde_json::from_slice(&listed.stdout).unwrap()
    };
    assert_eq!(list(), serde_json::json!([]));
    assert!(!state.exists(), "looking makes nothing");

    let mut command = bed.leech(&out, &seed);
    command.args(["--select", "a", "--max-download", "300K"]);
    let mut leech = Leech::start(command);
    leech.until("some pieces", |line| line["wanted_have"].as_u64() > Some(0));
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(130), "{}", leech.stderr());
    let known = &list()[0];
    assert_eq!((&known["name"], &known["complete"]), (&"name".into(), &false.into()));
    assert_eq!(known["wanted_length"], 3 << 20, "what was selected: {known}");
    assert!(known["wanted_have"].as_u64() > Some(0), "{known}");
    let hash = known["info_hash"].as_str().unwrap();
    assert_eq!(Path::new(known["directory"].as_str().unwrap()), out.canonicalize().unwrap());

    // From anywhere, and with nothing named.
    let mut command = bed.quelea();
    command.args(["resume", "--json", "-p", "0", "--bind", "127.0.0.1", "--peer", &seed.address]);
    command.arg("--state-dir").arg(&state).current_dir(bed.path("seed"));
    let mut resumed = Leech::start(command);
    resumed.event("completed");
    assert_eq!(resumed.wait(), Some(0), "{}", resumed.stderr());
    assert_eq!(bed.differences(&out), ["sub/b"], "what was selected came, and nothing else");
    assert_eq!(list()[0]["complete"], true);
    let nothing = bed.quelea().args(["resume", "--state-dir"]).arg(&state).output().unwrap();
    assert_eq!(nothing.status.code(), Some(0), "{}", String::from_utf8_lossy(&nothing.stderr));

    let forget = || bed.quelea().args(["forget", hash, "--state-dir"]).arg(&state).output().unwrap();
    let forgotten = forget();
    assert_eq!(forgotten.status.code(), Some(0), "{}", String::from_utf8_lossy(&forgotten.stderr));
    let told = String::from_utf8(forgotten.stdout).unwrap();
    assert!(told.contains("name") && told.contains("its files stay"), "{told}");
    assert_eq!(list(), serde_json::json!([]));
    assert_eq!(bed.differences(&out), ["sub/b"]);
    assert_eq!(forget().status.code(), Some(2));
}

/// What root may not do must be tried as somebody else.
fn as_somebody(bed: &Bed, command: &Command) -> Command {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut other = Command::new("sh");
    other.args(["-c", "exec \"$0\" \"$@\""]).arg(command.get_program());
    if root {
        use std::os::unix::fs::PermissionsExt;
        let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        open(bed.path("seed").parent().unwrap());
        std::fs::copy(env!("CARGO_BIN_EXE_quelea"), bed.path("quelea")).unwrap();
        other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(bed.path("quelea"));
    }
    other.args(command.get_args());
    alone(&mut other);
    other
}

#[test]
fn a_file_that_cannot_be_read_is_found_before_anything_is_hashed() {
    use std::os::unix::fs::PermissionsExt;
    let bed = bed();
    let folder = bed.path("content");
    std::fs::create_dir(&folder).unwrap();
    // Hashing this would take hours.
    std::fs::File::create(folder.join("a")).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(folder.join("b"), "secret").unwrap();
    std::fs::set_permissions(folder.join("b"), PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = bed.quelea();
    command.arg("create").arg(&folder).arg("-o").arg(bed.path("content.torrent"));
    let mut process = as_somebody(&bed, &command).stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(ends_soon(&mut process), Some(4));
    let mut told = String::new();
    process.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("content/b"), "{told}");
}

#[test]
fn of_several_torrents_only_so_many_run_at_a_time() {
    let (one, other) = (bed(), Bed::new("other", 64 * 1024, &[("a", 100_000)]));
    let mut command = lonely(&one, &one.path("out"));
    command.arg(other.torrent()).args(["--max-active", "1"]);
    let mut leech = Leech::start(command);
    let queued = leech.until("a queued torrent", |line| line["state"] == "queued");
    assert_eq!(queued["name"], "other");
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(130), "{}", leech.stderr());
}
