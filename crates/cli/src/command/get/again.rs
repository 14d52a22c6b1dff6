//! Hashing everything once more before a torrent counts as complete: `--hash-again`.

use super::Downloads;
use crate::exit;
use quelea::{State, TorrentId};

/// Whether a torrent's files were hashed once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    No,
    Running,
    Done,
}

impl Downloads<'_> {
    /// Whether a torrent that has everything may be called complete. If not, its files are hashed first.
    pub(super) fn is_hashed_again(&mut self, id: TorrentId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if !self.options.ends.hash_again || entry.complete.is_some() || entry.again == Again::Done {
            return true;
        }
        if let (Again::No, Some(torrent)) = (entry.again, entry.torrent.clone()) {
            entry.again = Again::Running;
            self.rechecks.spawn(async move { (id, torrent.recheck().outcome().await) });
        }
        false
    }

    /// A torrent's files were hashed once more.
    pub(super) fn hashed_again(&mut self, id: TorrentId, result: quelea::Result<()>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.again = Again::Done;
        let subject = entry.subject.clone();
        match result {
            Ok(()) if entry.snapshot().state == State::Seeding => {
                self.report.say_of(&subject, "hashed again: everything is good");
            }
            Ok(()) => self.report.say_of(&subject, "hashed again: what is damaged is downloaded again"),
            Err(error) => {
                let error = anyhow::Error::from(error);
                self.worst = self.worst.worse(exit::status_of(&error));
                self.report.failed(&subject.place, Some(&subject), &error);
            }
        }
        self.look(id);
    }
}
