//! The session's bounds on connections that are being made: how many at a time, and how many a second.

use crate::clock::Clock;
use quelea_swarm::dialling::Pace;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets connections begin, those of all torrents in one line.
pub(crate) struct Dialling {
    clock: Clock,
    half_open: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

impl Dialling {
    /// At most `half_open` at a time and `per_second` a second (0 for no bound).
    pub(crate) fn new(clock: Clock, half_open: usize, per_second: u32) -> Self {
        let half_open = Arc::new(Semaphore::new(half_open.max(1)));
        Self { clock, half_open, pace: Mutex::new(Pace::new(per_second)) }
    }

    /// Waits for a turn, which lasts until the permit is dropped: when the connection is made, or is not. `None` when
    /// the session is over.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.half_open).acquire_owned().await.ok()?;
        let due = self.pace.lock().unwrap_or_else(PoisonError::into_inner).begin(self.clock.now());
        self.clock.sleep_until(Some(due)).await;
        Some(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn so_many_are_made_at_a_time_and_the_next_follows() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dialling = Dialling::new(Clock::start(), 2, 0);
            let (first, second) = (dialling.turn().await, dialling.turn().await);
            assert!(first.is_some() && second.is_some());
            let soon = Duration::from_millis(50);
            assert!(tokio::time::timeout(soon, dialling.turn()).await.is_err(), "a third one");
            drop(first);
            assert!(dialling.turn().await.is_some());
        });
    }
}
