//! Two hundred worlds: in each everybody gets what it wants in time, and nothing contradicts on the way.
//!
//! A world that fails says how to replay it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use quelea_sim::{Faults, Kind, Role, Scenario};

/// Worlds of each kind.
const WORLDS: u64 = 16;
/// Of these, so many are checked at every step; the others now and then, which is faster.
const CHECKED: usize = 2;

/// Runs the worlds of a kind. What went wrong in them because it was meant to.
fn run(kind: Kind) -> Faults {
    let mut faults = Faults::default();
    for (number, seed) in kind.seeds(WORLDS).enumerate() {
        let mut scenario = Scenario::of_seed(seed);
        scenario.checks_every = if number < CHECKED { 1 } else { 16 };
        match quelea_sim::run(scenario) {
            Ok(summary) => {
                let riders = summary.nodes.iter().filter(|node| node.role == Role::Rider);
                assert_eq!(riders.map(|rider| rider.figures.uploaded).sum::<u64>(), 0, "{summary}");
                faults = faults.plus(summary.faults);
            }
            Err(violation) => panic!("{violation}"),
        }
    }
    faults
}

#[test]
fn equals_without_faults_share_a_torrent() {
    let faults = run(Kind::Even);
    // Two that dial each other at the same moment keep one of the two connections.
    let Faults { refusals, slow_writes, .. } = faults;
    assert_eq!(faults, Faults { refusals, slow_writes, ..Faults::default() }, "nothing else goes wrong here");
    assert!(slow_writes > 100, "{slow_writes}");
    assert!(refusals < WORLDS, "{refusals}");
}

#[test]
fn unequal_peers_late_comers_and_a_few_breaks_do_no_harm() {
    let faults = run(Kind::Plain);
    assert!(faults.cuts > 0 && faults.failed_connects > 0 && faults.refusals > 0, "{faults:?}");
}

#[test]
fn breaks_absences_and_failing_disks_and_trackers_are_survived() {
    let faults = run(Kind::Rough);
    assert!(faults.cuts > 100 && faults.failed_connects > 100, "{faults:?}");
    assert!(faults.crashes > 0 && faults.goodbyes > 0 && faults.silences > 0, "{faults:?}");
    assert!(faults.failed_reads > 0 && faults.failed_writes > 0, "{faults:?}");
    assert!(faults.refused_announces > 0 && faults.garbled_answers > 0, "{faults:?}");
}

#[test]
fn a_liar_is_banned_and_everybody_else_completes() {
    let faults = run(Kind::Liar);
    assert!(faults.spoilt_blocks > 0 && faults.failed_pieces > 0 && faults.bans > 100, "{faults:?}");
}

#[test]
fn a_swarm_completes_without_its_seed_once_it_has_every_piece() {
    let faults = run(Kind::Orphans);
    assert!(faults.crashes > 0 && faults.goodbyes > 0, "{faults:?}");
    assert_eq!(faults.crashes + faults.goodbyes, WORLDS, "in every world the seed left");
}

#[test]
fn memory_for_two_open_pieces_is_enough() {
    run(Kind::Narrow);
}

#[test]
fn peers_without_extensions_take_part() {
    run(Kind::Old);
}

#[test]
fn nodes_that_cannot_be_dialled_dial_and_lost_packets_are_made_up_for() {
    let faults = run(Kind::Nat);
    assert!(faults.unreachable > 100 && faults.lost_packets > 1_000, "{faults:?}");
}

#[test]
fn full_disks_torn_pieces_and_what_crashes_take_are_fetched_again() {
    let faults = run(Kind::Torn);
    assert!(faults.short_writes > 0 && faults.full_disks > 0, "{faults:?}");
    assert!(faults.crashes > 0 && faults.lost_pieces > 0, "{faults:?}");
}

#[test]
fn a_disk_that_rots_spoils_no_other_and_is_found_out() {
    let faults = run(Kind::Rotten);
    assert!(faults.rotten_pieces > 100 && faults.found_rotten > 0, "{faults:?}");
    assert!(faults.spoilt_blocks > 0 && faults.failed_pieces > 0 && faults.bans > 0, "{faults:?}");
}

#[test]
fn nobody_sends_more_than_its_limits_allow() {
    let faults = run(Kind::Limited);
    assert!(faults.held_back > 1_000, "{faults:?}");
}

#[test]
fn those_who_give_nothing_keep_nobody_from_completing() {
    run(Kind::Riders);
}

#[test]
fn each_gets_the_pieces_that_it_wants() {
    run(Kind::Picky);
}

/// Runs worlds in which once something went wrong that those above do not show.
fn run_again(kind: Kind, seeds: &[u64]) {
    for &seed in seeds {
        assert_eq!(Kind::of_seed(seed), kind);
        if let Err(violation) = quelea_sim::run(Scenario::of_seed(seed)) {
            panic!("{violation}");
        }
    }
}

#[test]
fn what_rotted_at_a_node_that_was_complete_is_fetched_again_before_the_end() {
    run_again(Kind::Rotten, &[1_532, 2_260, 2_767]);
}

#[test]
fn two_who_have_everything_stay_connected_only_while_a_slow_downlink_keeps_it_from_them() {
    run_again(Kind::Nat, &[1_542, 2_855]);
}
