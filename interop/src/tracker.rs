//! opentracker: HTTP and UDP on one port.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};

use crate::http;
use crate::network::Host;
use crate::payload::write;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::torrent::Torrent;
use crate::wait;

/// The program's name.
pub const PROGRAM: &str = "opentracker";

/// Where it listens, for both.
pub const PORT: u16 = 6_969;

/// Where TLS in front of it listens.
pub const TLS_PORT: u16 = 6_970;

/// How clients announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// BEP 3 and 23.
    Http,
    /// The same through TLS.
    Https,
    /// BEP 15.
    Udp,
}

/// A running tracker for one torrent.
pub struct Tracker {
    process: Process,
    host: Host,
    hash: String,
}

/// The URL under which a tracker on `host` will be found.
pub fn announce_url(host: &Host, protocol: Protocol) -> String {
    let (scheme, port) = match protocol {
        Protocol::Http => ("http", PORT),
        Protocol::Https => ("https", TLS_PORT),
        Protocol::Udp => ("udp", PORT),
    };
    format!("{scheme}://{}/announce", address(host, port))
}

/// A port of a host.
pub fn address(host: &Host, port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::into(host.address), port)
}

impl Tracker {
    /// Starts it and waits until it answers.
    pub fn start(scratch: &Scratch, host: Host, torrent: &Torrent) -> Result<Self> {
        // Debian's build serves the torrents of a list and no others.
        let list = scratch.file("tracker.list");
        let mut hashes = torrent.announced.join("\n");
        hashes.push('\n');
        write(&list, hashes.as_bytes())?;
        // Started by root it locks itself up in a folder, as nobody; started as nobody it does neither.
        let nobody: &[&str] = if rustix::process::geteuid().is_root() {
            &["--reuid", "65534", "--regid", "65534", "--clear-groups"]
        } else {
            &[]
        };
        let port = PORT.to_string();
        let mut command = host.command_through(nobody, PROGRAM);
        command.args(["-i", &host.address.to_string(), "-p", &port, "-P", &port, "-w"]).arg(&list);
        let process = Process::start(scratch, "opentracker", &mut command)?;
        let hash = torrent.announced.first().context("a torrent without a hash")?.clone();
        let mut tracker = Self { process, host, hash };
        tracker.await_seeds(0)?;
        Ok(tracker)
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Waits until as many peers have announced that they have everything.
    pub fn await_seeds(&mut self, wanted: usize) -> Result<()> {
        self.await_counts(&format!("{wanted} seeds at the tracker"), |counts| counts.seeds >= wanted)
    }

    /// Waits until as many peers have announced that they lack something.
    pub fn await_leeches(&mut self, wanted: usize) -> Result<()> {
        self.await_counts(&format!("{wanted} leeches at the tracker"), |counts| counts.leeches >= wanted)
    }

    /// Waits until just as many seeds are left, no leech is, and someone has announced that it completed.
    pub fn await_farewell(&mut self, seeds_left: usize) -> Result<()> {
        let what = format!("`completed` and `stopped` at the tracker, {seeds_left} seeds left");
        self.await_counts(&what, |counts| {
            counts.seeds == seeds_left && counts.leeches == 0 && counts.completed > 0
        })
    }

    /// Waits until nobody is left.
    pub fn await_nobody(&mut self) -> Result<()> {
        self.await_counts("`stopped` at the tracker", |counts| counts.seeds + counts.leeches == 0)
    }

    fn await_counts(&mut self, what: &str, enough: impl Fn(Counts) -> bool) -> Result<()> {
        let mut last = None;
        wait::until(what, wait::LIMIT, || {
            self.process.must_run()?;
            last = self.get("scrape", "")?.map(|answer| Counts::of(&answer));
            Ok(last.filter(|&counts| enough(counts)).map(|_| ()))
        })
        .with_context(|| format!("the tracker counts {last:?}"))
    }

    fn get(&self, page: &str, query: &str) -> Result<Option<Vec<u8>>> {
        let mut hash = String::new();
        for at in (0..self.hash.len()).step_by(2) {
            write!(hash, "%{}", self.hash.get(at..at + 2).unwrap_or_default())?;
        }
        let head = format!("GET /{page}?info_hash={hash}{query} HTTP/1.1");
        let at = address(&self.host, PORT);
        Ok(http::ask(&self.host, at, &head, "")?.map(|answer| answer.body))
    }
}

/// What a scrape tells of one torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    seeds: usize,
    leeches: usize,
    /// How often someone announced that it completed.
    completed: usize,
}

impl Counts {
    /// Read from a scrape's answer; a torrent that nobody announced is left out of it.
    fn of(answer: &[u8]) -> Self {
        let text = String::from_utf8_lossy(answer);
        let value = |key: &str| {
            let digits = text.split(key).nth(1).and_then(|rest| rest.split('e').next());
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        Self {
            seeds: value("8:completei"),
            leeches: value("10:incompletei"),
            completed: value("10:downloadedi"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_are_read_from_a_scrape() {
        let mut answer = b"d5:filesd20:\xff#Eg\x89\xab\xcd\xef\x01#Eg\x89\xab\xcd\xef\x01#Eg".to_vec();
        answer.extend(b"d8:completei12e10:downloadedi3e10:incompletei4eeee");
        assert_eq!(Counts::of(&answer), Counts { seeds: 12, leeches: 4, completed: 3 });
        assert_eq!(Counts::of(b"d5:filesdee"), Counts { seeds: 0, leeches: 0, completed: 0 });
    }
}
