//! Who gets a slot: tables, and what holds whatever the swarm is like.
#![allow(clippy::unwrap_used, missing_docs)]

use core::time::Duration;
use fastrand::Rng;
use proptest::prelude::*;
use quelea_swarm::choker::slots::{Demand, Division, Report, divide};
use quelea_swarm::choker::{Candidate, Grant, ROUND, SeedChoking, is_over, leech, seed};
use quelea_swarm::peers::{PeerKey, Peers};
use quelea_time::Time;
use std::collections::BTreeSet;

fn candidates(rates: &[u64]) -> Vec<Candidate> {
    let mut peers = Peers::default();
    let candidate = |&rate: &u64| Candidate {
        peer: peers.insert(()),
        rate,
        unchoked: false,
        rounds: 0,
        since: Duration::from_secs(100),
        taken: 0,
        is_chance: false,
        is_over: false,
        in_vain: 0,
        progress: 500,
        gives: false,
        is_owed: false,
    };
    rates.iter().map(candidate).collect()
}

fn holders(grant: &Grant) -> BTreeSet<PeerKey> {
    grant.all().collect()
}

#[test]
fn few_peers_all_get_a_slot() {
    let candidates = candidates(&[0, 0, 0]);
    assert_eq!(holders(&leech::grant(&candidates, 4, &mut Rng::with_seed(1))).len(), 3);
}

#[test]
fn those_that_give_most_earn_slots_and_all_others_have_their_chance() {
    let candidates = candidates(&[1, 9, 2, 8, 3, 7]);
    let best: Vec<PeerKey> = [1, 3].map(|index: usize| candidates[index].peer).into();
    let mut chances = BTreeSet::new();
    for seed in 0..100 {
        let grant = leech::grant(&candidates, 4, &mut Rng::with_seed(seed));
        assert_eq!(grant.earned, best);
        assert_eq!(grant.chances.len(), 2);
        chances.extend(grant.chances);
    }
    assert_eq!(chances.len(), 4, "each of the others has its turn");
}

#[test]
fn a_chance_lasts_for_a_piece_or_three_rounds() {
    let mut candidates = candidates(&[0; 6]);
    candidates[4] = Candidate { unchoked: true, is_chance: true, ..candidates[4] };
    for seed in 0..20 {
        let kept = leech::grant(&candidates, 2, &mut Rng::with_seed(seed));
        assert!(kept.has(candidates[4].peer));
        let mut over = candidates.clone();
        over[4].is_over = true;
        assert!(!leech::grant(&over, 2, &mut Rng::with_seed(seed)).has(candidates[4].peer));
        let alone = leech::grant(&over[4..5], 2, &mut Rng::with_seed(seed));
        assert!(alone.has(candidates[4].peer), "nobody else wants the slot");
    }
    let cases = [
        (0, 0, 1 << 20, true, false),
        (0, 3, 1 << 20, true, true),
        (1 << 20, 0, 1 << 20, true, true),
        ((1 << 20) - 1, 2, 1 << 20, true, false),
        (1 << 18, 0, 1 << 18, true, false),
        (1 << 18, 0, 1 << 18, false, true),
        (1 << 16, 0, 1 << 14, false, false),
        (1 << 17, 0, 1 << 14, false, true),
    ];
    for (taken, rounds, piece, known, over) in cases {
        assert_eq!(is_over(taken, rounds, piece, known), over, "{taken} bytes in {rounds} rounds");
    }
}

#[test]
fn who_gave_nothing_for_its_chance_comes_after_newcomers_and_those_who_wait() {
    let mut candidates = candidates(&[0; 4]);
    candidates[0].in_vain = 1;
    candidates[0].since = Duration::from_secs(59);
    candidates[1].since = Duration::ZERO;
    candidates[2].since = Duration::from_secs(1);
    candidates[3].since = Duration::from_secs(2);
    let order = |slots| leech::fill(&candidates, slots, &mut Rng::with_seed(1)).chances;
    assert_eq!(order(4), [3, 2, 1, 0].map(|index: usize| candidates[index].peer));
}

#[test]
fn who_gives_and_lags_behind_waits_less() {
    let mut candidates = candidates(&[0; 3]);
    for (candidate, progress) in candidates.iter_mut().zip([900, 900, 300]) {
        *candidate = Candidate { progress, since: Duration::from_secs(10), ..*candidate };
    }
    candidates[0].gives = true;
    candidates[2].gives = true;
    let order = |candidates: &[Candidate]| leech::fill(candidates, 3, &mut Rng::with_seed(1)).chances;
    assert_eq!(order(&candidates), [2, 0, 1].map(|index: usize| candidates[index].peer));
    // Who never gave anything waits no less for what it lacks.
    candidates[2].gives = false;
    assert_eq!(order(&candidates)[0], candidates[0].peer);
}

