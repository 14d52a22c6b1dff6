//! Ending a session.

use super::Session;
use std::time::Duration;
use tokio::task::JoinSet;

/// Trackers and the gateway have this long to hear that we leave.
const GOODBYE: Duration = Duration::from_secs(3);

impl Session {
    /// Tells the trackers goodbye and gives forwarded ports back (for a few seconds at most), finishes what is being
    /// written, and ends.
    pub async fn close(&self) {
        let (torrents, links, fetching) = {
            let mut shared = self.shared();
            shared.events = None;
            shared.waiting.clear();
            shared.checks.clear();
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
        while let Some(stopped) = stopping.join_next().await {
            goodbyes.extend(stopped.ok().flatten());
        }
        let told = async {
            for goodbye in goodbyes {
                // It ends without a word once the trackers were told.
                let _ = goodbye.await;
            }
        };
        // Whoever closes the session may have no timer, so that one of ours is asked.
        let (done, waited) = tokio::sync::oneshot::channel::<()>();
        home.spawn(async move {
            tokio::time::sleep(GOODBYE).await;
            drop(done);
        });
        let told = async { tokio::join!(told, self.give_ports_back()) };
        tokio::select! {
            ((), ()) = told => {}
            _ = waited => {}
        }
        self.close_dht().await;
        if let Some(library) = self.inner.library.get().cloned() {
            let _ = self.on_disk(move || library.close()).await;
        }
    }
}
