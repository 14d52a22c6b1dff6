//! The UDP client against a simulated tracker, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use quelea_time::Time;
use quelea_tracker::udp::{Answer, Ask, MAX_WAITING};
use quelea_tracker::{AnnounceRequest, Contact, Event, FIRST_TRY, Failure, Identity, Stats, UdpClient};

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn tracker() -> SocketAddr {
    "192.0.2.9:6969".parse().unwrap()
}

fn announce() -> Ask {
    let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 6881, key: 3 };
    let request = AnnounceRequest::new(&identity, Stats::default());
    Ask::Announce { request, url_data: "/announce".into(), contact: Contact::Again }
}

/// A packet that the client sent, as the tracker reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    to: SocketAddr,
    connection: u64,
    action: u32,
    transaction: u32,
}

fn sent(client: &mut UdpClient<u32>) -> Vec<Sent> {
    let field = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    std::iter::from_fn(|| client.poll_transmit())
        .map(|datagram| Sent {
            to: datagram.to,
            connection: u64::from_be_bytes(datagram.bytes[..8].try_into().unwrap()),
            action: field(&datagram.bytes, 8),
            transaction: field(&datagram.bytes, 12),
        })
        .collect()
}

fn one_sent(client: &mut UdpClient<u32>) -> Sent {
    let all = sent(client);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

fn reply(action: u32, transaction: u32, rest: &[u8]) -> Vec<u8> {
    [&action.to_be_bytes(), &transaction.to_be_bytes(), rest].concat()
}

fn connected(transaction: u32, id: u64) -> Vec<u8> {
    reply(CONNECT, transaction, &id.to_be_bytes())
}

fn announced(transaction: u32) -> Vec<u8> {
    reply(ANNOUNCE, transaction, &[0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 192, 0, 2, 1, 0x1a, 0xe1])
}

/// Runs the client by its own timeouts until `until`, and lists when it sent what.
fn run(client: &mut UdpClient<u32>, until: Time) -> Vec<(u64, u32)> {
    let mut log = Vec::new();
    let mut wakes = 0;
    while let Some(now) = client.timeout().filter(|&due| due <= until) {
        wakes += 1;
        assert!(wakes < 100, "the client does not come to rest at {now}");
        client.handle_timeout(now);
        log.extend(sent(client).iter().map(|packet| (now.since(Time::ZERO).as_secs(), packet.action)));
    }
    log
}

/// A client with a connection id from `now`, and no requests.
fn client_with_connection(now: Time, id: u64) -> UdpClient<u32> {
    let mut client = UdpClient::new(5);
    client.request(now, 0, tracker(), announce());
    let connect = one_sent(&mut client);
    client.handle_datagram(now, tracker(), &connected(connect.transaction, id));
    let packet = one_sent(&mut client);
    client.handle_datagram(now, tracker(), &announced(packet.transaction));
    assert!(matches!(client.poll_event(), Some((0, Ok(_)))));
    client
}

#[test]
fn an_announce_connects_first() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), announce());
    let connect = one_sent(&mut client);
    assert_eq!((connect.to, connect.connection, connect.action), (tracker(), 0x0417_2710_1980, CONNECT));
    client.handle_datagram(at(1), tracker(), &connected(connect.transaction, 99));
    let packet = one_sent(&mut client);
    assert_eq!((packet.connection, packet.action), (99, ANNOUNCE));
    client.handle_datagram(at(2), tracker(), &announced(packet.transaction));
    let Some((7, Ok(Answer::Announce(response)))) = client.poll_event() else { panic!("no answer") };
    assert_eq!(response.interval, Some(Duration::from_secs(1800)));
    assert_eq!(response.peers, ["192.0.2.1:6881".parse().unwrap()]);
    assert_eq!((client.timeout(), client.waiting()), (None, 0));
}

