//! Ending a session.

use super::Session;
use crate::driver::ToTorrent;
use tokio::sync::oneshot;

impl Session {
    /// Tells the trackers goodbye (for a few seconds at most), finishes what is being written, and ends.
    pub async fn close(&self) {
        let torrents = {
            let mut shared = self.shared();
            shared.events = None;
            std::mem::take(&mut shared.torrents)
        };
        let mut goodbyes = Vec::new();
        for entry in torrents.values() {
            self.inner.doors.close(&entry.info_hash);
            let Some(running) = entry.take_running() else { continue };
            let (done, goodbye) = oneshot::channel();
            if running.mailbox.send(ToTorrent::Stop(done)).await.is_ok() {
                goodbyes.push(goodbye);
            }
        }
        for goodbye in goodbyes {
            // A task that is gone has said goodbye.
            let _ = goodbye.await;
        }
    }
}
