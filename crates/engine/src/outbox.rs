//! What a torrent wants a connection to do, coalesced until the connection looks.

use quelea_metainfo::geometry::Span;
use quelea_wire::Message;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Bytes of messages that may wait for a peer that does not read.
const MAX_BYTES: usize = 4 << 20;

/// Work for a connection.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Encoded messages, in order.
    pub(crate) bytes: Vec<u8>,
    /// Blocks to read and send.
    pub(crate) uploads: VecDeque<Span>,
    /// The last report was taken; another may be sent.
    pub(crate) report_taken: bool,
    /// Nothing is to be read.
    pub(crate) hold: bool,
    /// The peer has given something that we wanted.
    pub(crate) delivers: bool,
    /// More messages wait than may.
    pub(crate) overflows: bool,
    /// End the connection.
    pub(crate) close: bool,
}

/// Work for a connection, filled by its torrent and emptied by its task. At most a few uploads (the torrent
/// grants no more) and [`MAX_BYTES`] of messages stand in it; a peer for whom more piles up is cut off.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    work: Mutex<Work>,
    ready: Notify,
}

impl Outbox {
    pub(crate) fn send(&self, message: &Message) {
        self.change(|work| {
            quelea_wire::encoder::encode(message, &mut work.bytes);
            work.overflows |= work.bytes.len() > MAX_BYTES;
        });
    }

    pub(crate) fn upload(&self, span: Span) {
        self.change(|work| work.uploads.push_back(span));
    }

    pub(crate) fn read(&self, read: bool) {
        self.change(|work| work.hold = !read);
    }

    /// The last report was taken; `delivers` says whether the peer has given something that we wanted.
    pub(crate) fn report_taken(&self, delivers: bool) {
        self.change(|work| {
            work.report_taken = true;
            work.delivers = delivers;
        });
        self.ready.notify_one();
    }

    pub(crate) fn close(&self) {
        self.change(|work| work.close = true);
        self.ready.notify_one();
    }

    /// Wakes the connection. Called once after a round of changes, not after each.
    pub(crate) fn wake(&self) {
        self.ready.notify_one();
    }

    /// Moves all work into `into`, adding to what stands there.
    pub(crate) fn take(&self, into: &mut Work) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if into.bytes.is_empty() {
            into.bytes.clear();
            std::mem::swap(&mut into.bytes, &mut work.bytes);
        } else {
            into.bytes.append(&mut work.bytes);
        }
        into.uploads.append(&mut work.uploads);
        into.report_taken |= std::mem::take(&mut work.report_taken);
        into.hold = work.hold;
        into.delivers = work.delivers;
        into.overflows |= work.overflows;
        into.close |= work.close;
    }

    /// Waits until there may be work.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