#[test]
fn a_silent_tracker_is_asked_at_15_and_45_seconds_and_given_up_at_105() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), announce());
    let first = one_sent(&mut client);
    assert_eq!(run(&mut client, at(104)), [(15, CONNECT), (45, CONNECT)]);
    assert_eq!(client.poll_event(), None);
    // A late answer to the first transmission would still count: retransmissions repeat the transaction.
    assert_eq!(run(&mut client, at(1000)), []);
    assert_eq!(client.poll_event(), Some((7, Err(Failure::TimedOut))));
    client.handle_datagram(at(200), tracker(), &connected(first.transaction, 1));
    assert_eq!(sent(&mut client), []);
    assert_eq!(client.timeout(), None);
}

#[test]
fn a_first_try_survives_two_lost_datagrams_and_is_given_up_after_14_seconds() {
    let Ask::Announce { request, url_data, .. } = announce() else { panic!("an announce") };
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), Ask::Announce { request, url_data, contact: Contact::First });
    one_sent(&mut client);
    assert_eq!(run(&mut client, at(13)), [(2, CONNECT), (6, CONNECT)]);
    assert_eq!(client.poll_event(), None);
    run(&mut client, at(14));
    assert_eq!(client.poll_event(), Some((7, Err(Failure::TimedOut))));
    assert!(at(14) < Time::ZERO + FIRST_TRY);
}

#[test]
fn a_goodbye_that_was_lost_is_sent_again_after_a_second() {
    let Ask::Announce { mut request, url_data, .. } = announce() else { panic!("an announce") };
    request.event = Some(Event::Stopped);
    let goodbye = Ask::Announce { request, url_data, contact: Contact::Leaving };
    let mut client = client_with_connection(at(0), 99);
    client.request(at(10), 7, tracker(), goodbye.clone());
    let first = one_sent(&mut client);
    client.handle_timeout(at(11));
    // The tracker may have forgotten the id: it is asked for another at once.
    let connect = one_sent(&mut client);
    assert_eq!((first.action, connect.action), (ANNOUNCE, CONNECT));
    client.handle_datagram(at(11), tracker(), &connected(connect.transaction, 100));
    let second = one_sent(&mut client);
    assert_eq!((second.connection, second.transaction), (100, first.transaction));
    client.handle_datagram(at(12), tracker(), &announced(second.transaction));
    assert!(matches!(client.poll_event(), Some((7, Ok(_)))));
    // With no connection, and nobody there.
    let mut client = UdpClient::new(1);
    client.request(at(0), 8, tracker(), goodbye);
    assert_eq!(one_sent(&mut client).action, CONNECT);
    assert_eq!(run(&mut client, at(100)), [1, 3, 7, 15].map(|second| (second, CONNECT)));
    assert_eq!(client.poll_event(), Some((8, Err(Failure::TimedOut))));
}

#[test]
fn an_announce_without_answer_is_repeated_with_the_same_connection() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), announce());
    let connect = one_sent(&mut client);
    client.handle_datagram(at(1), tracker(), &connected(connect.transaction, 99));
    let first = one_sent(&mut client);
    client.handle_timeout(at(16));
    assert_eq!(one_sent(&mut client), first);
    assert_eq!(run(&mut client, at(1000)), [(46, ANNOUNCE)]);
    assert_eq!(client.poll_event(), Some((7, Err(Failure::TimedOut))));
}

#[test]
fn an_answer_to_an_earlier_transmission_counts() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), announce());
    let first = one_sent(&mut client);
    client.handle_timeout(at(15));
    let second = one_sent(&mut client);
    assert_eq!(first, second);
    client.handle_datagram(at(16), tracker(), &connected(first.transaction, 99));
    assert_eq!(one_sent(&mut client).connection, 99);
}

