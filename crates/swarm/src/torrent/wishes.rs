//! What the user wants of a torrent while it runs: which pieces, how much, in which order, by when.

use super::Torrent;
use super::download::{remember, wire_span};
use super::upload::Occasion;
use crate::event::Event;
use crate::peers::PeerKey;
use crate::picker::Priority;
use alloc::vec::Vec;
use quelea_metainfo::geometry::PieceIndex;
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::HANDSHAKE;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::handshake::Feature;

/// In sequential mode, bytes ahead of the first missing piece that are taken in order: enough for several fast
/// peers, and a few seconds of a film.
const WINDOW: u64 = 16 << 20;
/// At least so many pieces are taken in order.
const LEAST_WINDOW: u64 = 8;
/// A peer may be asked for a piece with a deadline if it is at least this fraction as fast as the fastest that has it.
const FAST_ENOUGH: u64 = 4;

impl<B> Torrent<B> {
    /// How much a piece is wanted.
    pub fn priority(&self, piece: PieceIndex) -> Priority {
        self.picker.priority(piece)
    }

    /// Changes how much each piece is wanted. Requests for pieces that are not wanted any longer are cancelled and
    /// what is here of them is dropped, but a piece that was received whole is verified and kept. Peers learn whether
    /// we are interested; when nothing wanted is missing any longer, [`Event::Completed`] is told, again if need be.
    pub fn set_priorities(&mut self, now: Time, priority: impl Fn(PieceIndex) -> Priority) {
        let dropped = self.picker.set_priorities(priority);
        self.wasted += dropped.bytes;
        for (span, key) in dropped.requests {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            if peer.pipeline.forget(span) {
                remember(&mut peer.given_up, span);
                self.send(now, key, Message::Cancel(wire_span(span)));
            }
        }
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            peer.useful = peer.has.count_shared(self.picker.needed());
            self.update_interest(now, key);
        }
        self.note_completion(now);
        self.wake_idle_peers();
        self.connect_more(now);
    }

    /// Whether everything that is wanted is here may have changed.
    pub(super) fn note_completion(&mut self, now: Time) {
        let completed = self.picker.missing_wanted() == 0;
        if completed == self.completed {
            return;
        }
        self.completed = completed;
        self.door.list.set_seeding(completed);
        if completed {
            self.tell(Event::Completed);
        } else {
            self.note_loss(now);
        }
        self.tell_upload_only(now);
        self.choose_unchoked(now, Occasion::Between);
    }

    /// Peers hear whether we want anything yet (BEP 21), in a handshake that says nothing else (BEP 10: a later one
    /// tells what is new alone). A super-seed has said, and says, nothing of the kind.
    fn tell_upload_only(&mut self, now: Time) {
        if self.is_super_seeding() {
            return;
        }
        let news = ExtensionHandshake { upload_only: Some(self.completed), ..ExtensionHandshake::default() };
        let payload = news.encode();
        for key in self.peers.keys() {
            if self.peers.get(key).is_some_and(|peer| peer.reserved.has(Feature::ExtensionProtocol)) {
                self.send(now, key, Message::Extended { id: HANDSHAKE, payload: payload.clone() });
            }
        }
    }

    /// Takes pieces in order as far as a window after the first that is missing, or rarest first. Rarest first is
    /// better for the swarm; in order, a film can be watched while it comes.
    pub fn set_sequential(&mut self, sequential: bool) {
        let pieces = (WINDOW / u64::from(self.geometry.piece_length())).max(LEAST_WINDOW);
        self.picker.set_window(sequential.then_some(pieces.min(u64::from(u32::MAX)) as u32));
    }

    /// Whether pieces are taken in order.
    pub fn is_sequential(&self) -> bool {
        self.picker.window().is_some()
    }

    /// A piece is to be here at `at`: it is asked of the fastest peers before everything else, and of several when
    /// it is late. Nothing comes of it where the piece is here or not wanted.
    pub fn set_deadline(&mut self, now: Time, piece: PieceIndex, at: Time) {
        self.picker.set_deadline(piece, at);
        self.rank_for_deadlines(now);
        self.wake_idle_peers();
    }

    /// No piece has a deadline any longer.
    pub fn clear_deadlines(&mut self) {
        self.picker.clear_deadlines();
    }

    /// Finds out who is fast enough for each of the most urgent pieces.
    pub(super) fn rank_for_deadlines(&mut self, now: Time) {
        let urgent: Vec<PieceIndex> = self.picker.urgent().collect();
        if urgent.is_empty() {
            return;
        }
        let senders =
            self.peers.iter_mut().filter(|(_, peer)| !peer.it_chokes_us && !peer.pipeline.is_snubbed());
        let rates: Vec<(PeerKey, u64)> = senders.map(|(key, peer)| (key, peer.pipeline.rate(now))).collect();
        for piece in urgent {
            let has = |key: PeerKey| self.peers.get(key).is_some_and(|peer| peer.has.has(piece));
            let fastest = rates.iter().filter(|(key, _)| has(*key)).map(|(_, rate)| *rate).max();
            self.picker.set_floor(piece, fastest.unwrap_or(0) / FAST_ENOUGH);
        }
    }
}
