//! Nodes that mean harm: forged addresses, forged tokens, floods, lies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use quelea_dht::packet::{Body, Method, Packet, Query, Want, write_query};
use quelea_dht::{Config, Dht, Families, Id, Item};
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

fn datagram(method: Method<'_>, transaction: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let want = Want { v4: true, v6: true };
    write_query(&Query { id: Id([9; 20]), method, want }, transaction, false, &mut out);
    out
}

/// What the node sends because of a datagram.
fn sent(dht: &mut Dht, now: Time, from: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
    dht.handle_datagram(now, from, bytes);
    std::iter::from_fn(|| dht.poll_transmit()).filter(|sent| sent.to == from).map(|sent| sent.bytes).collect()
}

/// Answers every ping that the node sends to `from`, so that the address is proven.
fn prove(dht: &mut Dht, now: Time, from: SocketAddr, pings: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for ping in pings {
        let packet = Packet::parse(ping).unwrap();
        if !matches!(&packet.body, Body::Query(query) if query.method == Method::Ping) {
            continue;
        }
        let mut pong = b"d1:rd2:id20:".to_vec();
        pong.extend([9; 20]);
        pong.extend(b"e1:t4:");
        pong.extend(packet.transaction);
        pong.extend(b"1:y1:re");
        answers.extend(sent(dht, now, from, &pong));
    }
    answers
}

fn token(dht: &mut Dht, now: Time, from: SocketAddr, info_hash: Id) -> Vec<u8> {
    let query = Method::GetPeers { info_hash, no_seeds: false, scrape: false };
    let mut answers = sent(dht, now, from, &datagram(query, b"aa"));
    let more = prove(dht, now, from, &answers);
    answers.extend(more);
    let mut tokens = answers.iter().filter_map(|answer| match Packet::parse(answer).unwrap().body {
        Body::Response(response) => response.token.map(<[u8]>::to_vec),
        Body::Query(_) | Body::Error { .. } => None,
    });
    tokens.next_back().expect("a token")
}

#[test]
fn nobody_is_sent_more_than_three_times_what_came_unless_it_was_proven() {
    let mut dht = node();
    let torrent = Id([3; 20]);
    // A node that knows much: peers, an item, other nodes.
    for number in 100..220 {
        let now = Time::from_secs(u64::from(number) / 20);
        let token = token(&mut dht, now, address(number), torrent);
        let announce = Method::AnnouncePeer { info_hash: torrent, port: Some(1), token: &token, seed: false };
        let pings = sent(&mut dht, now, address(number), &datagram(announce, b"bb"));
        prove(&mut dht, now, address(number), &pings);
    }
    assert!(dht.stats().peers >= 100, "{:?}", dht.stats());
    let now = Time::from_secs(60);
    let questions = [
        Method::Ping,
        Method::FindNode(torrent),
        Method::GetPeers { info_hash: torrent, no_seeds: false, scrape: false },
        Method::GetPeers { info_hash: torrent, no_seeds: false, scrape: true },
        Method::Get { target: torrent, newer_than: None },
        Method::SampleInfohashes(torrent),
        Method::Unknown(Some(torrent)),
        Method::Unknown(None),
    ];
    for (number, method) in questions.into_iter().enumerate() {
        let from = address(1_000 + number as u32);
        let asked = datagram(method, b"cc");
        let sent: usize = sent(&mut dht, now, from, &asked).iter().map(Vec::len).sum();
        assert!(sent <= 3 * asked.len(), "{sent} bytes for {} of {method:?}", asked.len());
        assert!(sent > 0, "{method:?}");
    }
}

#[test]
fn who_shows_that_it_receives_gets_the_long_answer() {
    let mut dht = node();
    let torrent = Id([3; 20]);
    for number in 100..160 {
        let now = Time::from_secs(u64::from(number) / 20);
        let token = token(&mut dht, now, address(number), torrent);
        let announce = Method::AnnouncePeer { info_hash: torrent, port: Some(1), token: &token, seed: false };
        sent(&mut dht, now, address(number), &datagram(announce, b"bb"));
    }
    let (now, from) = (Time::from_secs(60), address(1));
    let scrape = Method::GetPeers { info_hash: torrent, no_seeds: false, scrape: true };
    let pings = sent(&mut dht, now, from, &datagram(scrape, b"dd"));
    let answers = prove(&mut dht, now, from, &pings);
    let answer = answers
        .iter()
        .map(|answer| Packet::parse(answer).unwrap())
        .find(|packet| packet.transaction == b"dd");
    let Some(Body::Response(response)) = answer.map(|packet| packet.body) else { panic!("no answer") };
    assert!(response.peers.is_some() && response.values.len() > 8, "{response:?}");
}

