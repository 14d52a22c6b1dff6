//! Getting: what peers have, interest, requests, blocks.

use super::Torrent;
use crate::event::Output;
use crate::peers::PeerKey;
use crate::picker::{Receipt, Source, Wish};
use crate::pipeline::MAX_DEPTH;
use crate::toll::PRICE_OF_MISFIT;
use alloc::vec::Vec;
use quelea_metainfo::geometry::Span;
use quelea_time::Time;
use quelea_wire::message::BlockSpan;
use quelea_wire::{Bitfield, Message};

/// Blocks given up that are remembered, so that they are welcome if they come late: all that a peer was asked for.
const GIVEN_UP: usize = MAX_DEPTH;
/// Rejected and unasked-for blocks that end a connection.
const MAX_MISFITS: u32 = 300;
/// Suggested pieces that are remembered (BEP 6).
const MAX_SUGGESTED: usize = 16;
/// Allowed-fast pieces that are remembered (BEP 6).
const MAX_ALLOWED_FAST: usize = 64;

impl<B> Torrent<B> {
    /// A message came.
    pub fn handle_message(&mut self, now: Time, key: PeerKey, message: &Message) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.heard = now;
        let opening = core::mem::replace(&mut peer.may_send_bitfield, false);
        let price = peer.toll.price(message, self.geometry.pieces(), opening);
        if !self.charge(now, key, price) {
            return;
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        match message {
            Message::KeepAlive => peer.may_send_bitfield = opening,
            Message::Choke => self.choked(key),
            Message::Unchoke => self.unchoked(key),
            Message::Interested => self.interested(now, key, true),
            Message::NotInterested => self.interested(now, key, false),
            Message::Have(piece) => self.has(now, key, *piece),
            Message::Bitfield(bits) => match Bitfield::from_peer(bits, self.geometry.pieces()) {
                Ok(has) if opening => self.has_these(now, key, has),
                Ok(has) => self.has_more(now, key, &has),
                Err(_) => self.handle_fault(now, key, "a bitfield of the wrong size"),
            },
            Message::HaveAll if opening => self.has_these(now, key, Bitfield::all(self.geometry.pieces())),
            Message::HaveAll => self.has_more(now, key, &Bitfield::all(self.geometry.pieces())),
            Message::HaveNone => {}
            Message::Request(span) => self.requested(now, key, *span),
            Message::Cancel(span) => self.cancelled(now, key, *span),
            Message::Suggest(piece) => self.suggested(key, *piece),
            Message::AllowedFast(piece) => self.allowed(key, *piece),
            Message::Reject(span) => self.rejected(now, key, *span),
            Message::Extended { id, payload } => {
                // Some clients send their extension handshake before their bitfield.
                peer.may_send_bitfield = opening;
                self.handle_extended(now, key, *id, payload);
            }
            Message::Port(port) => {
                peer.may_send_bitfield = opening;
                self.node_told(key, *port);
            }
            Message::HashRequest(_)
            | Message::Hashes { .. }
            | Message::HashReject(_)
            | Message::Unknown(_) => peer.may_send_bitfield = opening,
        }
    }

