//! Giving the info dictionary to peers that came by a magnet link (BEP 9).
//!
//! What a peer may cost is bounded: it is given the dictionary a few times over, at a steady pace after a first burst,
//! and one that goes on asking for what it does not get is seen off.

use super::Torrent;
use crate::peers::PeerKey;
use alloc::collections::VecDeque;
use core::time::Duration;
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::metadata::{MetadataMessage, PIECE};
use quelea_wire::extension::{Extension, Ids};

/// Each piece may be asked for so often by one peer: its first copies may have been spoilt by somebody else's.
const COPIES: u32 = 4;
/// Pieces that a peer is given at once: 512 KiB.
const BURST: u32 = 32;
/// Pieces that it is given in a second after that.
const A_SECOND: u32 = 32;
/// Requests of a peer that may wait.
const WAITING: usize = 256;

/// What one peer was given of the info dictionary.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Pieces it asked for that are not sent yet.
    asked: VecDeque<u32>,
    /// Pieces that were sent to it or wait.
    copies: u32,
    /// Pieces that were sent to it since `since`, less those that have been forgiven by time.
    burst: u32,
    since: Time,
}

impl Taken {
    /// Whether it was given any.
    pub(super) const fn is_any(&self) -> bool {
        self.copies > 0
    }

    /// Whether another piece may be sent at this moment.
    fn may_send(&mut self, now: Time) -> bool {
        let passed = now.since(self.since);
        let forgiven = (passed.as_millis() * u128::from(A_SECOND) / 1_000).min(u128::from(BURST)) as u32;
        if forgiven > 0 {
            self.burst = self.burst.saturating_sub(forgiven);
            self.since = if self.burst == 0 {
                now
            } else {
                self.since + Duration::from_millis(u64::from(forgiven) * 1_000 / u64::from(A_SECOND))
            };
        }
        self.burst < BURST
    }
}

impl<B> Torrent<B> {
    /// The numbers that we give extensions.
    pub(super) fn own_extensions(&self) -> Ids {
        let mut ids = Ids::default();
        for (extension, offered) in
            [(Extension::Metadata, !self.metadata.is_empty()), (Extension::Pex, self.exchange.on)]
        {
            if offered {
                ids.set(extension, extension.own_id());
            }
        }
        ids
    }

    /// Bytes of the info dictionary, if it is given.
    pub(super) fn metadata_size(&self) -> Option<u32> {
        u32::try_from(self.metadata.len()).ok().filter(|&size| size > 0)
    }

    /// A message of `ut_metadata`.
    pub(super) fn handle_metadata(&mut self, now: Time, key: PeerKey, payload: &[u8]) {
        match MetadataMessage::parse(payload) {
            Ok(MetadataMessage::Request { piece }) => self.metadata_requested(now, key, piece),
            // We ask for nothing. Kinds that do not exist yet are ignored (BEP 9).
            Ok(MetadataMessage::Data { .. }) => self.misdeed(now, key, "metadata that nobody asked for"),
            Ok(MetadataMessage::Reject { .. } | MetadataMessage::Unknown) => {}
            Err(_) => self.misdeed(now, key, "a metadata message that cannot be read"),
        }
    }

    fn metadata_requested(&mut self, now: Time, key: PeerKey, piece: u32) {
        let pieces = u32::try_from(self.metadata.len().div_ceil(PIECE)).unwrap_or(u32::MAX);
        let Some(peer) = self.peers.get_mut(key) else { return };
        let taken = &mut peer.metadata;
        if piece >= pieces || taken.copies >= pieces.saturating_mul(COPIES) || taken.asked.len() >= WAITING {
            self.send_metadata(now, key, &MetadataMessage::Reject { piece });
            self.misdeed(now, key, "requests for more metadata than there is");
            return;
        }
        taken.copies += 1;
        taken.asked.push_back(piece);
        self.give_metadata(now, key);
    }

    /// Sends a peer what it asked for and may have at this moment.
    pub(super) fn give_metadata(&mut self, now: Time, key: PeerKey) {
        loop {
            let Some(peer) = self.peers.get_mut(key) else { return };
            let taken = &mut peer.metadata;
            if taken.asked.is_empty() || !taken.may_send(now) {
                return;
            }
            let Some(piece) = taken.asked.pop_front() else { return };
            taken.burst += 1;
            let metadata = alloc::sync::Arc::clone(&self.metadata);
            let (Some(data), Some(total_size)) =
                (metadata.chunks(PIECE).nth(piece as usize), self.metadata_size())
            else {
                return;
            };
            self.send_metadata(now, key, &MetadataMessage::Data { piece, total_size, data });
        }
    }

    /// Sends a message of `ut_metadata` to a peer that said how it wants to be sent such.
    fn send_metadata(&mut self, now: Time, key: PeerKey, message: &MetadataMessage<'_>) {
        let id = self.peers.get(key).and_then(|peer| peer.extensions.id(Extension::Metadata));
        if let Some(id) = id {
            self.send(now, key, Message::Extended { id, payload: message.encode() });
        }
    }
}
