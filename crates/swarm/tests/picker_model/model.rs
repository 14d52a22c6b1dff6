//! What the picker should know, kept in plain sets, and which blocks the rules allow next.

use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};
use quelea_swarm::picker::{PieceState, REQUESTERS, REQUESTERS_WHEN_LATE};
use std::collections::{BTreeMap, BTreeSet};

/// Peers that may be connected.
pub(crate) const PEERS: usize = 5;
/// Bytes a second at which a peer needs longer than 20 seconds for a piece.
pub(crate) const SLOW: u64 = 2_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot {
    Free,
    Requested(BTreeSet<usize>),
    Here,
}

/// An open piece.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) slots: Vec<Slot>,
    pub(crate) owner: Option<usize>,
    pub(crate) shared: bool,
    pub(crate) late: bool,
}

impl Open {
    pub(crate) fn has_free(&self) -> bool {
        self.slots.contains(&Slot::Free)
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) geometry: Geometry,
    pub(crate) has: Vec<Option<BTreeSet<u32>>>,
    pub(crate) priorities: Vec<u8>,
    pub(crate) have: BTreeSet<u32>,
    pub(crate) open: BTreeMap<u32, Open>,
    pub(crate) verifying: Vec<u32>,
    pub(crate) parole: BTreeSet<u32>,
    pub(crate) deadlines: BTreeMap<u32, u64>,
    pub(crate) window: Option<u32>,
    pub(crate) limit: usize,
}

/// For whom blocks are picked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) peer: usize,
    pub(crate) snubbed: bool,
    pub(crate) rate: u64,
    pub(crate) proven: bool,
    pub(crate) idle: bool,
}