#[test]
fn tokens_of_others_of_other_torrents_and_invented_ones_store_nothing() {
    let mut dht = node();
    let (torrent, other) = (Id([3; 20]), Id([4; 20]));
    let good = token(&mut dht, Time::ZERO, address(1), torrent);
    let tries = [
        (address(2), torrent, good.clone()),
        (address(1), other, good.clone()),
        (address(1), torrent, vec![0; 8]),
        (address(1), torrent, Vec::new()),
    ];
    for (from, info_hash, token) in tries {
        let announce = Method::AnnouncePeer { info_hash, port: Some(1), token: &token, seed: false };
        let answers = sent(&mut dht, Time::ZERO, from, &datagram(announce, b"ee"));
        let refused = answers
            .iter()
            .any(|answer| matches!(Packet::parse(answer).unwrap().body, Body::Error { code: 203, .. }));
        assert!(refused);
    }
    let late = Time::from_secs(1_000);
    let announce = Method::AnnouncePeer { info_hash: torrent, port: Some(1), token: &good, seed: false };
    sent(&mut dht, late, address(1), &datagram(announce, b"ee"));
    assert_eq!(dht.stats().peers, 0);
    let announce = Method::AnnouncePeer { info_hash: torrent, port: Some(1), token: &good, seed: false };
    sent(&mut dht, Time::ZERO, address(1), &datagram(announce, b"ee"));
    assert_eq!(dht.stats().peers, 1);
}

#[test]
fn forged_signatures_store_nothing() {
    let mut dht = node();
    let item = Item::sign([5; 32], Vec::new(), 1, b"i1e".to_vec()).unwrap();
    let target = item.target();
    let answers =
        sent(&mut dht, Time::ZERO, address(1), &datagram(Method::Get { target, newer_than: None }, b"aa"));
    let token = answers.iter().find_map(|answer| match Packet::parse(answer).unwrap().body {
        Body::Response(response) => response.token.map(<[u8]>::to_vec),
        Body::Query(_) | Body::Error { .. } => None,
    });
    let token = token.unwrap();
    let put = Method::Put { token: &token, value: b"i2e", signed: item.signed(), replaces: None };
    sent(&mut dht, Time::ZERO, address(1), &datagram(put, b"ff"));
    assert_eq!(dht.stats().items, 0);
    let put = Method::Put { token: &token, value: b"i1e", signed: item.signed(), replaces: None };
    sent(&mut dht, Time::ZERO, address(1), &datagram(put, b"ff"));
    assert_eq!(dht.stats().items, 1);
}

#[test]
fn a_flood_of_one_address_is_cut_off_and_others_are_answered() {
    let mut dht = node();
    let ping = datagram(Method::Ping, b"gg");
    let mut answered = 0;
    for _ in 0..5_000 {
        answered += sent(&mut dht, Time::from_secs(1), address(1), &ping)
            .iter()
            .filter(|answer| matches!(Packet::parse(answer).unwrap().body, Body::Response(_)))
            .count();
    }
    assert!(answered <= 60, "{answered}");
    assert!(!sent(&mut dht, Time::from_secs(1), address(2), &ping).is_empty());
}

#[test]
fn a_flood_of_many_addresses_grows_nothing_without_bound() {
    let mut dht = node();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut now = Time::ZERO;
    for number in 0..60_000_u32 {
        now += Duration::from_micros(500);
        let mut id = [0; 20];
        rng.fill(&mut id);
        let info_hash = Id(id);
        let query = Method::GetPeers { info_hash, no_seeds: false, scrape: true };
        let mut out = Vec::new();
        write_query(&Query { id: info_hash, method: query, want: Want::default() }, b"hh", false, &mut out);
        dht.handle_datagram(now, address(number % 50_000), &out);
        while dht.poll_transmit().is_some() {}
        if dht.timeout().is_some_and(|due| due <= now) {
            dht.handle_timeout(now);
        }
    }
    let stats = dht.stats();
    // Nobody answered, so nobody is in the table; and few were asked whether they are there.
    assert_eq!(stats.nodes, [0, 0]);
    assert!(stats.queries_out < 10_000, "{stats:?}");
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut dht = node();
    dht.add_router(Time::ZERO, address(1));
    dht.handle_timeout(Time::ZERO);
    let asked = dht.poll_transmit().expect("it joins");
    let transaction = Packet::parse(&asked.bytes).unwrap().transaction.to_vec();
    let answer = |transaction: &[u8]| {
        let mut bytes = b"d1:rd2:id20:".to_vec();
        bytes.extend([9; 20]);
        bytes.extend(format!("e1:t{}:", transaction.len()).as_bytes());
        bytes.extend(transaction);
        bytes.extend(b"1:y1:re");
        bytes
    };
    // The right transaction from a wrong address, and a wrong one from the right address.
    dht.handle_datagram(Time::ZERO, address(2), &answer(&transaction));
    dht.handle_datagram(Time::ZERO, address(1), &answer(b"nope"));
    assert_eq!(dht.stats().nodes, [0, 0]);
    dht.handle_datagram(Time::ZERO, address(1), &answer(&transaction));
    assert_eq!(dht.stats().nodes, [1, 0]);
}
