//! Addresses that a node has nothing to do with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod net;

use net::{Network, peers, result};
use quelea_dht::{Announce, Id};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const NODES: usize = 60;
const WE: usize = 40;
/// A third of all, the router among them.
const BLOCKED: std::ops::Range<usize> = 0..20;

fn is_blocked(ip: IpAddr) -> bool {
    // The third number is the node's.
    matches!(ip, IpAddr::V4(ip) if BLOCKED.contains(&usize::from(ip.octets()[2])))
}

fn block(network: &mut Network) {
    let now = network.now();
    network.dht(WE).block(now, Arc::new(is_blocked));
    network.sent.clear();
}

/// Whom the node has written to since.
fn written_to(network: &Network) -> Vec<SocketAddr> {
    let we = network.address(WE);
    network.sent.iter().filter(|(from, _)| *from == we).map(|(_, to)| *to).collect()
}

#[test]
fn who_is_blocked_is_neither_asked_nor_answered_nor_known() {
    let mut network = Network::new(NODES, 21);
    network.run_for(Duration::from_secs(120));
    let knows_blocked = |network: &mut Network| {
        network.dht(WE).saved().nodes.iter().any(|(_, address)| is_blocked(address.ip()))
    };
    assert!(knows_blocked(&mut network));
    block(&mut network);
    assert!(!knows_blocked(&mut network), "at once");
    let now = network.now();
    let id = network.dht(1).ids()[0].unwrap();
    // Towards one of them, whom all others name.
    let search = network.dht(WE).find_nodes(now, id);
    let (_, found) = result(&mut network, WE, search);
    assert!(found.nodes.len() >= 8 && found.nodes.iter().all(|(_, at)| !is_blocked(at.ip())), "{found:?}");
    // Some of them ask, and somebody names them.
    let blocked = network.address(1);
    let now = network.now();
    network.dht(WE).add_node(now, blocked);
    network.dht(WE).add_router(now, blocked);
    network.run_for(Duration::from_secs(3_600));
    assert!(!knows_blocked(&mut network));
    let written = written_to(&network);
    assert!(written.len() > 8 && written.iter().all(|to| !is_blocked(to.ip())), "{written:?}");
    let asked = network.sent.iter().any(|(from, to)| is_blocked(from.ip()) && *to == network.address(WE));
    assert!(asked, "nobody who is blocked has asked");
}

#[test]
fn a_search_that_is_under_way_goes_on_without_them() {
    let mut network = Network::new(NODES, 22);
    network.run_for(Duration::from_secs(120));
    let now = network.now();
    let torrent = Id([0x61; 20]);
    let search = network.dht(WE).find_peers(now, torrent, Some(Announce { port: Some(7_000), seed: false }));
    network.run_for(Duration::from_millis(150));
    block(&mut network);
    let (_, found) = result(&mut network, WE, search);
    assert!(found.written >= 6, "{found:?}");
    assert!(found.nodes.iter().all(|(_, at)| !is_blocked(at.ip())), "{found:?}");
    assert!(written_to(&network).iter().all(|to| !is_blocked(to.ip())));
}

#[test]
fn peers_that_are_blocked_are_handed_on_to_nobody() {
    let mut network = Network::new(NODES, 23);
    network.run_for(Duration::from_secs(120));
    // A torrent near our own id, so that we hold its peers.
    let torrent = network.dht(WE).ids()[0].unwrap();
    for node in [3, 30] {
        let now = network.now();
        let announce = Announce { port: Some(7_000), seed: false };
        let search = network.dht(node).find_peers(now, torrent, Some(announce));
        result(&mut network, node, search);
    }
    assert_eq!(network.dht(WE).stats().peers, 2);
    block(&mut network);
    assert_eq!(network.dht(WE).stats().peers, 1);
    let now = network.now();
    // Others tell us of both.
    let search = network.dht(WE).find_peers(now, torrent, None);
    let (events, _) = result(&mut network, WE, search);
    assert_eq!(peers(&events), [SocketAddr::new(network.address(30).ip(), 7_000)]);
}
