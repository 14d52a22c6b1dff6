//! What the user wants changes while the torrent runs.

use crate::bench::{Bench, all, bits, geometry, piece, requests, sent, wire};
use quelea_metainfo::geometry::PieceIndex;
use quelea_swarm::event::{Event, Output, Verdict};
use quelea_swarm::picker::Priority;
use quelea_wire::{Bitfield, Message};
use std::time::Duration;

fn only(numbers: &'static [u32]) -> impl Fn(PieceIndex) -> Priority {
    |piece| if numbers.contains(&piece.get()) { Priority::USUAL } else { Priority::UNWANTED }
}

fn completions(outputs: &[Output<()>]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Event(Event::Completed))).count()
}

#[test]
fn requests_for_what_is_not_wanted_any_longer_are_cancelled_and_interest_ends() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.machine.set_priorities(bench.now, only(&[0]));
    assert!(sent(&bench.says(key, bits(&[0, 1, 2])), key, &Message::Interested));
    // What it sends at once lets more be asked of it at a time.
    for span in requests(&bench.says(key, Message::Unchoke), key) {
        bench.block(key, span);
    }
    bench.machine.set_priorities(bench.now, only(&[1, 2]));
    assert_eq!(requests(&bench.outputs(), key).len(), 8);
    bench.machine.set_priorities(bench.now, only(&[2, 3]));
    let outputs = bench.outputs();
    for span in all(1) {
        assert!(sent(&outputs, key, &Message::Cancel(span)));
    }
    assert!(all(2).all(|span| !sent(&outputs, key, &Message::Cancel(span))));
    bench.machine.set_priorities(bench.now, only(&[3]));
    assert!(sent(&bench.outputs(), key, &Message::NotInterested));
    bench.machine.set_priorities(bench.now, only(&[1, 3]));
    let outputs = bench.outputs();
    assert!(sent(&outputs, key, &Message::Interested));
    let again = requests(&outputs, key);
    assert!(all(1).all(|span| again.contains(&span)), "{again:?}");
}

#[test]
fn a_cancelled_block_that_comes_all_the_same_is_no_fault() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.says(key, bits(&[1, 2]));
    bench.says(key, Message::Unchoke);
    bench.machine.set_priorities(bench.now, only(&[2]));
    bench.outputs();
    for span in all(1) {
        let outputs = bench.block(key, span);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Disconnect(..))));
    }
    assert_eq!(bench.machine.stats(bench.now).bytes_unverified, 0);
}

#[test]
fn it_is_complete_as_often_as_nothing_wanted_is_missing() {
    let mut bench = Bench::new(Bitfield::none(6), |config| {
        config.wanted = Bitfield::none(6);
        config.wanted.set(piece(0));
    });
    let key = bench.peer();
    bench.says(key, Message::HaveAll);
    bench.says(key, Message::Unchoke);
    all(0).for_each(|span| {
        bench.block(key, span);
    });
    assert_eq!(completions(&bench.verdict(0, Verdict::Written, &[])), 1);
    assert!(bench.machine.is_complete());
    bench.machine.set_priorities(bench.now, only(&[0, 4, 5]));
    let outputs = bench.outputs();
    assert!(!bench.machine.is_complete() && completions(&outputs) == 0);
    assert!(sent(&outputs, key, &Message::Interested));
    all(4).for_each(|span| {
        bench.block(key, span);
    });
    assert_eq!(completions(&bench.verdict(4, Verdict::Written, &[])), 0);
    // The rest is not wanted after all.
    bench.machine.set_priorities(bench.now, only(&[0]));
    assert_eq!(completions(&bench.outputs()), 1);
    assert!(bench.machine.is_complete());
}

#[test]
fn a_piece_that_is_not_wanted_any_longer_and_good_changes_no_count_of_what_peers_are_good_for() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.says(key, bits(&[1, 2]));
    bench.says(key, Message::Unchoke);
    all(1).for_each(|span| {
        bench.block(key, span);
    });
    bench.machine.set_priorities(bench.now, only(&[2, 3]));
    bench.outputs();
    let outputs = bench.verdict(1, Verdict::Written, &[]);
    assert!(sent(&outputs, key, &Message::Have(1)), "others may have it");
    assert!(!sent(&outputs, key, &Message::NotInterested));
    assert!(bench.machine.have().has(piece(1)));
}

