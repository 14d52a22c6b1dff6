//! A torrent of a session.

use crate::driver::ToTorrent;
use crate::entry::Entry;
use crate::{Limits, Scrape, Snapshot, SwarmSize, TorrentId};
use quelea_metainfo::Info;
use quelea_tracker::TrackerUrl;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// A handle to a torrent of a session; clones are the same torrent.
#[derive(Clone)]
pub struct Torrent {
    entry: Arc<Entry>,
}

impl Torrent {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Self { entry }
    }

    /// Its name within the session.
    pub fn id(&self) -> TorrentId {
        self.entry.id
    }

    /// What it is: name, files, pieces.
    pub fn info(&self) -> &Info {
        &self.entry.info
    }

    /// Its figures, at most a quarter of a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.entry.published.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks every tracker how many peers it knows (BEP 48; BEP 15 over UDP), side by side.
    pub async fn scrape(&self) -> Vec<Scrape> {
        let info_hash = self.entry.info_hash;
        let Some(running) = self.entry.running() else { return Vec::new() };
        let ask = |url: String| {
            let carrier = Arc::clone(&running.carrier);
            let tracker = url.clone();
            let asked = running.worker.spawn(async move {
                let tracker = TrackerUrl::parse(&tracker).map_err(|error| error.to_string())?;
                carrier.scrape(&tracker, info_hash).await.map_err(|failure| failure.to_string())
            });
            (url, asked)
        };
        let urls: Vec<String> = self.snapshot().trackers.iter().map(|tracker| tracker.url.clone()).collect();
        let asked: Vec<_> = urls.into_iter().map(ask).collect();
        let mut scrapes = Vec::new();
        for (url, answer) in asked {
            let answer = answer.await.unwrap_or_else(|_| Err("the session is closed".to_owned()));
            scrapes.push(Scrape {
                url,
                counts: answer.map(|counts| SwarmSize {
                    seeds: counts.seeds,
                    leechers: counts.leechers,
                    downloaded: counts.downloaded,
                }),
            });
        }
        scrapes
    }

    /// Its own limits, beside those of the session.
    pub fn limits(&self) -> Limits {
        self.entry.limits()
    }

    /// Gives it limits of its own, which hold at once.
    pub async fn set_limits(&self, limits: Limits) {
        if let Some(limiter) = self.entry.limiter.upgrade() {
            self.entry.set_limits(limits, &limiter).await;
        }
    }

    /// Whether its pieces are taken in order.
    pub fn is_sequential(&self) -> bool {
        self.entry.sequential.load(Ordering::Relaxed)
    }

    /// Takes its pieces in order from here on, so that what comes can be used meanwhile, or rarest first, which is
    /// better for the swarm.
    pub async fn set_sequential(&self, sequential: bool) {
        self.entry.sequential.store(sequential, Ordering::Relaxed);
        // One without a task is told when it has one.
        if let Some(mailbox) = self.entry.mailbox() {
            let _ = mailbox.send(ToTorrent::Sequential(sequential)).await;
        }
    }

    /// Tries at once whether the disk is mended, for a torrent that pauses because of it ([`State::Failed`]). It
    /// tries by itself every ten seconds.
    ///
    /// [`State::Failed`]: crate::State::Failed
    pub async fn resume(&self) {
        // A torrent whose task has ended has no trouble.
        if let Some(mailbox) = self.entry.mailbox() {
            let _ = mailbox.send(ToTorrent::Retry).await;
        }
    }
}

impl fmt::Debug for Torrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torrent")
            .field("id", &self.entry.id)
            .field("name", &self.entry.info.name)
            .finish_non_exhaustive()
    }
}
