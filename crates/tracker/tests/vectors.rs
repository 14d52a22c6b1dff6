//! The corpus' vectors for UDP packets, HTTP bodies and escaping.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use quelea_time::Time;
use quelea_tracker::udp::packet::{Reply, announce_request, connect_request, read_reply, scrape_request};
use quelea_tracker::udp::{Answer, Ask};
use quelea_tracker::{
    AnnounceRequest, AnnounceResponse, Contact, Event, Failure, Identity, MAX_INTERVAL, Stats, TrackerUrl,
    UdpClient, http,
};
use serde_json::Value;

/// The cases of a group, or `None` (with a notice) where the corpus is not there. In CI it must be.
fn cases(group: &str) -> Option<Vec<Value>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus/vectors.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped, but there is no {path}");
        eprintln!("skipped: no {path}");
        return None;
    };
    let all: Value = serde_json::from_str(&text).unwrap();
    let group = all["groups"].as_array().unwrap().iter().find(|it| it["id"] == group).unwrap();
    let cases = group["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    Some(cases)
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hash(value: &Value) -> [u8; 20] {
    bytes(value).try_into().unwrap()
}

fn number(value: &Value) -> u32 {
    value.as_i64().unwrap() as u32
}

fn addresses(value: &Value) -> Vec<SocketAddr> {
    value
        .as_array()
        .map_or_else(Vec::new, |list| list.iter().map(|it| it.as_str().unwrap().parse().unwrap()).collect())
}

fn some_request() -> AnnounceRequest {
    let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 6881, key: 3 };
    AnnounceRequest::new(&identity, Stats::default())
}

#[test]
fn udp_requests_are_written_as_specified() {
    for case in cases("bep15_udp_tracker").into_iter().flatten().filter(|case| case["direction"] == "out") {
        let fields = &case["fields"];
        let transaction = number(&fields["transaction_id"]);
        let connection = || u64::from_str_radix(fields["connection_id"].as_str().unwrap(), 16).unwrap();
        let packet = match fields["action"].as_u64().unwrap() {
            0 => connect_request(transaction),
            1 => {
                let request = AnnounceRequest {
                    info_hash: hash(&fields["info_hash"]),
                    peer_id: hash(&fields["peer_id"]),
                    port: fields["port"].as_u64().unwrap() as u16,
                    uploaded: fields["uploaded"].as_u64().unwrap(),
                    downloaded: fields["downloaded"].as_u64().unwrap(),
                    left: fields["left"].as_u64().unwrap(),
                    event: [None, Some(Event::Completed), Some(Event::Started), Some(Event::Stopped)]
                        [fields["event"].as_u64().unwrap() as usize],
                    num_want: u32::try_from(fields["num_want"].as_i64().unwrap()).ok(),
                    key: number(&fields["key"]),
                    ..some_request()
                };
                announce_request(connection(), transaction, &request, "", false)
            }
            2 => {
                let hashes: Vec<_> = fields["info_hashes"].as_array().unwrap().iter().map(hash).collect();
                scrape_request(connection(), transaction, &hashes)
            }
            other => panic!("unknown action {other}"),
        };
        assert_eq!(packet, bytes(&case["packet"]), "{}", case["name"]);
    }
}

#[test]
fn udp_replies_are_read_as_specified() {
    for case in cases("bep15_udp_tracker").into_iter().flatten().filter(|case| case["direction"] == "in") {
        let fields = &case["fields"];
        let name = case["name"].as_str().unwrap();
        let from = if name.contains("IPv6") { "[2001:db8::9]:80" } else { "192.0.2.9:80" };
        let (transaction, reply) = read_reply(from.parse().unwrap(), &bytes(&case["packet"])).unwrap();
        if let Some(expected) = fields["transaction_id"].as_u64() {
            assert_eq!(u64::from(transaction), expected, "{name}");
        }
        match reply {
            Reply::Connect(id) => {
                assert_eq!(id, fields["connection_id"].as_u64().unwrap(), "{name}");
            }
            Reply::Announce(response) => {
                assert_eq!(
                    response.interval,
                    Some(Duration::from_secs(fields["interval"].as_u64().unwrap()))
                );
                assert_eq!(response.leechers, Some(number(&fields["leechers"])), "{name}");
                assert_eq!(response.seeds, Some(number(&fields["seeders"])), "{name}");
                if let Some(count) = fields["peer_count"].as_u64() {
                    assert_eq!(response.peers.len() as u64, count, "{name}");
                }
                if fields["peers"].is_array() {
                    assert_eq!(response.peers, addresses(&fields["peers"]), "{name}");
                }
            }
            Reply::Scrape(counts) => {
                let expected = fields["results"].as_array().unwrap();
                assert_eq!(counts.len(), expected.len(), "{name}");
                for (counts, expected) in counts.iter().zip(expected) {
                    assert_eq!(counts.seeds, number(&expected["seeders"]), "{name}");
                    assert_eq!(counts.downloaded, number(&expected["completed"]), "{name}");
                    assert_eq!(counts.leechers, number(&expected["leechers"]), "{name}");
                }
            }
            Reply::Error(message) => assert_eq!(message, fields["message"].as_str().unwrap(), "{name}"),
        }
    }
}

