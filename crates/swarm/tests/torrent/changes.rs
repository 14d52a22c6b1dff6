//! Wishes that change at any moment: peers are told of our interest rightly, and completion as often as it comes.

use crate::bench::{Bench, geometry, piece};
use proptest::prelude::*;
use quelea_swarm::event::{Event, Output, Verdict};
use quelea_swarm::peers::PeerKey;
use quelea_swarm::picker::Priority;
use quelea_wire::message::BlockSpan;
use quelea_wire::{Bitfield, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Comes { has: BTreeSet<u32>, modern: bool },
    Leaves { which: usize },
    Gains { which: usize, piece: u32 },
    Chokes { which: usize, chokes: bool },
    Sends { which: usize, request: usize },
    Rejects { which: usize, request: usize },
    Verdict { good: bool },
    Wants { priorities: Vec<u8> },
    Deadline { piece: u32 },
    Sequential(bool),
    Passes { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (which, piece) = (0usize..10, 0u32..6);
    let has = prop::collection::btree_set(piece.clone(), 0..=6);
    let priorities = prop::collection::vec(prop::sample::select(vec![0u8, 0, 1, 4, 7]), 6);
    let step = prop_oneof![
        2 => (has, any::<bool>()).prop_map(|(has, modern)| Step::Comes { has, modern }),
        1 => which.clone().prop_map(|which| Step::Leaves { which }),
        2 => (which.clone(), piece.clone()).prop_map(|(which, piece)| Step::Gains { which, piece }),
        5 => (which.clone(), prop::bool::weighted(0.2)).prop_map(|(which, chokes)| Step::Chokes { which, chokes }),
        14 => (which.clone(), 0usize..50).prop_map(|(which, request)| Step::Sends { which, request }),
        1 => (which, 0usize..50).prop_map(|(which, request)| Step::Rejects { which, request }),
        5 => prop::bool::weighted(0.8).prop_map(|good| Step::Verdict { good }),
        2 => priorities.prop_map(|priorities| Step::Wants { priorities }),
        1 => piece.prop_map(|piece| Step::Deadline { piece }),
        1 => any::<bool>().prop_map(Step::Sequential),
        2 => (1u64..8).prop_map(|seconds| Step::Passes { seconds }),
    ];
    prop::collection::vec(step, 1..150)
}

/// What a peer knows of us.
#[derive(Debug, Default)]
struct Told {
    has: BTreeSet<u32>,
    interested: bool,
    asked: Vec<BlockSpan>,
}

struct Scene {
    bench: Bench,
    peers: BTreeMap<PeerKey, Told>,
    verifying: Vec<u32>,
    completions: usize,
}

impl Scene {
    fn note(&mut self, outputs: Vec<Output<()>>) {
        for output in outputs {
            match output {
                Output::Send(key, message) => {
                    let Some(told) = self.peers.get_mut(&key) else { continue };
                    match message {
                        Message::Interested => told.interested = true,
                        Message::NotInterested => told.interested = false,
                        Message::Request(span) => told.asked.push(span),
                        Message::Cancel(span) => told.asked.retain(|other| *other != span),
                        _ => {}
                    }
                }
                Output::Disconnect(key, _) => _ = self.peers.remove(&key),
                Output::Verify { piece, .. } => self.verifying.push(piece.get()),
                Output::Event(Event::Completed) => self.completions += 1,
                _ => {}
            }
        }
    }

    fn peer(&self, which: usize) -> Option<PeerKey> {
        self.peers.keys().nth(which % self.peers.len().max(1)).copied()
    }

    fn asked(&mut self, which: usize, request: usize) -> Option<(PeerKey, BlockSpan)> {
        let key = self.peer(which)?;
        let asked = &mut self.peers.get_mut(&key)?.asked;
        (!asked.is_empty()).then(|| (key, asked.remove(request % asked.len())))
    }

    fn step(&mut self, step: Step) {
        let now = self.bench.now;
        let outputs = match step {
            Step::Comes { has, modern } if self.peers.len() < 6 => {
                let key = if modern { self.bench.peer() } else { self.bench.old_peer() };
                let mut bits = Bitfield::none(6);
                has.iter().for_each(|&number| assert!(bits.set(piece(number))));
                self.peers.insert(key, Told { has, ..Told::default() });
                self.bench.says(key, Message::Bitfield(bits.as_wire().to_vec()))
            }
            Step::Leaves { which } => {
                let Some(key) = self.peer(which) else { return };
                self.peers.remove(&key);
                self.bench.machine.handle_disconnected(now, key);
                self.bench.outputs()
            }
            Step::Gains { which, piece } => {
                let Some(key) = self.peer(which) else { return };
                self.peers.entry(key).and_modify(|told| _ = told.has.insert(piece));
                self.bench.says(key, Message::Have(piece))
            }
            Step::Chokes { which, chokes } => {
                let Some(key) = self.peer(which) else { return };
                self.bench.says(key, if chokes { Message::Choke } else { Message::Unchoke })
            }
            Step::Sends { which, request } => {
                let Some((key, span)) = self.asked(which, request) else { return };
                self.bench.block(key, span)
            }
            Step::Rejects { which, request } => {
                let Some((key, span)) = self.asked(which, request) else { return };
                self.bench.says(key, Message::Reject(span))
            }
            Step::Verdict { good } => {
                let Some(number) = self.verifying.pop() else { return };
                let verdict = if good { Verdict::Written } else { Verdict::Mismatch };
                self.bench.verdict(number, verdict, &[[0; 20]; 4])
            }
            Step::Wants { priorities } => {
                let priority = |piece: quelea_metainfo::geometry::PieceIndex| {
                    Priority::new(priorities[piece.at()]).unwrap()
                };
                self.bench.machine.set_priorities(now, priority);
                self.bench.outputs()
            }
            Step::Deadline { piece: number } => {
                self.bench.machine.set_deadline(now, piece(number), now + Duration::from_secs(3));
                self.bench.outputs()
            }
            Step::Sequential(sequential) => {
                self.bench.machine.set_sequential(sequential);
                Vec::new()
            }
            Step::Passes { seconds } => self.bench.pass(seconds),
            Step::Comes { .. } => return,
        };
        self.note(outputs);
    }

    fn needs(&self, number: u32) -> bool {
        let machine = &self.bench.machine;
        machine.priority(piece(number)).is_wanted() && !machine.have().has(piece(number))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_wished_for_peers_are_told_rightly(steps in steps()) {
        let mut scene =
            Scene { bench: Bench::leecher(), peers: BTreeMap::new(), verifying: Vec::new(), completions: 0 };
        let (mut complete, mut completions) = (false, 0);
        for step in steps {
            scene.step(step);
            for (key, told) in &scene.peers {
                let useful = told.has.iter().any(|&number| scene.needs(number));
                prop_assert_eq!(told.interested, useful, "{}", key);
                for span in &told.asked {
                    prop_assert!(told.has.contains(&span.piece), "it is asked for what it lacks");
                }
            }
            let is_complete = geometry().iter().all(|piece| !scene.needs(piece.get()));
            prop_assert_eq!(scene.bench.machine.is_complete(), is_complete);
            completions += usize::from(is_complete && !complete);
            complete = is_complete;
            prop_assert_eq!(scene.completions, completions, "each completion is told once");
        }
    }
}
