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

/// A node to which so many peers of a torrent have announced themselves, within the first minute.
fn holding(peers: u32, torrent: Id) -> Dht {
    let mut dht = node();
    for number in 100..100 + peers {
        let now = Time::from_secs(u64::from(number) / 20);
        let token = token(&mut dht, now, address(number), torrent);
        let announce = Method::AnnouncePeer { info_hash: torrent, port: Some(1), token: &token, seed: false };
        sent(&mut dht, now, address(number), &datagram(announce, b"bb"));
    }
    dht
}

#[test]
fn nobody_is_sent_more_than_three_times_what_came_unless_it_was_proven() {
    let torrent = Id([3; 20]);
    let mut dht = holding(120, torrent);
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
    let torrent = Id([3; 20]);
    let mut dht = holding(60, torrent);
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

#[test]
fn the_ping_that_a_query_causes_counts_into_what_it_is_answered_with() {
    let mut dht = node();
    let mut rng = fastrand::Rng::with_seed(8);
    let mut pings = 0;
    for number in 0..2_000_u32 {
        let now = Time::from_millis(u64::from(number) * 200);
        let from = address(10_000 + number);
        let id = Id::random(&mut rng);
        let mut asked = Vec::new();
        let method = Method::FindNode(Id::random(&mut rng));
        write_query(&Query { id, method, want: Want::default() }, b"a", false, &mut asked);
        let answers = sent(&mut dht, now, from, &asked);
        let length: usize = answers.iter().map(Vec::len).sum();
        assert!(length <= 3 * asked.len(), "{length} for {}", asked.len());
        pings += answers.len().saturating_sub(1);
        if number % 3 == 0 {
            for ping in &answers {
                let packet = Packet::parse(ping).unwrap();
                if matches!(packet.body, Body::Query(_)) {
                    let mut pong = b"d1:rd2:id20:".to_vec();
                    pong.extend(id.0);
                    pong.extend(b"e1:t4:");
                    pong.extend(packet.transaction);
                    pong.extend(b"1:y1:re");
                    dht.handle_datagram(now, from, &pong);
                }
            }
        }
        dht.handle_timeout(now);
        while dht.poll_transmit().is_some() {}
    }
    assert!(pings > 100 && dht.stats().nodes[0] > 50, "{pings} pings, {:?}", dht.stats());
}

#[test]
fn an_error_is_no_longer_than_three_times_what_it_refuses() {
    let mut dht = node();
    let short: [&[u8]; 3] = [b"d1:q0:1:t0:1:y1:qe", b"d1:ade1:q0:1:t0:1:y1:qe", b"d1:q4:ping1:t2:aa1:y1:qe"];
    for bytes in short {
        let length: usize = sent(&mut dht, Time::ZERO, address(1), bytes).iter().map(Vec::len).sum();
        assert!(length <= 3 * bytes.len(), "{length} for {}", bytes.len());
    }
}

#[test]
fn deep_and_endless_bencode_is_dropped() {
    let mut dht = node();
    let mut items = b"d1:al".to_vec();
    items.extend(b"0:".repeat(700));
    items.extend(b"e1:q4:ping1:t2:aa1:y1:qe");
    let deep = [b"d1:a".to_vec(), b"l".repeat(700)].concat();
    let long = b"d1:t99999999999999999999:".to_vec();
    for bytes in [items, deep, long, vec![b'd'; 1_400], vec![0xff; 1_400]] {
        for sent in sent(&mut dht, Time::ZERO, address(1), &bytes) {
            assert!(sent.len() <= 3 * bytes.len());
        }
    }
    assert_eq!(dht.stats().nodes, [0, 0]);
}

#[test]
fn who_answers_nobody_is_told_of_peers_within_its_room() {
    let torrent = Id([3; 20]);
    let mut dht = holding(60, torrent);
    for scrape in [false, true] {
        let method = Method::GetPeers { info_hash: torrent, no_seeds: false, scrape };
        let mut asked = Vec::new();
        write_query(&Query { id: Id([9; 20]), method, want: Want::default() }, b"ee", true, &mut asked);
        let answers = sent(&mut dht, Time::from_secs(60), address(7), &asked);
        assert_eq!(answers.len(), 1, "it is not pinged");
        assert!(answers[0].len() <= 3 * asked.len());
        let Body::Response(response) = Packet::parse(&answers[0]).unwrap().body else { panic!("no answer") };
        assert!(response.values.len() >= 5 && response.token.is_some(), "{response:?}");
    }
}

#[test]
fn who_has_shown_itself_among_very_many_is_not_asked_to_show_itself_again() {
    let torrent = Id([3; 20]);
    let mut dht = holding(60, torrent);
    let scrape = datagram(Method::GetPeers { info_hash: torrent, no_seeds: false, scrape: true }, b"dd");
    for number in 0..4_000_u32 {
        // One every 20 ms, all of them within the life of a proof.
        let now = Time::from_secs(60) + Duration::from_millis(u64::from(number) * 20);
        let from = address(20_000 + number);
        let pings = sent(&mut dht, now, from, &scrape);
        let answers = prove(&mut dht, now, from, &pings);
        let is_answer = |bytes: &Vec<u8>| Packet::parse(bytes).unwrap().transaction == b"dd";
        assert!(answers.iter().any(is_answer), "number {number} had {} pings", pings.len());
        dht.handle_timeout(now);
        while dht.poll_transmit().is_some() {}
    }
}
