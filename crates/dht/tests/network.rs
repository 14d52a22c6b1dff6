//! Many nodes in virtual time: what one announces or stores, another finds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm
)]

mod net;

use net::{Network, peers, result};
use quelea_dht::{Announce, Config, Event, Id, Item};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn everybody_joins_through_one_router() {
    let mut network = Network::new(60, 1);
    network.run_for(Duration::from_secs(120));
    for node in 0..60 {
        let known = network.dht(node).stats().nodes[0];
        assert!(known >= 10, "node {node} knows {known}");
    }
}

#[test]
fn what_one_announces_others_find() {
    let mut network = Network::new(80, 2);
    network.run_for(Duration::from_secs(120));
    let torrent = Id([0x42; 20]);
    let now = network.now();
    let announce = Announce { port: Some(7_000), seed: false };
    let search = network.dht(5).find_peers(now, torrent, Some(announce));
    let (_, found) = result(&mut network, 5, search);
    assert!(found.written >= 6, "{found:?}");
    for node in [0, 33, 79] {
        let now = network.now();
        let search = network.dht(node).find_peers(now, torrent, None);
        let (events, _) = result(&mut network, node, search);
        let expected = SocketAddr::new(network.address(5).ip(), 7_000);
        assert_eq!(peers(&events), [expected]);
    }
}

#[test]
fn a_scrape_counts_seeds_and_peers() {
    let mut network = Network::new(60, 3);
    network.run_for(Duration::from_secs(120));
    let torrent = Id([0x17; 20]);
    for node in 1..31 {
        let now = network.now();
        let announce = Announce { port: None, seed: node <= 10 };
        let search = network.dht(node).find_peers(now, torrent, Some(announce));
        result(&mut network, node, search);
    }
    // Filters are made at most once a minute.
    network.run_for(Duration::from_secs(61));
    let now = network.now();
    let search = network.dht(0).scrape(now, torrent);
    let (_, found) = result(&mut network, 0, search);
    let (seeds, others) = (found.seeds.unwrap(), found.peers.unwrap());
    assert!((seeds - 10.0).abs() < 1.0, "{seeds} seeds");
    assert!((others - 20.0).abs() < 1.5, "{others} peers");
}

#[test]
fn items_are_stored_found_and_renewed() {
    let mut network = Network::new(60, 4);
    network.run_for(Duration::from_secs(120));
    let fixed = Item::fixed(b"12:Hello World!".to_vec()).unwrap();
    let now = network.now();
    let search = network.dht(3).store_item(now, fixed.clone(), None);
    assert!(result(&mut network, 3, search).1.written >= 6);
    let now = network.now();
    let search = network.dht(40).fixed_item(now, fixed.target());
    let (events, _) = result(&mut network, 40, search);
    assert!(events.contains(&Event::Item(search, fixed)));

    let owner = [9; 32];
    let key = quelea_dht::item::public_key(owner);
    for sequence in 1..=2 {
        let value = format!("i{sequence}e").into_bytes();
        let item = Item::sign(owner, b"list".to_vec(), sequence, value).unwrap();
        let now = network.now();
        let search = network.dht(7).store_item(now, item, Some(sequence - 1));
        assert!(result(&mut network, 7, search).1.written >= 6);
    }
    let now = network.now();
    let search = network.dht(50).owned_item(now, &key, b"list");
    let (events, _) = result(&mut network, 50, search);
    let newest = events.iter().rev().find_map(|event| match event {
        Event::Item(_, item) => Some((item.sequence(), item.value.clone())),
        _ => None,
    });
    assert_eq!(newest, Some((2, b"i2e".to_vec())));
}

#[test]
fn samples_name_what_was_announced() {
    let mut network = Network::new(40, 5);
    network.run_for(Duration::from_secs(120));
    let torrent = Id([0x33; 20]);
    let now = network.now();
    let search = network.dht(2).find_peers(now, torrent, Some(Announce { port: None, seed: true }));
    result(&mut network, 2, search);
    let now = network.now();
    let search = network.dht(30).sample(now, torrent);
    let (events, _) = result(&mut network, 30, search);
    let named =
        events.iter().any(|event| matches!(event, Event::Samples(_, _, ids) if ids.contains(&torrent)));
    assert!(named, "{events:?}");
}

#[test]
fn nodes_that_leave_are_forgotten_and_the_network_goes_on() {
    let mut network = Network::new(80, 6);
    network.run_for(Duration::from_secs(120));
    let torrent = Id([0x44; 20]);
    for node in 40..80 {
        network.stop(node);
    }
    network.run_for(Duration::from_secs(3_600));
    let now = network.now();
    let search = network.dht(1).find_peers(now, torrent, Some(Announce { port: None, seed: false }));
    assert!(result(&mut network, 1, search).1.written >= 6);
    let now = network.now();
    let search = network.dht(20).find_peers(now, torrent, None);
    let (events, found) = result(&mut network, 20, search);
    assert_eq!(peers(&events).len(), 1);
    assert!(found.queries < 80, "{} queries", found.queries);
}

#[test]
fn a_node_learns_its_address_and_takes_an_id_that_fits_it() {
    let mut network = Network::new(30, 7);
    network.run_for(Duration::from_secs(300));
    for node in 0..30 {
        let ip = network.address(node).ip();
        let id = network.dht(node).ids()[0].unwrap();
        assert!(id.fits(ip), "node {node}");
    }
}

#[test]
fn a_network_that_enforces_ids_begins_where_nobody_has_one_that_fits() {
    let mut network = Network::with(40, 9, |config| Config { enforce_ids: true, ..config });
    network.run_for(Duration::from_secs(600));
    let torrent = Id([0x55; 20]);
    let now = network.now();
    let search = network.dht(3).find_peers(now, torrent, Some(Announce { port: Some(7_000), seed: false }));
    assert!(result(&mut network, 3, search).1.written >= 6);
    let now = network.now();
    let search = network.dht(30).find_peers(now, torrent, None);
    let (events, found) = result(&mut network, 30, search);
    assert_eq!(peers(&events), [SocketAddr::new(network.address(3).ip(), 7_000)]);
    assert!(found.nodes.iter().all(|(id, address)| id.fits(address.ip())), "{found:?}");
    for node in 0..40 {
        let saved = network.dht(node).saved();
        assert!(saved.nodes.len() >= 8, "node {node} knows {saved:?}");
        assert!(saved.nodes.iter().all(|(id, address)| id.fits(address.ip())), "node {node} knows {saved:?}");
    }
}

#[test]
fn what_is_saved_finds_the_network_again() {
    let mut network = Network::new(40, 8);
    network.run_for(Duration::from_secs(120));
    let saved = network.dht(10).saved();
    assert!(saved.nodes.len() >= 10);
    network.restart(10, saved);
    network.run_for(Duration::from_secs(60));
    let known = network.dht(10).stats().nodes[0];
    assert!(known >= 10, "{known}");
}
