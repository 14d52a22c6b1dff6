//! Which block to ask which peer for.
//!
//! Owns: what is had, missing, open (being downloaded) or being verified; availability; the blocks of open
//! pieces. Does not own: how many requests a peer may have outstanding ([`crate::pipeline`]), or what peers say.
//!
//! The order for a peer: pieces with a deadline; the piece it is on; open pieces that nobody is on; a
//! new piece, by priority and then rarest first; any open piece with a free block; and in the endgame, when every
//! missing piece that somebody has is open and no block is free, a block that another peer was asked for too. No
//! more than the limit of open pieces are open or being verified: each holds memory for its length. A piece that
//! holds nothing and waits for nobody is not open.
//!
//! What a choice costs depends upon the pieces that are open, never upon how many the torrent has.

mod choice;
mod endgame;
mod found;
mod invariants;
mod open;
mod order;
mod priority;
mod saved;
mod scout;
mod wants;

pub use open::{REQUESTERS, REQUESTERS_WHEN_LATE, Source};
pub use priority::Priority;
pub(crate) use saved::SAVED;
pub use wants::Dropped;

use crate::peers::PeerKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use fastrand::Rng;
use open::OpenPiece;
use order::{CLASSES, Order};
use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex, Span};
use quelea_time::Time;
use quelea_wire::Bitfield;
use scout::{News, Scout};
use wants::Deadline;

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
    /// The moment.
    pub now: Time,
    /// The peer.
    pub peer: PeerKey,
    /// What it has.
    pub has: &'a Bitfield,
    /// How many blocks to pick at most.
    pub count: usize,
    /// Pieces it suggests (BEP 6).
    pub suggested: &'a [PieceIndex],
    /// After so many blocks it is led: of pieces that others have or nobody is on, only those that it suggests are
    /// begun. A seed knows whom it promised what, and who takes something else takes what another one waits for.
    /// `usize::MAX` for a peer that suggests nothing.
    pub led_after: usize,
    /// If set, only these pieces: those it lets us have though it chokes us (BEP 6, allowed fast).
    pub only: Option<&'a BTreeSet<PieceIndex>>,
    /// Bytes a second that it sends; 0 while that is not known. Fast peers get whole pieces and runs of neighbours.
    pub rate: u64,
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

/// How a peer was counted when it joined: whichever is fewer, the pieces it had or those it lacked. So a peer that
/// has everything costs nothing, and one that becomes a seed later is not counted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tally {
    /// Each piece that it has counts.
    #[default]
    Has,
    /// It counts once for all pieces, and each that it lacks counts against that.
    Lacks,
}

/// What the picker knows of a peer that was asked for something.
#[derive(Debug, Default)]
struct Follower {
    /// The open pieces that it is on.
    open: BTreeSet<PieceIndex>,
    /// Those of them that have a free block.
    free: BTreeSet<PieceIndex>,
    /// The last piece that it opened, and how many neighbours may follow.
    run: Option<(PieceIndex, u32)>,
}

/// Which blocks are had, asked for and missing.
#[derive(Debug)]
pub struct Picker<B> {
    geometry: Geometry,
    priorities: Vec<Priority>,
    /// Bytes of the pieces that are wanted, whether or not they are had.
    wanted_bytes: u64,
    have: Bitfield,
    /// Wanted and not had: what makes a peer interesting.
    needed: Bitfield,
    /// Of those, the pieces of which nothing is here or asked for.
    missing: Bitfield,
    /// Asleep until a peer joins, and again when the last one leaves and nothing is needed.
    order: Order,
    joined: u32,
    /// Peers counted by what they lack.
    broad: u32,
    open: BTreeMap<PieceIndex, OpenPiece<B>>,
    /// The open pieces that have a free block.
    with_free: BTreeSet<PieceIndex>,
    /// Of those, the pieces that nobody is on.
    loose: BTreeSet<PieceIndex>,
    followers: BTreeMap<PeerKey, Follower>,
    /// What is known of peers that have other pieces than the rarest.
    scouts: BTreeMap<PeerKey, Scout>,
    news: News,
    verifying: BTreeMap<PieceIndex, Vec<Source>>,
    /// Pieces that failed their hash and are fetched from one peer at a time.
    on_parole: BTreeSet<PieceIndex>,
    deadlines: BTreeMap<PieceIndex, Deadline>,
    by_deadline: BTreeSet<(Time, PieceIndex)>,
    /// Pieces ahead that are taken in order, in sequential mode.
    window: Option<u32>,
    /// No missing piece of a class has a lower number.
    lows: [u32; CLASSES],
    open_limit: usize,
    /// How many were open when the limit was set: more than it if it was lowered.
    open_before_limit: usize,
    rng: Rng,
}

