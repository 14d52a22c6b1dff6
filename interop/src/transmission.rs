//! transmission-daemon, told what to do by its RPC.
//!
//! Version 3.00 drops peers in 127/8 that a tracker names, but lets them come in. It pauses up to twelve
//! seconds before the first byte. It refuses every torrent whose info dictionary holds a `file tree`
//! (BEP 52), so it has no part in tests of hybrid torrents. Pad files (BEP 47) are files to it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::Job;
use crate::http::{self, Answer};
use crate::network::Host;
use crate::payload::write;
use crate::process::Process;
use crate::wait;

/// The program's name.
pub const PROGRAM: &str = "transmission-daemon";

const RPC_PORT: u16 = 9_091;

/// A running daemon with one torrent.
pub struct Daemon<'a> {
    process: Process,
    host: &'a Host,
    session: String,
}

/// Serves the job's folder, which it checks first.
pub fn seed<'a>(job: &Job<'a>) -> Result<Daemon<'a>> {
    job.torrent.write_pads(&job.folder)?;
    start(job, "seed")
}

/// Downloads into the job's folder.
pub fn leech<'a>(job: &Job<'a>) -> Result<Daemon<'a>> {
    start(job, "leech")
}

fn start<'a>(job: &Job<'a>, role: &str) -> Result<Daemon<'a>> {
    let name = job.name("transmission", role);
    let config = job.scratch.empty_folder(&name)?;
    let settings = json!({
        "bind-address-ipv4": job.listen.ip(),
        "peer-port": job.listen.port(),
        "rpc-bind-address": job.listen.ip(),
        "rpc-port": RPC_PORT,
        "rpc-whitelist-enabled": false,
        "rpc-host-whitelist-enabled": false,
        "dht-enabled": !job.nodes.is_empty(),
        "lpd-enabled": job.discovery.lsd,
        "pex-enabled": job.discovery.pex,
        "speed-limit-down": job.max_download.unwrap_or_default(),
        "speed-limit-down-enabled": job.max_download.is_some(),
        "utp-enabled": false,
        "port-forwarding-enabled": false,
        "ratio-limit-enabled": false,
        "idle-seeding-limit-enabled": false,
    });
    write(&config.join("settings.json"), settings.to_string().as_bytes())?;
    let nodes: String = job.nodes.iter().map(|node| format!("{} {}\n", node.ip(), node.port())).collect();
    if !nodes.is_empty() {
        write(&config.join("dht.bootstrap"), nodes.as_bytes())?;
    }
    let mut command = job.host.command(PROGRAM);
    command.args(["--foreground", "--log-debug", "--config-dir"]).arg(&config);
    let process = Process::start(job.scratch, &name, &mut command)?;
    let mut daemon = Daemon { process, host: job.host, session: String::new() };
    daemon.await_rpc()?;
    daemon.call(
        "torrent-add",
        &json!({ "filename": job.source().to_string_lossy(), "download-dir": job.folder }),
    )?;
    Ok(daemon)
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
        self.process.must_run()?;
        let torrent = self.torrent()?;
        let done = torrent.get("leftUntilDone").and_then(Value::as_u64) == Some(0);
        let has_size = torrent.get("sizeWhenDone").and_then(Value::as_u64).is_some_and(|size| size > 0);
        // Status 6: it seeds, so the last file carries its final name.
        let seeds = torrent.get("status").and_then(Value::as_u64) == Some(6);
        Ok(done && has_size && seeds)
    }

    /// Waits until every piece is there.
    pub fn must_complete(&mut self, limit: Duration) -> Result<()> {
        wait::until("transmission to have every piece", limit, || Ok(self.is_complete()?.then_some(())))
    }

    fn torrent(&mut self) -> Result<Value> {
        let fields = ["leftUntilDone", "sizeWhenDone", "status", "error", "errorString"];
        let answer = self.call("torrent-get", &json!({ "fields": fields }))?;
        let torrent = answer.pointer("/torrents/0").context("transmission has lost its torrent")?;
        // Errors 1 and 2 are a tracker's, which it retries; 3 is its own.
        if torrent.get("error").and_then(Value::as_u64) == Some(3) {
            bail!("transmission: {}", torrent.get("errorString").unwrap_or(&Value::Null));
        }
        Ok(torrent.clone())
    }

    /// The first answer is a refusal that carries the session's token.
    fn await_rpc(&mut self) -> Result<()> {
        self.session = wait::until("transmission's RPC", wait::LIMIT, || {
            self.process.must_run()?;
            let answer = self.post(&Value::Null)?;
            Ok(answer.and_then(|answer| answer.header("X-Transmission-Session-Id").map(str::to_owned)))
        })?;
        Ok(())
    }

    fn call(&self, method: &str, arguments: &Value) -> Result<Value> {
        let answer = self.post(&json!({ "method": method, "arguments": arguments }))?;
        let answer = answer.with_context(|| format!("transmission does not answer {method}"))?;
        let reply: Value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("transmission answers {method} with status {}", answer.status))?;
        if reply.get("result").and_then(Value::as_str) != Some("success") {
            bail!("transmission refuses {method}: {reply}");
        }
        Ok(reply.get("arguments").cloned().unwrap_or_default())
    }

    fn post(&self, body: &Value) -> Result<Option<Answer>> {
        let head = format!(
            "POST /transmission/rpc HTTP/1.1\r\nX-Transmission-Session-Id: {}\r\nContent-Type: application/json",
            self.session
        );
        http::ask(self.host, SocketAddr::new(self.host.address.into(), RPC_PORT), &head, &body.to_string())
    }
}
