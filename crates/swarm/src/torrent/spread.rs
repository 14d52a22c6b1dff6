//! What a seed would have whom take: each piece once before any twice.
//!
//! A swarm is as fast as its seed while the seed alone has pieces. Peers choose blindly among those that nobody
//! they know has, so two of them often take the same, and the seed gives more than one copy before there is one of
//! everything. So it suggests (BEP 6, "suggest piece") to each peer that it unchokes pieces that it has not given to
//! others, and new ones as those are asked for. A peer need not follow.

use super::Torrent;
use crate::peers::PeerKey;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use quelea_metainfo::geometry::{Geometry, PieceIndex};
use quelea_time::Time;
use quelea_wire::Message;

/// Bytes that are suggested to a peer ahead of its requests: more than it asks for at a time.
const AHEAD: u32 = 512 << 10;
/// Pieces that are, where they are long, and where they are short.
const LEAST_AHEAD: u32 = 2;
const MOST_AHEAD: u32 = 12;
/// Pieces that are looked at for the best one to suggest.
const LOOKED_AT: u32 = 1_024;

/// Pieces that count at most for what a peer keeps to itself: two that it gives on make up for four.
const MOST_KEPT: u32 = 8;

/// Which pieces a seed has given, or promised by a suggestion.
#[derive(Debug)]
pub(super) struct Spread {
    given: Vec<u16>,
    /// Who alone was given a piece, until it is seen elsewhere.
    sole: BTreeMap<PieceIndex, PeerKey>,
    /// Where the next look begins, so that each piece has its turn in torrents of many.
    cursor: u32,
}

impl Spread {
    /// Nothing is given.
    pub(super) fn new(pieces: u32, cursor: u32) -> Self {
        Self { given: vec![0; pieces as usize], sole: BTreeMap::new(), cursor }
    }

    /// A piece was given or promised.
    fn give(&mut self, piece: PieceIndex) {
        let given = &mut self.given[piece.at()];
        *given = given.saturating_add(1);
    }

    /// What was promised was not asked for.
    fn withdraw(&mut self, piece: PieceIndex) {
        let given = &mut self.given[piece.at()];
        *given = given.saturating_sub(1);
    }

    /// The piece that was given least of those that suit, the number of its `copies` outside counting as given.
    fn least(
        &mut self,
        geometry: &Geometry,
        suits: impl Fn(PieceIndex) -> bool,
        copies: impl Fn(PieceIndex) -> u32,
    ) -> Option<PieceIndex> {
        let given = core::mem::take(&mut self.given);
        let least = self.rarest(geometry, suits, |piece| copies(piece).max(u32::from(given[piece.at()])));
        self.given = given;
        least
    }

    /// The piece of fewest copies of those that suit.
    pub(super) fn rarest(
        &mut self,
        geometry: &Geometry,
        suits: impl Fn(PieceIndex) -> bool,
        copies: impl Fn(PieceIndex) -> u32,
    ) -> Option<PieceIndex> {
        let pieces = geometry.pieces();
        let looked_at = (0..pieces.min(LOOKED_AT)).filter_map(|step| {
            geometry.piece((self.cursor.wrapping_add(step)) % pieces).filter(|&piece| suits(piece))
        });
        let rarest = looked_at.min_by_key(|&piece| copies(piece))?;
        self.cursor = (rarest.get() + 1) % pieces;
        Some(rarest)
    }
}

impl<B> Torrent<B> {
    /// Suggests what this peer should take next, as long as it has not asked for what was suggested.
    pub(super) fn suggest(&mut self, now: Time, key: PeerKey) {
        if !self.completed {
            return;
        }
        let ahead = (AHEAD / self.geometry.piece_length()).clamp(LEAST_AHEAD, MOST_AHEAD) as usize;
        while let Some(peer) = self.peers.get(key)
            && peer.is_fast()
            && peer.shown.is_none()
            && !peer.we_choke_it
            && peer.it_is_interested
            && peer.promised.len() < ahead
        {
            let (picker, promised) = (&self.picker, &peer.promised);
            let suits =
                |piece| picker.have().has(piece) && !peer.has.has(piece) && !promised.contains(&piece);
            let Some(piece) = self.spread.least(&self.geometry, suits, |piece| picker.availability(piece))
            else {
                break;
            };
            self.spread.give(piece);
            if let Some(peer) = self.peers.get_mut(key) {
                peer.promised.push(piece);
            }
            self.send(now, key, Message::Suggest(piece.get()));
        }
    }

    /// A peer asks for a block: a promise is kept by it, and another follows.
    pub(super) fn note_taken(&mut self, now: Time, key: PeerKey, piece: PieceIndex) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if let Some(place) = peer.promised.iter().position(|&promised| promised == piece) {
            peer.promised.remove(place);
            self.suggest(now, key);
        } else if peer.taking != Some(piece) {
            self.spread.give(piece);
        }
        let begins = self.peers.get_mut(key).is_some_and(|peer| peer.taking.replace(piece) != Some(piece));
        if !self.completed || !begins {
            return;
        }
        // A piece that is given once more will be seen elsewhere without the first one's doing.
        if self.spread.sole.remove(&piece).is_none() && self.picker.availability(piece) == 0 {
            self.spread.sole.insert(piece, key);
            if let Some(peer) = self.peers.get_mut(key) {
                peer.kept = (peer.kept + 1).min(MOST_KEPT);
            }
        }
    }

    /// A peer has a piece: if another one alone was given it, that one has given it on.
    pub(super) fn note_spread(&mut self, now: Time, key: PeerKey, piece: PieceIndex) {
        match self.spread.sole.get(&piece) {
            Some(&sole) if sole != key => {
                self.spread.sole.remove(&piece);
                if let Some(peer) = self.peers.get_mut(sole) {
                    peer.kept = peer.kept.saturating_sub(2);
                    peer.given_on += 1;
                }
                self.show_more(now, sole);
            }
            Some(_) | None => {}
        }
    }

    /// What was promised to this peer is free for others: it is choked, or gone.
    pub(super) fn withdraw_promises(&mut self, promised: &[PieceIndex]) {
        for &piece in promised {
            self.spread.withdraw(piece);
        }
    }
}
