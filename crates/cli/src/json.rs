//! `get --json`: what happens, an object a line on standard output. docs/command-line.md lists the fields.
//!
//! Names and fields are a promise to programs: they are added to and never changed.

use crate::clock;
use crate::display;
use crate::exit::{self, Status};
use crate::report::Subject;
use quelea::mapping::{Method, PortMapping, Transport};
use quelea::{Event, FetchProgress, Snapshot, State, Waiting};
use quelea_metainfo::Metainfo;
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two `progress` lines of a torrent that goes on doing the same.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Added {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        source: &'a str,
        path: &'a str,
        total_length: u64,
        wanted_length: u64,
        pieces: u32,
    },
    /// A magnet link's metadata is on its way.
    Fetching {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        /// Bytes of metadata, once a peer has said how long it is.
        metadata_length: Option<u32>,
        metadata_received: u32,
        peers_connected: usize,
        peers_known: usize,
    },
    /// It is here.
    Metadata {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        source: &'a str,
        metadata_length: usize,
        total_length: u64,
        private: bool,
        files: Vec<File<'a>>,
    },
    Checked {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        pieces_good: u32,
        pieces: u32,
    },
    Progress {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        state: &'static str,
        waiting: Option<&'static str>,
        wanted_length: u64,
        wanted_have: u64,
        wanted_received: u64,
        pieces: u32,
        pieces_have: u32,
        pieces_checked: u32,
        downloaded: u64,
        uploaded: u64,
        wasted: u64,
        download_rate: u64,
        upload_rate: u64,
        eta: Option<u64>,
        peers_connected: usize,
        seeds_connected: usize,
        peers_known: usize,
    },
    Completed {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        path: &'a str,
        wanted_length: u64,
        downloaded: u64,
        uploaded: u64,
        seconds: f64,
    },
    Failed {
        info_hash: Option<&'a str>,
        name: Option<&'a str>,
        source: &'a str,
        message: String,
        exit_code: u8,
    },
    CommandFailed {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        message: &'a str,
    },
    Tracker {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        url: String,
        ok: bool,
        peers: Option<usize>,
        message: Option<String>,
    },
    Dht {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        peers: usize,
        announced_to: usize,
    },
    DhtJoined {
        nodes: usize,
    },
    PieceFailed {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        piece: u32,
    },
    PeerBanned {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        address: String,
        reason: &'a str,
    },
    Paused {
        #[serde(flatten)]
        torrent: Torrent<'a>,
        message: String,
    },
    Resumed {
        #[serde(flatten)]
        torrent: Torrent<'a>,
    },
    Warning {
        message: String,
    },
    PortMapped {
        #[serde(flatten)]
        mapping: Mapping,
    },
    PortMappingLost {
        #[serde(flatten)]
        mapping: Mapping,
    },
    PortNotMapped {
        message: String,
    },
    ExternalAddress {
        address: IpAddr,
    },
    Ended {
        exit_code: u8,
    },
}

/// A file, as `show --json` has it.
#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    length: u64,
}

/// A port that a gateway forwards.
#[derive(Serialize)]
struct Mapping {
    transport: &'static str,
    method: &'static str,
    gateway: Option<IpAddr>,
    local_address: String,
    external_address: Option<IpAddr>,
    external_port: u16,
}

impl From<&PortMapping> for Mapping {
    fn from(mapping: &PortMapping) -> Self {
        Self {
            transport: match mapping.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
            method: match mapping.method {
                Method::Pcp => "pcp",
                Method::NatPmp => "nat-pmp",
                Method::Upnp => "upnp",
            },
            gateway: mapping.gateway.map(|gateway| gateway.address),
            local_address: mapping.local.to_string(),
            external_address: mapping.external_ip,
            external_port: mapping.external_port,
        }
    }
}

#[derive(Serialize)]
struct Torrent<'a> {
    info_hash: &'a str,
    name: &'a str,
}

impl<'a> From<&'a Subject> for Torrent<'a> {
    fn from(subject: &'a Subject) -> Self {
        Self { info_hash: &subject.info_hash, name: &subject.name }
    }
}

