//! Super-seeding (BEP 16): a seed that says it has nothing, and shows each peer a piece at a time.
//!
//! A peer can ask only for what it was shown, and it is shown another piece when somebody else has the last one: so a
//! seed gives little more than one copy before the crowd has everything, and more to those that give on. No piece is
//! shown to a second peer while another one is nowhere. Where nobody waits for a slot, the seed does not insist: a
//! peer that cannot give on, because it is alone, has the next piece all the same.

use super::Torrent;
use crate::peers::PeerKey;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use quelea_metainfo::geometry::PieceIndex;
use quelea_time::Time;
use quelea_wire::{Bitfield, Message};

/// Pieces that a peer is shown ahead of what it has: one while it is to give them on first, and two while
/// nobody waits for a slot.
const AHEAD: usize = 1;
const AHEAD_IN_PEACE: usize = 2;
/// Pieces that it is shown ahead once nothing is kept from it any longer.
const AHEAD_IN_THE_OPEN: usize = 64;
/// A peer that has not become interested in what it was shown for this long does not want it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a peer knows of a seed that shows its pieces one by one.
#[derive(Debug)]
pub(super) struct Shown {
    /// All that it was shown: what it may ask for.
    pieces: Bitfield,
    /// Of those, what it was not seen to have yet.
    pending: Vec<PieceIndex>,
    /// When it was shown something last.
    at: Time,
}

impl Shown {
    fn nothing(now: Time, pieces: u32) -> Self {
        Self { pieces: Bitfield::none(pieces), pending: Vec::new(), at: now }
    }

    /// Whether a piece was shown.
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.pieces.has(piece)
    }
}

/// How many peers were shown each piece and do not have it yet.
#[derive(Debug, Default)]
pub(super) struct Offers(BTreeMap<PieceIndex, u32>);

impl Offers {
    fn of(&self, piece: PieceIndex) -> u32 {
        self.0.get(&piece).copied().unwrap_or(0)
    }

    fn add(&mut self, piece: PieceIndex) {
        *self.0.entry(piece).or_default() += 1;
    }

    fn remove(&mut self, piece: PieceIndex) {
        if let Some(count) = self.0.get_mut(&piece) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&piece);
            }
        }
    }
}

impl<B> Torrent<B> {
    /// Whether peers are shown a piece at a time, as long as this torrent has everything (BEP 16). Peers that know
    /// already that it has everything go on as they are; when it ends, those that were shown a part are shown the
    /// rest as they take it.
    pub fn set_super_seeding(&mut self, now: Time, super_seeding: bool) {
        self.super_seeding = super_seeding;
        for key in self.peers.keys() {
            self.show_more(now, key);
        }
    }

    /// Whether peers are shown a piece at a time.
    pub fn is_super_seeding(&self) -> bool {
        self.super_seeding && self.picker.have().is_all()
    }

    /// A newcomer is told nothing but of one piece.
    pub(super) fn hide_from(&mut self, now: Time, key: PeerKey) {
        let pieces = self.geometry.pieces();
        if let Some(peer) = self.peers.get_mut(key) {
            peer.shown = Some(Shown::nothing(now, pieces));
        }
        self.show_more(now, key);
    }

    /// A peer has pieces: what it was shown of them is done with.
    pub(super) fn note_had(&mut self, now: Time, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(shown) = &mut peer.shown else { return };
        let (had, pending): (Vec<PieceIndex>, Vec<PieceIndex>) =
            shown.pending.drain(..).partition(|&piece| peer.has.has(piece));
        shown.pending = pending;
        if had.is_empty() {
            return;
        }
        had.into_iter().for_each(|piece| self.offers.remove(piece));
        self.show_more(now, key);
    }

    /// What was shown to a peer that is gone is nowhere.
    pub(super) fn withdraw_offers(&mut self, shown: &Shown) {
        shown.pending.iter().for_each(|&piece| self.offers.remove(piece));
    }

    /// Shows a peer as many pieces as it may know of.
    pub(super) fn show_more(&mut self, now: Time, key: PeerKey) {
        while let Some(peer) = self.peers.get(key)
            && let Some(shown) = &peer.shown
            && shown.pending.len() < self.ahead(peer.kept > 0)
        {
            let (picker, offers) = (&self.picker, &self.offers);
            let suits = |piece| picker.have().has(piece) && !shown.has(piece) && !peer.has.has(piece);
            let copies = |piece| picker.availability(piece) + offers.of(piece);
            let Some(piece) = self.spread.rarest(&self.geometry, suits, copies) else { return };
            self.show(now, key, piece);
        }
    }

    fn show(&mut self, now: Time, key: PeerKey, piece: PieceIndex) {
        let Some(shown) = self.peers.get_mut(key).and_then(|peer| peer.shown.as_mut()) else { return };
        shown.pieces.set(piece);
        shown.pending.push(piece);
        shown.at = now;
        self.offers.add(piece);
        self.send(now, key, Message::Have(piece.get()));
    }

    /// How many pieces a peer may know of that it does not have, where it keeps some to itself or not.
    fn ahead(&self, keeps: bool) -> usize {
        if !self.is_super_seeding() {
            AHEAD_IN_THE_OPEN
        } else if self.is_at_peace() {
            AHEAD_IN_PEACE
        } else if keeps {
            0
        } else {
            AHEAD
        }
    }

    /// Whether nobody waits for a slot.
    fn is_at_peace(&self) -> bool {
        !self.peers.iter().any(|(_, peer)| peer.it_is_interested && peer.we_choke_it)
    }

    /// Now and then: while nobody waits for a slot, peers are shown more that wait for others or do not want what they know of.
    pub(super) fn show_where_nobody_asks(&mut self, now: Time) {
        if !self.is_super_seeding() || !self.is_at_peace() {
            return;
        }
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            let Some(shown) = &mut peer.shown else { continue };
            if !peer.it_is_interested && now.since(shown.at) >= PATIENCE {
                for piece in core::mem::take(&mut shown.pending) {
                    self.offers.remove(piece);
                }
            }
            self.show_more(now, key);
        }
    }
}