#[test]
fn a_piece_that_is_deselected_while_it_is_verified_is_counted_for_the_torrent_alone() {
    let mut bench = Bench::leecher();
    let whole = bench.machine.stats(bench.now).bytes_wanted;
    let length = u64::from(geometry().length_of(piece(1)));
    let key = bench.peer();
    bench.says(key, bits(&[1, 2]));
    bench.says(key, Message::Unchoke);
    all(1).for_each(|span| {
        bench.block(key, span);
    });
    bench.machine.set_priorities(bench.now, only(&[2]));
    let stats = bench.machine.stats(bench.now);
    assert_eq!((stats.bytes_wanted, stats.bytes_missing, stats.bytes_unverified), (length, length, 0));
    assert_eq!(stats.bytes_left, whole);
    bench.verdict(1, Verdict::Written, &[]);
    let stats = bench.machine.stats(bench.now);
    assert_eq!((stats.bytes_wanted, stats.bytes_missing), (length, length));
    assert_eq!(stats.bytes_left, whole - length);
    bench.machine.set_priorities(bench.now, only(&[1, 2]));
    let stats = bench.machine.stats(bench.now);
    assert_eq!((stats.bytes_wanted, stats.bytes_missing), (2 * length, length));
}

#[test]
fn pieces_come_in_order_when_that_is_asked_for_while_it_runs() {
    let mut bench = Bench::leecher();
    bench.machine.set_sequential(true);
    let key = bench.peer();
    bench.says(key, Message::HaveAll);
    let mut asked = requests(&bench.says(key, Message::Unchoke), key);
    let mut sent = 0;
    while asked.len() < 12 {
        asked.extend(requests(&bench.block(key, asked[sent]), key));
        sent += 1;
    }
    assert_eq!(asked[..12], [all(0), all(1), all(2)].into_iter().flatten().collect::<Vec<_>>());
    assert!(bench.machine.is_sequential());
    bench.machine.set_sequential(false);
    assert!(!bench.machine.is_sequential());
}

#[test]
fn a_piece_with_a_deadline_is_asked_of_the_fastest_peer() {
    let mut bench = Bench::leecher();
    let (slow, fast) = (bench.peer(), bench.peer());
    for key in [slow, fast] {
        bench.says(key, bits(&[0, 1, 2, 3, 5]));
    }
    let mut from_slow = requests(&bench.says(slow, Message::Unchoke), slow);
    let mut from_fast = requests(&bench.says(fast, Message::Unchoke), fast);
    bench.machine.set_priorities(bench.now, only(&[0, 1, 2, 3, 5]));
    // The fast one sends what it has at once, the slow one a block a second.
    for _ in 0..3 {
        bench.now += Duration::from_secs(1);
        let span = from_slow.remove(0);
        bench.machine.handle_block(bench.now, slow, span, ());
        bench.machine.handle_timeout(bench.now);
        let outputs = bench.outputs();
        from_slow.extend(requests(&outputs, slow));
        from_fast.extend(requests(&outputs, fast));
        for span in std::mem::take(&mut from_fast) {
            from_fast.extend(requests(&bench.block(fast, span), fast));
        }
    }
    bench.machine.set_priorities(bench.now, |_| Priority::USUAL);
    bench.machine.set_deadline(bench.now, piece(4), bench.now + Duration::from_secs(60));
    for key in [slow, fast] {
        bench.machine.handle_message(bench.now, key, &Message::Have(4));
    }
    bench.machine.handle_timeout(bench.now + Duration::from_secs(1));
    bench.now += Duration::from_secs(1);
    let outputs = bench.outputs();
    assert!(requests(&outputs, fast).contains(&wire(4, 0)), "{outputs:?}");
    assert!(!requests(&outputs, slow).iter().any(|span| span.piece == 4));
}
