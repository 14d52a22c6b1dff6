//! Giving: who is unchoked, which requests are granted.

use super::Torrent;
use super::download::wire_span;
use crate::choker::{Candidate, fill, grant};
use crate::event::Output;
use crate::peers::PeerKey;
use crate::pipeline::MAX_DEPTH;
use alloc::vec::Vec;
use core::time::Duration;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Span};
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::message::BlockSpan;

/// Granted blocks cover this much time at the connection's rate: what is granted can be neither cancelled nor
/// choked, so a slow connection is granted little.
const GRANT_TIME: Duration = Duration::from_millis(250);
/// Blocks a connection may hold granted and unsent at least: one is read while the other is sent.
const MIN_GRANTED: usize = 2;
/// Blocks a connection may hold granted and unsent at most: enough to fill its socket in one call.
const MAX_GRANTED: usize = 32;

/// When slots are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A round: they go to whom they should.
    Round {
        /// The optimistic slot goes to another peer.
        rotate: bool,
    },
    /// A slot may be free, or wanted.
    Between,
}

impl<B> Torrent<B> {
    pub(super) fn interested(&mut self, now: Time, key: PeerKey, interested: bool) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.it_is_interested == interested {
            return;
        }
        peer.it_is_interested = interested;
        peer.interest_changed = now;
        if interested || !peer.we_choke_it {
            self.choose_unchoked(now, Occasion::Between);
        }
    }

    /// Ranks the interested peers and tells those whose turn begins or ends.
    pub(super) fn choose_unchoked(&mut self, now: Time, occasion: Occasion) {
        let seeding = self.completed;
        let candidates: Vec<Candidate> = self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.it_is_interested)
            .map(|(key, peer)| Candidate {
                peer: key,
                rate: if seeding { peer.upload_rate.per_second(now) } else { peer.pipeline.rate(now) },
                unchoked: !peer.we_choke_it,
                optimistic: peer.optimistic,
            })
            .collect();
        let granted = match occasion {
            Occasion::Round { rotate } => grant(&candidates, self.upload_slots, rotate, &mut self.rng),
            Occasion::Between => fill(&candidates, self.upload_slots, &mut self.rng),
        };
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            peer.optimistic = granted.optimistic == Some(key);
            match (peer.we_choke_it, granted.unchoked.contains(&key)) {
                (true, true) => {
                    peer.we_choke_it = false;
                    self.send(now, key, Message::Unchoke);
                }
                (false, false) => self.choke(now, key),
                (true, false) | (false, true) => {}
            }
        }
    }

    fn choke(&mut self, now: Time, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.we_choke_it = true;
        let fast = peer.is_fast();
        let given = &peer.fast_given;
        let (kept, dropped): (Vec<Span>, Vec<Span>) =
            peer.asked.drain(..).partition(|span| given.contains(&span.piece));
        peer.asked.extend(kept);
        self.send(now, key, Message::Choke);
        if fast {
            for span in dropped {
                self.send(now, key, Message::Reject(wire_span(span)));
            }
        }
    }

    pub(super) fn requested(&mut self, now: Time, key: PeerKey, asked: BlockSpan) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let span = self.geometry.span(asked.piece, asked.begin, asked.length);
        let Some(span) = span.filter(|span| span.length <= BLOCK_LENGTH) else {
            self.reject(now, key, asked);
            self.misdeed(now, key, "requests outside pieces or longer than 16 KiB");
            return;
        };
        let choked = peer.we_choke_it && !peer.fast_given.contains(&span.piece);
        let refused =
            choked || !self.picker.have().has(span.piece) || peer.asked.len() + peer.granted >= MAX_DEPTH;
        if refused {
            self.reject(now, key, asked);
            return;
        }
        peer.asked.push_back(span);
        self.grant_uploads(now, key);
    }

    fn reject(&mut self, now: Time, key: PeerKey, asked: BlockSpan) {
        if self.peers.get(key).is_some_and(|peer| peer.is_fast()) {
            self.send(now, key, Message::Reject(asked));
        }
    }

    pub(super) fn cancelled(&mut self, now: Time, key: PeerKey, asked: BlockSpan) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let position = peer.asked.iter().position(|span| wire_span(*span) == asked);
        if let Some(position) = position {
            peer.asked.remove(position);
            // Each request has exactly one answer (BEP 6); one that is granted already is answered by its block.
            self.reject(now, key, asked);
        }
    }

    fn grant_uploads(&mut self, now: Time, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let passing = u128::from(peer.upload_rate.per_second(now)) * GRANT_TIME.as_millis() / 1_000;
        let limit = (passing / u128::from(BLOCK_LENGTH)) as usize;
        while peer.granted < limit.clamp(MIN_GRANTED, MAX_GRANTED) {
            let Some(span) = peer.asked.pop_front() else { break };
            peer.granted += 1;
            peer.spoke = now;
            self.outputs.push_back(Output::Upload(key, span));
        }
    }

    /// A granted block went out.
    pub fn handle_uploaded(&mut self, now: Time, key: PeerKey, span: Span) {
        let length = u64::from(span.length);
        self.uploaded += length;
        self.upload_rate.add(now, length);
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.uploaded += length;
        peer.upload_rate.add(now, length);
        peer.granted = peer.granted.saturating_sub(1);
        self.grant_uploads(now, key);
    }

    /// A granted block could not be read: the peer is told and may ask elsewhere.
    pub fn handle_upload_failed(&mut self, now: Time, key: PeerKey, span: Span) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.granted = peer.granted.saturating_sub(1);
        self.reject(now, key, wire_span(span));
        self.grant_uploads(now, key);
    }
}