impl Model {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let pieces = geometry.pieces() as usize;
        Self {
            geometry,
            has: vec![None; PEERS],
            priorities: vec![4; pieces],
            have: BTreeSet::new(),
            open: BTreeMap::new(),
            verifying: Vec::new(),
            parole: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            window: None,
            limit: usize::MAX,
        }
    }

    pub(crate) fn piece(&self, number: u32) -> PieceIndex {
        self.geometry.piece(number).unwrap()
    }

    pub(crate) fn peer_has(&self, peer: usize, piece: u32) -> bool {
        self.has[peer].as_ref().is_some_and(|has| has.contains(&piece))
    }

    pub(crate) fn availability(&self, piece: u32) -> usize {
        (0..PEERS).filter(|&peer| self.peer_has(peer, piece)).count()
    }

    pub(crate) fn is_needed(&self, piece: u32) -> bool {
        self.priorities[piece as usize] > 0 && !self.have.contains(&piece)
    }

    pub(crate) fn is_missing(&self, piece: u32) -> bool {
        self.is_needed(piece) && !self.open.contains_key(&piece) && !self.verifying.contains(&piece)
    }

    pub(crate) fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.geometry.pieces()).filter(|&piece| self.is_missing(piece))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.len() + self.verifying.len() >= self.limit
    }

    pub(crate) fn is_endgame(&self) -> bool {
        self.missing().all(|piece| self.availability(piece) == 0)
    }

    pub(crate) fn state(&self, piece: u32) -> PieceState {
        match () {
            () if self.have.contains(&piece) => PieceState::Have,
            () if self.verifying.contains(&piece) => PieceState::Verifying,
            () if self.open.contains_key(&piece) => PieceState::Open,
            () if self.is_missing(piece) => PieceState::Missing,
            () => PieceState::Unwanted,
        }
    }

    /// Open pieces with a free block that this peer may be given.
    pub(crate) fn with_free(&self, asked: Asked) -> impl Iterator<Item = (u32, &Open)> {
        let open = self.open.iter().map(|(piece, open)| (*piece, open));
        open.filter(move |(piece, open)| {
            let mine = open.owner.is_none() || open.owner == Some(asked.peer);
            open.has_free() && self.peer_has(asked.peer, *piece) && (mine || !self.parole.contains(piece))
        })
    }

    /// Missing pieces that this peer may open.
    pub(crate) fn openable(&self, asked: Asked) -> Vec<u32> {
        let may = |piece: &u32| !self.is_full() && self.peer_has(asked.peer, *piece);
        self.missing().filter(may).collect()
    }

    pub(crate) fn has_nothing_free(&self, asked: Asked) -> bool {
        self.with_free(asked).next().is_none() && self.openable(asked).is_empty()
    }

    /// The pieces that may be opened next for this peer.
    pub(crate) fn allowed_new(&self, asked: Asked) -> BTreeSet<u32> {
        let openable = self.openable(asked);
        let class = self.missing().map(|piece| self.priorities[piece as usize]).max();
        let first = self.missing().find(|&piece| Some(self.priorities[piece as usize]) == class);
        if let (Some(window), Some(first), false) = (self.window, first, asked.snubbed) {
            let near = |piece: &&u32| {
                Some(self.priorities[**piece as usize]) == class && (first..first + window).contains(piece)
            };
            if let Some(next) = openable.iter().find(near) {
                return [*next].into();
            }
        }
        let rank = |piece: u32| {
            let availability = self.availability(piece) as i64;
            (
                -i64::from(self.priorities[piece as usize]),
                if asked.snubbed { -availability } else { availability },
            )
        };
        let best = openable.iter().map(|&piece| rank(piece)).min();
        let mut allowed: BTreeSet<u32> =
            openable.iter().copied().filter(|&piece| Some(rank(piece)) == best).collect();
        let of_class = self.missing().filter(|&piece| Some(self.priorities[piece as usize]) == class);
        let rarest = of_class.map(|piece| self.availability(piece)).filter(|&count| count > 0).min();
        if self.have.len() < 4 && rarest >= Some(4) && !asked.snubbed {
            let of_class = |piece: &u32| Some(self.priorities[*piece as usize]) == class;
            allowed.extend(openable.iter().copied().filter(of_class));
        }
        allowed
    }

    /// The piece with the nearest deadline of which this peer may be given a free block.
    pub(crate) fn urgent(&self, asked: Asked) -> Option<u32> {
        let mut urgent: Vec<(u64, u32)> = self.deadlines.iter().map(|(piece, at)| (*at, *piece)).collect();
        urgent.sort_unstable();
        let free = |piece: u32| {
            self.with_free(asked).any(|(other, _)| other == piece) || self.openable(asked).contains(&piece)
        };
        urgent.into_iter().map(|(_, piece)| piece).find(|&piece| !asked.snubbed && free(piece))
    }

    pub(crate) fn is_slow(&self, asked: Asked) -> bool {
        asked.rate == SLOW
    }

    /// Why the rules do not allow this block as the next one, if they do not. `exact` where the torrent is small
    /// enough for the rarest piece to be found always.
    pub(crate) fn fault(&self, asked: Asked, span: Span, exact: bool) -> Result<(), String> {
        let piece = span.piece.get();
        let block = self.geometry.block_number(span).ok_or("it is no block")? as usize;
        let need = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        need(self.peer_has(asked.peer, piece), "the peer lacks the piece")?;
        need(self.is_needed(piece), "nobody needs it")?;
        let urgent = self.urgent(asked);
        let Some(open) = self.open.get(&piece) else {
            need(self.is_missing(piece), "it is being verified")?;
            need(!self.is_full(), "no more pieces may be open")?;
            if urgent.is_some() {
                return need(urgent == Some(piece), "another piece is more urgent");
            }
            let mine = |open: &Open| open.owner == Some(asked.peer);
            need(!self.with_free(asked).any(|(_, open)| mine(open)), "the peer is on another piece")?;
            need(!self.with_free(asked).any(|(_, open)| open.owner.is_none()), "a piece is abandoned")?;
            if self.is_slow(asked) {
                let mut shared = self.with_free(asked).filter(|(piece, _)| !self.parole.contains(piece));
                need(!shared.any(|(_, open)| open.shared), "a slow peer is to share another's piece")?;
            }
            let allowed = self.allowed_new(asked);
            return need(!exact || allowed.contains(&piece), &format!("{allowed:?} come first"));
        };
        match &open.slots[block] {
            Slot::Here => Err("it is here".into()),
            Slot::Requested(by) => {
                need(!by.contains(&asked.peer), "the peer was asked for it")?;
                need(!self.parole.contains(&piece), "it is on parole")?;
                let most = if open.late { REQUESTERS_WHEN_LATE } else { REQUESTERS };
                let places = if asked.proven { most } else { most - 1 };
                need(by.len() < places, "too many were asked for it")?;
                if self.deadlines.get(&piece).is_some_and(|at| open.late || *at <= 1) && !asked.snubbed {
                    return need(!open.has_free(), "another block of the piece is free");
                }
                need(asked.idle, "the peer has something else to do")?;
                need(self.is_endgame() || (self.is_full() && open.late), "it is no endgame")?;
                need(self.has_nothing_free(asked), "something is free")
            }
            Slot::Free => {
                let found = self.with_free(asked).any(|(other, _)| other == piece);
                need(found, "it is on parole with another peer")?;
                if urgent.is_some() {
                    return need(urgent == Some(piece), "another piece is more urgent");
                }
                if open.owner == Some(asked.peer) || (self.is_slow(asked) && open.shared) {
                    return Ok(());
                }
                let mine = |open: &Open| open.owner == Some(asked.peer);
                need(!self.with_free(asked).any(|(_, open)| mine(open)), "the peer is on another piece")?;
                if open.owner.is_none() {
                    return Ok(());
                }
                need(!self.with_free(asked).any(|(_, open)| open.owner.is_none()), "a piece is abandoned")?;
                need(self.openable(asked).is_empty(), "a new piece can be opened")
            }
        }
    }

    pub(crate) fn lease(&mut self, asked: Asked, span: Span) {
        let block = self.geometry.block_number(span).unwrap() as usize;
        let blocks = self.geometry.blocks_of(span.piece) as usize;
        let is_urgent = !asked.snubbed && self.deadlines.contains_key(&span.piece.get());
        let shared = self.is_slow(asked) && !is_urgent;
        let open = self.open.entry(span.piece.get()).or_insert_with(|| Open {
            slots: vec![Slot::Free; blocks],
            owner: None,
            shared,
            late: false,
        });
        match &mut open.slots[block] {
            Slot::Requested(by) => {
                by.insert(asked.peer);
            }
            slot @ (Slot::Free | Slot::Here) => {
                *slot = Slot::Requested([asked.peer].into());
                open.owner = open.owner.or(Some(asked.peer));
            }
        }
    }

    pub(crate) fn release(&mut self, peer: usize, span: Span) {
        let block = self.geometry.block_number(span).unwrap() as usize;
        let Some(open) = self.open.get_mut(&span.piece.get()) else { return };
        if let Slot::Requested(by) = &mut open.slots[block] {
            by.remove(&peer);
            if by.is_empty() {
                open.slots[block] = Slot::Free;
            }
        }
        if open.slots.iter().all(|slot| *slot == Slot::Free) {
            self.open.remove(&span.piece.get());
        }
    }

    pub(crate) fn requests(&self, peer: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        for (&piece, open) in &self.open {
            for (block, slot) in (0..).zip(&open.slots) {
                if matches!(slot, Slot::Requested(by) if by.contains(&peer)) {
                    spans.push(self.geometry.block(self.piece(piece), block).unwrap());
                }
            }
        }
        spans
    }
}