#[test]
fn who_is_owed_comes_before_who_lags_a_little() {
    let mut candidates = candidates(&[0; 3]);
    for (candidate, progress) in candidates.iter_mut().zip([500, 460, 540]) {
        *candidate = Candidate { gives: true, progress, since: Duration::from_secs(5), ..*candidate };
    }
    let first = |candidates: &[Candidate]| leech::fill(candidates, 1, &mut Rng::with_seed(1)).chances[0];
    assert_eq!(first(&candidates), candidates[1].peer);
    candidates[2].is_owed = true;
    assert_eq!(first(&candidates), candidates[2].peer);
}

#[test]
fn a_wait_counts_with_the_square_of_the_lag_but_not_without_bounds() {
    let candidates = candidates(&[0; 2]);
    let gives = |progress, secs, candidate| Candidate {
        gives: true,
        progress,
        since: Duration::from_secs(secs),
        ..candidate
    };
    let first = |lag: u32, patience| {
        let mut candidates = candidates.clone();
        // Behind the mean of both is half of the difference.
        candidates[0] = gives(1_000 - 2 * lag, 1, candidates[0]);
        candidates[1] = gives(1_000, patience, candidates[1]);
        leech::fill(&candidates, 1, &mut Rng::with_seed(1)).chances[0]
    };
    for (lag, counts) in [(10, 3), (20, 9), (50, 51), (200, 801), (450, 801)] {
        assert_eq!(first(lag, counts - 1), candidates[0].peer, "{lag}");
        assert_eq!(first(lag, counts + 1), candidates[1].peer, "{lag}");
    }
}

#[test]
fn a_free_slot_is_filled_and_nobody_loses_one() {
    let mut candidates = candidates(&[0; 5]);
    candidates[0].unchoked = true;
    candidates[4].unchoked = true;
    candidates[3].since = Duration::from_secs(300);
    for fill in [leech::fill, seed::fill] {
        let filled = fill(&candidates, 3, &mut Rng::with_seed(1));
        assert_eq!(holders(&filled), [0, 4, 3].map(|index: usize| candidates[index].peer).into());
        let full = fill(&candidates, 2, &mut Rng::with_seed(1));
        assert_eq!(holders(&full), [0, 4].map(|index: usize| candidates[index].peer).into());
    }
}

#[test]
fn a_seeds_turn_ends_with_its_share_and_who_waited_longest_follows() {
    let mut candidates = candidates(&[1; 4]);
    let holds = Candidate { unchoked: true, since: Duration::from_secs(20), ..candidates[0] };
    candidates[2].since = Duration::from_secs(500);
    for (taken, keeps) in [(0, true), (seed::SHARE - 1, true), (seed::SHARE, false)] {
        candidates[0] = Candidate { taken, ..holds };
        let grant = seed::grant(SeedChoking::RoundRobin, &candidates, 1, &mut Rng::with_seed(1));
        let holder = if keeps { 0 } else { 2 };
        assert_eq!(holders(&grant), [candidates[holder].peer].into(), "{taken}");
    }
}

#[test]
fn the_ways_to_seed_differ_in_whom_they_favour() {
    let mut candidates = candidates(&[5, 50, 500, 5_000]);
    for (candidate, progress) in candidates.iter_mut().zip([950, 500, 480, 520]) {
        candidate.progress = progress;
    }
    let first = |how| seed::grant(how, &candidates, 2, &mut Rng::with_seed(1));
    assert!(first(SeedChoking::FastestUpload).has(candidates[3].peer));
    assert!(first(SeedChoking::AntiLeech).has(candidates[0].peer), "nearly done");
    assert_eq!(holders(&first(SeedChoking::RoundRobin)).len(), 2);
}

#[test]
fn a_sessions_slots_go_where_they_can_be_used() {
    let demand = |interested, most| Demand { interested, most };
    let cases: [(usize, &[Demand], &[usize]); 6] = [
        (8, &[], &[]),
        (8, &[demand(3, 8)], &[3]),
        (8, &[demand(3, 8), demand(20, 8)], &[3, 5]),
        (8, &[demand(20, 8), demand(20, 8)], &[4, 4]),
        (2, &[demand(1, 4), demand(1, 4), demand(1, 4)], &[1, 1, 0]),
        (9, &[demand(9, 2), demand(0, 9), demand(9, 9)], &[2, 0, 7]),
    ];
    for (slots, demands, expected) in cases {
        assert_eq!(divide(slots, demands), expected, "{slots} {demands:?}");
    }
}

/// A torrent that acts upon what it was told at once, and holds as much as it can use.
fn obeys(division: &mut Division<char>, key: char, interested: usize) {
    for _ in 0..3 {
        let share = division.shares().find(|(other, _)| *other == key).map_or(0, |(_, share)| share);
        let demand = Demand { interested, most: 8 };
        division.note(Time::ZERO, key, Report { demand, share, held: share.min(interested) });
    }
}

