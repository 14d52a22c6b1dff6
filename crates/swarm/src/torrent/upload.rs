//! Giving: who is unchoked, which requests are granted.

use super::Torrent;
use super::download::wire_span;
use super::peer::Peer;
use crate::choker::lending::{STILL, Usage};
use crate::choker::{Candidate, SeedChoking, is_over, leech, seed};
use crate::event::Output;
use crate::peers::PeerKey;
use crate::toll::price_of_grant;
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

/// Requests that are kept for a peer (BEP 10, `reqq`): what 16 MB/s and two seconds take. libtorrent keeps 2,000.
pub(crate) const MAX_ASKED: usize = 2_048;
/// Messages of a peer that the driver may have read already when it is told to read no more.
pub const READ_ALREADY: usize = 512;
/// A peer that was read no more is read again when so few of its requests are left.
const READ_AGAIN: usize = MAX_ASKED - 128;

/// A peer that is to lose its slot may take this long for the rest of its piece.
const LAST_PIECE: Duration = Duration::from_secs(60);

/// Who has a slot and takes nothing of what it asked for holds none after this, or after [`SLOW_BLOCKS`] times as long as
/// a block takes where all share the uplink alike.
const STALL: Duration = Duration::from_secs(5);
/// See [`STALL`].
const SLOW_BLOCKS: u64 = 4;
/// What [`STALL`] is while nothing flows at all.
const LONGEST_STALL: Duration = Duration::from_secs(20);

/// When slots are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A round: they go to whom they should.
    Round,
    /// A slot may be free, or wanted.
    Between,
    /// So many more than hold one get a slot.
    Trial(usize),
}

impl<B> Torrent<B> {
    /// Peers that are uploaded to at a time, from here on. Who has a slot too many loses it in the next round.
    pub fn set_upload_slots(&mut self, now: Time, slots: usize) {
        if core::mem::replace(&mut self.upload_slots, slots) < slots {
            self.choose_unchoked(now, Occasion::Between);
        }
    }

    /// Peers that are uploaded to at a time.
    pub fn upload_slots(&self) -> usize {
        self.upload_slots
    }

    /// How slots are given while it seeds, from the next round on.
    pub fn set_seed_choking(&mut self, how: SeedChoking) {
        self.seed_choking = how;
    }