impl<B> Picker<B> {
    /// A picker for the `wanted` pieces of which `have` are here already.
    pub fn new(geometry: Geometry, wanted: &Bitfield, have: Bitfield, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let pieces = geometry.pieces();
        let mut priorities = vec![Priority::UNWANTED; pieces as usize];
        let mut needed = Bitfield::none(pieces);
        let mut wanted_bytes = 0;
        for piece in wanted.iter(&geometry) {
            priorities[piece.at()] = Priority::USUAL;
            wanted_bytes += u64::from(geometry.length_of(piece));
            if !have.has(piece) {
                needed.set(piece);
            }
        }
        let order = Order::new(geometry, rng.u64(..));
        Self {
            geometry,
            have,
            missing: needed.clone(),
            needed,
            order,
            priorities,
            wanted_bytes,
            joined: 0,
            broad: 0,
            open: BTreeMap::new(),
            with_free: BTreeSet::new(),
            loose: BTreeSet::new(),
            followers: BTreeMap::new(),
            scouts: BTreeMap::new(),
            news: News::default(),
            verifying: BTreeMap::new(),
            on_parole: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            window: None,
            lows: [0; CLASSES],
            open_limit: usize::MAX,
            open_before_limit: 0,
            rng,
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

    /// What is wanted and not verified yet.
    pub fn needed(&self) -> &Bitfield {
        &self.needed
    }

    /// Whether a piece is wanted and not verified yet.
    pub fn is_missing(&self, piece: PieceIndex) -> bool {
        self.needed.has(piece)
    }

    /// How a piece stands.
    pub fn state(&self, piece: PieceIndex) -> PieceState {
        if self.have.has(piece) {
            PieceState::Have
        } else if self.missing.has(piece) {
            PieceState::Missing
        } else if self.open.contains_key(&piece) {
            PieceState::Open
        } else if self.verifying.contains_key(&piece) {
            PieceState::Verifying
        } else {
            PieceState::Unwanted
        }
    }

    /// Wanted pieces that are not verified yet.
    pub fn missing_wanted(&self) -> u32 {
        self.needed.count()
    }

    /// Pieces received whole that are being hashed and written.
    pub fn verifying(&self) -> usize {
        self.verifying.len()
    }

    /// Pieces that are open or being verified.
    pub fn open(&self) -> usize {
        self.open.len() + self.verifying.len()
    }

    /// Whether no other piece can be opened for want of memory.
    pub fn is_full(&self) -> bool {
        self.open() >= self.open_limit
    }

    /// Bytes of wanted pieces, verified or not.
    pub fn bytes_wanted(&self) -> u64 {
        self.wanted_bytes
    }

    /// Bytes of wanted pieces that are not verified yet.
    pub fn bytes_needed(&self) -> u64 {
        self.bytes_of(&self.needed)
    }

    /// Bytes of all pieces, wanted or not, that are not verified.
    pub fn bytes_left(&self) -> u64 {
        self.geometry.total_length() - self.bytes_of(&self.have)
    }

    /// Bytes of wanted pieces that are open or being verified, and are here.
    pub fn bytes_received(&self) -> u64 {
        let open: u64 = self.open.values().map(|piece| piece.received() as u64 * BLOCK).sum();
        let verifying = self.verifying.keys().filter(|piece| self.needed.has(**piece));
        open + verifying.map(|&piece| u64::from(self.geometry.length_of(piece))).sum::<u64>()
    }

    /// Bytes of a set of pieces.
    fn bytes_of(&self, pieces: &Bitfield) -> u64 {
        let piece_length = u64::from(self.geometry.piece_length());
        let short = self
            .geometry
            .iter()
            .next_back()
            .filter(|last| pieces.has(*last))
            .map_or(0, |last| piece_length - u64::from(self.geometry.length_of(last)));
        u64::from(pieces.count()) * piece_length - short
    }

    /// How many connected peers have this piece.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        let (_, level) = self.order.standing(piece);
        self.broad.saturating_add_signed(level)
    }

    /// Bytes that the order of the pieces takes: about 8 for each while there are peers.
    pub fn order_bytes(&self) -> usize {
        self.order.bytes()
    }

    /// The level in the order at which stand the pieces that nobody has.
    fn nobody(&self) -> i32 {
        -(self.broad as i32)
    }

    /// A peer that has these pieces joined. How it was counted, to be told when it leaves.
    pub fn peer_joined(&mut self, has: &Bitfield) -> Tally {
        self.joined += 1;
        if self.order.is_asleep() {
            let (missing, priorities) = (&self.missing, &self.priorities);
            self.order.wake(|piece| if missing.has(piece) { priorities[piece.at()].get() } else { 0 });
        }
        if has.count() > has.pieces() / 2 {
            self.broad += 1;
            self.shift_others(has, -1);
            return Tally::Lacks;
        }
        for piece in has.iter(&self.geometry) {
            self.order.shift(piece, 1);
        }
        Tally::Has
    }

    /// A peer that was counted so, and has these pieces, left.
    pub fn peer_left(&mut self, peer: PeerKey, has: &Bitfield, tally: Tally) {
        self.disown(peer);
        self.followers.remove(&peer);
        self.scouts.remove(&peer);
        match tally {
            Tally::Has => has.iter(&self.geometry).for_each(|piece| self.order.shift(piece, -1)),
            Tally::Lacks => {
                self.broad = self.broad.saturating_sub(1);
                self.shift_others(has, 1);
            }
        }
        self.joined = self.joined.saturating_sub(1);
        if self.joined == 0 && self.needed.is_none() {
            self.order.sleep();
        }
    }

    fn shift_others(&mut self, has: &Bitfield, by: i32) {
        if !has.is_all() {
            for piece in self.geometry.iter().filter(|&piece| !has.has(piece)) {
                self.order.shift(piece, by);
            }
        }
    }

    /// A peer that joined has one more piece.
    pub fn peer_has(&mut self, peer: PeerKey, piece: PieceIndex) {
        self.order.shift(piece, 1);
        if let Some(scout) = self.scouts.get_mut(&peer) {
            scout.learn(piece);
        }
    }

    /// The piece is missing: it may be taken by whoever can give it.
    fn list(&mut self, piece: PieceIndex) {
        let class = self.priorities[piece.at()].get();
        self.missing.set(piece);
        self.order.set_class(piece, class);
        let low = &mut self.lows[class as usize];
        *low = piece.get().min(*low);
        self.news.add(piece);
    }

    fn unlist(&mut self, piece: PieceIndex) {
        self.missing.unset(piece);
        self.order.set_class(piece, 0);
    }

    /// Makes a missing piece an open one.
    fn start(&mut self, piece: PieceIndex, owner: Option<PeerKey>) {
        self.unlist(piece);
        let on_parole = self.on_parole.contains(&piece);
        self.open.insert(piece, OpenPiece::new(self.geometry.blocks_of(piece), owner, on_parole));
        if let Some(owner) = owner {
            self.followers.entry(owner).or_default().open.insert(piece);
        }
        self.refile(piece);
    }

    /// Takes an open piece out of all lists.
    fn close(&mut self, piece: PieceIndex) -> Option<OpenPiece<B>> {
        let open = self.open.remove(&piece)?;
        self.with_free.remove(&piece);
        self.loose.remove(&piece);
        if let Some(follower) = open.owner.and_then(|owner| self.followers.get_mut(&owner)) {
            follower.open.remove(&piece);
            follower.free.remove(&piece);
        }
        Some(open)
    }

    /// Puts an open piece into the lists where it belongs after a change.
    fn refile(&mut self, piece: PieceIndex) {
        let Some(open) = self.open.get(&piece) else { return };
        let (free, owner) = (open.has_free(), open.owner);
        file(&mut self.with_free, piece, free);
        file(&mut self.loose, piece, free && owner.is_none());
        if let Some(follower) = owner.and_then(|owner| self.followers.get_mut(&owner)) {
            file(&mut follower.free, piece, free);
        }
    }

    /// `peer` will not send this block: it choked, rejected, was slow or left.
    pub fn release(&mut self, span: Span, peer: PeerKey) {
        let (Some(open), Some(block)) = (self.open.get_mut(&span.piece), self.geometry.block_number(span))
        else {
            return;
        };
        if open.release(block, peer) {
            if open.received() == 0 && !open.is_awaited() {
                self.close(span.piece);
                self.list(span.piece);
            } else {
                self.refile(span.piece);
            }
        }
    }

    /// `peer` no longer has a say in the pieces it was on.
    pub fn disown(&mut self, peer: PeerKey) {
        let Some(follower) = self.followers.get_mut(&peer) else { return };
        follower.free.clear();
        follower.run = None;
        for piece in core::mem::take(&mut follower.open) {
            if let Some(open) = self.open.get_mut(&piece) {
                open.owner = None;
            }
            self.refile(piece);
        }
    }

    /// A block arrived that its sender was asked for, now or not long ago.
    pub fn receive(&mut self, span: Span, source: Source, block: B) -> Receipt<B> {
        let Some(position) = self.geometry.block_number(span) else { return Receipt::Useless(block) };
        if self.missing.has(span.piece) && !self.is_full() {
            // It comes late, and its piece was given up.
            self.start(span.piece, None);
        }
        let Some(open) = self.open.get_mut(&span.piece) else { return Receipt::Useless(block) };
        let twins = match open.receive(position, source, block) {
            Ok(twins) => twins,
            Err(block) => return Receipt::Useless(block),
        };
        if !open.is_complete() {
            if !open.has_free() {
                self.refile(span.piece);
            }
            return Receipt::Taken { twins };
        }
        let (blocks, sources) = self.close(span.piece).map(OpenPiece::into_blocks).unwrap_or_default();
        self.verifying.insert(span.piece, sources);
        Receipt::Complete { twins, blocks }
    }

    /// A verifying piece is good and written. Who sent its blocks.
    pub fn verified(&mut self, piece: PieceIndex) -> Vec<Source> {
        let Some(sources) = self.verifying.remove(&piece) else { return Vec::new() };
        self.have.set(piece);
        self.needed.unset(piece);
        self.on_parole.remove(&piece);
        self.clear_deadline(piece);
        sources
    }

    /// A verifying piece did not match its hash: it is missing again, if it is wanted. Who sent its blocks.
    pub fn failed(&mut self, piece: PieceIndex) -> Vec<Source> {
        let Some(sources) = self.verifying.remove(&piece) else { return Vec::new() };
        self.on_parole.insert(piece);
        if self.needed.has(piece) {
            self.list(piece);
        }
        sources
    }

    /// Whether this piece failed its hash before.
    pub fn is_on_parole(&self, piece: PieceIndex) -> bool {
        self.on_parole.contains(&piece)
    }

    /// When every open piece waits for peers that are gone, drops the one with the least in it, so that another
    /// can be opened. The bytes that are lost by it.
    pub fn unblock(&mut self) -> u64 {
        if !self.is_full() || self.order.len() == self.order.at_level(self.nobody()) {
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
        let Some(open) = self.close(piece) else { return 0 };
        self.list(piece);
        open.received() as u64 * BLOCK
    }
}

/// Bytes of a whole block.
const BLOCK: u64 = BLOCK_LENGTH as u64;

fn file(list: &mut BTreeSet<PieceIndex>, piece: PieceIndex, belongs: bool) {
    if belongs {
        list.insert(piece);
    } else {
        list.remove(&piece);
    }
}
