//! qBittorrent without a window, told what to do by its settings and its command line, and asked by its Web API.
//!
//! Version 4.5.2 stands upon libtorrent 2.0, so it takes hybrid torrents and knows BEP 47's padding. It asks on the
//! terminal for consent to its legal notice, unless the settings hold it. A setting that it does not know it leaves
//! out without a word, so a name that is wrong here shows only in what it does. It can be told of no nodes of the DHT but by
//! a torrent file, and looks for public ones as well: before its torrent it gets another one that names them. While it
//! starts it loses them, about once in ten times, so that it is told until it knows some.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::{Discovery, Job};
use crate::http::{self, escape};
use crate::network::Host;
use crate::payload::write;
use crate::process::Process;
use crate::wait;

/// The program's name.
pub const PROGRAM: &str = "qbittorrent-nox";

/// Nodes that it has heard of it knows by then.
const INTRODUCTION: Duration = Duration::from_secs(10);

const API_PORT: u16 = 9_092;

/// A running one with one torrent.
pub struct Daemon<'a> {
    process: Process,
    host: &'a Host,
}

/// Checks the job's folder and serves it.
pub fn seed<'a>(job: &Job<'a>) -> Result<Daemon<'a>> {
    start(job, "seed")
}

/// Downloads into the job's folder.
pub fn leech<'a>(job: &Job<'a>) -> Result<Daemon<'a>> {
    start(job, "leech")
}

fn start<'a>(job: &Job<'a>, role: &str) -> Result<Daemon<'a>> {
    let name = job.name("qbittorrent", role);
    let profile = job.scratch.empty_folder(&name)?;
    write(&profile.join("qBittorrent/config/qBittorrent.conf"), settings(job).as_bytes())?;
    let mut command = job.host.command(PROGRAM);
    let mut path = OsString::from("--profile=");
    path.push(&profile);
    command.arg(path);
    let mut folder = OsString::from("--save-path=");
    folder.push(&job.folder);
    command.arg(folder).args(["--add-paused=false", "--skip-dialog=true"]);
    let joins_first = !job.nodes.is_empty();
    if !joins_first {
        command.arg(job.source());
    }
    command.env("HOME", &profile);
    let process = Process::start(job.scratch, &name, &mut command)?;
    let mut daemon = Daemon { process, host: job.host };
    if joins_first {
        let guide = profile.join("guide.torrent");
        write_guide(&guide, &job.nodes)?;
        // A search that finds no nodes is tried again after a quarter of an hour.
        wait::until("qBittorrent to know nodes", wait::LIMIT, || daemon.join(&guide, &profile))?;
        daemon.add(job.source().as_ref(), &job.folder)?;
    }
    let torrent = wait::until("qBittorrent to have its torrent", wait::LIMIT, || daemon.torrent())?;
    if !job.peers.is_empty() {
        let hash = torrent.get("hash").and_then(Value::as_str).context("a torrent without a hash")?;
        let peers: Vec<_> = job.peers.iter().map(|peer| escape(&peer.to_string())).collect();
        daemon.ask("POST", "torrents/addPeers", &format!("hashes={hash}&peers={}", peers.join("%7C")))?;
    }
    Ok(daemon)
}

/// A torrent of one byte, which nobody has, that names these nodes of the DHT (BEP 5).
fn write_guide(file: &Path, nodes: &[SocketAddr]) -> Result<()> {
    let pieces = "-".repeat(20);
    let mut text =
        format!("d4:infod6:lengthi1e4:name5:guide12:piece lengthi16384e6:pieces20:{pieces}e5:nodesl");
    for node in nodes {
        let ip = node.ip().to_string();
        write!(text, "l{}:{ip}i{}ee", ip.len(), node.port())?;
    }
    text.push_str("ee");
    write(file, text.as_bytes())
}

