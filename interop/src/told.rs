//! What a Quelea has told so far, read from its log: the lines of `--json` among those for people.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What it has told.
#[derive(Debug, Default)]
pub struct Told {
    log: PathBuf,
    /// How much of the log was read, in bytes.
    read: u64,
    /// The beginning of a line that is still being written.
    rest: Vec<u8>,
    /// The last figures.
    pub latest: Figures,
    /// Whether it told that the download is complete.
    pub complete: bool,
    /// The lines about what went wrong: a piece that failed, a peer that was banned, a fault of the disk.
    pub complaints: Vec<String>,
}

/// The figures of one `progress` line.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Figures {
    /// Wanted bytes.
    pub wanted_length: u64,
    /// Wanted bytes that are verified and written.
    pub wanted_have: u64,
    /// Payload received.
    pub downloaded: u64,
    /// Payload sent.
    pub uploaded: u64,
    /// Payload that was of no use.
    pub wasted: u64,
    /// Peers that are connected.
    pub peers_connected: usize,
}

impl Told {
    /// Nothing yet; `log` is where it will stand.
    pub fn new(log: PathBuf) -> Self {
        Self { log, ..Self::default() }
    }

    /// Reads what was added to the log.
    pub fn read_on(&mut self) -> Result<()> {
        let mut log = File::open(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        log.seek(SeekFrom::Start(self.read))?;
        let read = log.read_to_end(&mut self.rest)?;
        self.read += u64::try_from(read)?;
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.take(&String::from_utf8_lossy(&line))?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let Some((_, rest)) = line.split_once("{\"event\":\"") else { return Ok(()) };
        match rest.split('"').next().unwrap_or_default() {
            "progress" => {
                let line = line.trim();
                self.latest =
                    serde_json::from_str(line).with_context(|| format!("not a progress line: {line}"))?;
            }
            "completed" => self.complete = true,
            "failed" | "piece_failed" | "peer_banned" | "paused" => {
                self.complaints.push(line.trim().to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn lines_are_read_however_they_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text = "starts\n{\"event\":\"progress\",\"wanted_length\":9,\"wanted_have\":4,\"downloaded\":5,\
                    \"uploaded\":6,\"wasted\":0,\"peers_connected\":2}\n{\"event\":\"piece_failed\",\"piece\":3}\n\
                    {\"event\":\"completed\"}\n";
        let mut told = Told::new(path.clone());
        for end in 0..=text.len() {
            std::fs::write(&path, &text[..end]).unwrap();
            told.read_on().unwrap();
        }
        assert_eq!((told.latest.wanted_have, told.latest.uploaded, told.latest.peers_connected), (4, 6, 2));
        assert!(told.complete);
        assert_eq!(told.complaints.len(), 1);
    }
}
