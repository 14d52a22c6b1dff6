//! Any body of a tracker: what is accepted is within bounds, and bytes after it change nothing. Any text as a
//! tracker's URL: what is accepted prints as a URL that reads the same.
//!
//! The first two bytes are the HTTP status, of which a quarter is success.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_tracker::{
    AnnounceRequest, AnnounceResponse, Failure, Identity, MAX_INTERVAL, MAX_PEERS, Retry, Stats, TrackerUrl,
    http,
};

fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first_chunk() else { return };
    let status = u16::from_le_bytes(*status);
    let status = if status % 4 == 0 { 200 } else { status };

    let answer = http::read_announce(status, body);
    match &answer {
        Ok(response) => {
            assert!((200..300).contains(&status));
            check(response);
        }
        Err(failure) => check_failure(failure),
    }
    if answer.is_ok() {
        let longer = [body, b"\r\n<!-- served in 3 ms -->"].concat();
        assert_eq!(http::read_announce(status, &longer), answer);
    }
    match http::read_scrape(status, body) {
        Ok(torrents) => assert!(torrents.len() <= http::MAX_SCRAPE),
        Err(failure) => check_failure(&failure),
    }

    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(url) = TrackerUrl::parse(text)
    {
        check_url(&url);
    }
});

fn check(response: &AnnounceResponse) {
    assert!(response.peers.len() <= MAX_PEERS);
    for peer in &response.peers {
        assert!(peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast());
    }
    assert!(response.interval.is_none_or(|it| it <= MAX_INTERVAL));
    assert!(response.min_interval.is_none_or(|it| it <= MAX_INTERVAL));
    if let Some(warning) = &response.warning {
        check_text(warning);
    }
}

fn check_failure(failure: &Failure) {
    if let Failure::Refused { reason, retry } = failure {
        check_text(reason);
        if let Some(Retry::After(wait)) = retry {
            assert!(*wait <= MAX_INTERVAL);
        }
    }
}

/// Text that can be shown.
fn check_text(text: &str) {
    assert!(!text.is_empty() && text.chars().count() <= 256);
    assert!(!text.contains(|character: char| character.is_control() || character == '\u{202e}'));
}

fn check_url(url: &TrackerUrl) {
    let printed = url.to_string();
    assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()), "{printed:?}");
    assert_eq!(TrackerUrl::parse(&printed).as_ref(), Ok(url));
    let identity = Identity { info_hash: [0xff; 20], peer_id: [b'-'; 20], port: 1, key: 1 };
    let announce = http::announce_url(url, &AnnounceRequest::new(&identity, Stats::default()));
    assert!(announce.bytes().all(|byte| byte.is_ascii_graphic()), "{announce:?}");
    assert!(!announce.contains('#'));
    if let Some(scrape) = http::scrape_url(url, &[[0; 20]]) {
        assert!(scrape.bytes().all(|byte| byte.is_ascii_graphic()), "{scrape:?}");
    }
}
