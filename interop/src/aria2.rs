//! aria2.
//!
//! It tries encryption first and needs a second for the fall-back. Of BEP 47's padding it knows nothing: pad
//! files are files to it. UDP trackers it asks only with its DHT, which stays off but in tests of the DHT: it is
//! sent to the same tracker over HTTP. Version 1.36 loses the empty keys of a `file tree` (BEP 52) when it computes an info-hash, so it
//! has no part in tests of hybrid torrents.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;

use crate::client::Job;
use crate::payload::write;
use crate::process::Process;

/// The program's name.
pub const PROGRAM: &str = "aria2c";

/// Checks the job's folder and serves it until the guard goes.
pub fn seed(job: &Job<'_>) -> Result<Process> {
    job.torrent.write_pads(&job.folder)?;
    start(job, "seed", &["--check-integrity=true", "--seed-ratio=0.0"])
}

/// Checks the job's folder and downloads into it; the process ends well when all is there.
pub fn leech(job: &Job<'_>) -> Result<Process> {
    start(job, "leech", &["--check-integrity=true", "--seed-time=0"])
}

/// Downloads into the job's folder, makes the file `sign` when all is there, and serves it until the guard goes.
pub fn share(job: &Job<'_>, sign: &Path) -> Result<Process> {
    // It runs a program of ours, to which it gives its own arguments.
    let script = sign.with_extension("sh");
    write(&script, format!("#!/bin/sh\n: >'{}'\n", sign.display()).as_bytes())?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    start(job, "share", &[&format!("--on-bt-download-complete={}", script.display()), "--seed-ratio=0.0"])
}

fn start(job: &Job<'_>, role: &str, options: &[&str]) -> Result<Process> {
    let mut command = job.host.command(PROGRAM);
    command.args([
        "--no-conf",
        "--enable-dht6=false",
        "--disable-ipv6=true",
        "--file-allocation=none",
        "--allow-overwrite=true",
        "--summary-interval=0",
        "--show-console-readout=false",
        "--enable-color=false",
        "--bt-exclude-tracker=*",
        "--console-log-level=info",
    ]);
    if !job.torrent.announce.is_empty() {
        command.arg(format!("--bt-tracker={}", job.torrent.announce.replace("udp://", "http://")));
    }
    match job.nodes.first() {
        None => _ = command.arg("--enable-dht=false"),
        Some(node) => {
            command.arg("--enable-dht=true").arg(format!("--dht-entry-point={node}"));
            command.arg(format!("--dht-listen-port={}", job.listen.port()));
            // What it knows of nodes is its own, not that of the user of this machine.
            let mut table = std::ffi::OsString::from("--dht-file-path=");
            table.push(job.scratch.file(&job.name("aria2", &format!("{role}-nodes"))));
            command.arg(table);
        }
    }
    command.arg(format!("--bt-enable-lpd={}", job.discovery.lsd));
    command.arg(format!("--enable-peer-exchange={}", job.discovery.pex));
    if let Some(limit) = job.max_download {
        command.arg(format!("--max-overall-download-limit={limit}K"));
    }
    command.arg(format!("--listen-port={}", job.listen.port()));
    command.arg(format!("--interface={}", job.listen.ip()));
    command.arg("--dir").arg(&job.folder).args(options).arg(job.source());
    Process::start(job.scratch, &job.name("aria2", role), &mut command)
}
