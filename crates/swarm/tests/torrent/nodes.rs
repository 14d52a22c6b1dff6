//! Nodes of the DHT that peers run beside (BEP 5).

use crate::bench::{Bench, bits, sent};
use quelea_swarm::event::{Event, Output};
use quelea_wire::Message;
use quelea_wire::handshake::{Feature, Reserved};

fn nodes(outputs: &[Output<()>]) -> Vec<String> {
    let node = |output: &Output<()>| match output {
        Output::Event(Event::Node(address)) => Some(address.to_string()),
        _ => None,
    };
    outputs.iter().filter_map(node).collect()
}

fn join(bench: &mut Bench, reserved: Reserved) -> quelea_swarm::peers::PeerKey {
    let hello = bench.hello(reserved);
    bench.machine.handle_connected(bench.now, hello).unwrap()
}

#[test]
fn a_peer_with_a_node_is_told_of_ours_after_what_we_have() {
    let mut bench = Bench::seed();
    bench.machine.set_dht_port(Some(6881));
    let with = join(&mut bench, Reserved::NONE.with(Feature::Dht));
    let without = join(&mut bench, Reserved::NONE);
    let outputs = bench.outputs();
    assert!(sent(&outputs, with, &Message::Port(6881)));
    assert!(!sent(&outputs, without, &Message::Port(6881)));
    let first = outputs.iter().find(|output| matches!(output, Output::Send(key, _) if *key == with));
    assert!(matches!(first, Some(Output::Send(_, Message::Bitfield(_)))), "{first:?}");
}

#[test]
fn without_a_node_nobody_is_told_and_nobody_heard() {
    let mut bench = Bench::leecher();
    let peer = join(&mut bench, Reserved::NONE.with(Feature::Dht));
    let outputs = bench.outputs();
    assert!(!outputs.iter().any(|output| matches!(output, Output::Send(_, Message::Port(_)))));
    assert!(nodes(&bench.says(peer, Message::Port(7))).is_empty());
}

#[test]
fn a_peers_node_is_told_once_and_its_bitfield_may_still_come() {
    let mut bench = Bench::leecher();
    bench.machine.set_dht_port(Some(6881));
    let peer = join(&mut bench, Reserved::NONE.with(Feature::Dht));
    bench.outputs();
    assert_eq!(nodes(&bench.says(peer, Message::Port(7))), ["10.0.1.1:7"]);
    assert!(nodes(&bench.says(peer, Message::Port(8))).is_empty());
    assert!(!bench.says(peer, bits(&[0])).iter().any(|output| matches!(output, Output::Disconnect(..))));
    let other = join(&mut bench, Reserved::NONE.with(Feature::Dht));
    assert!(nodes(&bench.says(other, Message::Port(0))).is_empty());
}
