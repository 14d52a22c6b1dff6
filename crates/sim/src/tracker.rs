//! The tracker of a world: it knows who announced, and at times it does not answer.
//!
//! Its answers are written as an HTTP tracker writes them and read by the code that reads those.

use core::time::Duration;
use fastrand::Rng;
use quelea_bencode::Item;
use quelea_time::Time;
use quelea_tracker::{AnnounceRequest, AnnounceResponse, Event, Failure, http};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How the tracker of a world behaves.
#[derive(Debug, Clone, Copy)]
pub struct TrackerPlan {
    /// The regular interval.
    pub interval: Duration,
    /// The shortest interval that it tolerates.
    pub min_interval: Duration,
    /// Peers in one answer at most.
    pub peers: usize,
    /// How many of a thousand requests get no answer.
    pub silence: u32,
    /// The one node that it names, by its number in the world, if it names no other.
    pub names: Option<usize>,
    /// How many of a thousand requests it refuses, with a reason.
    pub refusals: u32,
    /// How many of a thousand answers are cut off somewhere.
    pub garbage: u32,
    /// Whether it knows all nodes from another day: then many dial each other at once, and some who are not there.
    pub remembers: bool,
}

/// How long a request without an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The tracker of a world.
#[derive(Debug)]
pub(crate) struct Tracker {
    plan: TrackerPlan,
    /// Whom alone it names.
    named: Option<SocketAddr>,
    /// Who announced, and whether it had nothing left to get.
    swarm: BTreeMap<SocketAddr, bool>,
    rng: Rng,
    pub(crate) announces: u64,
    pub(crate) silences: u64,
    pub(crate) refusals: u64,
    pub(crate) garbage: u64,
}

/// What comes back, and when.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) at: Time,
    pub(crate) answer: Result<AnnounceResponse, Failure>,
}

impl Tracker {
    /// A tracker of a world in which there will be these nodes.
    pub(crate) fn new(plan: TrackerPlan, nodes: impl Iterator<Item = SocketAddr>, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        let nodes: Vec<SocketAddr> = nodes.collect();
        let named = plan.names.and_then(|number| nodes.get(number).copied());
        let swarm = nodes.into_iter().filter(|_| plan.remembers).map(|node| (node, false)).collect();
        Self { plan, named, swarm, rng, announces: 0, silences: 0, refusals: 0, garbage: 0 }
    }

    /// An announce from a node that listens at `from`.
    pub(crate) fn announce(&mut self, now: Time, from: SocketAddr, request: &AnnounceRequest) -> Answer {
        self.announces += 1;
        if self.rng.u32(0..1_000) < self.plan.silence {
            self.silences += 1;
            return Answer { at: now + PATIENCE, answer: Err(Failure::TimedOut) };
        }
        match request.event {
            Some(Event::Stopped) => {
                self.swarm.remove(&from);
            }
            Some(Event::Started | Event::Completed | Event::Paused) | None => {
                self.swarm.insert(from, request.left == 0);
            }
        }
        let at = now + Duration::from_millis(self.rng.u64(20..400));
        let mut body = self.body(from, request);
        if self.plan.refusals > 0 && self.rng.u32(0..1_000) < self.plan.refusals {
            self.refusals += 1;
            body = Item::dict([("failure reason", Item::Bytes(b"come back later".to_vec()))]).encode();
        } else if self.plan.garbage > 0 && self.rng.u32(0..1_000) < self.plan.garbage {
            self.garbage += 1;
            body.truncate(self.rng.usize(0..body.len()));
        }
        Answer { at, answer: http::read_announce(200, &body) }
    }

    fn body(&mut self, from: SocketAddr, request: &AnnounceRequest) -> Vec<u8> {
        let seeds = self.swarm.values().filter(|&&seed| seed).count();
        let leechers = self.swarm.len() - seeds;
        let mut others: Vec<SocketAddr> = self.swarm.keys().copied().filter(|peer| *peer != from).collect();
        if let Some(named) = self.named {
            others.retain(|peer| *peer == named);
        }
        self.rng.shuffle(&mut others);
        others.truncate(self.plan.peers.min(request.num_want.map_or(50, |wanted| wanted as usize)));
        let integer = |number: u64| Item::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let dictionary = [
            ("complete", integer(seeds as u64)),
            ("incomplete", integer(leechers as u64)),
            ("interval", integer(self.plan.interval.as_secs())),
            ("min interval", integer(self.plan.min_interval.as_secs())),
            ("peers", Item::Bytes(compact(&others))),
        ];
        Item::dict(dictionary).encode()
    }
}

/// Six bytes for each IPv4 peer (BEP 23).
fn compact(peers: &[SocketAddr]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(peers.len() * 6);
    for peer in peers {
        if let SocketAddr::V4(peer) = peer {
            bytes.extend(peer.ip().octets());
            bytes.extend(peer.port().to_be_bytes());
        }
    }
    bytes
}
