//! The picker against a naive model: whatever happens, each answer is one that the rules allow, and nothing that
//! could be asked for is left out.
//!
//! The model keeps a set for everything and looks at all pieces each time. It does not say which block comes next,
//! because ties are broken at random; it says of each block whether the rules allow it in its place.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod model;

use model::{Asked, Model, PEERS, SLOW, Slot};
use proptest::prelude::*;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex};
use quelea_swarm::peers::{PeerKey, Peers};
use quelea_swarm::picker::{Picker, Priority, Receipt, Source, Tally, Wish};
use quelea_time::Time;
use quelea_wire::Bitfield;
use std::collections::BTreeSet;

const PIECE_LENGTH: u32 = 3 * BLOCK_LENGTH;
const FAST: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Step {
    Join { peer: usize, has: Holding },
    Leave { peer: usize },
    Gains { peer: usize, piece: u32 },
    Pick { peer: usize, count: usize, snubbed: bool, rate: u64, proven: bool },
    Receive { peer: usize, which: usize },
    Release { peer: usize, which: usize },
    Verdict { good: bool },
    Prioritize { priorities: Vec<u8> },
    Deadline { piece: u32, seconds: u64 },
    ClearDeadlines,
    Window(Option<u32>),
    Limit(usize),
    Late { piece: u32 },
    Restart,
}

#[derive(Debug, Clone)]
enum Holding {
    All,
    Most(BTreeSet<u32>),
    Some(BTreeSet<u32>),
}

fn steps(pieces: u32) -> impl Strategy<Value = Vec<Step>> {
    let (peer, piece, which) = (0..PEERS, 0..pieces, 0usize..100);
    let some = prop::collection::btree_set(piece.clone(), 0..=(pieces as usize).min(20));
    let has = prop_oneof![
        1 => Just(Holding::All),
        1 => some.clone().prop_map(Holding::Most),
        3 => some.prop_map(Holding::Some),
    ];
    let rate = prop::sample::select(vec![0, SLOW, FAST]);
    let priorities = prop::collection::vec(prop::sample::select(vec![0u8, 1, 4, 4, 7]), 1..5);
    let pick = (peer.clone(), 1usize..12, prop::bool::weighted(0.1), rate, prop::bool::weighted(0.8));
    let step = prop_oneof![
        4 => (peer.clone(), has).prop_map(|(peer, has)| Step::Join { peer, has }),
        1 => peer.clone().prop_map(|peer| Step::Leave { peer }),
        2 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Gains { peer, piece }),
        8 => pick.prop_map(|(peer, count, snubbed, rate, proven)| Step::Pick { peer, count, snubbed, rate, proven }),
        12 => (peer.clone(), which.clone()).prop_map(|(peer, which)| Step::Receive { peer, which }),
        2 => (peer, which).prop_map(|(peer, which)| Step::Release { peer, which }),
        4 => prop::bool::weighted(0.8).prop_map(|good| Step::Verdict { good }),
        1 => priorities.prop_map(|priorities| Step::Prioritize { priorities }),
        1 => (piece.clone(), 0u64..4).prop_map(|(piece, seconds)| Step::Deadline { piece, seconds }),
        1 => Just(Step::ClearDeadlines),
        1 => prop::option::of(1u32..8).prop_map(Step::Window),
        1 => (2usize..8).prop_map(Step::Limit),
        1 => piece.prop_map(|piece| Step::Late { piece }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..250)
}

/// The picker and the model, side by side.
struct Pair {
    picker: Picker<()>,
    model: Model,
    keys: Vec<PeerKey>,
    bits: Vec<(Bitfield, Tally)>,
    exact: bool,
}

type Outcome = Result<(), TestCaseError>;

impl Pair {
    fn new(pieces: u32, seed: u64, exact: bool) -> Self {
        let length = u64::from(pieces) * u64::from(PIECE_LENGTH) - 20_000;
        let geometry = Geometry::new(length, PIECE_LENGTH).unwrap();
        let mut peers = Peers::default();
        Self {
            picker: Picker::new(geometry, &Bitfield::all(pieces), Bitfield::none(pieces), seed),
            model: Model::new(geometry),
            keys: (0..PEERS).map(|_| peers.insert(())).collect(),
            bits: vec![(Bitfield::none(pieces), Tally::default()); PEERS],
            exact,
        }
    }

