//! Slots of a torrent that has everything it wants.

use super::{CHANCE_ROUNDS, Candidate, Grant, SeedChoking, by_wait};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;
use fastrand::Rng;

/// A turn lasts at least this long, whatever was taken in it.
const TURN: Duration = Duration::from_secs(20);
/// A turn is over when so many bytes were taken in it, and so much of the torrent.
pub const SHARE: u64 = 4 << 20;
/// A turn in which little is taken is over after this.
const LONGEST_TURN: Duration = Duration::from_secs(60);

/// A round: slots go to whom they should.
pub fn grant(how: SeedChoking, candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    match how {
        SeedChoking::RoundRobin => by_turns(candidates, slots, rng),
        SeedChoking::FastestUpload => fastest(candidates, slots, rng),
        SeedChoking::AntiLeech => spreaders(candidates, slots),
    }
}

/// Between rounds: gives the slots that are free to whose turn it is; nobody loses one.
pub fn fill(candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    let (holders, waiting): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().copied().partition(|candidate| candidate.unchoked);
    let room = slots.saturating_sub(holders.len());
    let (earned, chances): (Vec<Candidate>, Vec<Candidate>) =
        holders.into_iter().partition(|candidate| !candidate.is_chance);
    let waiting = by_wait(waiting, rng).into_iter().take(room);
    let (proven, others): (Vec<Candidate>, Vec<Candidate>) =
        waiting.partition(|candidate| candidate.rate > 0);
    let chances = chances.into_iter().chain(others).map(|candidate| candidate.peer).collect();
    Grant { chances, ..held(earned.into_iter().chain(proven)) }
}

/// Whether a peer has had its turn.
fn is_over(candidate: &Candidate) -> bool {
    candidate.since >= LONGEST_TURN || (candidate.since >= TURN && candidate.taken >= SHARE)
}

fn by_turns(candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    let (holders, waiting): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().copied().partition(|candidate| candidate.unchoked);
    let (mut over, current): (Vec<Candidate>, Vec<Candidate>) = holders.into_iter().partition(is_over);
    // If there is nobody to take over, who took least goes on.
    over.sort_by_key(|candidate| (candidate.taken, candidate.peer));
    let order = current.into_iter().chain(by_wait(waiting, rng)).chain(over);
    // Who has not yet been seen to give on what it was given takes a piece at a time.
    let (proven, others): (Vec<Candidate>, Vec<Candidate>) =
        order.take(slots).partition(|candidate| candidate.rate > 0);
    Grant {
        chances: others.into_iter().map(|candidate| candidate.peer).collect(),
        ..held(proven.into_iter())
    }
}

fn fastest(candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    let mut ranked: Vec<Candidate> = candidates.to_vec();
    ranked.sort_by_key(|candidate| (Reverse(candidate.rate), !candidate.unchoked, candidate.peer));
    let rest = ranked.split_off(slots.saturating_sub(1).min(ranked.len()));
    let (holders, waiting): (Vec<Candidate>, Vec<Candidate>) =
        rest.into_iter().partition(|candidate| candidate.unchoked);
    let (in_time, over): (Vec<Candidate>, Vec<Candidate>) =
        holders.into_iter().partition(|candidate| candidate.rounds < CHANCE_ROUNDS);
    let chances = in_time.into_iter().chain(by_wait(waiting, rng)).chain(over);
    held(ranked.into_iter().chain(chances).take(slots))
}

fn spreaders(candidates: &[Candidate], slots: usize) -> Grant {
    let mut ranked: Vec<Candidate> = candidates.to_vec();
    ranked.sort_by_key(|candidate| {
        let from_the_middle = candidate.progress.abs_diff(500) / 50;
        let current = candidate.unchoked && !is_over(candidate);
        // Among alike, who has its turn goes on, and then who has waited longest.
        let waited = if candidate.unchoked { 0 } else { candidate.since.as_secs() };
        (Reverse(from_the_middle), !current, Reverse(waited), candidate.peer)
    });
    held(ranked.into_iter().take(slots))
}

fn held(candidates: impl Iterator<Item = Candidate>) -> Grant {
    Grant { earned: candidates.map(|candidate| candidate.peer).collect(), chances: Vec::new() }
}
