//! A torrent of 20,000 files under `ulimit -n 256`: downloaded, seeded and verified, with a crowd at the door.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "patience with a real process is measured in real time")]
#![cfg(target_os = "linux")]

mod support;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Bed, Leech, PATIENCE, Seed, alone};

const FILES: usize = 20_000;
const LIMIT: usize = 256;
/// More than may be open, from so many addresses that no one of them is turned away for being one.
const CROWD: u16 = 300;

/// The same command with few open files.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args());
    alone(&mut limited);
    limited
}

fn bed() -> Bed {
    let paths: Vec<(String, usize)> =
        (0..FILES).map(|n| (format!("d{:03}/f{n:05}", n / 100), 700 + n % 601)).collect();
    let files: Vec<(&str, usize)> = paths.iter().map(|(path, length)| (path.as_str(), *length)).collect();
    // In memory, where there is such a place: a real disk takes minutes to make so many files last.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    Bed::inside(&place, "many", 32 * 1024, &files)
}

/// Strangers who connect and say nothing. Those that are not let in wait; nobody waits for them.
fn crowd(port: u16) -> Vec<OwnedFd> {
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let one = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low.max(1)), 0);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stranger = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        bind(&stranger, &from).unwrap();
        match connect(&stranger, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => stranger,
            Err(error) => panic!("{error}"),
        }
    };
    (0..CROWD).map(one).collect()
}

/// The port that a program tells in its log.
fn port_in(log: &Path) -> u16 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let port = text.split_once("listening port=").and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((port, _)) = port {
            return port.trim().parse().unwrap();
        }
        assert!(Instant::now() < deadline, "no port: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many sockets a process has open.
fn sockets(process: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let names = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn twenty_thousand_files_need_no_more_than_256_descriptors() {
    let bed = bed();
    let seed = Seed::run(limited(&bed.seed()));

    let (out, log) = (bed.path("out"), bed.path("log"));
    let mut command = bed.leech(&out, &seed);
    command.arg("--log-file").arg(&log);
    let mut leech = Leech::start(limited(&command));
    let leech_id = leech.id();
    let strangers = crowd(port_in(&log));
    let mut most = 0;
    leech.until("completion", |line| {
        assert!(!["paused", "warning"].contains(&line["event"].as_str().unwrap()), "{line}");
        most = most.max(sockets(leech_id));
        line["event"] == "completed"
    });
    assert_eq!(leech.wait(), Some(0), "{}", leech.stderr());
    assert!(most > 20, "the crowd did not come in: {most}");
    drop(strangers);
    assert_eq!(bed.differences(&out), [""; 0]);

    let mut verify = bed.quelea();
    verify.arg("verify").arg(bed.torrent()).arg("-o").arg(&out).arg("--quiet");
    let verified = limited(&verify).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
}
