//! A torrent's figures as a person reads them, or the sum of several.

use crate::display;
use quelea::{FetchProgress, Snapshot, State, TrackerState, Waiting};
use std::time::Duration;

/// What a line is made from: the narrow view of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    /// Cleaned: safe to print.
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) waiting: Option<Waiting>,
    /// Bytes of what is wanted.
    pub(crate) wanted: u64,
    /// Bytes of it that are verified and written.
    pub(crate) have: u64,
    /// Bytes of it that were received, verified or not.
    pub(crate) received: u64,
    /// Payload of this session, in bytes.
    pub(crate) downloaded: u64,
    pub(crate) uploaded: u64,
    /// Bytes a second.
    pub(crate) download_rate: u64,
    pub(crate) upload_rate: u64,
    pub(crate) eta: Option<Duration>,
    pub(crate) connected: usize,
    pub(crate) known: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `done` of `all` pieces have been looked at.
    Checking {
        done: u32,
        all: u32,
    },
    /// A torrent is being made of it, or it is compared with one.
    Hashing,
    /// It waits until others are done.
    Queued,
    /// Its metadata is being fetched; the bytes are those of the metadata.
    Metadata,
    Downloading,
    Seeding,
    Failed,
}

impl From<&Snapshot> for Figures {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            name: display::clean(&snapshot.name),
            phase: match snapshot.state {
                State::Checking => Phase::Checking { done: snapshot.pieces_checked, all: snapshot.pieces },
                State::Downloading => Phase::Downloading,
                State::Seeding => Phase::Seeding,
                State::Failed | State::Paused => Phase::Failed,
                State::Queued => Phase::Queued,
                State::FetchingMetadata => Phase::Metadata,
                _ => Phase::Downloading,
            },
            waiting: snapshot.waiting,
            wanted: snapshot.wanted_length,
            have: snapshot.wanted_have,
            received: snapshot.wanted_received,
            downloaded: snapshot.downloaded,
            uploaded: snapshot.uploaded,
            download_rate: snapshot.download_rate,
            upload_rate: snapshot.upload_rate,
            eta: snapshot.eta,
            connected: snapshot.peers_connected,
            known: snapshot.peers_known,
        }
    }
}

impl Figures {
    /// A magnet link of this name whose metadata is awaited.
    pub(crate) fn of_fetch(name: &str, progress: &FetchProgress) -> Self {
        let size = u64::from(progress.size.unwrap_or(0));
        let asking = progress.trackers.iter();
        let asking = asking.clone().any(|tracker| matches!(tracker.state, TrackerState::Announcing))
            && !asking.clone().any(|tracker| tracker.state == TrackerState::Working);
        let waiting = match (progress.peers_connected, progress.peers_known) {
            _ if progress.received > 0 => None,
            (0, 0) if asking => Some(Waiting::Trackers),
            (0, 0) => Some(Waiting::Peers),
            (0, _) => Some(Waiting::Connections),
            (_, _) => None,
        };
        Self {
            name: display::clean(name),
            phase: Phase::Metadata,
            waiting,
            wanted: size,
            have: 0,
            received: u64::from(progress.received),
            downloaded: 0,
            uploaded: 0,
            download_rate: 0,
            upload_rate: 0,
            eta: None,
            connected: progress.peers_connected,
            known: progress.peers_known,
        }
    }

    /// Files of this name that are hashed, `done` of `total` bytes.
    pub(crate) fn of_hashing(name: &str, done: u64, total: u64, rate: u64, eta: Duration) -> Self {
        Self {
            name: display::clean(name),
            phase: Phase::Hashing,
            waiting: None,
            wanted: total,
            have: done,
            received: done,
            downloaded: 0,
            uploaded: 0,
            download_rate: rate,
            upload_rate: 0,
            eta: Some(eta),
            connected: 0,
            known: 0,
        }
    }

    /// What several torrents amount to.
    pub(crate) fn sum(each: &[Self]) -> Self {
        let total = |of: fn(&Self) -> u64| each.iter().map(of).fold(0, u64::saturating_add);
        let count = |of: fn(&Self) -> usize| each.iter().map(of).fold(0, usize::saturating_add);
        let any = |phase: fn(&Phase) -> bool| each.iter().any(|figures| phase(&figures.phase));
        let (wanted, received, rate) =
            (total(|f| f.wanted), total(|f| f.received), total(|f| f.download_rate));
        let phase = if any(|phase| {
            matches!(phase, Phase::Downloading | Phase::Checking { .. } | Phase::Queued | Phase::Metadata)
        }) {
            Phase::Downloading
        } else if any(|phase| matches!(phase, Phase::Seeding)) {
            Phase::Seeding
        } else {
            Phase::Failed
        };
        Self {
            name: display::count(each.len(), "torrent", "torrents"),
            phase,
            waiting: None,
            wanted,
            have: total(|f| f.have),
            received,
            downloaded: total(|f| f.downloaded),
            uploaded: total(|f| f.uploaded),
            download_rate: rate,
            upload_rate: total(|f| f.upload_rate),
            eta: wanted.saturating_sub(received).checked_div(rate).map(Duration::from_secs),
            connected: count(|f| f.connected),
            known: count(|f| f.known),
        }
    }

    /// Bytes uploaded for each that is there, to two digits.
    pub(crate) fn ratio(&self) -> String {
        format!("{:.2}", if self.have == 0 { 0.0 } else { self.uploaded as f64 / self.have as f64 })
    }

    /// The filled part of a bar: of how much.
    pub(crate) fn progress(&self) -> (u64, u64) {
        match self.phase {
            Phase::Checking { done, all } => (u64::from(done), u64::from(all)),
            // Before its length is known nothing of it is here.
            Phase::Metadata => (self.received, self.wanted.max(1)),
            Phase::Downloading | Phase::Failed | Phase::Queued => {
                (self.received.clamp(self.have, self.wanted.max(self.have)), self.wanted)
            }
            Phase::Seeding | Phase::Hashing => (self.have, self.wanted),
        }
    }
}
