//! stunnel: puts TLS in front of a tracker, under a certificate that nobody but the test trusts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::network::Host;
use crate::payload::write;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::{tracker, wait};

/// The program's name.
pub const PROGRAM: &str = "stunnel";

/// TLS in front of a tracker; it stops when this goes.
pub struct Front {
    _process: Process,
    /// The certificate of the authority that vouches for it.
    pub authority: PathBuf,
}

impl Front {
    /// Starts it on the tracker's host and waits until it takes connections.
    pub fn start(scratch: &Scratch, host: &Host) -> Result<Self> {
        let folder = scratch.folder("tls")?;
        make_certificates(&folder, host)?;
        let settings = folder.join("stunnel.conf");
        let (listen, tracker) =
            (tracker::address(host, tracker::TLS_PORT), tracker::address(host, tracker::PORT));
        let text = format!(
            "foreground = yes\npid =\n[tracker]\naccept = {listen}\nconnect = {tracker}\ncert = {0}/tracker.pem\n\
             key = {0}/tracker.key\n",
            folder.display()
        );
        write(&settings, text.as_bytes())?;
        let process = Process::start(scratch, "stunnel", host.command(PROGRAM).arg(&settings))?;
        wait::until("stunnel to listen", wait::LIMIT, || host.connect(listen))?;
        Ok(Self { _process: process, authority: folder.join("authority.pem") })
    }
}

/// An authority, and a certificate of it for the host's address.
fn make_certificates(folder: &Path, host: &Host) -> Result<()> {
    let names = format!("subjectAltName=IP:{}", host.address);
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "authority.key",
            "-out",
            "authority.pem",
            "-days",
            "2",
            "-subj",
            "/CN=authority of a test",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ],
    )?;
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "tracker.key",
            "-out",
            "tracker.pem",
            "-days",
            "2",
            "-subj",
            "/CN=tracker of a test",
            "-addext",
            &names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
        ],
    )
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output();
    let output = output.context("openssl did not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "openssl failed: {said}");
    Ok(())
}
