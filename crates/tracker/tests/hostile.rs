//! Whatever strangers send: nothing panics, nothing exceeds its bound, and machines come to rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quelea_time::Time;
use quelea_tracker::udp::packet::{announce_request, read_reply};
use quelea_tracker::udp::{Ask, packet};
use quelea_tracker::{
    AnnounceRequest, AnnounceResponse, Announcer, Contact, Event, Failure, Identity, MAX_INTERVAL, MAX_PEERS,
    RequestId, Retry, Stats, TrackerUrl, UdpClient, Urgency, http,
};

fn check_bounds(response: &AnnounceResponse) {
    assert!(response.peers.len() <= MAX_PEERS);
    assert!(response.peers.iter().all(|peer| peer.port() != 0 && !peer.ip().is_unspecified()));
    assert!(response.interval.is_none_or(|it| it <= MAX_INTERVAL));
    assert!(response.min_interval.is_none_or(|it| it <= MAX_INTERVAL));
    assert!(response.warning.as_ref().is_none_or(|text| text.chars().count() <= 256));
}

/// Bencode that looks like a tracker's answer, with values of any kind under the keys that matter.
fn answer_like() -> impl Strategy<Value = Vec<u8>> {
    const KEYS: [&str; 12] = [
        "interval",
        "min interval",
        "peers",
        "peers6",
        "complete",
        "incomplete",
        "external ip",
        "tracker id",
        "warning message",
        "failure reason",
        "retry in",
        "files",
    ];
    let string = |bytes: Vec<u8>| [format!("{}:", bytes.len()).into_bytes(), bytes].concat();
    let value = prop_oneof![
        any::<i64>().prop_map(|number| format!("i{number}e").into_bytes()),
        vec(any::<u8>(), 0..80).prop_map(string),
        (any::<i64>(), "[0-9a-f.:]{0,20}")
            .prop_map(|(port, ip)| { format!("ld2:ip{}:{ip}4:porti{port}eei1ee", ip.len()).into_bytes() }),
    ];
    prop::sample::subsequence(&KEYS[..], 0..=KEYS.len()).prop_flat_map(move |keys| {
        vec(value.clone(), keys.len()).prop_map(move |values| {
            let mut body = b"d".to_vec();
            for (key, value) in keys.iter().zip(values) {
                body.extend(format!("{}:{key}", key.len()).bytes());
                body.extend(value);
            }
            body.push(b'e');
            body
        })
    })
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(status in 100u16..600, body in vec(any::<u8>(), 0..300)) {
        if let Ok(response) = http::read_announce(status, &body) {
            check_bounds(&response);
        }
        let _ = http::read_scrape(status, &body);
    }

    #[test]
    fn any_answer_is_read_or_refused(body in answer_like()) {
        match http::parse_announce(&body) {
            Ok(response) => check_bounds(&response),
            Err(failure) => prop_assert!(matches!(failure, Failure::Refused { .. }), "{}", failure),
        }
    }

    #[test]
    fn bytes_after_an_answer_change_nothing(body in answer_like(), after in vec(any::<u8>(), 0..20)) {
        let longer = [body.clone(), after].concat();
        prop_assert_eq!(http::parse_announce(&body), http::parse_announce(&longer));
    }

    #[test]
    fn a_cut_off_answer_is_not_believed(body in answer_like(), cut in any::<prop::sample::Index>()) {
        let cut = &body[..cut.index(body.len())];
        prop_assert!(matches!(http::parse_announce(cut), Err(Failure::Malformed(_))));
    }

    #[test]
    fn any_text_is_a_url_or_none(text in "\\PC{0,60}") {
        let _ = TrackerUrl::parse(&text);
    }

    #[test]
    fn a_url_prints_as_what_it_was_read_from(
        text in "(http|HTTPS|udp)://([a-z%:]{1,8}@)?([a-z0-9-]{1,9}|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]{0,5})?(/\\PC{0,20})?"
    ) {
        if let Ok(url) = TrackerUrl::parse(&text) {
            let printed = url.to_string();
            prop_assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(TrackerUrl::parse(&printed), Ok(url));
        }
    }

    #[test]
    fn any_packet_is_read_or_ignored(bytes in vec(any::<u8>(), 0..200), action in 0u32..5, v6 in any::<bool>()) {
        let from: SocketAddr = if v6 { "[2001:db8::1]:1" } else { "192.0.2.1:1" }.parse().unwrap();
        let _ = read_reply(from, &bytes);
        let packet = [&action.to_be_bytes()[..], &bytes].concat();
        if let Some((_, packet::Reply::Announce(response))) = read_reply(from, &packet) {
            check_bounds(&response);
        }
    }

    #[test]
    fn url_data_is_what_the_options_say(url_data in "[ -~]{0,1000}") {
        let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 6881, key: 3 };
        let request = AnnounceRequest::new(&identity, Stats::default());
        let packet = announce_request(1, 2, &request, &url_data, false);
        let mut options = &packet[98..];
        let mut told: Vec<u8> = Vec::new();
        while let [2, length, rest @ ..] = options {
            let (data, after) = rest.split_at(usize::from(*length));
            told.extend(data);
            options = after;
        }
        prop_assert!(options.is_empty());
        prop_assert_eq!(told, url_data.into_bytes());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u8, bool),
    Cancel(u8),
    /// Answers a packet that was sent, well or badly.
    Reply {
        to: prop::sample::Index,
        action: u32,
        body: Vec<u8>,
        from_elsewhere: bool,
    },
    Wait(u64),
}

