//! Ending a session.

use super::Session;
use quelea_storage::CheckHandle;
use std::time::Duration;
use tokio::task::JoinSet;

/// Trackers and the gateway have this long to hear that we leave.
const GOODBYE: Duration = Duration::from_secs(3);
/// The torrents have this long to end: their last writes, and to be remembered, which have bounds of their own, and
/// whatever does not answer.
const SETTLE: Duration = Duration::from_secs(20);
/// The DHT and the library have this long, each, to write what they have.
const LAST_WRITES: Duration = Duration::from_secs(10);

impl Session {
    /// Tells the trackers goodbye and gives forwarded ports back (for a few seconds at most), finishes what is being
    /// written, and ends. Data that are being checked are checked no further. Returns within 45 seconds even if the
    /// disk does not answer; what it did not take is checked at the next start.
    pub async fn close(&self) {
        let (torrents, links, fetching) = {
            let mut shared = self.shared();
            shared.events = None;
            shared.waiting.clear();
            shared.checks.clear();
            shared.checking.values().for_each(CheckHandle::cancel);
            let links = std::mem::take(&mut shared.links);
            (std::mem::take(&mut shared.torrents), links, std::mem::take(&mut shared.fetching))
        };
        for link in links
            .into_values()
            .filter_map(|entry| entry.link.as_ref().map(|link| link.state().fetch.take()))
            .flatten()
        {
            link.task.abort();
        }
        let mut stopping = JoinSet::new();
        let mut goodbyes = Vec::new();
        let home = self.inner.workers.home();
        goodbyes.extend(fetching.into_values().filter_map(|seeking| self.end_fetch(&seeking)));
        for entry in torrents.into_values() {
            self.inner.doors.close(&entry.info_hash);
            self.leave_dht(&entry);
            self.fall_silent(&entry);
            let session = self.clone();
            if entry.turn.try_lock().is_ok() && entry.mailbox().is_none() {
                goodbyes.extend(self.inner.trackers.leave(entry.id));
            } else {
                stopping.spawn_on(
                    async move {
                        session.settle(&entry).await;
                        session.inner.trackers.leave(entry.id)
                    },
                    &home,
                );
            }
        }
        let settled = async {
            while let Some(stopped) = stopping.join_next().await {
                goodbyes.extend(stopped.ok().flatten());
            }
        };
        if self.within(SETTLE, settled).await.is_none() {
            tracing::warn!("the disk does not answer: the next start checks what was written last");
        }
        let told = async {
            for goodbye in goodbyes {
                // It ends without a word once the trackers were told.
                let _ = goodbye.await;
            }
        };
        let _ = self.within(GOODBYE, async { tokio::join!(told, self.give_ports_back()) }).await;
        let _ = self.within(LAST_WRITES, self.close_dht()).await;
        if let Some(library) = self.inner.library.get().cloned() {
            let _ = self.within(LAST_WRITES, self.on_disk(move || library.close())).await;
        }
    }

    /// What comes of something, if it ends in time.
    async fn within<T>(&self, limit: Duration, wanted: impl Future<Output = T>) -> Option<T> {
        // Whoever closes the session may have no timer, so that one of ours is asked.
        let (done, waited) = tokio::sync::oneshot::channel::<()>();
        self.inner.workers.home().spawn(async move {
            tokio::time::sleep(limit).await;
            drop(done);
        });
        tokio::select! {
            biased;
            result = wanted => Some(result),
            _ = waited => None,
        }
    }
}