/// Writes the lines.
#[derive(Default)]
pub(crate) struct JsonLines {
    /// When each torrent, by its hash, was told of last, and what it did.
    told: HashMap<String, (Instant, State, Option<Waiting>)>,
    /// When each link, by its hash, was told of last, and what.
    awaited: HashMap<String, (Instant, FetchProgress)>,
    /// Why they cannot be written any more.
    broken: Option<std::io::Error>,
}

impl JsonLines {
    /// Why the lines cannot be written any more, if they cannot.
    pub(crate) fn broken(&self) -> Option<&std::io::Error> {
        self.broken.as_ref()
    }

    fn write(&mut self, line: &Line<'_>) {
        if self.broken.is_some() {
            return;
        }
        let written = serde_json::to_vec(line).map_err(std::io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            let mut out = std::io::stdout().lock();
            out.write_all(&text)?;
            out.flush()
        });
        self.broken = written.err();
    }

    pub(crate) fn added(&mut self, source: &str, subject: &Subject, snapshot: &Snapshot) {
        self.write(&Line::Added {
            torrent: subject.into(),
            source,
            path: &subject.place,
            total_length: snapshot.total_length,
            wanted_length: snapshot.wanted_length,
            pieces: snapshot.pieces,
        });
    }

    /// A link's metadata is on its way; told when it changed, once a second.
    pub(crate) fn fetching(&mut self, subject: &Subject, progress: &FetchProgress) {
        let before = self.awaited.get(&subject.info_hash);
        if before.is_some_and(|(at, told)| told == progress || at.elapsed() < INTERVAL) {
            return;
        }
        self.awaited.insert(subject.info_hash.clone(), (clock::now(), progress.clone()));
        self.write(&Line::Fetching {
            torrent: subject.into(),
            metadata_length: progress.size,
            metadata_received: progress.received,
            peers_connected: progress.peers_connected,
            peers_known: progress.peers_known,
        });
    }

    /// A link's metadata is here.
    pub(crate) fn metadata(&mut self, source: &str, metainfo: &Metainfo) {
        let info = &metainfo.info;
        let info_hash = info.hashes.v1_hex().or_else(|| info.hashes.v2_hex()).unwrap_or_default();
        let files = info.files.iter().filter(|file| !file.pad);
        self.write(&Line::Metadata {
            torrent: Torrent { info_hash: &info_hash, name: &info.name },
            source,
            metadata_length: info.raw().len(),
            total_length: info.content_length(),
            private: info.private,
            files: files.map(|file| File { path: file.path.as_str(), length: file.length }).collect(),
        });
    }

    pub(crate) fn progress(&mut self, subject: &Subject, snapshot: &Snapshot) {
        let recent = self.told.get(&subject.info_hash).is_some_and(|(at, state, waiting)| {
            *state == snapshot.state && *waiting == snapshot.waiting && at.elapsed() < INTERVAL
        });
        if recent {
            return;
        }
        self.told.insert(subject.info_hash.clone(), (clock::now(), snapshot.state, snapshot.waiting));
        self.write(&Line::Progress {
            torrent: subject.into(),
            state: match snapshot.state {
                State::Checking => "checking",
                State::Downloading => "downloading",
                State::Seeding => "seeding",
                State::Failed | State::Paused => "paused",
                State::Queued => "queued",
                State::FetchingMetadata => "fetching_metadata",
                _ => "other",
            },
            waiting: snapshot.waiting.map(|waiting| match waiting {
                Waiting::Trackers => "trackers",
                Waiting::Peers => "peers",
                Waiting::Connections => "connections",
                Waiting::Pieces => "pieces",
                Waiting::Unchoke => "unchoke",
                Waiting::Disk => "disk",
                _ => "other",
            }),
            wanted_length: snapshot.wanted_length,
            wanted_have: snapshot.wanted_have,
            wanted_received: snapshot.wanted_received,
            pieces: snapshot.pieces,
            pieces_have: snapshot.pieces_have,
            pieces_checked: snapshot.pieces_checked,
            downloaded: snapshot.downloaded,
            uploaded: snapshot.uploaded,
            wasted: snapshot.wasted,
            download_rate: snapshot.download_rate,
            upload_rate: snapshot.upload_rate,
            eta: snapshot.eta.map(|eta| eta.as_secs()),
            peers_connected: snapshot.peers_connected,
            seeds_connected: snapshot.seeds_connected,
            peers_known: snapshot.peers_known,
        });
    }

    pub(crate) fn completed(&mut self, subject: &Subject, snapshot: &Snapshot, time: Duration) {
        self.write(&Line::Completed {
            torrent: subject.into(),
            path: &subject.place,
            wanted_length: snapshot.wanted_length,
            downloaded: snapshot.downloaded,
            uploaded: snapshot.uploaded,
            seconds: time.as_secs_f64(),
        });
    }

    pub(crate) fn failed(&mut self, source: &str, subject: Option<&Subject>, error: &anyhow::Error) {
        self.write(&Line::Failed {
            info_hash: subject.map(|subject| subject.info_hash.as_str()),
            name: subject.map(|subject| subject.name.as_str()),
            source,
            message: display::plain(&display::clean(&error.to_string())),
            exit_code: exit::status_of(error).code(),
        });
    }

    pub(crate) fn event(&mut self, subject: &Subject, event: &Event) {
        let torrent = subject.into();
        match event {
            Event::Checked { good, pieces, .. } => {
                self.write(&Line::Checked { torrent, pieces_good: *good, pieces: *pieces });
            }
            Event::TrackerAnswered { url, peers, .. } => self.write(&Line::Tracker {
                torrent,
                url: display::clean(url),
                ok: true,
                peers: Some(*peers),
                message: None,
            }),
            Event::TrackerFailed { url, message, .. } => self.write(&Line::Tracker {
                torrent,
                url: display::clean(url),
                ok: false,
                peers: None,
                message: Some(display::plain(&display::clean(message))),
            }),
            Event::DhtAnswered { peers, announced_to, .. } => {
                self.write(&Line::Dht { torrent, peers: *peers, announced_to: *announced_to });
            }
            Event::Failed { message, .. } => {
                let message = display::plain(&display::clean(message));
                self.write(&Line::Paused { torrent, message });
            }
            Event::Resumed(_) => self.write(&Line::Resumed { torrent }),
            Event::PieceFailed { piece, .. } => self.write(&Line::PieceFailed { torrent, piece: *piece }),
            Event::PeerBanned { address, reason, .. } => {
                self.write(&Line::PeerBanned { torrent, address: address.to_string(), reason });
            }
            // Told by their own lines, at their own pace.
            Event::Progress(..) | Event::Completed(_) | Event::Warning(_) | Event::Missed(_) | _ => {}
        }
    }

    pub(crate) fn command_failed(&mut self, subject: &Subject, message: &str) {
        self.write(&Line::CommandFailed { torrent: subject.into(), message });
    }

    pub(crate) fn dht_joined(&mut self, nodes: usize) {
        self.write(&Line::DhtJoined { nodes });
    }

    pub(crate) fn warning(&mut self, message: &str) {
        self.write(&Line::Warning { message: display::plain(&display::clean(message)) });
    }

    /// How others reach us has changed.
    pub(crate) fn reached(&mut self, event: &Event) {
        if let Event::PortMapped(mapping) = event {
            self.write(&Line::PortMapped { mapping: mapping.into() });
        } else if let Event::PortMappingLost(mapping) = event {
            self.write(&Line::PortMappingLost { mapping: mapping.into() });
        } else if let Event::PortNotMapped(message) = event {
            self.write(&Line::PortNotMapped { message: display::plain(&display::clean(message)) });
        } else if let Event::ExternalAddress(address) = event {
            self.write(&Line::ExternalAddress { address: *address });
        }
    }

    pub(crate) fn ended(&mut self, status: Status) {
        self.write(&Line::Ended { exit_code: status.code() });
    }
}
