//! Which piece comes next for a peer.

use super::scout::{FOUND, Scout};
use super::{Picker, Wish};
use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::cmp::Reverse;
use quelea_metainfo::geometry::{PieceIndex, Span};

/// Pieces looked at in order of rarity before the peer's set is compared with the missing pieces.
const LOOKS: usize = 64;
/// A peer that needs longer than this for a piece shares it with others; a faster one has pieces of its own, and
/// runs of neighbours that it sends within this time. Seconds.
const SHARE_SECONDS: u64 = 20;
/// A run of neighbours has at most so many bytes: disks gain little by longer ones.
const LONGEST_RUN: u64 = 8 << 20;
/// The first pieces are taken at random, to be here soon, where no piece is rare.
const FIRST_PIECES: u32 = 4;
/// Pieces are not rare of which so many copies are connected.
const NOT_RARE: u32 = 4;
/// Draws for a first piece.
const DRAWS: usize = 16;

impl<B> Picker<B> {
    /// Picks up to `wish.count` blocks and appends them to `picked`.
    pub fn pick(&mut self, wish: Wish<'_>, picked: &mut Vec<Span>) {
        let target = picked.len() + wish.count;
        let led_from = picked.len().saturating_add(wish.led_after);
        if !self.deadlines.is_empty() {
            self.pick_urgent(&wish, target, picked);
        }
        while picked.len() < target {
            let Some(piece) = self.next_piece(&wish, picked.len() >= led_from) else { break };
            if self.lease_from(piece, wish.peer, target, picked) == 0 {
                break;
            }
        }
        if picked.len() < target && wish.idle && (self.is_endgame() || self.is_full()) {
            self.pick_twins(&wish, target, picked);
        }
    }

    /// How many blocks of an open piece were leased to `peer`, which is on it from here on if nobody was.
    pub(super) fn lease_from(
        &mut self,
        piece: PieceIndex,
        peer: PeerKey,
        target: usize,
        picked: &mut Vec<Span>,
    ) -> usize {
        let Some(open) = self.open.get_mut(&piece) else { return 0 };
        let before = picked.len();
        while picked.len() < target {
            let Some(block) = open.lease(peer) else { break };
            picked.extend(self.geometry.block(piece, block));
        }
        let is_left = open.owner.is_none();
        if is_left {
            open.owner = Some(peer);
            self.followers.entry(peer).or_default().open.insert(piece);
        }
        if is_left || !open.has_free() {
            self.refile(piece);
        }
        picked.len() - before
    }

    fn next_piece(&mut self, wish: &Wish<'_>, led: bool) -> Option<PieceIndex> {
        let own = self.followers.get(&wish.peer).map(|follower| &follower.free);
        let own = own.into_iter().flatten().copied().find(|&piece| wish.can_give(piece));
        if led {
            return own.or_else(|| self.open_new(wish, true));
        }
        let shared = || self.shareable(wish).find(|(_, shared)| *shared).map(|(piece, _)| piece);
        own.or_else(|| if self.is_slow(wish) { shared() } else { None })
            .or_else(|| {
                self.abandoned(wish).filter(|&piece| self.is_full() || !self.is_rarer_suggested(wish, piece))
            })
            .or_else(|| self.open_new(wish, false))
            .or_else(|| self.shareable(wish).next().map(|(piece, _)| piece))
    }

    /// Open pieces with a free block that several peers may send, and whether slow ones share them.
    fn shareable(&self, wish: &Wish<'_>) -> impl Iterator<Item = (PieceIndex, bool)> {
        let open = self.with_free.iter().filter_map(|piece| Some((*piece, self.open.get(piece)?)));
        open.filter(|(piece, open)| !open.on_parole && wish.can_give(*piece))
            .map(|(piece, open)| (piece, open.shared))
    }

    /// The open piece that nobody is on which has most priority, is rarest and has most in it.
    fn abandoned(&self, wish: &Wish<'_>) -> Option<PieceIndex> {
        let open = self.loose.iter().filter(|piece| wish.can_give(**piece));
        let rank = |piece: PieceIndex| {
            let received = self.open.get(&piece).map_or(0, |open| open.received());
            (Reverse(self.priorities[piece.at()]), self.order.standing(piece).1, Reverse(received))
        };
        open.copied().min_by_key(|&piece| rank(piece))
    }

    /// Whether the peer suggests a piece that fewer have: a seed says by it what nobody else was given, and blocks
    /// that others have too need not come from it.
    fn is_rarer_suggested(&self, wish: &Wish<'_>, piece: PieceIndex) -> bool {
        let missing = wish.suggested.iter().copied().filter(|&suggested| self.missing.has(suggested));
        missing
            .filter(|&suggested| wish.can_give(suggested))
            .any(|suggested| self.availability(suggested) < self.availability(piece))
    }

    fn open_new(&mut self, wish: &Wish<'_>, led: bool) -> Option<PieceIndex> {
        if self.is_full() || self.missing.is_none() {
            return None;
        }
        let piece = self.choose(wish, led)?;
        self.start(piece, Some(wish.peer));
        let slow = self.is_slow(wish);
        if let Some(open) = self.open.get_mut(&piece) {
            open.shared = slow;
        }
        self.note_run(wish, piece);
        Some(piece)
    }

