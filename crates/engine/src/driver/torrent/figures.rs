//! A torrent's figures: what trackers, the session and whoever looks are told of how far it is.

use super::{Files, Running};
use crate::driver::trackers::{Missing, Note};
use crate::events::Event;
use crate::session::slots::Use;
use crate::snapshot::{Snapshot, State, Waiting};
use quelea_dht::schedule::Need;
use quelea_resume::Totals;
use quelea_swarm::torrent::Stats;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

impl Running {
    /// Tells the trackers how far we are.
    pub(super) fn note(&mut self) {
        let now = self.now();
        let stats = self.task.machine.stats(now);
        let missing = Missing::of(&stats);
        let note = Note {
            uploaded: self.task.earlier.uploaded + stats.uploaded,
            downloaded: self.task.earlier.downloaded + stats.downloaded,
            missing,
            hungry: stats.pieces_missing > 0 && stats.connected < 5,
            found_back: std::mem::take(&mut self.found_back),
        };
        if let Some(desk) = &self.task.dht {
            let need = Need::of(missing.of_torrent, missing.of_wanted, note.hungry);
            desk.note(self.task.id, need, note.found_back);
        }
        self.task.trackers.note(self.task.id, note);
    }

    pub(super) fn publish(&mut self) {
        self.look_after_recheck();
        let now = self.now();
        self.look_into_disturbance(now);
        if self.task.unchecked {
            return self.publish_unchecked();
        }
        self.publish_all();
    }

    /// Publishes everything as far as it is known.
    pub(super) fn publish_all(&mut self) {
        self.note();
        let snapshot = Arc::new(self.snapshot());
        if let Some((record, _)) = &self.task.keeping {
            let Totals { downloaded, uploaded } = self.task.earlier;
            record.moved(Totals {
                downloaded: snapshot.downloaded - downloaded,
                uploaded: snapshot.uploaded - uploaded,
            });
        }
        let quiet = self.is_quiet();
        let Stats { interested, slots_used, .. } = self.task.machine.stats(self.now());
        let slots = Use { interested, share: self.task.machine.upload_slots(), held: slots_used };
        (self.task.watch)(&snapshot, slots, quiet);
        self.take_slots();
        *self.task.published.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        self.tell(Event::Progress(self.task.id, snapshot));
    }

    /// Publishes what goes on; what is here, is what it was said to be before.
    fn publish_unchecked(&mut self) {
        let Snapshot { state, pieces_checked, moving, error, .. } = self.snapshot();
        let snapshot = {
            let mut published = self.task.published.lock().unwrap_or_else(PoisonError::into_inner);
            *published = Arc::new(Snapshot { state, pieces_checked, moving, error, ..(**published).clone() });
            Arc::clone(&published)
        };
        self.tell(Event::Progress(self.task.id, snapshot));
    }

    /// Has as many upload slots as the session says.
    fn take_slots(&mut self) {
        let slots = self.task.slots.load(Ordering::Relaxed);
        if slots != self.task.machine.upload_slots() {
            let now = self.now();
            self.task.machine.set_upload_slots(now, slots);
            self.drain();
        }
    }

    /// Whether it is a seed that nobody wants anything of.
    pub(super) fn is_quiet(&mut self) -> bool {
        let now = self.now();
        let stats = self.task.machine.stats(now);
        self.task.machine.is_complete()
            && self.trouble.is_none()
            && self.changes.are_none()
            && (stats.connected, stats.connecting, stats.pieces_verifying) == (0, 0, 0)
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let now = self.now();
        let stats = self.task.machine.stats(now);
        let (wanted_length, missing) = (stats.bytes_wanted, stats.bytes_missing);
        let wanted_have = wanted_length - missing;
        let received = (wanted_have + stats.bytes_unverified).min(wanted_length);
        let state = match (&self.trouble, self.task.apart, missing) {
            _ if self.is_rechecking() => State::Checking,
            (Some(_), _, _) => State::Failed,
            (None, Some(state), _) => state,
            // What was downloaded is complete once every file is as it should be.
            (None, None, 0) if self.files == Files::Finished || stats.downloaded == 0 => State::Seeding,
            (None, None, _) => State::Downloading,
        };
        let rate = stats.download_rate;
        let left = wanted_length - received;
        let eta = (state == State::Downloading && rate > 0)
            .then(|| Duration::from_millis(left.saturating_mul(1_000) / rate));
        let waiting = (state == State::Downloading && rate == 0).then_some(self.waits_for(&stats));
        Snapshot {
            id: self.task.id,
            name: self.task.info.name.clone(),
            position: 0,
            labels: Vec::new(),
            state,
            waiting,
            total_length: self.task.info.geometry.total_length(),
            wanted_length,
            wanted_have,
            wanted_received: received,
            pieces: self.task.info.geometry.pieces(),
            pieces_have: stats.pieces_have,
            pieces_checked: self.changes.recheck().map_or(0, |recheck| recheck.checked()),
            moving: self.changes.moving(),
            downloaded: self.task.earlier.downloaded + stats.downloaded,
            uploaded: self.task.earlier.uploaded + stats.uploaded,
            downloaded_ever: self.task.before.downloaded.saturating_add(stats.downloaded),
            uploaded_ever: self.task.before.uploaded.saturating_add(stats.uploaded),
            wasted: stats.wasted,
            download_rate: rate,
            upload_rate: stats.upload_rate,
            eta,
            peers_connected: stats.connected,
            seeds_connected: stats.seeds,
            peers_known: stats.known,
            trackers: self.tracker_statuses.clone(),
            error: self.trouble.as_ref().map(|trouble| trouble.message().to_owned()),
        }
    }

    /// Why nothing arrives, given that nothing does.
    fn waits_for(&self, stats: &Stats) -> Waiting {
        if stats.pieces_verifying as u32 >= stats.pieces_missing {
            Waiting::Disk
        } else if stats.useful > 0 {
            Waiting::Unchoke
        } else if stats.connected > 0 {
            Waiting::Pieces
        } else if stats.known > 0 {
            Waiting::Connections
        } else if self.trackers_answered || self.tracker_statuses.is_empty() {
            Waiting::Peers
        } else {
            Waiting::Trackers
        }
    }
}
