//! Whom to upload to: a fixed number of slots for interested peers.
//!
//! While downloading, the slots go to the peers that send us most (tit for tat); while seeding, to those that
//! take fastest. One slot is kept for a peer chosen at random among the others (the optimistic unchoke of BEP 3),
//! so that newcomers get something to trade. Pure functions over figures: every [`ROUND`] slots go to whom they
//! should ([`grant`]); in between those that are free are filled and nobody loses one ([`fill`]), because a peer
//! that is choked loses the requests on their way (BEP 3, "fibrillation").

use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::time::Duration;
use fastrand::Rng;

/// How often the ranking is made again (BEP 3: "every ten seconds").
pub const ROUND: Duration = Duration::from_secs(10);
/// How many rounds the optimistic peer keeps its slot (BEP 3: "every 30 seconds").
pub const OPTIMISTIC_ROUNDS: u32 = 3;

/// What the choker knows of an interested peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The peer.
    pub peer: PeerKey,
    /// Bytes a second that it sends us, or while seeding that it takes from us.
    pub rate: u64,
    /// Whether it has a slot.
    pub unchoked: bool,
    /// Whether it holds the optimistic slot.
    pub optimistic: bool,
}

/// Who gets a slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// All peers with a slot.
    pub unchoked: Vec<PeerKey>,
    /// The one of them that has the optimistic slot.
    pub optimistic: Option<PeerKey>,
}

/// Gives `slots` slots to the candidates. With `rotate`, the optimistic slot goes to another peer.
pub fn grant(candidates: &[Candidate], slots: usize, rotate: bool, rng: &mut Rng) -> Grant {
    if candidates.len() <= slots {
        return Grant {
            unchoked: candidates.iter().map(|candidate| candidate.peer).collect(),
            optimistic: candidates.iter().find(|candidate| candidate.optimistic).map(|found| found.peer),
        };
    }
    let mut ranked: Vec<Candidate> = candidates.to_vec();
    // Ties keep who has a slot, so that a slot does not move without a reason.
    ranked.sort_by_key(|candidate| (core::cmp::Reverse(candidate.rate), !candidate.unchoked, candidate.peer));
    let regular = slots.saturating_sub(1);
    let mut unchoked: Vec<PeerKey> = ranked.iter().take(regular).map(|candidate| candidate.peer).collect();
    let rest = ranked.get(regular..).unwrap_or_default();
    let holder = rest.iter().find(|candidate| candidate.optimistic).filter(|_| !rotate);
    let others: Vec<&Candidate> = rest.iter().filter(|candidate| !candidate.optimistic).collect();
    let optimistic = holder.or_else(|| others.get(rng.usize(..others.len().max(1))).copied());
    let optimistic = optimistic.filter(|_| slots > 0).map(|candidate| candidate.peer);
    unchoked.extend(optimistic);
    Grant { unchoked, optimistic }
}

/// Gives the slots that are free to the best of those that have none.
pub fn fill(candidates: &[Candidate], slots: usize, rng: &mut Rng) -> Grant {
    let (holders, mut others): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().copied().partition(|candidate| candidate.unchoked);
    rng.shuffle(&mut others);
    others.sort_by_key(|candidate| core::cmp::Reverse(candidate.rate));
    let free = slots.saturating_sub(holders.len());
    Grant {
        unchoked: holders.iter().chain(others.iter().take(free)).map(|candidate| candidate.peer).collect(),
        optimistic: holders.iter().find(|candidate| candidate.optimistic).map(|found| found.peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peers;
    use alloc::collections::BTreeSet;

    fn candidates(rates: &[u64]) -> Vec<Candidate> {
        let mut peers = Peers::default();
        rates
            .iter()
            .map(|&rate| Candidate { peer: peers.insert(()), rate, unchoked: false, optimistic: false })
            .collect()
    }

    #[test]
    fn few_peers_all_get_a_slot() {
        let candidates = candidates(&[0, 0, 0]);
        assert_eq!(grant(&candidates, 4, false, &mut Rng::with_seed(1)).unchoked.len(), 3);
    }

    #[test]
    fn the_fastest_get_the_regular_slots_and_one_other_a_chance() {
        let candidates = candidates(&[1, 9, 2, 8, 3, 7]);
        let fastest: BTreeSet<_> = [1, 3, 5].map(|index: usize| candidates[index].peer).into();
        let mut chances = BTreeSet::new();
        for seed in 0..100 {
            let grant = grant(&candidates, 4, true, &mut Rng::with_seed(seed));
            assert_eq!(grant.unchoked.len(), 4);
            assert!(fastest.iter().all(|peer| grant.unchoked.contains(peer)));
            chances.insert(grant.optimistic.unwrap());
        }
        assert_eq!(chances.len(), 3, "each slow peer has its turn");
    }

    #[test]
    fn the_optimistic_slot_stays_until_it_is_rotated() {
        let mut candidates = candidates(&[5, 4, 3, 2, 1]);
        candidates[4].optimistic = true;
        for seed in 0..20 {
            let kept = grant(&candidates, 2, false, &mut Rng::with_seed(seed));
            assert_eq!(kept.optimistic, Some(candidates[4].peer));
            let moved = grant(&candidates, 2, true, &mut Rng::with_seed(seed));
            assert_ne!(moved.optimistic, Some(candidates[4].peer));
        }
    }

    #[test]
    fn a_free_slot_is_filled_and_nobody_loses_one() {
        let mut candidates = candidates(&[1, 9, 2, 8, 3]);
        candidates[0].unchoked = true;
        candidates[4].unchoked = true;
        let filled = fill(&candidates, 3, &mut Rng::with_seed(1));
        assert_eq!(filled.unchoked, [0, 4, 1].map(|index: usize| candidates[index].peer));
        let full = fill(&candidates, 2, &mut Rng::with_seed(1));
        assert_eq!(full.unchoked, [0, 4].map(|index: usize| candidates[index].peer));
    }

    #[test]
    fn no_slots_are_no_slots() {
        assert_eq!(grant(&candidates(&[1, 2]), 0, true, &mut Rng::with_seed(1)), Grant::default());
    }
}
