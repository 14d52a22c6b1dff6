//! Slots of a torrent that downloads: for those that give, and chances for the others.

use super::{Candidate, Grant, by_wait};
use crate::peers::PeerKey;
use alloc::vec::Vec;
use fastrand::Rng;

/// Slots that are always chances: half of them, and of many three quarters. If those who send much had all they
/// earn, they would be done long before the others and then have nobody left who can take as much as they send.
pub fn chances(slots: usize) -> usize {
    slots.div_ceil(2) + slots / 8 * 2
}

/// A round: slots go to whom they should.
pub fn grant(candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    let mut ranked: Vec<Candidate> =
        candidates.iter().copied().filter(|candidate| candidate.rate > 0).collect();
    // Ties keep who has a slot, so that a slot does not move without a reason.
    ranked.sort_by_key(|candidate| (core::cmp::Reverse(candidate.rate), !candidate.unchoked, candidate.peer));
    ranked.truncate(slots.saturating_sub(chances(slots)));
    let earned: Vec<PeerKey> = ranked.iter().map(|candidate| candidate.peer).collect();
    let others = candidates.iter().copied().filter(|candidate| !earned.contains(&candidate.peer));
    let (holders, waiting): (Vec<Candidate>, Vec<Candidate>) =
        others.partition(|candidate| candidate.unchoked);
    let (over, in_time): (Vec<Candidate>, Vec<Candidate>) =
        holders.into_iter().partition(|candidate| candidate.is_over);
    // Those that have had their chance keep their slot if nobody else wants it.
    let chances = in_time.into_iter().chain(by_wait(waiting, rng)).chain(over);
    let room = slots.saturating_sub(earned.len());
    Grant { chances: chances.take(room).map(|candidate| candidate.peer).collect(), earned }
}

/// Between rounds: gives the slots that are free to the best of those that have none; nobody loses one.
pub fn fill(candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    let (holders, waiting): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().copied().partition(|candidate| candidate.unchoked);
    let room = slots.saturating_sub(holders.len());
    let (earned, chances): (Vec<Candidate>, Vec<Candidate>) =
        holders.into_iter().partition(|candidate| !candidate.is_chance);
    let chances = chances.into_iter().chain(by_wait(waiting, rng).into_iter().take(room));
    Grant {
        earned: earned.into_iter().map(|candidate| candidate.peer).collect(),
        chances: chances.map(|candidate| candidate.peer).collect(),
    }
}