#[test]
fn connection_ids_are_used_for_a_minute() {
    let mut client = client_with_connection(at(0), 99);
    client.request(at(59), 1, tracker(), announce());
    let packet = one_sent(&mut client);
    assert_eq!((packet.action, packet.connection), (ANNOUNCE, 99));
    client.request(at(60), 2, tracker(), announce());
    assert_eq!(one_sent(&mut client).action, CONNECT);
}

#[test]
fn an_old_connection_id_that_brings_no_answer_is_replaced() {
    let mut client = client_with_connection(at(0), 99);
    client.request(at(10), 1, tracker(), announce());
    assert_eq!(one_sent(&mut client).action, ANNOUNCE);
    client.handle_timeout(at(25));
    let connect = one_sent(&mut client);
    assert_eq!(connect.action, CONNECT);
    client.handle_datagram(at(26), tracker(), &connected(connect.transaction, 100));
    assert_eq!(one_sent(&mut client).connection, 100);
}

#[test]
fn an_old_connection_id_that_is_refused_is_replaced_once() {
    let mut client = client_with_connection(at(0), 99);
    client.request(at(10), 1, tracker(), announce());
    let packet = one_sent(&mut client);
    let refusal = |transaction| reply(ERROR, transaction, b"Connection ID missmatch.\0");
    client.handle_datagram(at(11), tracker(), &refusal(packet.transaction));
    let connect = one_sent(&mut client);
    assert_eq!(connect.action, CONNECT);
    client.handle_datagram(at(12), tracker(), &connected(connect.transaction, 100));
    let packet = one_sent(&mut client);
    client.handle_datagram(at(13), tracker(), &refusal(packet.transaction));
    let refused = Failure::Refused { reason: "Connection ID missmatch.".into(), retry: None };
    assert_eq!(client.poll_event(), Some((1, Err(refused))));
}

#[test]
fn requests_to_one_tracker_share_a_connect() {
    let mut client = UdpClient::new(1);
    for id in 0..3 {
        client.request(at(id.into()), id, tracker(), announce());
    }
    client.request(at(3), 3, tracker(), Ask::Scrape(vec![[1; 20], [2; 20]]));
    let connect = one_sent(&mut client);
    // Four patiences end between 15 and 18 seconds; they bring one more connect request.
    assert_eq!(run(&mut client, at(20)), [(15, CONNECT)]);
    client.handle_datagram(at(21), tracker(), &connected(connect.transaction, 99));
    let packets = sent(&mut client);
    assert_eq!(packets.iter().filter(|packet| packet.action == ANNOUNCE).count(), 3);
    let scrape = packets.iter().find(|packet| packet.action == SCRAPE).unwrap();
    client.handle_datagram(at(22), tracker(), &reply(SCRAPE, scrape.transaction, &[0; 24]));
    let Some((3, Ok(Answer::Scrape(torrents)))) = client.poll_event() else { panic!("no answer") };
    assert_eq!(torrents.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(), [[1; 20], [2; 20]]);
}

#[test]
fn a_refused_connect_fails_all_that_wait_for_it() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 1, tracker(), announce());
    client.request(at(0), 2, tracker(), announce());
    let connect = one_sent(&mut client);
    client.handle_datagram(at(1), tracker(), &reply(ERROR, connect.transaction, b"go away"));
    let mut failed: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    failed.sort_by_key(|(id, _)| *id);
    let refused = Err(Failure::Refused { reason: "go away".into(), retry: None });
    assert_eq!(failed, [(1, refused.clone()), (2, refused)]);
    assert_eq!(client.timeout(), None);
}

#[test]
fn replies_from_elsewhere_or_to_nothing_are_ignored() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), announce());
    let connect = one_sent(&mut client);
    let genuine = connected(connect.transaction, 99);
    for from in ["192.0.2.9:6970", "192.0.2.8:6969", "[2001:db8::1]:6969"] {
        client.handle_datagram(at(1), from.parse().unwrap(), &genuine);
    }
    client.handle_datagram(at(1), tracker(), &connected(connect.transaction.wrapping_add(1), 99));
    client.handle_datagram(at(1), tracker(), &announced(connect.transaction));
    assert_eq!(sent(&mut client), []);
    assert_eq!(client.poll_event(), None);
    // The same address seen through an IPv6 socket is the same tracker.
    client.handle_datagram(at(1), "[::ffff:192.0.2.9]:6969".parse().unwrap(), &genuine);
    assert_eq!(one_sent(&mut client).connection, 99);
}

