//! A torrent of a session.

use crate::driver::ToTorrent;
use crate::driver::torrent::Published;
use crate::driver::tracker::Carrier;
use crate::{Scrape, Snapshot, SwarmSize, TorrentId};
use quelea_metainfo::Info;
use quelea_tracker::TrackerUrl;
use std::fmt;
use std::sync::{Arc, PoisonError};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

/// A handle to a torrent of a session; clones are the same torrent.
#[derive(Clone)]
pub struct Torrent {
    handle: Arc<Handle>,
}

pub(crate) struct Handle {
    pub(crate) id: TorrentId,
    pub(crate) info: Arc<Info>,
    pub(crate) mailbox: mpsc::Sender<ToTorrent>,
    pub(crate) published: Published,
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) worker: Runtime,
}

impl Torrent {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle: Arc::new(handle) }
    }

    /// Its name within the session.
    pub fn id(&self) -> TorrentId {
        self.handle.id
    }

    /// What it is: name, files, pieces.
    pub fn info(&self) -> &Info {
        &self.handle.info
    }

    /// Its figures, at most a quarter of a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.handle.published.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks every tracker how many peers it knows (BEP 48; BEP 15 over UDP), side by side.
    pub async fn scrape(&self) -> Vec<Scrape> {
        let info_hash = self.info_hash();
        let ask = |url: String| {
            let carrier = Arc::clone(&self.handle.carrier);
            let tracker = url.clone();
            let asked = self.handle.worker.spawn(async move {
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

    /// Tries at once whether the disk is mended, for a torrent that pauses because of it ([`State::Failed`]). It
    /// tries by itself every ten seconds.
    ///
    /// [`State::Failed`]: crate::State::Failed
    pub async fn resume(&self) {
        // A torrent whose task has ended has no trouble.
        let _ = self.mailbox().send(ToTorrent::Retry).await;
    }

    pub(crate) fn info_hash(&self) -> [u8; 20] {
        self.handle.info.hashes.wire()
    }

    pub(crate) fn mailbox(&self) -> &mpsc::Sender<ToTorrent> {
        &self.handle.mailbox
    }
}

impl fmt::Debug for Torrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torrent")
            .field("id", &self.handle.id)
            .field("name", &self.handle.info.name)
            .finish_non_exhaustive()
    }
}