fn udp_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u8>(), any::<bool>()).prop_map(|(tracker, scrape)| Step::Ask(tracker % 4, scrape)),
        any::<u8>().prop_map(Step::Cancel),
        (any::<prop::sample::Index>(), 0u32..5, vec(any::<u8>(), 0..40), prop::bool::weighted(0.1))
            .prop_map(|(to, action, body, from_elsewhere)| Step::Reply { to, action, body, from_elsewhere }),
        (0u64..40).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Against a model: every request that is not cancelled ends in exactly one event.
    #[test]
    fn every_udp_request_ends_once(seed in any::<u64>(), steps in vec(udp_step(), 0..80)) {
        let mut client = UdpClient::new(seed);
        let mut now = Time::ZERO;
        let mut sent: Vec<(SocketAddr, [u8; 4])> = Vec::new();
        let mut open = std::collections::BTreeSet::new();
        let mut next = 0u32;
        let mut drain = |client: &mut UdpClient<u32>, open: &mut std::collections::BTreeSet<u32>| {
            while let Some(datagram) = client.poll_transmit() {
                sent.push((datagram.to, datagram.bytes[12..16].try_into().unwrap()));
            }
            while let Some((id, _)) = client.poll_event() {
                assert!(open.remove(&id), "a second event for {id}");
            }
            sent.clone()
        };
        let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 6881, key: 3 };
        for step in steps {
            match step {
                Step::Ask(tracker, scrape) => {
                    let to = SocketAddr::from(([192, 0, 2, tracker], 80));
                    let request = AnnounceRequest::new(&identity, Stats::default());
                    let announce = Ask::Announce { request, url_data: String::new(), contact: Contact::Again };
                    client.request(now, next, to, if scrape { Ask::Scrape(vec![[7; 20]]) } else { announce });
                    open.insert(next);
                    next += 1;
                }
                Step::Cancel(id) => {
                    client.cancel(&id.into());
                    open.remove(&id.into());
                }
                Step::Reply { to, action, body, from_elsewhere } => {
                    let sent = drain(&mut client, &mut open);
                    if !sent.is_empty() {
                        let (mut from, transaction) = sent[to.index(sent.len())];
                        if from_elsewhere {
                            from.set_port(81);
                        }
                        let before = (client.waiting(), client.timeout());
                        client.handle_datagram(now, from, &[&action.to_be_bytes()[..], &transaction, &body].concat());
                        if from_elsewhere {
                            prop_assert_eq!(before, (client.waiting(), client.timeout()));
                        }
                    }
                }
                Step::Wait(secs) => {
                    now += Duration::from_secs(secs);
                    client.handle_timeout(now);
                    prop_assert!(client.timeout().is_none_or(|due| due > now));
                }
            }
            drain(&mut client, &mut open);
            prop_assert_eq!(client.waiting(), open.len());
        }
        for _ in 0..1000 {
            let Some(due) = client.timeout() else { break };
            client.handle_timeout(due);
            drain(&mut client, &mut open);
        }
        prop_assert!(open.is_empty(), "never ended: {:?}", open);
        prop_assert_eq!(client.timeout(), None);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Start(bool),
    Stop,
    Completed,
    Now(bool),
    Wait(u32),
    Succeed(prop::sample::Index, Option<u64>, Option<u64>),
    Fail(prop::sample::Index, u8),
    Add(u8, u8),
    Remove(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        1 => any::<bool>().prop_map(Act::Start),
        1 => Just(Act::Stop),
        1 => Just(Act::Completed),
        1 => any::<bool>().prop_map(Act::Now),
        4 => (0u32..3_000_000).prop_map(Act::Wait),
        4 => (which(), any::<Option<u64>>(), any::<Option<u64>>()).prop_map(|(at, a, b)| Act::Succeed(at, a, b)),
        4 => (which(), 0u8..4).prop_map(|(at, how)| Act::Fail(at, how)),
        1 => (0u8..12, 0u8..5).prop_map(|(host, tier)| Act::Add(host, tier)),
        1 => (0u8..12).prop_map(Act::Remove),
    ]
}

