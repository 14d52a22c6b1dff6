//! One transport's mapping: what is wished for, asked for and held.

use super::ask::{AskId, Mapping};
use quelea_time::Time;

/// The mapping of one transport.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The external port to ask for while none is held.
    pub(super) wished: u16,
    /// How many taken ports were tried in a row.
    pub(super) tries: u32,
    /// The ask under way.
    pub(super) asked: Option<AskId>,
    /// Whether the gateway takes only mappings for good.
    pub(super) for_good: bool,
    /// When to ask next.
    pub(super) renew: Option<Time>,
    pub(super) held: Option<Held>,
}

/// What a gateway forwards to us.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) mapping: Mapping,
    /// The end of the lease.
    pub(super) until: Time,
}

impl Slot {
    /// When to ask; not while an answer is awaited.
    pub(super) fn due(&self) -> Option<Time> {
        self.renew.filter(|_| self.asked.is_none())
    }

    /// Nothing is held, asked for or planned.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_none() && self.asked.is_none() && self.renew.is_none()
    }

    /// Asks at once whether what is held is still there.
    pub(super) fn hurry(&mut self, now: Time) {
        if self.renew.is_some() {
            self.renew = Some(now);
        }
    }
}
