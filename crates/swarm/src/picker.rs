//! Which block to ask which peer for.
//!
//! Owns: what is had, missing, open (being downloaded) or being verified; availability; the blocks of open
//! pieces. Does not own: how many requests a peer may have outstanding ([`crate::pipeline`]), or what peers say.
//!
//! The order for a peer: the piece it is on; open pieces that nobody is on; a new piece, rarest first; any open
//! piece with a free block; and in the endgame, when every missing piece is open and no block is free, a block
//! that another peer was asked for too. No more than the limit of open pieces are open or being verified: each
//! holds memory for its length.

mod open;
mod rarity;
mod saved;

pub use open::{MAX_REQUESTERS, Source};
pub(crate) use saved::SAVED;

use crate::peers::PeerKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use open::OpenPiece;
use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};
use quelea_wire::Bitfield;
use rarity::Rarity;

/// How a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceState {
    /// Not here and not asked for by the user.
    Unwanted,
    /// Wanted, and nothing of it is here or asked for.
    Missing,
    /// Being downloaded.
    Open,
    /// Received whole, being hashed and written.
    Verifying,
    /// Verified and written.
    Have,
}

/// What to pick for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The peer.
    pub peer: PeerKey,
    /// What it has.
    pub has: &'a Bitfield,
    /// How many blocks to pick at most.
    pub count: usize,
    /// Pieces it suggests (BEP 6).
    pub suggested: &'a [PieceIndex],
    /// If set, only these pieces: those it lets us have though it chokes us (BEP 6, allowed fast).
    pub only: Option<&'a BTreeSet<PieceIndex>>,
    /// It is slow or silent: it gets the commonest pieces, and nobody waits for a rare one from it.
    pub snubbed: bool,
    /// It has nothing outstanding, so in the endgame it may double others' requests.
    pub idle: bool,
    /// It sends what it is asked for. Each block that is asked for twice keeps a place for such a peer, or a few
    /// that ignore their requests could keep everybody else from a download's last blocks.
    pub proven: bool,
}

impl Wish<'_> {
    fn can_give(&self, piece: PieceIndex) -> bool {
        self.has.has(piece) && self.only.is_none_or(|only| only.contains(&piece))
    }
}

/// What became of a block that arrived.
#[derive(Debug)]
pub enum Receipt<B> {
    /// It was of use. The named peers were asked for it too; those requests are to be cancelled.
    Taken {
        /// The other peers that were asked for it.
        twins: Vec<PeerKey>,
    },
    /// It completed its piece, whose blocks go to be hashed.
    Complete {
        /// The other peers that were asked for it.
        twins: Vec<PeerKey>,
        /// The blocks in order.
        blocks: Vec<B>,
    },
    /// It is here already, or its piece is not being downloaded.
    Useless(B),
}

/// Which blocks are had, asked for and missing.
#[derive(Debug)]
pub struct Picker<B> {
    geometry: Geometry,
    states: Vec<PieceState>,
    have: Bitfield,
    missing_wanted: u32,
    rarity: Rarity,
    /// Connected peers that have everything.
    seeds: u32,
    open: BTreeMap<PieceIndex, OpenPiece<B>>,
    /// The open pieces that have a free block.
    with_free: BTreeSet<PieceIndex>,
    verifying: BTreeMap<PieceIndex, Vec<Source>>,
    /// Pieces that failed their hash and are fetched from one peer at a time.
    on_parole: BTreeSet<PieceIndex>,
    open_limit: usize,
    /// How many were open when the limit was set: more than it if it was lowered.
    open_before_limit: usize,
}

