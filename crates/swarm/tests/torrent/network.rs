//! Our own network goes and comes back.

use crate::bench::{Bench, bits};
use quelea_discovery::Source;
use quelea_swarm::event::{Event, Farewell, Output};
use quelea_swarm::peers::PeerKey;
use quelea_wire::Message;
use quelea_wire::handshake::{Feature, Reserved};
use std::net::SocketAddr;

fn address() -> SocketAddr {
    "10.9.9.9:6881".parse().unwrap()
}

fn dials(outputs: &[Output<()>]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Connect(to) if *to == address()))
}

/// The peer that we dialled answers, and gives us everything.
fn answers(bench: &mut Bench) -> (PeerKey, Vec<Output<()>>) {
    let hello = bench.hello(Reserved::NONE.with(Feature::Fast));
    let hello = quelea_swarm::event::Hello { address: address(), incoming: false, ..hello };
    let key = bench.machine.handle_connected(bench.now, hello).unwrap();
    let mut outputs = bench.outputs();
    outputs.extend(bench.says(key, bits(&[0, 1, 2, 3, 4, 5])));
    outputs.extend(bench.says(key, Message::Unchoke));
    (key, outputs)
}

fn connected() -> (Bench, PeerKey) {
    let mut bench = Bench::leecher();
    bench.machine.handle_addresses(bench.now, [address()], Source::Tracker);
    assert!(dials(&bench.outputs()));
    let (key, _) = answers(&mut bench);
    (bench, key)
}

fn silent(outputs: &[Output<()>], key: PeerKey) -> bool {
    outputs
        .iter()
        .any(|output| matches!(output, Output::Disconnect(other, Farewell::Silent) if *other == key))
}

#[test]
fn when_nobody_who_owes_us_blocks_is_heard_connections_are_made_anew() {
    let (mut bench, key) = connected();
    assert!(!silent(&bench.pass(44), key));
    let outputs = bench.pass(8);
    assert!(silent(&outputs, key) && dials(&outputs), "{outputs:?}");
}

#[test]
fn while_somebody_is_heard_the_silent_are_waited_for() {
    let (mut bench, key) = connected();
    let other = bench.peer();
    for _ in 0..100 {
        bench.machine.handle_alive(bench.now, other);
        assert!(!silent(&bench.pass(1), key));
    }
}

#[test]
fn after_an_outage_of_an_hour_a_peer_is_found_again_within_a_minute() {
    let (mut bench, key) = connected();
    bench.machine.handle_disconnected(bench.now, key);
    let mut tries = 0;
    for _ in 0..3_600 {
        if dials(&bench.pass(1)) {
            tries += 1;
            bench.machine.handle_connect_failed(bench.now, address());
        }
    }
    assert!((50..=100).contains(&tries), "{tries}");
    assert!(dials(&bench.pass(61)));
    let (_, outputs) = answers(&mut bench);
    let found_back = |output: &Output<()>| matches!(output, Output::Event(Event::FoundBack));
    assert!(outputs.iter().any(found_back), "{outputs:?}");
}

#[test]
fn who_was_never_reached_is_not_tried_before_its_time() {
    let (mut bench, key) = connected();
    let other: SocketAddr = "10.9.9.8:6881".parse().unwrap();
    bench.machine.handle_addresses(bench.now, [other], Source::Tracker);
    bench.outputs();
    bench.machine.handle_connect_failed(bench.now, other);
    bench.machine.handle_disconnected(bench.now, key);
    let outputs = bench.pass(100);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Connect(to) if *to == other)));
}

#[test]
fn peers_are_not_called_silent_for_the_time_that_we_slept() {
    let (mut bench, key) = connected();
    bench.pass(2);
    bench.now += std::time::Duration::from_secs(3_600);
    bench.machine.handle_timeout(bench.now);
    assert!(!silent(&bench.outputs(), key));
    assert!(silent(&bench.pass(45), key), "what they said meanwhile would have been read by then");
}
