//! Nodes that lie in their answers: floods, wrong and changing names, invented nodes and peers, bad items, bad votes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use quelea_dht::packet::{
    Body, Compact, Method, Packet, Query, Response, Want, compact_nodes, write_query, write_response,
};
use quelea_dht::{Config, Dht, Event, Families, Id, Item};
use quelea_time::Time;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

fn node() -> Dht {
    let families = Families { v4: true, v6: false };
    Dht::new(Time::ZERO, Config { families, ..Config::new(1, [7; 32]) })
}

fn address(number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0001 + (number << 8))), 6_881)
}

/// What the node sends: whom, and the query's transaction and method's target.
fn asked(dht: &mut Dht) -> Vec<(SocketAddr, Vec<u8>)> {
    let sent = std::iter::from_fn(|| dht.poll_transmit());
    sent.filter_map(|sent| {
        let packet = Packet::parse(&sent.bytes).unwrap();
        matches!(packet.body, Body::Query(_)).then(|| (sent.to, packet.transaction.to_vec()))
    })
    .collect()
}

fn answer(
    transaction: &[u8],
    response: &Response<'_>,
    nodes: &[(Id, SocketAddr)],
    seen: SocketAddr,
) -> Vec<u8> {
    let nodes = compact_nodes(nodes.iter().copied());
    let compact = Compact { nodes4: Some(&nodes), nodes6: None };
    let mut out = Vec::new();
    write_response(response, compact, transaction, seen, &mut out);
    out
}

fn us() -> SocketAddr {
    "198.18.0.1:6881".parse().unwrap()
}

/// Begins at one node, which answers with these nodes; whom the node asks then.
fn told_of(dht: &mut Dht, nodes: &[(Id, SocketAddr)]) -> Vec<(SocketAddr, Vec<u8>)> {
    dht.add_router(Time::ZERO, address(1));
    dht.handle_timeout(Time::ZERO);
    let first = asked(dht);
    let (to, transaction) = first.first().expect("it joins");
    dht.handle_datagram(Time::ZERO, *to, &answer(transaction, &Response::new(Id([9; 20])), nodes, us()));
    asked(dht)
}

#[test]
fn a_flood_of_answers_costs_nothing_but_their_reading() {
    let mut dht = node();
    let mut rng = fastrand::Rng::with_seed(1);
    told_of(&mut dht, &[]);
    let before = dht.stats();
    for number in 0..50_000_u32 {
        let nodes: Vec<_> = (0..8).map(|_| (Id::random(&mut rng), address(rng.u32(..60_000)))).collect();
        let bytes = answer(&number.to_be_bytes(), &Response::new(Id::random(&mut rng)), &nodes, us());
        dht.handle_datagram(Time::ZERO, address(number), &bytes);
    }
    assert_eq!(dht.stats(), before);
    assert!(dht.poll_transmit().is_none() && dht.poll_event().is_none());
}

#[test]
fn of_a_huge_list_few_are_asked() {
    let mut dht = node();
    let mut rng = fastrand::Rng::with_seed(2);
    let nodes: Vec<_> = (100..2_000).map(|number| (Id::random(&mut rng), address(number))).collect();
    let mut named = told_of(&mut dht, &nodes);
    for second in 1..60 {
        dht.handle_timeout(Time::from_secs(second));
        named.append(&mut asked(&mut dht));
    }
    let mut hosts: Vec<SocketAddr> =
        named.into_iter().map(|(to, _)| to).filter(|to| *to != address(1)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert!((1..=8).contains(&hosts.len()), "{} hosts", hosts.len());
}

#[test]
fn nobody_sends_us_into_our_own_network() {
    let mut dht = node();
    let near = ["127.0.0.1:80", "10.0.0.1:53", "192.168.1.1:80", "169.254.0.1:1", "224.0.0.1:1", "0.0.0.0:1"];
    let nodes: Vec<_> = near.iter().map(|text| (Id([8; 20]), text.parse().unwrap())).collect();
    assert!(told_of(&mut dht, &nodes).is_empty());
}

#[test]
fn one_host_has_one_place_whatever_it_is_called() {
    let mut dht = node();
    let mut rng = fastrand::Rng::with_seed(3);
    for number in 0..400_u64 {
        let now = Time::from_secs(number * 7);
        // One host at many ports, which asks us under ever new names and answers every ping.
        let from = SocketAddr::new(address(5).ip(), 1_000 + number as u16);
        let id = Id::random(&mut rng);
        let mut bytes = Vec::new();
        write_query(&Query { id, method: Method::Ping, want: Want::default() }, b"aa", false, &mut bytes);
        dht.handle_datagram(now, from, &bytes);
        for (to, transaction) in asked(&mut dht) {
            dht.handle_datagram(now, to, &answer(&transaction, &Response::new(id), &[], us()));
        }
        dht.handle_timeout(now + Duration::from_secs(6));
        assert!(dht.stats().nodes[0] <= 1, "{:?}", dht.stats());
    }
}

#[test]
fn one_network_cannot_fill_the_table_nor_move_our_id() {
    let mut dht = node();
    let own = dht.ids();
    let mut rng = fastrand::Rng::with_seed(4);
    let elsewhere: SocketAddr = "203.0.113.99:1".parse().unwrap();
    for number in 0..250_u8 {
        let now = Time::from_secs(u64::from(number) * 7);
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(11, 1, 1, number)), 6_881);
        let id = Id::random(&mut rng);
        let mut bytes = Vec::new();
        write_query(&Query { id, method: Method::Ping, want: Want::default() }, b"aa", false, &mut bytes);
        dht.handle_datagram(now, from, &bytes);
        for (to, transaction) in asked(&mut dht) {
            dht.handle_datagram(now, to, &answer(&transaction, &Response::new(id), &[], elsewhere));
        }
        dht.handle_timeout(now + Duration::from_secs(6));
    }
    assert!(dht.stats().nodes[0] <= 4, "{:?}", dht.stats());
    assert_eq!(dht.ids(), own);
    assert!(std::iter::from_fn(|| dht.poll_event()).all(|event| !matches!(event, Event::External(_))));
}

