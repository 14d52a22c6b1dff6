//! Quelea itself, by its command line.
//!
//! Each has a home of its own in the scratch folder: what the user of this machine has configured does not reach
//! it, and what it remembers is not left to them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::client::Job;
use crate::process::Process;

/// The build under test: `QUELEA_BIN`, else one beside the tests in the target directory.
pub fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("QUELEA_BIN") {
        return Some(PathBuf::from(path));
    }
    // The test stands in TARGET/PROFILE/deps.
    let test = std::env::current_exe().ok()?;
    let profile = test.parent()?.parent()?;
    let candidates = [profile.join("quelea"), profile.parent()?.join("release/quelea")];
    candidates.into_iter().find(|path| path.is_file())
}

/// Checks the job's folder and serves it until the guard goes.
pub fn seed(job: &Job<'_>) -> Result<Process> {
    start(job, "seed", &["--seed"])
}

/// As [`seed`], for the only seed of a swarm: it shows its pieces one by one (BEP 16).
pub fn super_seed(job: &Job<'_>) -> Result<Process> {
    start(job, "seed", &["--seed", "--super-seed"])
}

/// As [`seed`], and asks the host's gateway to forward the port.
pub fn seed_through_gateway(job: &Job<'_>) -> Result<Process> {
    start(job, "seed", &["--seed", "--no-port-map=no"])
}

/// Downloads into the job's folder; the process ends well when all is there.
pub fn leech(job: &Job<'_>) -> Result<Process> {
    start(job, "leech", &[])
}

/// The home of the one that plays this role in the job.
fn home(job: &Job<'_>, role: &str) -> PathBuf {
    job.scratch.file(&job.name("quelea", role))
}

/// Where it remembers which pieces are good.
pub fn state(job: &Job<'_>, role: &str) -> PathBuf {
    home(job, role).join("state")
}

/// Where it writes what it tells.
pub fn log(job: &Job<'_>, role: &str) -> PathBuf {
    job.scratch.log(&job.name("quelea", role))
}

fn start(job: &Job<'_>, role: &str, options: &[&str]) -> Result<Process> {
    let program = program().context("there is no build of quelea: set QUELEA_BIN")?;
    let mut command = job.host.command(program.to_str().context("QUELEA_BIN is not UTF-8")?);
    // What a person has set for their own use has no part in a test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUELEA_") {
            command.env_remove(name);
        }
    }
    // A gateway is asked by those tests alone that have one.
    command.env("QUELEA_NO_PORT_MAP", "yes");
    command.args(["--state-dir".as_ref(), state(job, role).as_os_str()]);
    command.env("HOME", home(job, role)).env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
    if let Some(authority) = &job.authority {
        command.env("SSL_CERT_FILE", authority);
    }
    command.arg(job.source()).arg("--output-dir").arg(&job.folder);
    command.args(["--port", &job.listen.port().to_string(), "-v", "--json"]);
    if !job.listen.ip().is_unspecified() {
        command.args(["--bind", &job.listen.ip().to_string()]);
    }
    if job.nodes.is_empty() {
        command.arg("--no-dht");
    }
    for node in &job.nodes {
        command.args(["--dht-bootstrap", &node.to_string()]);
    }
    command.arg(format!("--no-pex={}", if job.discovery.pex { "no" } else { "yes" }));
    command.arg(format!("--no-lsd={}", if job.discovery.lsd { "no" } else { "yes" }));
    if let Some(limit) = job.max_download {
        command.args(["--max-download", &format!("{limit}K")]);
    }
    if let Some(limit) = job.max_upload {
        command.args(["--max-upload", &format!("{limit}K")]);
    }
    for peer in &job.peers {
        command.args(["--peer", &peer.to_string()]);
    }
    command.args(options);
    Process::start(job.scratch, &job.name("quelea", role), &mut command)
}