#[test]
fn slots_follow_demand_and_what_nobody_wants_is_had_in_advance() {
    let shares = |division: &Division<char>| division.shares().collect::<Vec<_>>();
    let mut division = Division::new(Time::ZERO, 12);
    // What a does, what b does, and what they may hold then.
    let table = [
        ((0, 0), (6, 6)),
        ((0, 3), (5, 7)),
        ((20, 3), (8, 4)),
        ((20, 30), (6, 6)),
        ((1, 30), (4, 8)),
        ((1, 1), (6, 6)),
    ];
    for ((first, second), (a, b)) in table {
        for _ in 0..2 {
            obeys(&mut division, 'a', first);
            obeys(&mut division, 'b', second);
        }
        assert_eq!(shares(&division), [('a', a), ('b', b)], "{first} {second}");
    }
    division.remove('a');
    assert_eq!(shares(&division), [('b', 8)]);
    division.set_slots(1);
    assert_eq!(shares(&division), [('b', 1)]);
}

#[test]
fn what_one_torrent_still_holds_is_not_given_to_another() {
    let report = |interested, share, held| Report { demand: Demand { interested, most: 8 }, share, held };
    let share = |division: &Division<char>, key| {
        division.shares().find(|(other, _)| *other == key).map_or(0, |(_, share)| share)
    };
    let mut division = Division::new(Time::ZERO, 4);
    division.note(Time::ZERO, 'a', report(9, 0, 0));
    division.note(Time::ZERO, 'a', report(9, 4, 4));
    division.note(Time::ZERO, 'b', report(9, 0, 0));
    assert_eq!((share(&division, 'a'), share(&division, 'b')), (2, 0), "two are to be given back");
    division.note(Time::ZERO, 'a', report(9, 4, 4));
    assert_eq!(share(&division, 'b'), 0, "it has not heard of it yet");
    division.note(Time::ZERO, 'a', report(9, 2, 3));
    assert_eq!(share(&division, 'b'), 1, "one has come back");
    division.note(Time::ZERO, 'a', report(9, 2, 2));
    assert_eq!(share(&division, 'b'), 2);
}

#[test]
fn where_there_is_not_a_slot_for_each_torrent_they_take_turns() {
    let mut division = Division::new(Time::ZERO, 2);
    let mut now = Time::ZERO;
    let served = |division: &Division<u32>| -> Vec<u32> {
        division.shares().filter(|(_, slots)| *slots > 0).map(|(key, _)| key).collect()
    };
    let all = |division: &mut Division<u32>, now| {
        for torrent in (0..5).chain(0..5) {
            let share = division.shares().find(|(key, _)| *key == torrent).map_or(0, |(_, share)| share);
            let demand = Demand { interested: 1, most: 8 };
            division.note(now, torrent, Report { demand, share, held: share });
        }
    };
    let mut turns = Vec::new();
    for _ in 0..5 {
        all(&mut division, now);
        turns.push(served(&division));
        now += ROUND;
    }
    assert_eq!(turns, [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4]]);
}

fn anybody() -> impl Strategy<Value = Candidate> {
    (
        0u64..4,
        any::<bool>(),
        0u32..6,
        0u64..200,
        0u64..1 << 23,
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        0u32..6,
        0u32..=1_000,
    )
        .prop_map(
            |(
                rate,
                unchoked,
                rounds,
                since,
                taken,
                (is_chance, is_over, gives, is_owed),
                in_vain,
                progress,
            )| {
                let peer = Peers::default().insert(());
                let since = Duration::from_secs(since);
                Candidate {
                    peer,
                    rate,
                    unchoked,
                    rounds,
                    since,
                    taken,
                    is_chance,
                    is_over,
                    in_vain,
                    progress,
                    gives,
                    is_owed,
                }
            },
        )
}

fn crowd() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(anybody(), 0..40).prop_map(|mut crowd| {
        let mut peers = Peers::default();
        for candidate in &mut crowd {
            candidate.peer = peers.insert(());
        }
        crowd
    })
}

const WAYS: [SeedChoking; 3] = [SeedChoking::RoundRobin, SeedChoking::FastestUpload, SeedChoking::AntiLeech];