/// The settings: its own port and address, nothing that leaves the test, and a Web API without a password.
fn settings(job: &Job<'_>) -> String {
    let (address, port) = (job.listen.ip(), job.listen.port());
    let (host, dht) = (job.host.address, !job.nodes.is_empty());
    let Discovery { pex, lsd } = job.discovery;
    let limit = job.max_download.unwrap_or_default();
    format!(
        "[LegalNotice]\n\
         Accepted=true\n\
         [BitTorrent]\n\
         Session\\Port={port}\n\
         Session\\InterfaceAddress={address}\n\
         Session\\BTProtocol=TCP\n\
         Session\\DHTEnabled={dht}\n\
         Session\\LSDEnabled={lsd}\n\
         Session\\PeXEnabled={pex}\n\
         Session\\GlobalDLSpeedLimit={limit}\n\
         Session\\QueueingSystemEnabled=false\n\
         Session\\MultiConnectionsPerIp=true\n\
         Session\\AddTorrentPaused=false\n\
         [Network]\n\
         PortForwardingEnabled=false\n\
         [Preferences]\n\
         General\\Locale=en\n\
         WebUI\\Enabled=true\n\
         WebUI\\Address={host}\n\
         WebUI\\Port={API_PORT}\n\
         WebUI\\UseUPnP=false\n\
         WebUI\\CSRFProtection=false\n\
         WebUI\\HostHeaderValidation=false\n\
         WebUI\\LocalHostAuth=false\n\
         WebUI\\AuthSubnetWhitelistEnabled=true\n\
         WebUI\\AuthSubnetWhitelist=0.0.0.0/0\n"
    )
}

impl Daemon<'_> {
    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// An error when it has ended, or when it complains about its torrent.
    pub fn must_run(&mut self) -> Result<()> {
        self.process.must_run()?;
        self.torrent().map(|_| ())
    }

    /// Whether every piece is there.
    pub fn is_complete(&mut self) -> Result<bool> {
        let Some(torrent) = self.torrent()? else { return Ok(false) };
        let has_size = torrent.get("size").and_then(Value::as_u64).is_some_and(|size| size > 0);
        let state = torrent.get("state").and_then(Value::as_str).unwrap_or_default();
        Ok(has_size && ["uploading", "stalledUP", "forcedUP"].contains(&state))
    }

    /// Waits until every piece is there.
    pub fn must_complete(&mut self, limit: Duration) -> Result<()> {
        wait::until("qBittorrent to have every piece", limit, || Ok(self.is_complete()?.then_some(())))
    }

    /// Tells it of nodes of the DHT by a torrent that it has only for so long; whether it knows some then.
    fn join(&mut self, guide: &Path, folder: &Path) -> Result<Option<()>> {
        self.process.must_run()?;
        if self.add(guide.as_os_str(), folder)?.is_none() {
            return Ok(None);
        }
        let known = wait::until("nodes to answer", INTRODUCTION, || self.knows_nodes());
        self.ask("POST", "torrents/delete", "hashes=all&deleteFiles=false")?;
        wait::until("the guide to be gone", wait::LIMIT, || Ok(self.torrent()?.is_none().then_some(())))?;
        Ok(known.ok())
    }

    /// Gives it a torrent, by a link or the path of a file; `None` while nobody listens.
    fn add(&self, source: &OsStr, folder: &Path) -> Result<Option<Vec<u8>>> {
        let (source, folder) = (escape(&source.to_string_lossy()), escape(&folder.to_string_lossy()));
        self.ask("POST", "torrents/add", &format!("urls={source}&savepath={folder}"))
    }

    /// Whether it has found nodes of the DHT.
    fn knows_nodes(&mut self) -> Result<Option<()>> {
        self.process.must_run()?;
        let Some(body) = self.ask("GET", "transfer/info", "")? else { return Ok(None) };
        let figures: Value = serde_json::from_slice(&body).context("not what the Web API answers")?;
        Ok((figures.get("dht_nodes").and_then(Value::as_u64) > Some(3)).then_some(()))
    }

    /// Its torrent, once the Web API answers and has it.
    fn torrent(&mut self) -> Result<Option<Value>> {
        self.process.must_run()?;
        let Some(body) = self.ask("GET", "torrents/info", "")? else { return Ok(None) };
        let list: Vec<Value> = serde_json::from_slice(&body).context("not what the Web API answers")?;
        let Some(torrent) = list.first() else { return Ok(None) };
        let state = torrent.get("state").and_then(Value::as_str).unwrap_or_default();
        if ["error", "missingFiles"].contains(&state) {
            bail!("qBittorrent's torrent is in the state {state}");
        }
        Ok(Some(torrent.clone()))
    }

    /// The body of an answer; none while nobody listens.
    fn ask(&self, method: &str, call: &str, form: &str) -> Result<Option<Vec<u8>>> {
        let head =
            format!("{method} /api/v2/{call} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded");
        let at = SocketAddr::new(self.host.address.into(), API_PORT);
        let Some(answer) = http::ask(self.host, at, &head, form)? else { return Ok(None) };
        if answer.status != 200 {
            bail!("qBittorrent answers {call} with status {}", answer.status);
        }
        Ok(Some(answer.body))
    }
}
