//! How peers see us, and what they are told of how we are reached (BEP 10).

use crate::bench::Bench;
use quelea_swarm::event::{Event, Output};
use quelea_swarm::peers::PeerKey;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Message};
use std::net::IpAddr;

/// A peer that speaks the extension protocol, and what we tell it of ourselves.
fn greeted(bench: &mut Bench) -> (PeerKey, ExtensionHandshake) {
    let hello = bench.hello(Reserved::NONE.with(Feature::ExtensionProtocol));
    let key = bench.machine.handle_connected(bench.now, hello).unwrap();
    let told = bench.outputs().into_iter().find_map(|output| match output {
        Output::Send(to, Message::Extended { id: 0, payload }) if to == key => Some(payload),
        _ => None,
    });
    (key, ExtensionHandshake::parse(&told.unwrap()).unwrap())
}

fn seen(outputs: &[Output<()>]) -> Vec<(IpAddr, IpAddr)> {
    let seen = |output: &Output<()>| match output {
        Output::Event(Event::SeenAt { by, address }) => Some((*by, *address)),
        _ => None,
    };
    outputs.iter().filter_map(seen).collect()
}

fn sees_us_at(address: &str) -> Message {
    let handshake = ExtensionHandshake { your_ip: address.parse().ok(), ..ExtensionHandshake::default() };
    Message::Extended { id: 0, payload: handshake.encode() }
}

#[test]
fn peers_are_told_where_we_see_them_and_where_we_are_reached() {
    let mut bench = Bench::leecher();
    let (_, told) = greeted(&mut bench);
    assert_eq!((told.port, told.ipv4, told.ipv6), (Some(6881), None, None));
    assert_eq!(told.your_ip, Some("10.0.1.1".parse().unwrap()));
    let (v4, v6) = ("203.0.113.7", "2001:db8::7");
    bench.machine.set_face(7000, vec![v4.parse().unwrap(), v6.parse().unwrap()]);
    let (_, told) = greeted(&mut bench);
    assert_eq!(told.port, Some(7000), "the forwarded port");
    assert_eq!((told.ipv4, told.ipv6), (None, v6.parse().ok()), "what it does not see itself");
}

#[test]
fn peers_of_a_private_torrent_are_told_no_other_address() {
    let mut bench = Bench::new(Bitfield::none(6), |config| config.private = true);
    bench.machine.set_face(7000, vec!["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
    let (_, told) = greeted(&mut bench);
    assert_eq!((told.ipv4, told.ipv6), (None, None));
}

#[test]
fn a_peer_says_once_where_it_sees_us() {
    let mut bench = Bench::leecher();
    let (key, _) = greeted(&mut bench);
    assert_eq!(seen(&bench.says(key, sees_us_at("x"))), [], "it has not said it");
    let told = ("10.0.1.1".parse().unwrap(), "203.0.113.7".parse().unwrap());
    assert_eq!(seen(&bench.says(key, sees_us_at("203.0.113.7"))), [told]);
    assert_eq!(seen(&bench.says(key, sees_us_at("203.0.113.8"))), []);
}

#[test]
fn our_own_address_is_not_dialled() {
    let mut bench = Bench::leecher();
    bench.machine.set_face(7000, vec!["203.0.113.7".parse().unwrap()]);
    let ours = "203.0.113.7:7000".parse().unwrap();
    let other = "203.0.113.7:7001".parse().unwrap();
    bench.machine.handle_addresses(bench.now, [ours, other], quelea_discovery::Source::Tracker);
    let dialled: Vec<_> = bench
        .pass(5)
        .into_iter()
        .filter_map(|output| if let Output::Connect(to) = output { Some(to) } else { None })
        .collect();
    assert_eq!(dialled, [other]);
}
