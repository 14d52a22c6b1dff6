//! Nodes of the DHT that are another's library: the program of `interop/peers`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::network::Host;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait;

/// Whose library it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The crate mainline.
    Mainline,
    /// rqbit's crate librqbit-dht.
    Rqbit,
}

/// Where it was built: `QUELEA_PEERS`.
pub fn program() -> Option<PathBuf> {
    std::env::var_os("QUELEA_PEERS").map(PathBuf::from)
}

/// A node at work; it ends when this goes.
pub struct Node {
    process: Process,
    log: PathBuf,
}

impl Node {
    /// Starts one that listens there and joins the network by `node`, or begins one.
    pub fn start(
        scratch: &Scratch,
        host: &Host,
        library: Library,
        (listen, node): (SocketAddr, Option<SocketAddr>),
        task: &[&str],
    ) -> Result<Self> {
        let program = program().context("interop/peers is not built: set QUELEA_PEERS")?;
        let mut command = host.command(program.to_str().context("QUELEA_PEERS is not UTF-8")?);
        command.arg(match library {
            Library::Mainline => "mainline",
            Library::Rqbit => "rqbit",
        });
        command.arg(listen.to_string());
        command.arg(node.map_or("-".to_owned(), |node| node.to_string())).args(task);
        let name = format!("{library:?}-{listen}").to_lowercase();
        let process = Process::start(scratch, &name, &mut command)?;
        let mut node = Self { process, log: scratch.log(&name) };
        node.must_say("READY")?;
        Ok(node)
    }

    /// Waits until it has said a line; it may have ended well then.
    pub fn must_say(&mut self, line: &str) -> Result<()> {
        wait::until(&format!("`{line}`"), wait::LIMIT, || {
            let has_ended = self.process.has_ended_well()?;
            let said = std::fs::read_to_string(&self.log)?.lines().any(|said| said == line);
            anyhow::ensure!(said || !has_ended, "it ended without `{line}`");
            Ok(said.then_some(()))
        })
    }
}
