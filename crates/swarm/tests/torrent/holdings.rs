//! What peers say they have.

use crate::bench::{Bench, bits, sent};
use quelea_swarm::event::Output;
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Message};

#[test]
fn who_waits_for_a_bitfield_learns_that_none_will_come() {
    let mut bench = Bench::leecher();
    let hello = bench.hello(Reserved::NONE.with(Feature::ExtensionProtocol));
    let key = bench.machine.handle_connected(bench.now, hello).unwrap();
    let outputs = bench.outputs();
    let said: Vec<_> = outputs
        .iter()
        .filter_map(|output| if let Output::Send(_, message) = output { Some(message) } else { None })
        .collect();
    assert!(matches!(said[..], [Message::Extended { .. }, Message::KeepAlive]), "{said:?}");
    let hello = bench.hello(Reserved::NONE.with(Feature::ExtensionProtocol).with(Feature::Fast));
    let fast = bench.machine.handle_connected(bench.now, hello).unwrap();
    let outputs = bench.outputs();
    assert!(
        sent(&outputs, fast, &Message::HaveNone) && !sent(&outputs, fast, &Message::KeepAlive),
        "{key:?}"
    );
}

#[test]
fn a_bitfield_in_the_middle_adds_to_what_is_known() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.says(key, bits(&[0]));
    let said = bench.says(key, bits(&[0, 3, 5]));
    assert!(!said.iter().any(|output| matches!(output, Output::Disconnect(..))), "{said:?}");
    let known: Vec<u32> = bench.machine.peer_stats().map(|peer| peer.pieces).collect();
    assert_eq!(known, [3]);
    // It takes nothing back.
    bench.says(key, Message::Bitfield(Bitfield::none(6).as_wire().to_vec()));
    bench.says(key, Message::HaveNone);
    assert_eq!(bench.machine.peer_stats().next().unwrap().pieces, 3);
    bench.says(key, Message::HaveAll);
    assert_eq!(bench.machine.stats(bench.now).seeds, 1);
}

#[test]
fn interest_follows_a_bitfield_in_the_middle() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    bench.says(key, Message::HaveNone);
    assert!(sent(&bench.says(key, bits(&[2])), key, &Message::Interested));
}

#[test]
fn a_bitfield_that_is_too_short_ends_the_connection() {
    let mut bench = Bench::leecher();
    let key = bench.peer();
    let said = bench.says(key, Message::Bitfield(vec![]));
    assert!(said.iter().any(|output| matches!(output, Output::Disconnect(..))), "{said:?}");
}

#[test]
fn spare_bits_and_a_byte_too_many_in_a_bitfield_are_ignored() {
    for bits in [vec![0xff], vec![0xfc, 0], vec![0xff, 0xff]] {
        let mut bench = Bench::leecher();
        let key = bench.old_peer();
        assert!(sent(&bench.says(key, Message::Bitfield(bits)), key, &Message::Interested));
        assert_eq!(bench.machine.peer_stats().next().unwrap().pieces, 6);
    }
}