proptest! {
    #[test]
    fn every_slot_that_somebody_wants_is_given_and_no_more(crowd in crowd(), slots in 0usize..12, seed: u64) {
        let rng = &mut Rng::with_seed(seed);
        let grants = WAYS.map(|how| seed::grant(how, &crowd, slots, rng));
        for grant in grants.into_iter().chain([leech::grant(&crowd, slots, rng)]) {
            prop_assert_eq!(grant.all().count(), crowd.len().min(slots));
            prop_assert_eq!(holders(&grant).len(), grant.all().count(), "nobody has two");
        }
    }

    #[test]
    fn between_rounds_nobody_loses_a_slot(crowd in crowd(), slots in 0usize..12, seed: u64) {
        let rng = &mut Rng::with_seed(seed);
        let held = crowd.iter().filter(|candidate| candidate.unchoked);
        let held: BTreeSet<PeerKey> = held.map(|candidate| candidate.peer).collect();
        for grant in [leech::fill(&crowd, slots, rng), seed::fill(&crowd, slots, rng)] {
            prop_assert!(holders(&grant).is_superset(&held));
            prop_assert!(grant.all().count() <= slots.max(held.len()));
        }
    }

    /// Rounds follow each other, nobody ever gives anything, and each peer takes a piece in its slot.
    #[test]
    fn every_interested_peer_has_its_chance_in_bounded_time(peers in 1usize..30, slots in 1usize..8, seed: u64) {
        let mut crowd = candidates(&vec![0; peers]);
        let mut rng = Rng::with_seed(seed);
        let mut served = BTreeSet::new();
        let enough = 4 * peers.div_ceil(leech::chances(slots));
        for _ in 0..enough {
            let granted = leech::grant(&crowd, slots, &mut rng);
            prop_assert!(granted.all().count() <= slots);
            served.extend(granted.all());
            for candidate in &mut crowd {
                let has = granted.has(candidate.peer);
                candidate.in_vain += u32::from(candidate.unchoked && !has);
                candidate.rounds = if has { candidate.rounds + 1 } else { 0 };
                candidate.since = if has == candidate.unchoked { candidate.since + ROUND } else { Duration::ZERO };
                candidate.unchoked = has;
                candidate.is_over = is_over(0, candidate.rounds, 1, false);
            }
        }
        prop_assert_eq!(served.len(), peers);
    }

    /// Torrents hear of their shares late, and give slots back later.
    #[test]
    fn never_are_more_slots_held_than_there_are(
        deeds in prop::collection::vec((0usize..6, 0usize..20, 0u64..12, 0usize..40), 0..200),
    ) {
        #[derive(Default, Clone, Copy)]
        struct Model { interested: usize, share: usize, held: usize, there: bool }
        let mut division = Division::new(Time::ZERO, 8);
        let (mut now, mut torrents) = (Time::ZERO, [Model::default(); 6]);
        for (key, interested, seconds, deed) in deeds {
            now += Duration::from_secs(seconds);
            let told = division.shares().find(|(other, _)| *other == key).map_or(0, |(_, share)| share);
            let torrent = &mut torrents[key];
            match deed {
                0..2 => {
                    division.remove(key);
                    *torrent = Model::default();
                }
                // It hears of its share, and uses it.
                2..16 if torrent.there => {
                    torrent.share = told;
                    torrent.held = torrent.held.max(told.min(torrent.interested));
                }
                // It gives back what it must.
                16..24 => torrent.held = torrent.held.min(torrent.share),
                _ => {
                    torrent.there = true;
                    torrent.interested = interested;
                    let demand = Demand { interested, most: 5 };
                    division.note(now, key, Report { demand, share: torrent.share, held: torrent.held });
                }
            }
            let held: usize = torrents.iter().map(|torrent| torrent.held).sum();
            prop_assert!(held <= 8, "{} are held", held);
        }
    }

    /// When all have heard and given back, everything that can be had is given.
    #[test]
    fn no_slot_is_lost(
        demands in prop::collection::vec((0usize..20, 0usize..12), 1..8),
        slots in 0usize..40,
    ) {
        let mut division = Division::new(Time::ZERO, 8);
        division.set_slots(slots);
        for _ in 0..4 {
            for (key, &(interested, most)) in demands.iter().enumerate() {
                let share = division.shares().find(|(other, _)| *other == key).map_or(0, |(_, share)| share);
                let demand = Demand { interested, most };
                division.note(Time::ZERO, key, Report { demand, share, held: share.min(interested) });
            }
        }
        let most: usize = demands.iter().map(|(_, most)| most).sum();
        prop_assert_eq!(division.shares().map(|(_, share)| share).sum::<usize>(), slots.min(most));
    }

    #[test]
    fn slots_are_divided_without_loss(
        slots in 0usize..60,
        demands in prop::collection::vec((0usize..20, 0usize..12), 0..20),
    ) {
        let demands: Vec<Demand> =
            demands.into_iter().map(|(interested, most)| Demand { interested, most }).collect();
        let granted = divide(slots, &demands);
        let wanted: usize = demands.iter().map(|demand| demand.interested.min(demand.most)).sum();
        prop_assert_eq!(granted.iter().sum::<usize>(), slots.min(wanted));
        for (demand, granted) in demands.iter().zip(&granted) {
            prop_assert!(*granted <= demand.interested.min(demand.most));
        }
    }
}
