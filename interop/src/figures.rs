//! What the kernel says about a process.

use std::fs;

use anyhow::{Context, Result};

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// The most memory that was resident at once, in bytes.
    pub peak_memory: u64,
    /// Threads.
    pub threads: usize,
    /// Open sockets, of whatever kind.
    pub sockets: usize,
}

impl Figures {
    /// Those of a running process.
    pub fn of(process: u32) -> Result<Self> {
        let path = format!("/proc/{process}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let figure = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number =
                line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
            number.with_context(|| format!("no {name} in {path}"))
        };
        let files = fs::read_dir(format!("/proc/{process}/fd"))?;
        let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        Ok(Self {
            peak_memory: figure("VmHWM:")? * 1024,
            threads: usize::try_from(figure("Threads:")?)?,
            sockets: links.filter(|link| link.to_string_lossy().starts_with("socket:")).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn a_running_process_has_figures() {
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let figures = Figures::of(std::process::id()).unwrap();
        assert!(figures.sockets > 0 && figures.threads > 0 && figures.peak_memory > 100_000, "{figures:?}");
    }
}
