//! Strangers with many addresses neither fill a torrent nor keep it busy.

use crate::bench::{Bench, all, bits, requests};
use quelea_discovery::Source;
use quelea_swarm::event::{Farewell, Hello, Output, Refusal};
use quelea_swarm::peers::PeerKey;
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::message::BlockSpan;
use quelea_wire::{Bitfield, Message, PeerId};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const ROOM: usize = 50;

fn hello(ip: impl Into<IpAddr>, number: u8) -> Hello {
    let address = SocketAddr::new(ip.into(), 50_000);
    let reserved = Reserved::NONE.with(Feature::Fast);
    Hello { address, incoming: true, peer_id: PeerId([number; 20]), reserved }
}

/// The addresses of one network of IPv6 that has 64 bits, and of one of IPv4 that has 24.
fn networks() -> [Vec<IpAddr>; 2] {
    let v6 = (1..=200).map(|host| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]));
    let v4 = (1..=200).map(|host| IpAddr::from([203, 0, 113, host]));
    [v6.collect(), v4.collect()]
}

fn honest() -> Hello {
    hello([198, 51, 100, 1], 0xee)
}

/// Lets a whole network in, whose peers all want something and say that they have everything.
fn let_in(bench: &mut Bench, network: &[IpAddr]) -> Vec<PeerKey> {
    let mut keys = Vec::new();
    for (number, ip) in network.iter().enumerate() {
        if let Ok(key) = bench.machine.handle_connected(bench.now, hello(*ip, number as u8)) {
            bench.says(key, Message::HaveAll);
            bench.says(key, Message::Interested);
            keys.push(key);
        }
    }
    keys
}

#[test]
fn one_network_shuts_no_honest_leecher_out_of_a_seed() {
    for network in networks() {
        let mut bench = Bench::seed();
        for (number, ip) in network.iter().enumerate() {
            if let Ok(key) = bench.machine.handle_connected(bench.now, hello(*ip, number as u8)) {
                bench.says(key, Message::Interested);
            }
        }
        let connected = bench.machine.stats(bench.now).connected;
        assert!(connected <= ROOM, "{connected}");
        let key = bench.machine.handle_connected(bench.now, honest()).unwrap();
        bench.says(key, Message::Interested);
        for ip in &network {
            let _ = bench.machine.handle_connected(bench.now, hello(*ip, 0xdd));
        }
        let outputs = bench.outputs();
        let left = |output: &Output<()>| matches!(output, Output::Disconnect(other, _) if *other == key);
        assert!(!outputs.iter().any(left), "it is not pushed out again");
    }
}

#[test]
fn one_network_does_not_delay_the_only_seed_of_a_leecher() {
    for network in networks() {
        let mut bench = Bench::leecher();
        let_in(&mut bench, &network);
        // It is called as soon as it is known, and let in when it calls.
        let seed: SocketAddr = "198.51.100.9:6881".parse().unwrap();
        bench.machine.handle_addresses(bench.now, [seed], Source::Tracker);
        let called = |output: &Output<()>| matches!(output, Output::Connect(to) if *to == seed);
        assert!(bench.outputs().iter().any(called));
        assert!(bench.machine.handle_connected(bench.now, honest()).is_ok());
    }
}

#[test]
fn a_peer_that_delivers_keeps_its_place_in_the_largest_crowd() {
    let mut bench = Bench::leecher();
    let [_, network] = networks();
    let keys = let_in(&mut bench, &network);
    let giver = keys[0];
    let asked = requests(&bench.says(giver, Message::Unchoke), giver);
    bench.block(giver, asked[0]);
    for number in 0..ROOM as u8 {
        let newcomer = hello([198, 51, number, 1], number);
        bench.machine.handle_connected(bench.now, newcomer).ok();
    }
    let outputs = bench.outputs();
    let gone: Vec<PeerKey> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Disconnect(key, Farewell::Outdone) => Some(*key),
            _ => None,
        })
        .collect();
    assert_eq!(gone.len(), ROOM - 4, "all but as many as one network may always have");
    assert!(!gone.contains(&giver));
}

#[test]
fn floods_that_lead_to_nothing_end_the_connection_and_the_host_stays_out_for_a_while() {
    let span = BlockSpan { piece: 0, begin: 0, length: 16_384 };
    let floods = [
        vec![Message::KeepAlive],
        vec![Message::Have(1)],
        vec![Message::Choke, Message::Unchoke],
        vec![Message::Interested, Message::NotInterested],
        vec![Message::HaveAll],
        vec![Message::Request(span)],
        vec![Message::Cancel(span)],
        vec![Message::Suggest(1), Message::AllowedFast(1), Message::Port(6881)],
        vec![Message::Extended { id: 77, payload: vec![] }],
        vec![Message::Unknown(99)],
        vec![bits(&[1])],
    ];
    for flood in floods {
        let mut bench = Bench::leecher();
        let stranger = hello([203, 0, 113, 1], 7);
        let key = bench.machine.handle_connected(bench.now, stranger).unwrap();
        let sent = flood.iter().cycle().take(30_000).position(|message| {
            bench.machine.handle_message(bench.now, key, message);
            bench.now += Duration::from_micros(10);
            let faulty = |output| matches!(output, Output::Disconnect(_, Farewell::Fault(_)));
            std::iter::from_fn(|| bench.machine.poll_output(bench.now)).any(faulty)
        });
        assert!(sent.is_some(), "{flood:?}");
        let again = Hello { peer_id: PeerId([8; 20]), ..stranger };
        assert_eq!(bench.machine.handle_connected(bench.now, again), Err(Refusal::Banned));
        assert!(bench.machine.handle_connected(bench.now, honest()).is_ok());
        bench.pass(600);
        assert!(bench.machine.handle_connected(bench.now, again).is_ok(), "for a while");
    }
}

#[test]
fn a_leecher_that_takes_all_the_time_and_tells_all_it_has_is_no_flood() {
    let mut bench = Bench::new(Bitfield::all(6), |_| {});
    let key = bench.machine.handle_connected(bench.now, honest()).unwrap();
    bench.says(key, Message::Interested);
    bench.pass(15);
    for round in 0..20_000 {
        let span = all(round % 6).next().unwrap();
        bench.machine.handle_message(bench.now, key, &Message::Request(span));
        let outputs: Vec<_> = std::iter::from_fn(|| bench.machine.poll_output(bench.now)).collect();
        for output in outputs {
            match output {
                Output::Upload(_, span) => bench.machine.handle_uploaded(bench.now, key, span),
                Output::Disconnect(_, why) => panic!("{why:?} in round {round}"),
                _ => {}
            }
        }
        bench.now += Duration::from_micros(100);
    }
}
