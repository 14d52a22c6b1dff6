//! Nodes that changed their names: who answers under one here and another there may have one for everything that is
//! looked for.

use alloc::collections::VecDeque;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_time::Time;

/// A node that changed its name is not relied upon for this long, unless it may have the new one.
pub(super) const FICKLE: Duration = Duration::from_secs(15 * 60);
/// Nodes of that kind that are remembered.
pub(super) const MAX_FICKLE: usize = 128;

/// Where nodes changed their names, and when; the latest last.
#[derive(Debug, Default)]
pub(super) struct Fickle(VecDeque<(Time, SocketAddr)>);

impl Fickle {
    /// The node at this address has another name than before.
    pub(super) fn note(&mut self, now: Time, address: SocketAddr) {
        if self.0.len() >= MAX_FICKLE {
            self.0.pop_front();
        }
        self.0.push_back((now, address));
    }

    /// Whether the node at this address had two names lately.
    pub(super) fn has(&self, now: Time, address: SocketAddr) -> bool {
        self.0.iter().any(|(at, fickle)| *fickle == address && now.since(*at) < FICKLE)
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
