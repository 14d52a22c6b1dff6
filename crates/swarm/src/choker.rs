//! Whom to upload to: slots for interested peers.
//!
//! While downloading, slots go to the peers that send us most (tit for tat, [`leech`]); one at least, and all that
//! nobody has earned, are chances for the others (the optimistic unchoke of BEP 3). While seeding they go by turns,
//! to the fastest, or to those that spread most ([`seed`], [`SeedChoking`]). How many there are follows what the
//! uplink can use ([`slots`], [`lending`]). All of it is pure functions over figures, at rounds of [`ROUND`]; in between, slots that
//! are free are filled and nobody loses one, because a peer that is choked loses the requests on their way (BEP 3,
//! "fibrillation").

pub mod leech;
pub mod lending;
pub mod pace;
pub mod seed;
pub mod slots;

use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::time::Duration;
use fastrand::Rng;

/// How often the ranking is made again (BEP 3: "every ten seconds").
pub const ROUND: Duration = Duration::from_secs(10);
/// The first rounds are shorter: who has just come knows nobody, and what it learns in a second is worth acting upon.
pub const FIRST_ROUNDS: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(5)];
/// How many rounds a chance lasts (BEP 3: "every 30 seconds").
pub const CHANCE_ROUNDS: u32 = 3;
/// Chances in vain after which a peer's next chance is no further away.
const MOST_IN_VAIN: u32 = 4;
/// So many thousandths behind the others are a step.
const LAG: u32 = 5;
/// Further behind than so many steps makes no difference any more.
const MOST_LAG: u32 = 40;
/// A peer that has something for us and gave nothing for a chance has no other for this long, doubled with each.
const REST: Duration = Duration::from_secs(30);

/// How a seed chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeedChoking {
    /// Everybody in turn: a slot is held until its peer has taken its share.
    #[default]
    RoundRobin,
    /// Those that take fastest, and one other.
    FastestUpload,
    /// Those that have just begun and those that are nearly done: who has half of everything has enough to trade with.
    AntiLeech,
}

/// What the choker knows of an interested peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The peer.
    pub peer: PeerKey,
    /// Bytes that it sent us lately, or while seeding that it took from us; comparable among peers only.
    pub rate: u64,
    /// Whether it has a slot.
    pub unchoked: bool,
    /// The rounds that it has had its slot.
    pub rounds: u32,
    /// How long it has had its slot, or has been without.
    pub since: Duration,
    /// Bytes that it has taken since it has its slot.
    pub taken: u64,
    /// Whether its slot is a chance.
    pub is_chance: bool,
    /// Whether it has had its chance.
    pub is_over: bool,
    /// How often in a row it had a chance and gave nothing for it.
    pub in_vain: u32,
    /// How much of the torrent it has, in thousandths.
    pub progress: u32,
    /// Whether it gives for what it takes, though perhaps nothing at the moment.
    pub gives: bool,
    /// Whether it gave us so much more than we gave it that it may soon take us for one that gives nothing.
    pub is_owed: bool,
}

/// Who holds the slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Slots that were earned, or are held for a seed's turn.
    pub earned: Vec<PeerKey>,
    /// Chances: after a piece they go to somebody else, if anybody waits.
    pub chances: Vec<PeerKey>,
}

impl Grant {
    /// Whether this peer holds a slot.
    pub fn has(&self, peer: PeerKey) -> bool {
        self.earned.contains(&peer) || self.chances.contains(&peer)
    }

    /// All who hold a slot.
    pub fn all(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.earned.iter().chain(&self.chances).copied()
    }
}

/// Bytes of a chance, if a piece is no longer than that: less would cost more messages than it is worth.
const CHANCE: u64 = 512 << 10;

/// Bytes of a chance for somebody of whom no good is known, if a piece is no longer than that.
const FIRST_CHANCE: u64 = 128 << 10;

/// Whether a chance is over: so much was taken, or so long did it last. Who has given something may take more than who
/// has not: somebody who goes from one to the next and gives nothing must not live on it.
pub fn is_over(taken: u64, rounds: u32, piece_length: u32, known: bool) -> bool {
    let share = if known { CHANCE } else { FIRST_CHANCE };
    rounds >= CHANCE_ROUNDS || taken >= u64::from(piece_length).max(share)
}

impl Candidate {
    /// Whether it gave nothing for a chance, and not long ago.
    fn rests(&self) -> bool {
        self.in_vain > 0 && self.since < REST * (1 << self.in_vain.min(MOST_IN_VAIN))
    }
}

/// The order in which peers without a slot get one that nobody has earned: who has waited longest, and by lot among
/// equals. The wait of one that gave nothing for its chances counts less. That of one that gives counts twice, and with
/// the square of how far it lags behind the others: who sends little earns little, and a swarm is done when its last
/// member is. One that is owed counts as if it lagged far behind. Nobody waits for ever.
fn by_wait(mut waiting: Vec<Candidate>, rng: &mut Rng) -> Vec<Candidate> {
    rng.shuffle(&mut waiting);
    let sum: u64 = waiting.iter().map(|candidate| u64::from(candidate.progress)).sum();
    let mean = (sum / waiting.len().max(1) as u64) as u32;
    waiting.sort_by_key(|candidate| {
        let weight = candidate.in_vain.min(MOST_IN_VAIN);
        let lag = (mean.saturating_sub(candidate.progress) / LAG).min(MOST_LAG);
        let lag = u64::from(if candidate.is_owed { MOST_LAG } else { lag });
        let factor = if candidate.gives && weight == 0 { 2 + lag * lag } else { 1 };
        // Waits are compared by the second: those who came together draw lots.
        (candidate.rests(), core::cmp::Reverse((candidate.since.as_secs() * factor) >> weight))
    });
    waiting
}