/// A client with one announce under way, connected if `connected`, and the transaction it waits for.
fn waiting_client(connected: bool) -> (UdpClient<u8>, SocketAddr, [u8; 4]) {
    let tracker: SocketAddr = "192.0.2.9:80".parse().unwrap();
    let mut client = UdpClient::new(1);
    client.request(
        Time::ZERO,
        7,
        tracker,
        Ask::Announce { request: some_request(), url_data: String::new(), contact: Contact::Again },
    );
    let transaction = |client: &mut UdpClient<u8>| {
        let packet = client.poll_transmit().unwrap().bytes;
        <[u8; 4]>::try_from(&packet[12..16]).unwrap()
    };
    let connect = transaction(&mut client);
    if !connected {
        return (client, tracker, connect);
    }
    let reply = [&[0; 4][..], &connect, &[9; 8]].concat();
    client.handle_datagram(Time::ZERO, tracker, &reply);
    let announce = transaction(&mut client);
    (client, tracker, announce)
}

#[test]
fn malformed_udp_replies_are_survived() {
    for case in cases("bep15_malformed").into_iter().flatten() {
        let name = case["name"].as_str().unwrap();
        let mut packet = bytes(&case["packet"]);
        let (mut client, tracker, transaction) = waiting_client(!name.contains("connect response"));
        if let Some(field) = packet.get_mut(4..8) {
            field.copy_from_slice(&transaction);
        }
        client.handle_datagram(Time::ZERO, tracker, &packet);
        let event = client.poll_event();
        match name {
            "announce response with 3 stray bytes" => {
                let Some((7, Ok(Answer::Announce(response)))) = event else { panic!("{name}: {event:?}") };
                assert_eq!(response.peers.len(), 2);
            }
            "error with invalid UTF-8" => {
                let Some((7, Err(Failure::Refused { reason, .. }))) = event else {
                    panic!("{name}: {event:?}")
                };
                assert_eq!(reason, "\u{fffd}\u{fffd} [31m");
            }
            "interval 2^32-1" => {
                let Some((7, Ok(Answer::Announce(response)))) = event else { panic!("{name}: {event:?}") };
                assert_eq!(response.interval, Some(MAX_INTERVAL));
            }
            _ => {
                assert_eq!(event, None, "{name}");
                assert_eq!(client.waiting(), 1, "{name}");
            }
        }
    }
}

#[test]
fn http_bodies_are_read_as_trackers_write_them() {
    for case in cases("http_tracker_responses").into_iter().flatten() {
        let name = case["name"].as_str().unwrap();
        let expect = &case["expect"];
        let body = bytes(&case["body"]);
        if let Some(files) = expect["files"].as_object() {
            let torrents = http::read_scrape(200, &body).unwrap();
            assert_eq!(torrents.len(), files.len());
            for (info_hash, counts) in torrents {
                let key: String = info_hash.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(counts.seeds, number(&files[&key]["complete"]), "{name}");
                assert_eq!(counts.leechers, number(&files[&key]["incomplete"]), "{name}");
                assert_eq!(counts.downloaded, number(&files[&key]["downloaded"]), "{name}");
            }
            continue;
        }
        let result = http::read_announce(200, &body);
        if let Some(reason) = expect["failure_reason"].as_str() {
            assert!(
                matches!(&result, Err(Failure::Refused { reason: found, .. }) if found == reason),
                "{name}: {result:?}"
            );
        } else if expect["error"] == true {
            assert!(result.is_err(), "{name}: {result:?}");
        } else if expect["survive"] == true {
            check_survivor(name, result);
        } else {
            check_response(name, expect, &result.unwrap());
        }
    }
}

fn check_survivor(name: &str, result: Result<AnnounceResponse, Failure>) {
    match name {
        "compact peers of 7 bytes" => assert_eq!(result.unwrap().peers.len(), 1),
        "huge interval" => assert_eq!(result.unwrap().interval, Some(MAX_INTERVAL)),
        "port 70000" | "peers6 of 17 bytes" => assert!(result.unwrap().peers.is_empty()),
        "failure reason is an integer" => assert!(matches!(result, Err(Failure::Refused { .. }))),
        "empty body" => assert!(matches!(result, Err(Failure::Malformed(_)))),
        "warning message" => assert_eq!(result.unwrap().warning.as_deref(), Some("hey!")),
        other => panic!("a case without a check: {other}"),
    }
}

fn check_response(name: &str, expect: &Value, response: &AnnounceResponse) {
    let seconds = |value: &Value| value.as_u64().map(Duration::from_secs);
    if !expect["interval"].is_null() {
        assert_eq!(response.interval, seconds(&expect["interval"]), "{name}");
    }
    if !expect["min_interval"].is_null() {
        assert_eq!(response.min_interval, seconds(&expect["min_interval"]), "{name}");
    }
    for (found, key) in [(response.seeds, "complete"), (response.leechers, "incomplete")] {
        if !expect[key].is_null() {
            assert_eq!(found, Some(number(&expect[key])), "{name}: {key}");
        }
    }
    if let Some(ip) = expect["external_ip"].as_str() {
        assert_eq!(response.external_ip, Some(ip.parse().unwrap()), "{name}");
    }
    match expect["peer_count"].as_u64() {
        Some(count) => assert_eq!(response.peers.len() as u64, count, "{name}"),
        None => {
            let expected = [addresses(&expect["peers"]), addresses(&expect["peers6"])].concat();
            assert_eq!(response.peers, expected, "{name}");
        }
    }
}

#[test]
fn info_hashes_are_escaped() {
    let tracker = TrackerUrl::parse("http://tracker.example/announce").unwrap();
    for case in cases("info_hash_escaping").into_iter().flatten() {
        let request = AnnounceRequest { info_hash: hash(&case["info_hash"]), ..some_request() };
        let url = http::announce_url(&tracker, &request);
        let prefix =
            format!("http://tracker.example/announce?info_hash={}&", case["escaped"].as_str().unwrap());
        assert!(url.starts_with(&prefix), "{url}");
    }
}