#[test]
fn items_with_bad_signatures_and_wrong_values_are_not_told() {
    let mut dht = node();
    dht.add_router(Time::ZERO, address(1));
    let item = Item::sign([5; 32], Vec::new(), 1, b"i1e".to_vec()).unwrap();
    let owner = item.owner.unwrap();
    let mut told = Vec::new();
    for value in [&b"i2e"[..], b"i1e"] {
        dht.owned_item(Time::ZERO, &owner.key, b"");
        let mut response = Response::new(Id([9; 20]));
        (response.key, response.signature) = (Some(&owner.key), Some(&owner.signature));
        (response.sequence, response.value) = (Some(1), Some(value));
        for (to, transaction) in asked(&mut dht) {
            dht.handle_datagram(Time::ZERO, to, &answer(&transaction, &response, &[], us()));
        }
        let items = std::iter::from_fn(|| dht.poll_event()).filter(|event| matches!(event, Event::Item(..)));
        told.push(items.count());
    }
    assert_eq!(told, [0, 1]);
}

#[test]
fn of_invented_peers_few_are_told_and_none_of_our_network() {
    let mut dht = node();
    dht.add_router(Time::ZERO, address(1));
    dht.find_peers(Time::ZERO, Id([3; 20]), None);
    let mut response = Response::new(Id([9; 20]));
    response.values = (0..180).map(|number| address(1_000 + number)).collect();
    response.values[0] = "127.0.0.1:22".parse().unwrap();
    response.values[1] = "192.168.0.1:80".parse().unwrap();
    for (to, transaction) in asked(&mut dht) {
        dht.handle_datagram(Time::ZERO, to, &answer(&transaction, &response, &[], us()));
    }
    let peers: Vec<SocketAddr> = std::iter::from_fn(|| dht.poll_event())
        .filter_map(|event| if let Event::Peers(_, peers) = event { Some(peers) } else { None })
        .flatten()
        .collect();
    assert_eq!(peers.len(), 98);
    assert!(peers.iter().all(|peer| peer.ip().to_string().starts_with("11.")));
}

#[test]
fn after_an_outage_those_that_were_known_are_found_again() {
    let mut dht = node();
    let mut rng = fastrand::Rng::with_seed(6);
    let others: Vec<(Id, SocketAddr)> =
        (10..22).map(|number| (Id::random(&mut rng), address(number))).collect();
    let id_of =
        |at: SocketAddr| others.iter().find(|(_, address)| *address == at).map_or(Id([9; 20]), |(id, _)| *id);
    dht.add_router(Time::ZERO, address(1));
    let mut good = Vec::new();
    for half_second in 0..3_600_u64 {
        let now = Time::from_millis(half_second * 500);
        dht.handle_timeout(now);
        let reachable = !(200..2_400).contains(&half_second);
        // The router is there at the beginning alone.
        for (to, transaction) in asked(&mut dht) {
            if reachable && (to != address(1) || half_second < 200) {
                let bytes = answer(&transaction, &Response::new(id_of(to)), &others, us());
                dht.handle_datagram(now, to, &bytes);
            }
        }
        good.push(dht.stats().nodes[0]);
    }
    assert!(good[199] >= 12, "{}", good[199]);
    assert!(good[3_599] >= 8, "{} after the outage, {} in it", good[3_599], good[2_399]);
}
