//! The clients under one roof: each can seed a folder, and each can download into one.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use crate::network::Host;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::told::Told;
use crate::torrent::Torrent;
use crate::{aria2, libtorrent, programs, qbittorrent, quelea, rtorrent, transmission, wait};

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The one under test.
    Quelea,
    /// libtorrent-rasterbar.
    Libtorrent,
    /// transmission-daemon.
    Transmission,
    /// aria2c.
    Aria2,
    /// qbittorrent-nox.
    Qbittorrent,
    /// rtorrent.
    Rtorrent,
}

/// One client's part in a transfer.
pub struct Job<'a> {
    /// Where its logs and settings go.
    pub scratch: &'a Scratch,
    /// Where it runs.
    pub host: &'a Host,
    /// Where it listens; Quelea may be left to choose the address itself.
    pub listen: SocketAddr,
    /// What it transfers.
    pub torrent: &'a Torrent,
    /// Whether it is given a magnet link, not the torrent file.
    pub by_magnet: bool,
    /// Where the payload lies or goes to.
    pub folder: PathBuf,
    /// Peers named by hand; Transmission and aria2 cannot be told.
    pub peers: Vec<SocketAddr>,
    /// Nodes of the DHT to join by; without any it stays off.
    pub nodes: Vec<SocketAddr>,
    /// The authority to trust; only Quelea is told.
    pub authority: Option<PathBuf>,
    /// By what it finds peers beside its tracker and those that are named.
    pub discovery: Discovery,
    /// KiB a second that it receives, at most.
    pub max_download: Option<u32>,
    /// KiB a second that it sends, at most; only Quelea is told.
    pub max_upload: Option<u32>,
}

/// By what peers are found beside trackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Discovery {
    /// Peers tell each other (BEP 11).
    pub pex: bool,
    /// Neighbours are told by multicast (BEP 14); rTorrent does not know it.
    pub lsd: bool,
}

impl Discovery {
    /// Peer exchange and nothing else.
    pub const PEX: Self = Self { pex: true, lsd: false };
    /// Local discovery and nothing else.
    pub const LSD: Self = Self { pex: false, lsd: true };
}

impl Job<'_> {
    /// What it is given of the torrent: the file, or the link.
    pub fn source(&self) -> OsString {
        if self.by_magnet { self.torrent.magnet().into() } else { self.torrent.file.clone().into() }
    }

    /// What this part is called in file names.
    pub fn name(&self, program: &str, role: &str) -> String {
        format!("{program}-{role}-{}", self.host.address)
    }
}

