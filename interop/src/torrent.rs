//! Torrents, made by libtorrent: Quelea has no part in making what it is tested with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::http::escape;
use crate::libtorrent::{PYTHON, script};
use crate::payload::{self, Layout, Payload};

/// A torrent file and what a test needs to know of it.
pub struct Torrent {
    /// Where it lies.
    pub file: PathBuf,
    /// The tracker that it names; empty for none.
    pub announce: String,
    /// The hashes under which it is announced, in hex: that of version 1 first.
    pub announced: Vec<String>,
    pads: Vec<Pad>,
}

#[derive(Deserialize)]
struct Made {
    announced: Vec<String>,
    pads: Vec<Pad>,
}

#[derive(Deserialize)]
struct Pad {
    path: PathBuf,
    length: usize,
}

impl Torrent {
    /// Makes the torrent of a payload that lies in `folder`.
    pub fn make(payload: &Payload, folder: &Path, file: PathBuf, announce: &str) -> Result<Self> {
        Self::make_with(payload, folder, file, announce, false)
    }

    /// Makes a private one (BEP 27).
    pub fn make_private(payload: &Payload, folder: &Path, file: PathBuf, announce: &str) -> Result<Self> {
        Self::make_with(payload, folder, file, announce, true)
    }

    fn make_with(
        payload: &Payload,
        folder: &Path,
        file: PathBuf,
        announce: &str,
        private: bool,
    ) -> Result<Self> {
        let layout = payload.layout();
        let output = Command::new(PYTHON)
            .arg(script("make_torrent.py"))
            .args([&folder.join(layout.name()), &file])
            .arg(layout.piece_length().to_string())
            .arg(announce)
            .arg(match layout {
                Layout::Small | Layout::Single | Layout::Large | Layout::Many => "plain",
                Layout::Padded => "padded",
                Layout::Hybrid => "hybrid",
            })
            .args(private.then_some("private"))
            .output()
            .context("the system's Python did not start")?;
        if !output.status.success() {
            bail!("no torrent was made: {}", String::from_utf8_lossy(&output.stderr));
        }
        let Made { announced, pads } =
            serde_json::from_slice(&output.stdout).context("not what the script prints")?;
        Ok(Self { file, announce: announce.to_owned(), announced, pads })
    }

    /// A magnet link of its version 1 half, with the tracker.
    pub fn magnet(&self) -> String {
        let hash = self.announced.first().map(String::as_str).unwrap_or_default();
        let escaped = escape(&self.announce);
        let tracker = if escaped.is_empty() { String::new() } else { format!("&tr={escaped}") };
        format!("magnet:?xt=urn:btih:{hash}{tracker}")
    }

    /// Writes the pad files into a payload's folder, for clients that read them from the disk.
    pub fn write_pads(&self, folder: &Path) -> Result<()> {
        self.pads.iter().try_for_each(|pad| payload::write(&folder.join(&pad.path), &vec![0; pad.length]))
    }
}
