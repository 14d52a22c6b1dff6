//! When downloads are given up: `--timeout` and `--stop-if-stalled`.

use super::Downloads;
use crate::clock;
use crate::display;
use tokio::time::Instant;

/// Since when nothing has arrived.
pub(super) struct Patience {
    begun: Instant,
    /// How far everything was when something last arrived.
    reached: u64,
    since: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        let now = clock::now();
        Self { begun: now, reached: 0, since: now }
    }
}

impl Downloads<'_> {
    /// Why the downloads are given up, if they are.
    pub(super) fn gives_up(&mut self) -> Option<String> {
        if self.is_complete() {
            return None;
        }
        let reached = self.reached();
        let patience = &mut self.patience;
        if reached != patience.reached {
            patience.reached = reached;
            patience.since = clock::now();
        }
        let ends = &self.options.ends;
        if let Some(timeout) = ends.timeout.filter(|timeout| patience.begun.elapsed() >= *timeout) {
            return Some(format!("not complete after {}", display::span(timeout)));
        }
        let stalled = ends.stop_if_stalled.filter(|stalled| patience.since.elapsed() >= *stalled);
        stalled.map(|stalled| format!("nothing has arrived for {}", display::span(stalled)))
    }

    /// A number that changes whenever something happens to what is not complete: bytes arrive, or data are checked.
    fn reached(&self) -> u64 {
        let unfinished = self.entries.values().filter(|entry| entry.complete.is_none());
        let torrents = unfinished.map(|entry| {
            let snapshot = entry.snapshot();
            let moved = snapshot.downloaded.saturating_add(snapshot.wanted_have);
            moved.saturating_add(snapshot.pieces_checked.into()).saturating_add(1)
        });
        let links = self.fetches.shown().into_iter().map(|(_, progress)| u64::from(progress.received) + 1);
        torrents.chain(links).fold(0, u64::saturating_add)
    }
}
