//! The session's upload slots: each torrent has its share of them, by what its peers want.

use super::Session;
use crate::events::TorrentId;
use quelea_swarm::choker::slots::{Demand, Division, Report};
use quelea_time::Time;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A torrent's share, which its task looks at whenever it publishes its figures.
pub(crate) type Share = Arc<AtomicUsize>;

/// What a torrent does with its slots.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use {
    /// Peers that want something.
    pub(crate) interested: usize,
    /// The slots that it acts upon.
    pub(crate) share: usize,
    /// The slots that it holds.
    pub(crate) held: usize,
}

/// The slots, and who has them.
pub(super) struct Slots {
    division: Division<TorrentId>,
    shares: BTreeMap<TorrentId, Share>,
}

impl Slots {
    pub(super) fn new(now: Time, slots: usize) -> Mutex<Self> {
        Mutex::new(Self { division: Division::new(now, slots), shares: BTreeMap::new() })
    }

    fn tell(&mut self) {
        for (torrent, slots) in self.division.take_changed() {
            if let Some(share) = self.shares.get(&torrent) {
                share.store(slots, Ordering::Relaxed);
            }
        }
    }
}

impl Session {
    /// Changes how many peers of all torrents are uploaded to at a time. Slots that are new are given at once; who has
    /// one too many loses it when the piece is over that it takes.
    pub fn set_upload_slots(&self, slots: usize) {
        let mut all = self.slots();
        all.division.set_slots(slots);
        all.tell();
    }

    /// A torrent's task begins: its share.
    pub(super) fn share_slots(&self, torrent: TorrentId) -> Share {
        let share = Share::default();
        self.slots().shares.insert(torrent, Arc::clone(&share));
        self.want_slots(torrent, Use::default());
        share
    }

    /// What a torrent does with its slots.
    pub(super) fn want_slots(&self, torrent: TorrentId, Use { interested, share, held }: Use) {
        let most = self.inner.settings.torrent_upload_slots;
        let now = self.inner.clock.now();
        let mut all = self.slots();
        let report = Report { demand: Demand { interested, most }, share, held };
        if all.shares.contains_key(&torrent) {
            all.division.note(now, torrent, report);
            all.tell();
        }
    }

    /// A torrent's task has ended.
    pub(super) fn return_slots(&self, torrent: TorrentId) {
        let mut all = self.slots();
        all.shares.remove(&torrent);
        all.division.remove(torrent);
        all.tell();
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
