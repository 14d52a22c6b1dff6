//! Counts what is held for the peers of a session, and ends the connections that must give way: whose those are is
//! decided by [`Holdings`].

use crate::clock::Clock;
use quelea_swarm::holdings::{HolderKey, Holdings};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that are held for all peers: a quarter of what the program sets aside beside payload, and as much as sixteen
/// bitfields of the torrents with the most pieces.
const MOST: usize = 4 << 20;
/// Bytes are counted in multiples of this, and no fewer, so that ordinary traffic never comes here.
const GRAIN: usize = 4 << 10;

/// The memory held for all peers.
pub(crate) struct Ledger {
    clock: Clock,
    open: Mutex<Open>,
}

struct Open {
    holdings: Holdings,
    /// How to end each connection.
    ends: HashMap<HolderKey, Arc<Notify>>,
}

/// The memory held for one peer; dropping it says that all of it is free.
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    key: HolderKey,
    end: Arc<Notify>,
    counted: usize,
    delivers: bool,
}

impl Ledger {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, open: Mutex::new(Open { holdings: Holdings::new(MOST), ends: HashMap::new() }) }
    }

    /// A connection's account.
    pub(super) fn account(self: &Arc<Self>) -> Account {
        let end = Arc::new(Notify::new());
        let mut open = self.open();
        let key = open.holdings.enter(self.clock.now());
        open.ends.insert(key, Arc::clone(&end));
        Account { ledger: Arc::clone(self), key, end, counted: 0, delivers: false }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// So many bytes are held for the peer from here on.
    pub(super) fn holds(&mut self, bytes: usize) {
        let bytes = if bytes <= GRAIN { 0 } else { bytes.next_multiple_of(GRAIN) };
        if bytes == self.counted {
            return;
        }
        self.counted = bytes;
        let now = self.ledger.clock.now();
        let mut open = self.ledger.open();
        for key in open.holdings.holds(now, self.key, bytes) {
            if let Some(end) = open.ends.remove(&key) {
                end.notify_one();
            }
        }
    }

    /// The peer gave something that we wanted.
    pub(super) fn delivers(&mut self) {
        if !std::mem::replace(&mut self.delivers, true) {
            self.ledger.open().holdings.delivers(self.key);
        }
    }

    /// Whether the peer has given something that we wanted.
    pub(super) const fn has_delivered(&self) -> bool {
        self.delivers
    }

    /// Waits until the connection must end.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut open = self.ledger.open();
        open.holdings.leave(self.key);
        open.ends.remove(&self.key);
    }
}
