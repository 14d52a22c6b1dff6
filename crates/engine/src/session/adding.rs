//! Adding a torrent.

use super::Session;
use super::figures::first_snapshot;
use crate::driver::ToTorrent;
use crate::entry::Entry;
use crate::events::TorrentId;
use crate::wishes::{Wishes, wanted_pieces};
use crate::{AddTorrent, Error, Priority, Result, Torrent};
use quelea_metainfo::Metainfo;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

impl Session {
    /// Adds a torrent: opens its files, checks data that lies there already, and starts.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Duplicate`], [`Error::NothingSelected`], [`Error::InUse`],
    /// [`Error::Storage`] or [`Error::Closed`]. Then the torrent is not in the session.
    pub async fn add(&self, torrent: AddTorrent) -> Result<Torrent> {
        let peers = torrent.peers.clone();
        let entry = self.enter(torrent)?;
        if let Err(error) = self.wake(&entry).await {
            self.shared().torrents.remove(&entry.id);
            return Err(error);
        }
        if let Some(mailbox) = entry.mailbox().filter(|_| !peers.is_empty()) {
            let source = quelea_discovery::Source::Manual;
            let _ = mailbox.send(ToTorrent::Addresses { found: peers, source }).await;
        }
        Ok(Torrent::new(entry))
    }

    /// Puts a torrent into the list, where none of the same info-hash is.
    fn enter(&self, torrent: AddTorrent) -> Result<Arc<Entry>> {
        let AddTorrent {
            metainfo,
            output_dir,
            wanted,
            priorities,
            sequential,
            preallocate,
            limits,
            peers: _,
        } = torrent;
        let Metainfo { info, trackers, .. } = metainfo;
        if !info.version.has_v1() {
            return Err(Error::Unsupported(
                "it is a pure v2 torrent (BEP 52), which this version can only show",
            ));
        }
        let mut wanted = wanted.unwrap_or_else(|| vec![true; info.files.len()]);
        let mut priorities = priorities;
        for (wanted, priority) in wanted.iter_mut().zip(priorities.iter_mut().flatten()) {
            *wanted &= priority.is_wanted();
            *priority = if *wanted { *priority } else { Priority::UNWANTED };
        }
        if !info.files.iter().zip(&wanted).any(|(file, wanted)| *wanted && !file.pad) {
            return Err(Error::NothingSelected);
        }
        let root = output_dir.unwrap_or_else(|| self.inner.settings.output_dir.clone());
        let pieces = wanted_pieces(&info, &wanted);
        let mut shared = self.shared();
        if shared.events.is_none() {
            return Err(Error::Closed);
        }
        if shared.torrents.values().any(|other| other.info_hash == info.hashes.wire()) {
            return Err(Error::Duplicate);
        }
        let id = TorrentId(shared.next_id);
        shared.next_id += 1;
        let entry = Arc::new(Entry {
            id,
            info_hash: info.hashes.wire(),
            published: Arc::new(Mutex::new(Arc::new(first_snapshot(id, &info, &pieces)))),
            info: Arc::new(info),
            trackers,
            wishes: Wishes { root, wanted, priorities, preallocate },
            sequential: AtomicBool::new(sequential),
            limiter: Arc::downgrade(&self.inner.limiter),
            limits: Mutex::new(limits),
            running: Mutex::default(),
        });
        shared.torrents.insert(id, Arc::clone(&entry));
        Ok(entry)
    }
}
