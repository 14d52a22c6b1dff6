//! Who may be connected when there is no room for all.

use crate::bench::{Bench, bits};
use quelea_swarm::event::{Farewell, Output, Refusal};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Message};

fn full() -> (Bench, Vec<quelea_swarm::peers::PeerKey>) {
    let mut bench = Bench::new(Bitfield::none(6), |config| config.max_peers = 2);
    let keys: Vec<_> = (0..2).map(|_| bench.peer()).collect();
    bench.outputs();
    (bench, keys)
}

#[test]
fn peers_that_are_of_use_keep_their_places() {
    let (mut bench, keys) = full();
    bench.says(keys[0], bits(&[1]));
    bench.says(keys[1], Message::Interested);
    bench.pass(60);
    let hello = bench.hello(Reserved::NONE.with(Feature::Fast));
    assert_eq!(bench.machine.handle_connected(bench.now, hello), Err(Refusal::Full));
}

#[test]
fn a_peer_of_no_use_gives_its_place_to_one_who_calls() {
    let (mut bench, keys) = full();
    bench.says(keys[0], bits(&[1]));
    let hello = bench.hello(Reserved::NONE.with(Feature::Fast));
    assert_eq!(bench.machine.handle_connected(bench.now, hello), Err(Refusal::Full), "it just came");
    bench.pass(20);
    assert!(bench.machine.handle_connected(bench.now, hello).is_ok());
    let outputs = bench.outputs();
    let left =
        |output: &Output<()>| matches!(output, Output::Disconnect(key, Farewell::Useless) if *key == keys[1]);
    assert!(outputs.iter().any(left), "{outputs:?}");
}

#[test]
fn a_peer_of_no_use_gives_its_place_to_one_who_can_be_called() {
    let (mut bench, _) = full();
    let address = "10.9.9.9:6881".parse().unwrap();
    bench.machine.handle_addresses(bench.now, [address], quelea_discovery::Source::Tracker);
    let outputs = bench.pass(25);
    assert!(outputs.iter().any(|output| matches!(output, Output::Connect(to) if *to == address)));
    assert_eq!(bench.machine.stats(bench.now).connected, 1, "one leaves, not all");
}