impl<B> Picker<B> {
    /// A picker for the `wanted` pieces of which `have` are here already.
    pub fn new(geometry: Geometry, wanted: &Bitfield, have: Bitfield, seed: u64) -> Self {
        let mut rarity = Rarity::new(geometry.pieces(), seed);
        let mut states = vec![PieceState::Unwanted; geometry.pieces() as usize];
        let mut missing_wanted = 0;
        for piece in geometry.iter() {
            if have.has(piece) {
                states[piece.at()] = PieceState::Have;
            } else if wanted.has(piece) {
                states[piece.at()] = PieceState::Missing;
                rarity.insert(piece);
                missing_wanted += 1;
            }
        }
        Self {
            geometry,
            states,
            have,
            missing_wanted,
            rarity,
            seeds: 0,
            open: BTreeMap::new(),
            with_free: BTreeSet::new(),
            verifying: BTreeMap::new(),
            on_parole: BTreeSet::new(),
            open_limit: usize::MAX,
            open_before_limit: 0,
        }
    }

    /// Bounds the pieces that are open or being verified; at least 2.
    pub fn set_open_limit(&mut self, pieces: usize) {
        self.open_limit = pieces.max(2);
        self.open_before_limit = self.open();
    }

    /// What is verified and written.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Whether a piece is wanted and not verified yet.
    pub fn is_missing(&self, piece: PieceIndex) -> bool {
        matches!(self.state(piece), PieceState::Missing | PieceState::Open | PieceState::Verifying)
    }

    /// How a piece stands.
    pub fn state(&self, piece: PieceIndex) -> PieceState {
        self.states[piece.at()]
    }

    /// Wanted pieces that are not verified yet.
    pub fn missing_wanted(&self) -> u32 {
        self.missing_wanted
    }

    /// Pieces received whole that are being hashed and written.
    pub fn verifying(&self) -> usize {
        self.verifying.len()
    }

    /// Pieces that are open or being verified.
    pub fn open(&self) -> usize {
        self.open.len() + self.verifying.len()
    }

    /// Bytes of open and verifying pieces that are here.
    pub fn bytes_received(&self) -> u64 {
        let block = u64::from(quelea_metainfo::geometry::BLOCK_LENGTH);
        let open: u64 = self.open.values().map(|piece| piece.received() as u64 * block).sum();
        let verifying = self.verifying.keys().map(|&piece| u64::from(self.geometry.length_of(piece)));
        open + verifying.sum::<u64>()
    }