    pub(super) fn interested(&mut self, now: Time, key: PeerKey, interested: bool) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.it_is_interested == interested {
            return;
        }
        peer.it_is_interested = interested;
        peer.interest_changed = now;
        if interested && peer.uploaded == 0 {
            self.lending.newcomer(now);
        }
        if interested || !peer.we_choke_it {
            self.choose_unchoked(now, Occasion::Between);
        }
    }

    /// Ranks the interested peers and tells those whose turn begins or ends.
    pub(super) fn choose_unchoked(&mut self, now: Time, occasion: Occasion) {
        let seeding = self.completed;
        let pieces = self.geometry.pieces().max(1);
        let patience = self.patience_with_takers(now);
        let (mut idle, mut stalled) = (0, 0);
        let mut candidates: Vec<Candidate> = Vec::new();
        for (key, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.it_is_interested) {
            if occasion == Occasion::Round {
                let keeps_us_waiting = peer.we_are_interested && peer.it_chokes_us;
                peer.slot.pass_round(peer.downloaded, peer.uploaded, !peer.we_choke_it, keeps_us_waiting);
            }
            idle += usize::from(peer.leaves_slot_idle(now));
            stalled += usize::from(peer.is_stalled(now, patience));
            candidates.push(Candidate {
                peer: key,
                rate: match (seeding, self.seed_choking) {
                    (false, _) => peer.slot.received,
                    (true, SeedChoking::RoundRobin) => u64::from(peer.given_on),
                    (true, SeedChoking::FastestUpload | SeedChoking::AntiLeech) => peer.slot.sent,
                },
                unchoked: !peer.we_choke_it,
                rounds: peer.slot.rounds,
                since: now.since(peer.slot.changed),
                taken: peer.uploaded - peer.slot.uploaded_before,
                is_chance: peer.slot.is_chance,
                is_over: is_over(
                    peer.uploaded - peer.slot.uploaded_before,
                    peer.slot.rounds,
                    self.geometry.piece_length(),
                    seeding || peer.is_known_to_give(),
                ),
                in_vain: peer.slot.in_vain.max(peer.kept).max(peer.slot.stalls),
                gives: peer.is_known_to_give(),
                is_owed: peer.is_owed(),
                progress: (u64::from(peer.has.count()) * 1_000 / u64::from(pieces)) as u32,
            });
        }
        // Who has a slot and asks for nothing, or takes nothing, leaves the uplink to another.
        let slots = if self.upload_slots == 0 {
            0
        } else if seeding {
            self.upload_slots + self.lending.lent() + idle + stalled
        } else {
            self.upload_slots + idle.min(self.upload_slots) + stalled
        };
        let slots = match occasion {
            Occasion::Trial(more) if more > 0 => {
                slots.max(candidates.iter().filter(|peer| peer.unchoked).count() + more)
            }
            Occasion::Trial(_) | Occasion::Round | Occasion::Between => slots,
        };
        let granted = match occasion {
            Occasion::Round if seeding => seed::grant(self.seed_choking, &candidates, slots, &mut self.rng),
            Occasion::Round => leech::grant(&candidates, slots, &mut self.rng),
            Occasion::Between | Occasion::Trial(_) if seeding => {
                seed::fill(&candidates, slots, &mut self.rng)
            }
            Occasion::Between | Occasion::Trial(_) => leech::fill(&candidates, slots, &mut self.rng),
        };
        let mut held = 0;
        for (key, peer) in self.peers.iter_mut() {
            if !peer.we_choke_it && granted.has(key) {
                if occasion == Occasion::Round {
                    peer.slot.ends = None;
                }
                peer.slot.is_chance = granted.chances.contains(&key);
            }
        }
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get(key).filter(|peer| !peer.we_choke_it) else { continue };
            let interested = peer.it_is_interested;
            if granted.has(key) || (interested && !self.end_slot(now, key)) {
                held += 1;
            } else if !interested {
                self.choke(now, key);
            }
        }
        // Whose turn comes waits until the slot is free.
        for key in granted.all() {
            let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.we_choke_it) else { continue };
            if held < slots {
                held += 1;
                peer.we_choke_it = false;
                peer.slot.begin(now, peer.downloaded, peer.uploaded);
                peer.slot.is_chance = granted.chances.contains(&key);
                self.send(now, key, Message::Unchoke);
                self.suggest(now, key);
            }
        }
    }

    /// Lends slots while the uplink idles.
    pub(super) fn lend_slots(&mut self, now: Time) {
        let patience = self.patience_with_takers(now);
        let (mut usage, mut used) = (Usage { slots: self.upload_slots, ..Usage::default() }, 0);
        for (_, peer) in self.peers.iter().filter(|(_, peer)| peer.it_is_interested) {
            usage.waiting += usize::from(peer.we_choke_it);
            usage.untried += usize::from(peer.we_choke_it && peer.uploaded == 0);
            usage.ending += usize::from(!peer.we_choke_it && peer.slot.ends.is_some());
            let uses_slot = peer.uses_slot(now, patience);
            used += usize::from(uses_slot);
            if peer.we_choke_it {
                continue;
            }
            usage.moves |= now.since(peer.slot.took) < STILL && peer.uploaded > peer.slot.uploaded_before;
            let pace = peer.slot.pace.per_second(now);
            usage.flow += pace.unwrap_or(0);
            usage.unknown += usize::from(uses_slot && pace.is_none());
            usage.held += usize::from(uses_slot || pace.is_some_and(|pace| pace > 0));
        }
        usage.beside = used.saturating_sub(usage.slots + self.lending.lent());
        if !self.completed {
            return self.lending.note(now, usage.flow, usage.held);
        }
        let more = self.lending.look(now, usage);
        if usage.waiting > 0 {
            self.choose_unchoked(now, Occasion::Trial(more));
        }
    }

    /// How long a peer with a slot may take nothing: through a thin uplink even one that takes all that comes has a block
    /// seldom.
    pub(super) fn patience_with_takers(&self, now: Time) -> Duration {
        let takes = |peer: &Peer| match peer.slot.pace.per_second(now) {
            Some(pace) => pace > 0,
            None => now.since(peer.slot.took) < LONGEST_STALL,
        };
        let holders = self.peers.iter().filter(|(_, peer)| !peer.we_choke_it && takes(peer)).count() as u64;
        let block = (u64::from(BLOCK_LENGTH) * holders * 1_000).checked_div(self.lending.flow());
        block.map_or(LONGEST_STALL, |block| Duration::from_millis(SLOW_BLOCKS * block).max(STALL))
    }

    /// A peer is to lose its slot. If it is amid a piece, it may take the rest of it: what it has of it would be of
    /// no use to anybody, and its other blocks would be sent to somebody else again. Whether it has lost it.
    fn end_slot(&mut self, now: Time, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return true };
        let since = *peer.slot.ends.get_or_insert(now);
        let ends = peer.taking.is_none() || !peer.is_fast() || now.since(since) >= LAST_PIECE;
        if ends {
            self.choke(now, key);
        }
        ends
    }

    fn choke(&mut self, now: Time, key: PeerKey) {
        let patience = self.patience_with_takers(now);
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.is_stalled(now, patience) {
            peer.slot.stalls += 1;
        }
        peer.we_choke_it = true;
        let fast = peer.is_fast();
        let finishing = peer.slot.ends.is_some() && fast;
        peer.slot.end(now, peer.downloaded, peer.uploaded, !self.completed);
        peer.taking = None;
        let promised = core::mem::take(&mut peer.promised);
        let (kept, dropped): (Vec<Span>, Vec<Span>) = peer.asked.drain(..).partition(|_| finishing);
        peer.asked.extend(kept);
        self.hold(key);
        self.withdraw_promises(&promised);
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
        let given = peer.fast_given.contains(&span.piece);
        let choked = peer.we_choke_it && !(given && self.has_free_slot());
        let Some(peer) = self.peers.get_mut(key) else { return };
        // Whom nothing can be told of a lost request would wait for its block for ever.
        let most = if peer.is_fast() { MAX_ASKED } else { MAX_ASKED + READ_ALREADY };
        let hidden = peer.shown.as_ref().is_some_and(|shown| !shown.has(span.piece));
        let refused = choked
            || hidden
            || !self.picker.have().has(span.piece)
            || peer.asked.len() + peer.granted >= most;
        if refused {
            if self.charge(now, key, 1) {
                self.reject(now, key, asked);
            }
            return;
        }
        if peer.taking.is_some_and(|taking| taking != span.piece) && self.has_had_its_turn(key) {
            // It has asked for all of its piece: that was its turn.
            if let Some(peer) = self.peers.get_mut(key) {
                peer.slot.ends = Some(now);
            }
            self.choke(now, key);
            self.reject(now, key, asked);
            self.choose_unchoked(now, Occasion::Between);
            return;
        }
        let ends_piece = span.begin + span.length == self.geometry.length_of(span.piece);
        if !self.charge(now, key, price_of_grant(span.length, ends_piece)) {
            return;
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.asked.push_back(span);
        self.note_taken(now, key, span.piece);
        self.grant_uploads(now, key);
        self.hold(key);
    }

    /// Has a peer read no more while all that is kept for it is full, and again when there is room.
    fn hold(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let asked = peer.asked.len() + peer.granted;
        let hold = if peer.held { asked > READ_AGAIN } else { !peer.is_fast() && asked >= MAX_ASKED };
        if core::mem::replace(&mut peer.held, hold) != hold {
            self.outputs.push_back(Output::Read(key, !hold));
        }
    }

    /// Whether a peer that begins another piece loses its slot by it: it was to lose it, or it has had its chance and
    /// somebody else waits who has not had as many in vain.
    fn has_had_its_turn(&self, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get(key) else { return false };
        if peer.slot.ends.is_some() {
            return true;
        }
        let asked = u64::from(BLOCK_LENGTH) * (peer.asked.len() + peer.granted) as u64;
        let taken = peer.uploaded - peer.slot.uploaded_before + asked;
        let known = self.completed || peer.is_known_to_give();
        let over = is_over(taken, peer.slot.rounds, self.geometry.piece_length(), known);
        let waits = |other: &Peer| {
            other.it_is_interested
                && other.we_choke_it
                && (self.completed || other.slot.in_vain <= peer.slot.in_vain)
        };
        peer.slot.is_chance && over && self.peers.iter().any(|(_, other)| waits(other))
    }

    /// Whether fewer peers are uploaded to than could be. What choked peers may ask for (BEP 6, "allowed fast")
    /// is given only then: it would take from those that have a slot, and a crowd of newcomers would share an
    /// uplink so thinly that none of them had a piece for minutes.
    fn has_free_slot(&self) -> bool {
        let taken = self.peers.iter().filter(|(_, peer)| !peer.we_choke_it && peer.it_is_interested);
        taken.count() < self.upload_slots
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
            self.hold(key);
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
        let took = core::mem::replace(&mut peer.slot.took, now);
        let is_first = peer.uploaded == peer.slot.uploaded_before + length;
        if peer.is_settled(if is_first { now } else { took }) {
            peer.slot.pace.add(now, peer.uploaded);
        } else {
            peer.slot.pace.begin(now, peer.uploaded);
        }
        if peer.is_settled(now) {
            peer.slot.stalls = 0;
        }
        peer.granted = peer.granted.saturating_sub(1);
        if peer.held {
            // It is not read, but takes what it asked for.
            peer.heard = now;
        }
        self.grant_uploads(now, key);
        self.hold(key);
    }

    /// A granted block could not be read: the peer is told and may ask elsewhere.
    pub fn handle_upload_failed(&mut self, now: Time, key: PeerKey, span: Span) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.granted = peer.granted.saturating_sub(1);
        self.reject(now, key, wire_span(span));
        self.grant_uploads(now, key);
        self.hold(key);
    }
}