    fn choose(&mut self, wish: &Wish<'_>, led: bool) -> Option<PieceIndex> {
        if let Some(only) = wish.only {
            let open: Vec<PieceIndex> = only.iter().copied().filter(|piece| wish.has.has(*piece)).collect();
            return self.best(&open, wish.snubbed);
        }
        let suggested = wish.suggested.iter().copied();
        if let Some(piece) =
            suggested.filter(|piece| self.missing.has(*piece)).find(|&piece| wish.can_give(piece))
        {
            return Some(piece);
        }
        if led {
            return None;
        }
        if let Some(piece) = self.next_in_window(wish).or_else(|| self.first_piece(wish)) {
            return Some(piece);
        }
        let rarest = self.rarest(wish)?;
        self.neighbour(wish, rarest).or(Some(rarest))
    }

    /// The best of these pieces of those that are missing, ties at random.
    fn best(&mut self, pieces: &[PieceIndex], commonest: bool) -> Option<PieceIndex> {
        let missing = pieces.iter().copied().filter(|piece| self.missing.has(*piece));
        missing.min_by_key(|piece| {
            let (class, level) = self.order.standing(*piece);
            (Reverse(class), if commonest { -level } else { level }, self.rng.u32(..))
        })
    }

    fn rarest(&mut self, wish: &Wish<'_>) -> Option<PieceIndex> {
        let known = self.scouts.get(&wish.peer).is_some_and(Scout::is_complete);
        if wish.has.count() as usize > FOUND && !known {
            let mut walk = self.order.walk(wish.snubbed, self.nobody());
            for _ in 0..LOOKS {
                let piece = walk.next()?;
                if wish.has.has(piece) {
                    return Some(piece);
                }
            }
        }
        let scout = self.scouts.entry(wish.peer).or_insert_with(|| Scout::new(&self.news));
        let known = scout.pieces(&self.geometry, wish.has, &self.missing, &self.news).to_vec();
        self.best(&known, wish.snubbed)
    }

    /// A piece at random, while there is little to give to others and nothing is rare.
    fn first_piece(&mut self, wish: &Wish<'_>) -> Option<PieceIndex> {
        if wish.snubbed || self.have.count() >= FIRST_PIECES {
            return None;
        }
        let rarest = self.order.walk(false, self.nobody()).next()?;
        if self.availability(rarest) < NOT_RARE {
            return None;
        }
        (0..DRAWS).find_map(|_| self.order.any().filter(|piece| wish.has.has(*piece)))
    }

    /// The piece after the last one of a run, if no other is rarer.
    fn neighbour(&self, wish: &Wish<'_>, rarest: PieceIndex) -> Option<PieceIndex> {
        let (last, left) = self.followers.get(&wish.peer)?.run?;
        let next = self.geometry.piece(last.get() + 1).filter(|_| left > 0)?;
        let fits = self.missing.has(next)
            && wish.has.has(next)
            && self.order.standing(next) == self.order.standing(rarest);
        fits.then_some(next)
    }

    fn note_run(&mut self, wish: &Wish<'_>, piece: PieceIndex) {
        let bytes = LONGEST_RUN.min(wish.rate.saturating_mul(SHARE_SECONDS));
        let pieces = bytes / u64::from(self.geometry.piece_length());
        let follower = self.followers.entry(wish.peer).or_default();
        let left = match follower.run {
            Some((last, left)) if last.get() + 1 == piece.get() => left.saturating_sub(1),
            Some(_) | None => pieces.saturating_sub(1) as u32,
        };
        follower.run = Some((piece, left));
    }

    /// Whether a peer sends so slowly that a piece of its own would be long in coming.
    fn is_slow(&self, wish: &Wish<'_>) -> bool {
        wish.rate > 0 && wish.rate.saturating_mul(SHARE_SECONDS) < u64::from(self.geometry.piece_length())
    }

    /// In sequential mode, the first missing piece that the peer has, if it is near the first of all.
    fn next_in_window(&mut self, wish: &Wish<'_>) -> Option<PieceIndex> {
        let window = self.window.filter(|_| !wish.snubbed)?;
        let (class, first) = self.first_missing()?;
        let end = first.saturating_add(window);
        let words = first / 64..end.div_ceil(64).min(self.missing.words() as u32);
        for word in words {
            let mut both = self.missing.word(word as usize) & wish.has.word(word as usize);
            while both != 0 {
                let bit = both.leading_zeros();
                both &= !(1 << (63 - bit));
                let number = word * 64 + bit;
                let piece = self.geometry.piece(number).filter(|_| (first..end).contains(&number));
                if let Some(piece) = piece
                    && self.priorities[piece.at()].get() == class
                {
                    return Some(piece);
                }
            }
        }
        None
    }

    /// The highest class that has missing pieces, and the first of them. Each look begins where the last one ended.
    fn first_missing(&mut self) -> Option<(u8, u32)> {
        let class = self.order.highest()?;
        let low = &mut self.lows[class as usize];
        for word in *low / 64..self.missing.words() as u32 {
            let mut bits = self.missing.word(word as usize);
            while bits != 0 {
                let bit = bits.leading_zeros();
                bits &= !(1 << (63 - bit));
                let number = word * 64 + bit;
                let of_class = self.priorities.get(number as usize).is_some_and(|other| other.get() == class);
                if number >= *low && of_class {
                    *low = number;
                    return Some((class, number));
                }
            }
        }
        None
    }
}