    /// How many connected peers have this piece.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        self.rarity.count(piece) + self.seeds
    }

    /// A peer with every piece joined.
    pub fn seed_joined(&mut self) {
        self.seeds += 1;
    }

    /// A peer with every piece left.
    pub fn seed_left(&mut self) {
        self.seeds = self.seeds.saturating_sub(1);
    }

    /// A peer has one more piece.
    pub fn peer_has(&mut self, piece: PieceIndex) {
        self.rarity.increment(piece);
    }

    /// A peer that had this piece left, or lost it.
    pub fn peer_lost(&mut self, piece: PieceIndex) {
        self.rarity.decrement(piece);
    }

    /// Picks up to `wish.count` blocks and appends them to `picked`.
    pub fn pick(&mut self, wish: Wish<'_>, picked: &mut Vec<Span>) {
        let target = picked.len() + wish.count;
        while picked.len() < target {
            let Some(piece) = self.piece_with_free_block(&wish).or_else(|| self.open_new(&wish)) else {
                break;
            };
            if !self.lease_from(piece, wish.peer, target, picked) {
                break;
            }
        }
        if picked.len() < target && wish.idle && (self.is_endgame() || self.is_full()) {
            self.pick_twins(&wish, target, picked);
        }
    }

    fn lease_from(
        &mut self,
        piece: PieceIndex,
        peer: PeerKey,
        target: usize,
        picked: &mut Vec<Span>,
    ) -> bool {
        let Some(open) = self.open.get_mut(&piece) else { return false };
        let before = picked.len();
        while picked.len() < target {
            let Some(block) = open.lease(peer) else { break };
            picked.extend(self.geometry.block(piece, block));
        }
        if open.owner.is_none() {
            open.owner = Some(peer);
        }
        if !open.has_free() {
            self.with_free.remove(&piece);
        }
        picked.len() > before
    }

    /// The open piece that this peer should go on with, if a new one should not be opened first.
    fn piece_with_free_block(&self, wish: &Wish<'_>) -> Option<PieceIndex> {
        let mut abandoned = None;
        for &piece in &self.with_free {
            let Some(open) = self.open.get(&piece) else { continue };
            if !wish.can_give(piece) {
                continue;
            }
            if open.owner == Some(wish.peer) {
                return Some(piece);
            }
            if open.owner.is_none() && abandoned.is_none() {
                abandoned = Some(piece);
            }
        }
        abandoned
    }

    fn open_new(&mut self, wish: &Wish<'_>) -> Option<PieceIndex> {
        if self.open() < self.open_limit
            && let Some(piece) = self.choose_missing(wish)
        {
            self.rarity.remove(piece);
            self.states[piece.at()] = PieceState::Open;
            let on_parole = self.on_parole.contains(&piece);
            self.open.insert(piece, OpenPiece::new(self.geometry.blocks_of(piece), wish.peer, on_parole));
            self.with_free.insert(piece);
            return Some(piece);
        }
        let shareable = |piece: &PieceIndex| self.open.get(piece).is_some_and(|open| !open.on_parole);
        self.with_free.iter().copied().find(|piece| wish.can_give(*piece) && shareable(piece))
    }

    fn choose_missing(&self, wish: &Wish<'_>) -> Option<PieceIndex> {
        let missing = |piece: &PieceIndex| self.state(*piece) == PieceState::Missing;
        let suggested = wish.suggested.iter().copied().filter(missing).find(|piece| wish.can_give(*piece));
        suggested.or_else(|| {
            if wish.snubbed {
                self.rarity.commonest(|piece| wish.can_give(piece))
            } else {
                self.rarity.rarest(|piece| wish.can_give(piece))
            }
        })
    }

    /// Whether every missing piece is open, so that blocks may be asked for twice.
    pub fn is_endgame(&self) -> bool {
        self.rarity.len() == 0
    }

    /// Whether no other piece can be opened for want of memory.
    pub fn is_full(&self) -> bool {
        self.open() >= self.open_limit
    }

    /// Blocks of this piece are long in coming: if memory allows no other piece, they may be asked for twice, or
    /// fast peers would wait for slow ones at the end of each piece.
    pub fn note_late(&mut self, piece: PieceIndex) {
        if let Some(open) = self.open.get_mut(&piece) {
            open.is_late = true;
        }
    }

    /// Whether `peer` is asked for this block as far as the picker knows.
    pub fn is_leased(&self, span: Span, peer: PeerKey) -> bool {
        let open = self.open.get(&span.piece);
        self.geometry
            .block_number(span)
            .is_some_and(|block| open.is_some_and(|open| open.is_leased(block, peer)))
    }

    /// Whether blocks of this piece may be asked for from several peers: some were, in an endgame
    /// or because they were late.
    pub fn has_twins(&self, piece: PieceIndex) -> bool {
        self.open.get(&piece).is_some_and(|open| open.has_twins)
    }

    /// Checks that the parts agree with each other. For tests and the simulator.
    ///
    /// # Errors
    /// The first contradiction found, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let count = |state: PieceState| self.states.iter().filter(|&&other| other == state).count();
        let expected = [
            ("missing", count(PieceState::Missing), self.rarity.len()),
            ("open", count(PieceState::Open), self.open.len()),
            ("verifying", count(PieceState::Verifying), self.verifying.len()),
            ("had", count(PieceState::Have), self.have.count() as usize),
        ];
        for (what, states, listed) in expected {
            if states != listed {
                return Err(alloc::format!("{states} pieces are {what}, but {listed} are listed"));
            }
        }
        if self.open() > self.open_limit.max(self.open_before_limit) {
            return Err(alloc::format!("{} pieces are open, more than {}", self.open(), self.open_limit));
        }
        for (piece, open) in &self.open {
            if open.has_free() != self.with_free.contains(piece) {
                return Err(alloc::format!("piece {piece} is wrongly listed among those with free blocks"));
            }
        }
        Ok(())
    }

    fn pick_twins(&mut self, wish: &Wish<'_>, target: usize, picked: &mut Vec<Span>) {
        /// Enough to keep a peer busy for a moment; each may be wasted.
        const TWINS: usize = 1;
        let mut left = TWINS.min(target - picked.len());
        let places = if wish.proven { MAX_REQUESTERS } else { MAX_REQUESTERS - 1 };
        let endgame = self.is_endgame();
        for (&piece, open) in &mut self.open {
            if open.on_parole || !(endgame || open.is_late) || !wish.can_give(piece) {
                continue;
            }
            while left > 0 {
                let Some(block) = open.lease_twin(wish.peer, places) else { break };
                picked.extend(self.geometry.block(piece, block));
                left -= 1;
            }
        }
    }

    /// `peer` will not send this block: it choked, rejected, was slow or left.
    pub fn release(&mut self, span: Span, peer: PeerKey) {
        let (Some(open), Some(block)) = (self.open.get_mut(&span.piece), self.geometry.block_number(span))
        else {
            return;
        };
        if open.release(block, peer) {
            self.with_free.insert(span.piece);
        }
    }

    /// `peer` no longer has a say in the pieces it was on.
    pub fn disown(&mut self, peer: PeerKey) {
        for open in self.open.values_mut().filter(|open| open.owner == Some(peer)) {
            open.owner = None;
        }
    }

    /// A block arrived that its sender was asked for, now or not long ago.
    pub fn receive(&mut self, span: Span, source: Source, block: B) -> Receipt<B> {
        let (Some(open), Some(position)) = (self.open.get_mut(&span.piece), self.geometry.block_number(span))
        else {
            return Receipt::Useless(block);
        };
        let twins = match open.receive(position, source, block) {
            Ok(twins) => twins,
            Err(block) => return Receipt::Useless(block),
        };
        if !open.has_free() {
            self.with_free.remove(&span.piece);
        }
        if !open.is_complete() {
            return Receipt::Taken { twins };
        }
        let blocks = match self.open.remove(&span.piece) {
            Some(open) => {
                let (blocks, sources) = open.into_blocks();
                self.verifying.insert(span.piece, sources);
                blocks
            }
            None => Vec::new(),
        };
        self.states[span.piece.at()] = PieceState::Verifying;
        Receipt::Complete { twins, blocks }
    }

    /// A verifying piece is good and written. Who sent its blocks.
    pub fn verified(&mut self, piece: PieceIndex) -> Vec<Source> {
        let Some(sources) = self.verifying.remove(&piece) else { return Vec::new() };
        self.states[piece.at()] = PieceState::Have;
        self.have.set(piece);
        self.missing_wanted -= 1;
        self.on_parole.remove(&piece);
        sources
    }

    /// A verifying piece did not match its hash: it is missing again. Who sent its blocks.
    pub fn failed(&mut self, piece: PieceIndex) -> Vec<Source> {
        let Some(sources) = self.verifying.remove(&piece) else { return Vec::new() };
        self.states[piece.at()] = PieceState::Missing;
        self.rarity.insert(piece);
        self.on_parole.insert(piece);
        sources
    }

    /// Whether this piece failed its hash before.
    pub fn is_on_parole(&self, piece: PieceIndex) -> bool {
        self.on_parole.contains(&piece)
    }

    /// When every open piece waits for peers that are gone, drops the one with the least in it, so that another
    /// can be opened. The bytes that are lost by it.
    pub fn unblock(&mut self) -> u64 {
        if self.open() < self.open_limit || self.rarity.len() == 0 {
            return 0;
        }
        let stuck =
            |piece: PieceIndex, open: &OpenPiece<B>| !open.is_awaited() && self.availability(piece) == 0;
        let least = self
            .open
            .iter()
            .filter(|(piece, open)| stuck(**piece, open))
            .min_by_key(|(piece, open)| (open.received(), **piece))
            .map(|(piece, _)| *piece);
        let Some(piece) = least else { return 0 };
        let Some(open) = self.open.remove(&piece) else { return 0 };
        self.with_free.remove(&piece);
        self.states[piece.at()] = PieceState::Missing;
        self.rarity.insert(piece);
        open.received() as u64 * u64::from(quelea_metainfo::geometry::BLOCK_LENGTH)
    }
}