    fn source(&self, peer: usize) -> Source {
        Source { peer: self.keys[peer], ip: "10.0.0.1".parse().unwrap() }
    }

    fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Join { peer, has } if self.model.has[peer].is_none() => {
                let all = 0..self.model.geometry.pieces();
                let has: BTreeSet<u32> = match has {
                    Holding::All => all.collect(),
                    Holding::Most(lacks) => all.filter(|piece| !lacks.contains(piece)).collect(),
                    Holding::Some(has) => has,
                };
                let mut bits = Bitfield::none(self.model.geometry.pieces());
                has.iter().for_each(|&piece| assert!(bits.set(self.model.piece(piece))));
                let tally = self.picker.peer_joined(&bits);
                self.bits[peer] = (bits, tally);
                self.model.has[peer] = Some(has);
            }
            Step::Leave { peer } if self.model.has[peer].is_some() => self.leave(peer),
            Step::Gains { peer, piece }
                if self.model.has[peer].is_some() && !self.model.peer_has(peer, piece) =>
            {
                self.model.has[peer].as_mut().unwrap().insert(piece);
                let piece = self.model.piece(piece);
                self.bits[peer].0.set(piece);
                self.picker.peer_has(self.keys[peer], piece);
            }
            Step::Pick { peer, count, snubbed, rate, proven } => {
                let idle = self.model.requests(peer).is_empty();
                self.pick(Asked { peer, snubbed, rate, proven, idle }, count)?;
            }
            Step::Receive { peer, which } => self.receive(peer, which)?,
            Step::Release { peer, which } => {
                let spans = self.model.requests(peer);
                if !spans.is_empty() {
                    let span = spans[which % spans.len()];
                    self.picker.release(span, self.keys[peer]);
                    self.model.release(peer, span);
                }
            }
            Step::Verdict { good } => {
                if let Some(piece) = self.model.verifying.pop() {
                    let index = self.model.piece(piece);
                    if good {
                        self.picker.verified(index);
                        self.model.have.insert(piece);
                        self.model.deadlines.remove(&piece);
                    } else {
                        self.picker.failed(index);
                        self.model.parole.insert(piece);
                    }
                }
            }
            Step::Prioritize { priorities } => self.prioritize(&priorities)?,
            Step::Deadline { piece, seconds } => {
                self.picker.set_deadline(self.model.piece(piece), Time::from_secs(seconds));
                if self.model.is_needed(piece) {
                    self.model.deadlines.insert(piece, seconds);
                }
            }
            Step::ClearDeadlines => {
                self.picker.clear_deadlines();
                self.model.deadlines.clear();
            }
            Step::Window(window) => {
                self.picker.set_window(window);
                self.model.window = window;
            }
            Step::Limit(limit) => {
                self.picker.set_open_limit(limit);
                self.model.limit = limit;
            }
            Step::Late { piece } => {
                self.picker.note_late(self.model.piece(piece));
                self.model.open.entry(piece).and_modify(|open| open.late = true);
            }
            Step::Restart => {
                (0..PEERS).for_each(|peer| self.leave(peer));
                let saved = self.picker.take_blocks();
                let here =
                    self.model.open.values().flat_map(|open| &open.slots).filter(|slot| **slot == Slot::Here);
                prop_assert_eq!(saved.len(), here.count(), "every block that is here is saved");
                self.model.open.clear();
            }
            Step::Join { .. } | Step::Leave { .. } | Step::Gains { .. } => {}
        }
        Ok(())
    }

    fn leave(&mut self, peer: usize) {
        for span in self.model.requests(peer) {
            self.picker.release(span, self.keys[peer]);
            self.model.release(peer, span);
        }
        for open in self.model.open.values_mut().filter(|open| open.owner == Some(peer)) {
            open.owner = None;
        }
        if self.model.has[peer].take().is_some() {
            let (bits, tally) = &self.bits[peer];
            self.picker.peer_left(self.keys[peer], bits, *tally);
        }
    }

    fn pick(&mut self, asked: Asked, count: usize) -> Outcome {
        if self.model.has[asked.peer].is_none() {
            return Ok(());
        }
        let wish = Wish {
            now: Time::ZERO,
            peer: self.keys[asked.peer],
            has: &self.bits[asked.peer].0,
            count,
            suggested: &[],
            only: None,
            rate: asked.rate,
            snubbed: asked.snubbed,
            idle: asked.idle,
            led_after: usize::MAX,
            proven: asked.proven,
        };
        let mut picked = Vec::new();
        self.picker.pick(wish, &mut picked);
        prop_assert!(picked.len() <= count);
        for &span in &picked {
            if let Err(why) = self.model.fault(asked, span, self.exact) {
                prop_assert!(false, "{:?} picked {:?} of {:?}: {}", asked, span, picked, why);
            }
            self.model.lease(asked, span);
        }
        if picked.len() < count {
            prop_assert!(self.model.has_nothing_free(asked), "{:?} was given {:?} only", asked, picked);
        }
        Ok(())
    }

    fn receive(&mut self, peer: usize, which: usize) -> Outcome {
        let spans = self.model.requests(peer);
        if spans.is_empty() {
            return Ok(());
        }
        let span = spans[which % spans.len()];
        let (number, block) = (span.piece.get(), self.model.geometry.block_number(span).unwrap() as usize);
        let receipt = self.picker.receive(span, self.source(peer), ());
        let open = self.model.open.get_mut(&number).unwrap();
        let asked = std::mem::replace(&mut open.slots[block], Slot::Here);
        let complete = open.slots.iter().all(|slot| *slot == Slot::Here);
        let twins = match receipt {
            Receipt::Taken { twins } => {
                prop_assert!(!complete);
                twins
            }
            Receipt::Complete { twins, blocks } => {
                prop_assert!(complete);
                prop_assert_eq!(blocks.len(), open.slots.len());
                self.model.open.remove(&number);
                self.model.verifying.push(number);
                twins
            }
            Receipt::Useless(()) => return Err(TestCaseError::fail("a block that was asked for is of use")),
        };
        let Slot::Requested(mut by) = asked else { panic!("it was asked for") };
        by.remove(&peer);
        let twins: BTreeSet<PeerKey> = twins.into_iter().collect();
        prop_assert_eq!(twins, by.into_iter().map(|peer| self.keys[peer]).collect::<BTreeSet<_>>());
        Ok(())
    }

    fn prioritize(&mut self, priorities: &[u8]) -> Outcome {
        let of = |piece: PieceIndex| priorities[piece.at() % priorities.len()];
        let dropped = self.picker.set_priorities(|piece| Priority::new(of(piece)).unwrap());
        let mut requests = BTreeSet::new();
        for piece in self.model.geometry.iter() {
            self.model.priorities[piece.at()] = of(piece);
            if of(piece) > 0 {
                continue;
            }
            self.model.deadlines.remove(&piece.get());
            let Some(open) = self.model.open.remove(&piece.get()) else { continue };
            for (block, slot) in (0..).zip(open.slots) {
                if let Slot::Requested(by) = slot {
                    let span = self.model.geometry.block(piece, block).unwrap();
                    requests.extend(by.into_iter().map(|peer| (span, self.keys[peer])));
                }
            }
        }
        prop_assert_eq!(dropped.requests.into_iter().collect::<BTreeSet<_>>(), requests);
        Ok(())
    }

    fn compare(&self) -> Outcome {
        self.picker.check_invariants().map_err(TestCaseError::fail)?;
        let mut needed = 0;
        for piece in self.model.geometry.iter() {
            let number = piece.get();
            prop_assert_eq!(self.picker.state(piece), self.model.state(number), "piece {}", number);
            prop_assert_eq!(self.picker.availability(piece) as usize, self.model.availability(number));
            prop_assert_eq!(self.picker.is_missing(piece), self.model.is_needed(number));
            needed += u32::from(self.model.is_needed(number));
        }
        prop_assert_eq!(self.picker.missing_wanted(), needed);
        prop_assert_eq!(self.picker.is_endgame(), self.model.is_endgame());
        for peer in 0..PEERS {
            for span in self.model.requests(peer) {
                prop_assert!(self.picker.is_leased(span, self.keys[peer]));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_choice_is_one_that_the_rules_allow(steps in steps(12), seed: u64) {
        let mut pair = Pair::new(12, seed, true);
        for step in steps {
            pair.step(step)?;
            pair.compare()?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_peer_that_has_little_of_much_is_asked_for_all_of_it(steps in steps(900), seed: u64) {
        let mut pair = Pair::new(900, seed, false);
        for step in steps {
            pair.step(step)?;
        }
        pair.compare()?;
    }
}
