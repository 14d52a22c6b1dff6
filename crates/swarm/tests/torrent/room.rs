//! Who may be connected when there is no room for all.

use crate::bench::{Bench, bits};
use quelea_swarm::event::{Farewell, Hello, Output, Refusal};
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

#[test]
fn while_others_wait_a_peer_that_gives_nothing_is_turned_over_in_time() {
    let (mut bench, keys) = full();
    // Both have something for us that they never let us have; but one of them takes from us.
    bench.says(keys[0], bits(&[1]));
    bench.says(keys[0], Message::Interested);
    bench.says(keys[1], bits(&[2]));
    let address = "10.9.9.9:6881".parse().unwrap();
    bench.machine.handle_addresses(bench.now, [address], quelea_discovery::Source::Tracker);
    let is_outdone = |output: &Output<()>| matches!(output, Output::Disconnect(_, Farewell::Outdone));
    let mut outdone = Vec::new();
    for _ in 0..400 {
        // Somebody who is silent for long would be taken for gone.
        keys.iter().for_each(|&key| bench.machine.handle_alive(bench.now, key));
        outdone.extend(bench.pass(1).into_iter().filter(is_outdone));
    }
    let named = |output: &Output<()>| matches!(output, Output::Disconnect(key, _) if *key == keys[1]);
    assert!(outdone.len() == 1 && named(&outdone[0]), "{outdone:?}");
}

#[test]
fn a_blocked_address_is_neither_kept_nor_let_in() {
    let (mut bench, keys) = full();
    let hello = bench.hello(Reserved::NONE);
    let everybody = std::net::Ipv4Addr::UNSPECIFIED..=std::net::Ipv4Addr::BROADCAST;
    let filter = quelea_discovery::filter::Filter::new([everybody], []).unwrap();
    bench.machine.set_filter(bench.now, std::sync::Arc::new(filter));
    let outputs = bench.outputs();
    for key in keys {
        let left = |output: &Output<()>| matches!(output, Output::Disconnect(other, Farewell::Blocked) if *other == key);
        assert!(outputs.iter().any(left), "{outputs:?}");
    }
    assert_eq!(bench.machine.handle_connected(bench.now, hello), Err(Refusal::Blocked));
}

/// Says hello again as the same peer, from another port.
fn again(hello: Hello, port: u16, incoming: bool) -> Hello {
    Hello { address: std::net::SocketAddr::new(hello.address.ip(), port), incoming, ..hello }
}

#[test]
fn a_peer_that_comes_back_after_a_silent_death_takes_the_place_of_its_dead_self() {
    for (incoming, back) in [(true, true), (true, false), (false, true)] {
        let mut bench = Bench::leecher();
        let hello = bench.hello(Reserved::NONE.with(Feature::Fast));
        let dead = bench.machine.handle_connected(bench.now, again(hello, 50_000, incoming)).unwrap();
        bench.outputs();
        bench.pass(30);
        let key = bench.machine.handle_connected(bench.now, again(hello, 50_001, back)).unwrap();
        let outputs = bench.outputs();
        let replaced =
            |output: &Output<()>| matches!(output, Output::Disconnect(key, Farewell::Twin) if *key == dead);
        assert!(outputs.iter().any(replaced), "{incoming} {back}: {outputs:?}");
        assert!(bench.machine.stats(bench.now).connected == 1 && key != dead);
    }
}

#[test]
fn a_peer_that_is_alive_is_not_replaced_nor_one_whose_id_somebody_else_copies() {
    let mut bench = Bench::leecher();
    let hello = bench.hello(Reserved::NONE.with(Feature::Fast));
    let key = bench.machine.handle_connected(bench.now, hello).unwrap();
    bench.pass(30);
    let copied = Hello { address: "10.99.0.1:50000".parse().unwrap(), ..hello };
    assert!(bench.machine.handle_connected(bench.now, copied).is_ok());
    assert_eq!(bench.machine.stats(bench.now).connected, 2);
    bench.says(key, Message::KeepAlive);
    let refused = bench.machine.handle_connected(bench.now, again(hello, 50_001, true));
    assert_eq!(refused, Err(Refusal::Duplicate));
    assert_eq!(bench.machine.stats(bench.now).connected, 2);
}