/// A client at work; it stops when this goes.
pub enum Running<'a> {
    /// A program that ends when its work is done.
    Program(Process),
    /// One that goes on sharing when its download is complete, and that tells so.
    Sharer(Process, Sign),
    /// Transmission, which is asked.
    Transmission(transmission::Daemon<'a>),
    /// qBittorrent, which is asked.
    Qbittorrent(qbittorrent::Daemon<'a>),
    /// rTorrent, which is asked.
    Rtorrent(rtorrent::Daemon<'a>),
}

/// How one that does not end tells that it has every piece.
pub enum Sign {
    /// By a file that it makes.
    File(PathBuf),
    /// In its log.
    Told(Told),
}

impl Client {
    /// What is not installed, or not built, to run it.
    pub fn missing(self) -> Option<&'static str> {
        let (is_there, name) = match self {
            Self::Quelea => (quelea::program().is_some(), "a build of quelea"),
            Self::Libtorrent => (libtorrent::is_installed(), "python3-libtorrent"),
            Self::Transmission => (programs::find(transmission::PROGRAM).is_some(), transmission::PROGRAM),
            Self::Aria2 => (programs::find(aria2::PROGRAM).is_some(), aria2::PROGRAM),
            Self::Qbittorrent => (programs::find(qbittorrent::PROGRAM).is_some(), qbittorrent::PROGRAM),
            Self::Rtorrent => (programs::find(rtorrent::PROGRAM).is_some(), rtorrent::PROGRAM),
        };
        (!is_there).then_some(name)
    }

    /// Whether it can be told of peers beside the tracker's.
    pub fn takes_peers(self) -> bool {
        match self {
            Self::Quelea | Self::Libtorrent | Self::Qbittorrent | Self::Rtorrent => true,
            Self::Transmission | Self::Aria2 => false,
        }
    }

    /// Serves the job's folder.
    pub fn seed<'a>(self, job: &Job<'a>) -> Result<Running<'a>> {
        match self {
            Self::Quelea => quelea::seed(job).map(Running::Program),
            Self::Libtorrent => libtorrent::seed(job).map(Running::Program),
            Self::Transmission => transmission::seed(job).map(Running::Transmission),
            Self::Aria2 => aria2::seed(job).map(Running::Program),
            Self::Qbittorrent => qbittorrent::seed(job).map(Running::Qbittorrent),
            Self::Rtorrent => rtorrent::seed(job).map(Running::Rtorrent),
        }
    }

    /// Begins to download into the job's folder.
    pub fn leech<'a>(self, job: &Job<'a>) -> Result<Running<'a>> {
        match self {
            Self::Quelea => quelea::leech(job).map(Running::Program),
            Self::Libtorrent => libtorrent::leech(job).map(Running::Program),
            Self::Transmission => transmission::leech(job).map(Running::Transmission),
            Self::Aria2 => aria2::leech(job).map(Running::Program),
            Self::Qbittorrent => qbittorrent::leech(job).map(Running::Qbittorrent),
            Self::Rtorrent => rtorrent::leech(job).map(Running::Rtorrent),
        }
    }

    /// Begins to download into the job's folder, and goes on sharing until the guard goes.
    pub fn share<'a>(self, job: &Job<'a>) -> Result<Running<'a>> {
        match self {
            Self::Quelea => {
                let told = Told::new(quelea::log(job, "seed"));
                quelea::seed(job).map(|process| Running::Sharer(process, Sign::Told(told)))
            }
            Self::Libtorrent => {
                let sign = job.scratch.file(&job.name("libtorrent", "complete"));
                libtorrent::share(job, &sign).map(|process| Running::Sharer(process, Sign::File(sign)))
            }
            Self::Aria2 => {
                let sign = job.scratch.file(&job.name("aria2", "complete"));
                aria2::share(job, &sign).map(|process| Running::Sharer(process, Sign::File(sign)))
            }
            Self::Transmission | Self::Qbittorrent | Self::Rtorrent => self.leech(job),
        }
    }
}

impl Running<'_> {
    /// Waits until a download is complete.
    pub fn must_complete(&mut self) -> Result<()> {
        match self {
            Self::Program(process) => process.must_end_well(wait::LIMIT),
            Self::Sharer(..) => {
                wait::until("every piece", wait::LIMIT, || Ok(self.is_complete()?.then_some(())))
            }
            Self::Transmission(daemon) => daemon.must_complete(wait::LIMIT),
            Self::Qbittorrent(daemon) => daemon.must_complete(wait::LIMIT),
            Self::Rtorrent(daemon) => daemon.must_complete(wait::LIMIT),
        }
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        match self {
            Self::Program(process) | Self::Sharer(process, _) => process,
            Self::Transmission(daemon) => daemon.process(),
            Self::Qbittorrent(daemon) => daemon.process(),
            Self::Rtorrent(daemon) => daemon.process(),
        }
    }

    /// Whether a download is complete, without waiting for it.
    pub fn is_complete(&mut self) -> Result<bool> {
        match self {
            Self::Program(process) => process.has_ended_well(),
            Self::Sharer(process, sign) => {
                process.must_run()?;
                match sign {
                    Sign::File(path) => Ok(path.exists()),
                    Sign::Told(told) => told.read_on().map(|()| told.complete),
                }
            }
            Self::Transmission(daemon) => daemon.is_complete(),
            Self::Qbittorrent(daemon) => daemon.is_complete(),
            Self::Rtorrent(daemon) => daemon.is_complete(),
        }
    }

    /// An error when a seed has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self {
            Self::Program(process) | Self::Sharer(process, _) => process.must_run(),
            Self::Transmission(daemon) => daemon.must_run(),
            Self::Qbittorrent(daemon) => daemon.must_run(),
            Self::Rtorrent(daemon) => daemon.must_run(),
        }
    }
}
