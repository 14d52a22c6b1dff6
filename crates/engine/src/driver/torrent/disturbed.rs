//! When another program changes the torrent's files while it runs: nothing of them is given to peers until they were
//! hashed again, and what is damaged is fetched again.
//!
//! Peers that heard of a piece cannot be told that it is gone, so the torrent parts from all of them while it hashes, and
//! shows what it has to those that come back. A file system whose stamps are never the same for long cannot keep it from
//! its work: it hashes for a tenth of the time at most.

use super::recheck::{Recheck, Scope};
use super::{Running, Time};
use crate::events::Event;
use quelea_storage::StorageError;
use std::sync::Arc;
use std::time::Duration;

/// After a check the next one waits for this many times as long as it took.
const REST: u32 = 9;
/// It waits no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// Files that another program changed.
#[derive(Default)]
pub(super) struct Disturbance {
    /// Whether there are some that are to be hashed.
    is_due: bool,
    /// When the check that is going on began.
    began: Option<Time>,
    /// No check begins before.
    rests_until: Option<Time>,
}

impl Running {
    /// Another program changed a file.
    pub(super) fn note_disturbed(&mut self, now: Time, error: &StorageError) {
        if !self.disturbance.is_due && self.disturbance.began.is_none() {
            self.tell(Event::Warning(error.to_string()));
        }
        // What is told of while files are hashed may have been met before that.
        self.disturbance.is_due |= self.disturbance.began.is_none();
        self.look_into_disturbance(now);
    }

    /// Hashes the files that another program changed, once that may be.
    pub(super) fn look_into_disturbance(&mut self, now: Time) {
        let rests = self.disturbance.rests_until.is_some_and(|until| now < until);
        let busy = !self.changes.are_none() || self.trouble.is_some() || self.task.apart.is_some();
        if !self.disturbance.is_due || rests || busy {
            return;
        }
        self.disturbance = Disturbance { is_due: false, began: Some(now), rests_until: None };
        self.changes.set_recheck(Recheck::new(Scope::Disturbed, Arc::default(), None));
        self.begin_recheck(now);
    }

    /// The disk is mended; files may have been changed meanwhile.
    pub(super) fn look_for_disturbance(&mut self) {
        self.disturbance.is_due |= !self.task.io.store.disturbed().is_empty();
    }

    /// The files that another program changed could not be looked at.
    pub(super) fn note_unsettled(&mut self) {
        self.disturbance = Disturbance { is_due: true, ..Disturbance::default() };
    }

    /// The files that another program had changed were hashed: so many pieces were damaged.
    pub(super) fn note_settled(&mut self, now: Time, damaged: u32, cancelled: bool) {
        let took = self.disturbance.began.take().map_or(Duration::ZERO, |began| now.since(began));
        self.disturbance.rests_until = Some(now + took.saturating_mul(REST).min(LONGEST_REST));
        self.disturbance.is_due |= cancelled;
        if damaged > 0 {
            self.tell(Event::Warning(format!(
                "{}: another program damaged {damaged} of its pieces; they are fetched again",
                self.task.info.name
            )));
        }
    }
}
