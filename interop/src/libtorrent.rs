//! libtorrent, by Debian's Python binding.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::Result;

use crate::client::Job;
use crate::process::Process;

/// The system's Python, to which Debian's binding belongs, whichever Python stands first in the path.
pub const PYTHON: &str = "/usr/bin/python3";

/// One of our own scripts.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Whether the binding can be loaded.
pub fn is_installed() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut python = Command::new(PYTHON);
        python.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    })
}

/// Serves the job's folder until the guard goes.
pub fn seed(job: &Job<'_>) -> Result<Process> {
    start(job, "seed", &[])
}

/// Downloads into the job's folder; the process ends well when all is there.
pub fn leech(job: &Job<'_>) -> Result<Process> {
    start(job, "leech", &[])
}

/// Downloads into the job's folder, makes the file `sign` when all is there, and serves it until the guard goes.
pub fn share(job: &Job<'_>, sign: &Path) -> Result<Process> {
    start(job, "share", &["--sign".as_ref(), sign.as_os_str()])
}

fn start(job: &Job<'_>, role: &str, options: &[&OsStr]) -> Result<Process> {
    let mut command = job.host.command(PYTHON);
    command.arg(script("peer.py")).arg(role);
    command.arg("--torrent").arg(job.source()).arg("--dir").arg(&job.folder);
    command.args(["--listen", &job.listen.to_string()]);
    command.args(options);
    for node in &job.nodes {
        command.args(["--node", &node.to_string()]);
    }
    command.args(job.discovery.pex.then_some("--pex")).args(job.discovery.lsd.then_some("--lsd"));
    if let Some(limit) = job.max_download {
        command.args(["--max-download", &limit.to_string()]);
    }
    for peer in &job.peers {
        command.args(["--peer", &peer.to_string()]);
    }
    Process::start(job.scratch, &job.name("libtorrent", role), &mut command)
}