fn url(host: u8) -> String {
    format!("http://t{host}/announce")
}

proptest! {
    /// Against a model of what each tracker has been told: `started` until it is answered, `completed` and `stopped`
    /// only to trackers that have answered, nothing while at rest.
    #[test]
    fn trackers_hear_events_in_order(private in any::<bool>(), seed in any::<u64>(), acts in vec(act(), 0..120)) {
        let tiers = vec![vec![url(0), url(1), url(2)], vec![url(3)], vec![url(4), url(5)]];
        let mut announcer = if private { Announcer::private(tiers, seed) } else { Announcer::new(tiers, seed) };
        let mut now = Time::ZERO;
        let mut running = false;
        let mut known = std::collections::BTreeSet::new();
        let mut open: Vec<(RequestId, TrackerUrl, Option<Event>)> = Vec::new();
        for act in acts {
            match act {
                Act::Start(complete) => {
                    announcer.start(now, complete);
                    if !running {
                        known.clear();
                        open.clear();
                    }
                    running = true;
                }
                Act::Stop => {
                    announcer.stop(now);
                    running = false;
                }
                Act::Completed => announcer.completed(now),
                Act::Now(forced) => {
                    announcer.announce_now(now, if forced { Urgency::Forced } else { Urgency::FewPeers });
                }
                Act::Wait(millis) => {
                    now += Duration::from_millis(millis.into());
                    announcer.handle_timeout(now);
                }
                Act::Succeed(at, interval, minimum) => if !open.is_empty() {
                    let (id, url, event) = open.remove(at.index(open.len()));
                    let response = AnnounceResponse {
                        interval: interval.map(Duration::from_secs),
                        min_interval: minimum.map(Duration::from_secs),
                        ..Default::default()
                    };
                    if announcer.handle_answer(now, id, Ok(&response)) {
                        prop_assert!(running);
                        prop_assert_ne!(event, Some(Event::Stopped));
                        known.insert(url);
                    }
                    prop_assert!(!announcer.handle_answer(now, id, Ok(&response)), "an answer counts once");
                },
                Act::Fail(at, how) => if !open.is_empty() {
                    let (id, ..) = open.remove(at.index(open.len()));
                    let refused = |retry| Failure::Refused { reason: "no".into(), retry };
                    let failure = match how {
                        0 => Failure::TimedOut,
                        1 => refused(None),
                        2 => refused(Some(Retry::After(Duration::MAX))),
                        _ => refused(Some(Retry::Never)),
                    };
                    announcer.handle_answer(now, id, Err(failure));
                },
                Act::Add(host, tier) => announcer.add(now, tier.into(), &url(host)).unwrap(),
                Act::Remove(host) => {
                    announcer.remove(now, &TrackerUrl::parse(&url(host)).unwrap());
                }
            }
            while let Some(request) = announcer.poll_request() {
                match request.event {
                    Some(Event::Started) => prop_assert!(running && !known.contains(&request.url)),
                    Some(Event::Stopped) => prop_assert!(known.remove(&request.url), "it does not know us"),
                    // Whoever leaves at once still tells that it is complete, and then that it goes.
                    Some(Event::Completed) => prop_assert!(known.contains(&request.url)),
                    None => prop_assert!(running && known.contains(&request.url)),
                    Some(Event::Paused) => prop_assert!(false, "we are no partial seed"),
                }
                open.push((request.id, request.url, request.event));
            }
            while announcer.poll_notice().is_some() {}
            if let Some(due) = announcer.timeout() {
                prop_assert!(running);
                prop_assert!(due > now, "due at {} and not done at {}", due, now);
            }
        }
    }
}