    /// Bytes came, though no message is whole yet.
    pub fn handle_alive(&mut self, now: Time, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.heard = now;
        }
    }

    /// A block came. One that is of no use is dropped.
    pub fn handle_block(&mut self, now: Time, key: PeerKey, span: BlockSpan, block: B) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.heard = now;
        peer.may_send_bitfield = false;
        let length = u64::from(span.length);
        self.downloaded += length;
        self.download_rate.add(now, length);
        peer.downloaded += length;
        let Some(span) = self.geometry.span(span.piece, span.begin, span.length) else {
            self.handle_fault(now, key, "a block outside the torrent");
            return;
        };
        let asked_for = peer.pipeline.received(now, span) || {
            let known = peer.given_up.iter().position(|&other| other == span);
            let came_late = known.and_then(|position| peer.given_up.remove(position)).is_some();
            if came_late {
                peer.pipeline.came_late(now);
            }
            came_late
        };
        let source = Source { peer: key, ip: peer.address.ip() };
        if !asked_for {
            self.wasted += length;
            if self.charge(now, key, PRICE_OF_MISFIT) {
                self.misfit(now, key, "blocks that were not asked for");
            }
            return;
        }
        peer.delivered = true;
        self.wants_refill(key);
        match self.picker.receive(span, source, block) {
            Receipt::Taken { twins } => self.cancel_twins(now, span, &twins),
            Receipt::Complete { twins, blocks } => {
                self.cancel_twins(now, span, &twins);
                let digest_blocks = self.suspects.contains_key(&span.piece);
                self.outputs.push_back(Output::Verify { piece: span.piece, blocks, digest_blocks });
                if self.picker.is_endgame() {
                    self.wake_idle_peers();
                }
            }
            Receipt::Useless(_) => self.wasted += length,
        }
    }

    fn cancel_twins(&mut self, now: Time, span: Span, twins: &[PeerKey]) {
        for &twin in twins {
            let Some(peer) = self.peers.get_mut(twin) else { continue };
            if peer.pipeline.forget(span) {
                remember(&mut peer.given_up, span);
                self.send(now, twin, Message::Cancel(wire_span(span)));
                self.wants_refill(twin);
            }
        }
    }

    fn misfit(&mut self, now: Time, key: PeerKey, what: &'static str) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.misfits += 1;
        if peer.misfits > MAX_MISFITS {
            self.handle_fault(now, key, what);
        }
    }

    fn has(&mut self, now: Time, key: PeerKey, number: u32) {
        let Some(piece) = self.geometry.piece(number) else {
            self.handle_fault(now, key, "a piece that does not exist");
            return;
        };
        let Some(peer) = self.peers.get_mut(key) else { return };
        if !peer.has.set(piece) {
            return;
        }
        peer.is_seed = peer.has.is_all();
        self.picker.peer_has(key, piece);
        if self.picker.is_missing(piece) {
            peer.useful += 1;
            self.update_interest(now, key);
            self.wants_refill(key);
        }
        self.note_spread(now, key, piece);
        self.note_had(now, key);
        self.note_seed(key);
    }

    /// A bitfield after the first message, which BEP 3 does not foresee: aria2 sends one instead of many `have`
    /// where it is shorter. It says what those would.
    fn has_more(&mut self, now: Time, key: PeerKey, has: &Bitfield) {
        if self.peers.get(key).is_none_or(|peer| !has.has_any_not_in(&peer.has)) {
            return;
        }
        for number in has.numbers() {
            self.has(now, key, number);
        }
    }

    fn has_these(&mut self, now: Time, key: PeerKey, has: Bitfield) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.is_seed = has.is_all() && has.pieces() > 0;
        let before = core::mem::replace(&mut peer.tally, self.picker.peer_joined(&has));
        self.picker.peer_left(key, &peer.has, before);
        peer.useful = has.count_shared(self.picker.needed());
        peer.has = has;
        self.note_had(now, key);
        self.update_interest(now, key);
        self.note_seed(key);
    }

    fn note_seed(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get(key)
            && peer.is_seed
        {
            self.door.list.set_seed(peer.address, true);
        }
    }

    /// Tells the peer when our interest in it begins or ends.
    pub(super) fn update_interest(&mut self, now: Time, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let interested = peer.useful > 0;
        if interested != peer.we_are_interested {
            peer.we_are_interested = interested;
            peer.interest_changed = now;
            self.send(now, key, if interested { Message::Interested } else { Message::NotInterested });
        }
    }

    fn choked(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.it_chokes_us = true;
        // It suggests anew when it gives again; by then others may have taken these.
        peer.suggested.clear();
        peer.leads = false;
        // With the fast extension, each request is answered or rejected (BEP 6); without, all are void.
        // But what was sent before the choke, and was on its way, is welcome.
        if !peer.is_fast() {
            self.give_up_requests(key);
        }
        self.picker.disown(key);
        self.wake_idle_peers();
    }

    fn unchoked(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.it_chokes_us = false;
        self.wants_refill(key);
    }

    fn suggested(&mut self, key: PeerKey, piece: u32) {
        let (Some(peer), Some(piece)) = (self.peers.get_mut(key), self.geometry.piece(piece)) else { return };
        if peer.suggested.len() >= MAX_SUGGESTED {
            peer.suggested.remove(0);
        }
        peer.suggested.push(piece);
        peer.leads = peer.is_seed;
    }

    fn allowed(&mut self, key: PeerKey, piece: u32) {
        let (Some(peer), Some(piece)) = (self.peers.get_mut(key), self.geometry.piece(piece)) else { return };
        if peer.allowed_fast.len() < MAX_ALLOWED_FAST {
            peer.allowed_fast.insert(piece);
            self.wants_refill(key);
        }
    }

    fn rejected(&mut self, now: Time, key: PeerKey, span: BlockSpan) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(span) = self.geometry.span(span.piece, span.begin, span.length) else {
            self.handle_fault(now, key, "a reject outside the torrent");
            return;
        };
        if peer.pipeline.forget(span) {
            let choked = peer.it_chokes_us;
            peer.allowed_fast.remove(&span.piece);
            self.picker.release(span, key);
            if choked {
                // It gave the piece though it chokes us, and does so no longer: others may go on with it.
                self.picker.disown(key);
            } else {
                self.misfit(now, key, "rejects of requests while it does not choke");
            }
            self.wake_idle_peers();
        }
    }

    /// Every request at this peer is void: its blocks are free for others.
    pub(super) fn release_all(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let spans: Vec<Span> = peer.pipeline.drain().collect();
        for span in spans {
            self.picker.release(span, key);
        }
    }

    /// The peer is not waited for: others may have its blocks, but if they come from it after all they are welcome.
    pub(super) fn give_up_requests(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let spans: Vec<Span> = peer.pipeline.drain().collect();
        for &span in &spans {
            remember(&mut peer.given_up, span);
        }
        for span in spans {
            self.picker.release(span, key);
        }
        self.picker.disown(key);
        self.wake_idle_peers();
    }

    /// Marks a peer as one that requests may be sent to.
    pub(super) fn wants_refill(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let open = !peer.it_chokes_us || !peer.allowed_fast.is_empty();
        if open && peer.useful > 0 && !peer.wants_refill {
            peer.wants_refill = true;
            self.refill.push(key);
        }
    }

    /// Blocks became free: peers with room may take them.
    pub(super) fn wake_idle_peers(&mut self) {
        if self.picker.missing_wanted() == 0 {
            return;
        }
        for key in self.peers.keys() {
            self.wants_refill(key);
        }
    }

    pub(super) fn refill_requests(&mut self, now: Time) {
        if self.stopped {
            self.refill.clear();
            return;
        }
        let mut waiting = core::mem::take(&mut self.refill);
        // Whoever lets us wait comes last, or it would have back at once what was taken from it. Where some pieces
        // are urgent, the fastest comes first.
        let (peers, urgent) = (&mut self.peers, self.picker.urgent().next().is_some());
        waiting.sort_by_cached_key(|&key| {
            let peer = peers.get_mut(key);
            peer.map(|peer| {
                (peer.pipeline.is_snubbed(), if urgent { u64::MAX - peer.pipeline.rate(now) } else { 0 })
            })
        });
        for key in waiting.drain(..) {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            peer.wants_refill = false;
            let room = peer.pipeline.room();
            if room == 0 || peer.useful == 0 {
                continue;
            }
            let wish = Wish {
                now,
                peer: key,
                rate: peer.pipeline.rate(now),
                has: &peer.has,
                count: room,
                suggested: &peer.suggested,
                led_after: if peer.leads && !self.picker.is_full() {
                    peer.pipeline.to_half()
                } else {
                    usize::MAX
                },
                only: peer.it_chokes_us.then_some(&peer.allowed_fast),
                snubbed: peer.pipeline.is_snubbed(),
                idle: peer.pipeline.is_empty(),
                proven: peer.downloaded > 0 && !peer.pipeline.is_snubbed(),
            };
            let mut picked = core::mem::take(&mut self.picked);
            self.picker.pick(wish, &mut picked);
            for &span in &picked {
                peer.pipeline.sent(now, span);
                self.outputs.push_back(Output::Send(key, Message::Request(wire_span(span))));
            }
            if !picked.is_empty() {
                peer.spoke = now;
            }
            picked.clear();
            self.picked = picked;
        }
        self.refill = waiting;
    }
}

pub(super) fn remember(given_up: &mut alloc::collections::VecDeque<Span>, span: Span) {
    if given_up.len() >= GIVEN_UP {
        given_up.pop_front();
    }
    given_up.push_back(span);
}

/// A span as requests name it.
pub(super) fn wire_span(span: Span) -> BlockSpan {
    BlockSpan { piece: span.piece.get(), begin: span.begin, length: span.length }
}