#[test]
fn a_late_answer_counts_while_another_connection_id_is_asked_for() {
    let mut client = client_with_connection(at(0), 99);
    client.request(at(10), 1, tracker(), announce());
    let packet = one_sent(&mut client);
    client.handle_timeout(at(25));
    assert_eq!(one_sent(&mut client).action, CONNECT);
    client.handle_datagram(at(26), tracker(), &announced(packet.transaction));
    assert!(matches!(client.poll_event(), Some((1, Ok(_)))));
}

#[test]
fn peers_of_an_ipv6_tracker_have_ipv6_addresses() {
    let mut client = UdpClient::new(1);
    let tracker: SocketAddr = "[2001:db8::9]:6969".parse().unwrap();
    client.request(at(0), 7, tracker, announce());
    let connect = one_sent(&mut client);
    client.handle_datagram(at(0), tracker, &connected(connect.transaction, 99));
    let packet = one_sent(&mut client);
    let mut body = vec![0; 12];
    body.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1a, 0xe1]);
    client.handle_datagram(at(0), tracker, &reply(ANNOUNCE, packet.transaction, &body));
    let Some((7, Ok(Answer::Announce(response)))) = client.poll_event() else { panic!("no answer") };
    assert_eq!(response.peers, ["[2001:db8::1]:6881".parse().unwrap()]);
}

#[test]
fn a_cancelled_request_is_forgotten() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 7, tracker(), announce());
    let connect = one_sent(&mut client);
    client.cancel(&7);
    assert_eq!((client.timeout(), client.waiting()), (None, 0));
    client.handle_datagram(at(1), tracker(), &connected(connect.transaction, 99));
    assert_eq!((sent(&mut client), client.poll_event()), (vec![], None));
}

#[test]
fn requests_beyond_the_bound_are_turned_away() {
    let mut client = UdpClient::new(1);
    for id in 0..=MAX_WAITING as u32 {
        client.request(at(0), id, tracker(), announce());
    }
    assert_eq!(client.waiting(), MAX_WAITING);
    assert_eq!(client.poll_event(), Some((MAX_WAITING as u32, Err(Failure::Busy))));
    assert_eq!(sent(&mut client).len(), 1);
}

#[test]
fn many_trackers_leave_nothing_behind() {
    let mut client = UdpClient::new(1);
    for n in 0..3000u32 {
        let tracker = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 80));
        client.request(at(0), n, tracker, announce());
        let connect = one_sent(&mut client);
        client.handle_datagram(at(0), tracker, &connected(connect.transaction, 99));
        let packet = one_sent(&mut client);
        client.handle_datagram(at(0), tracker, &announced(packet.transaction));
        assert!(matches!(client.poll_event(), Some((_, Ok(_)))));
    }
    assert_eq!((client.timeout(), client.waiting()), (None, 0));
    assert!(format!("{client:?}").matches("since").count() <= 1024, "connection ids are bounded");
}

#[test]
fn scrapes_of_no_or_too_many_torrents_are_refused() {
    let mut client = UdpClient::new(1);
    client.request(at(0), 1, tracker(), Ask::Scrape(vec![]));
    client.request(at(0), 2, tracker(), Ask::Scrape(vec![[0; 20]; 75]));
    assert!(matches!(client.poll_event(), Some((1, Err(Failure::Other(_))))));
    assert!(matches!(client.poll_event(), Some((2, Err(Failure::Other(_))))));
    assert_eq!(sent(&mut client), []);
}
