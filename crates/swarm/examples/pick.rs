//! What a choice costs, in torrents of 100 to 2,000,000 pieces.
//!
//! `cargo run --release -p quelea-swarm --example pick -- [PEERS]`
//!
//! A choice is: pick one block for a peer, and give it back, so that nothing changes from one to the next. Pieces
//! have one block, so that each choice is one of a piece. The figures are nanoseconds, the median of many short runs
//! (so that other processes matter little), each over all peers in turn, as a table for bench/README.md.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use fastrand::Rng;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry};
use quelea_swarm::peers::{PeerKey, Peers};
use quelea_swarm::picker::{Picker, Wish};
use quelea_time::Time;
use quelea_wire::Bitfield;
use std::time::Instant;

const SIZES: [u32; 4] = [100, 10_000, 200_000, 2_000_000];
/// Choices in a run, and runs.
const CHOICES: usize = 1_000;
const RUNS: usize = 60;

/// What the peers have.
#[derive(Debug, Clone, Copy)]
enum Crowd {
    /// Everything.
    Seeds,
    /// Anything between nothing and everything, at random.
    Leechers,
    /// One piece of a thousand, at least one.
    Newcomers,
    /// All have the last of a thousand, and every other one half of the rest: the others do not have the rarest.
    Split,
}

impl Crowd {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Seeds, "all have everything"),
        (Self::Leechers, "each has a share of its own, 0 to 100 %"),
        (Self::Newcomers, "each has one piece of 1,000"),
        (Self::Split, "half have but 0.1 %, the commonest"),
    ];

    fn set(self, peer: usize, pieces: u32, rng: &mut Rng) -> Bitfield {
        let geometry = Geometry::new(u64::from(pieces), 1).unwrap();
        let mut bits = Bitfield::none(pieces);
        let share = rng.u32(..1_000);
        let last = pieces - pieces.div_ceil(1_000);
        for piece in geometry.iter() {
            let has = match self {
                Self::Seeds => true,
                Self::Leechers => rng.u32(..1_000) < share,
                Self::Newcomers => rng.u32(..1_000) == 0,
                Self::Split => piece.get() >= last || (peer.is_multiple_of(2) && rng.bool()),
            };
            if has {
                bits.set(piece);
            }
        }
        if bits.is_none() {
            bits.set(geometry.piece(rng.u32(..pieces)).unwrap());
        }
        bits
    }
}

struct Swarm {
    picker: Picker<()>,
    peers: Vec<(PeerKey, Bitfield)>,
}

impl Swarm {
    /// A swarm in which `done` of a thousand pieces are here.
    fn new(crowd: Crowd, pieces: u32, count: usize, done: u32) -> Self {
        let mut rng = Rng::with_seed(1);
        let geometry = Geometry::new(u64::from(pieces) * u64::from(BLOCK_LENGTH), BLOCK_LENGTH).unwrap();
        let mut have = Bitfield::none(pieces);
        for piece in geometry.iter().filter(|_| rng.u32(..1_000) < done) {
            have.set(piece);
        }
        let mut picker = Picker::new(geometry, &Bitfield::all(pieces), have, 1);
        let mut keys = Peers::default();
        let peers: Vec<_> =
            (0..count).map(|peer| (keys.insert(()), crowd.set(peer, pieces, &mut rng))).collect();
        for (_, has) in &peers {
            picker.peer_joined(has);
        }
        Self { picker, peers }
    }

    /// Nanoseconds that one choice takes.
    fn choose(&mut self) -> f64 {
        let mut picked = Vec::new();
        let mut peers = self.peers.iter().cycle();
        median(|| {
            let start = Instant::now();
            for (peer, has) in peers.by_ref().take(CHOICES) {
                let wish = Wish {
                    now: Time::ZERO,
                    peer: *peer,
                    has,
                    count: 1,
                    suggested: &[],
                    only: None,
                    rate: 1_000_000,
                    snubbed: false,
                    idle: false,
                    led_after: usize::MAX,
                    proven: true,
                };
                self.picker.pick(wish, &mut picked);
                for span in picked.drain(..) {
                    self.picker.release(span, *peer);
                }
            }
            start.elapsed().as_nanos() as f64 / CHOICES as f64
        })
    }

    /// Nanoseconds that one `have` takes, of a piece and a peer at random.
    fn have(&mut self, pieces: u32) -> f64 {
        let geometry = Geometry::new(u64::from(pieces), 1).unwrap();
        let mut rng = Rng::with_seed(2);
        median(|| {
            let news: Vec<_> = (0..CHOICES).map(|_| geometry.piece(rng.u32(..pieces)).unwrap()).collect();
            let start = Instant::now();
            for piece in news {
                self.picker.peer_has(self.peers[0].0, piece);
            }
            start.elapsed().as_nanos() as f64 / CHOICES as f64
        })
    }
}

fn median(run: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = std::iter::repeat_with(run).take(RUNS).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let count: usize = std::env::args().nth(1).map_or(50, |text| text.parse().unwrap());
    let heads = SIZES.map(|pieces| format!(" {pieces} |")).concat();
    println!("| {count} peers | here |{heads}");
    println!("|---|---|{}", "---|".repeat(SIZES.len()));
    for (crowd, what) in Crowd::ALL {
        for (done, here) in [(0, "nothing"), (500, "half"), (990, "99 %")] {
            let cells =
                SIZES.map(|pieces| format!(" {:.0} |", Swarm::new(crowd, pieces, count, done).choose()));
            println!("| {what} | {here} |{}", cells.concat());
        }
    }
    let mut swarms = SIZES.map(|pieces| (pieces, Swarm::new(Crowd::Leechers, pieces, count, 0)));
    let cells = swarms.each_mut().map(|(pieces, swarm)| format!(" {:.0} |", swarm.have(*pieces)));
    println!("| a `have` comes | nothing |{}", cells.concat());
    let cells = swarms
        .each_ref()
        .map(|(pieces, swarm)| format!(" {:.2} |", swarm.picker.order_bytes() as f64 / f64::from(*pieces)));
    println!("| bytes a piece, for the order | nothing |{}", cells.concat());
}
