//! Announce and scrape over HTTP: the URL to fetch, and what its body says (BEP 3, "trackers"; BEPs 7, 23, 24,
//! 31, 48).
//!
//! Bodies are read leniently where real trackers are sloppy and nothing can be misread: white space or a byte order mark
//! before the dictionary, bytes after it, keys in any order, both forms of peer lists, numbers that are strings or have
//! zeros in front ([`parse_prefix_leniently`]), entries that make no sense left out. Of a repeated key the first value
//! counts, as in libtorrent: all that follows from an answer is bounded, so that no choice can do harm. Peers given by
//! name are left out: a tracker has no business making us resolve names.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use quelea_bencode::{Limits, Value, parse_prefix_leniently};

use crate::failure::{Failure, Retry};
use crate::peers;
use crate::request::{AnnounceRequest, Event};
use crate::response::{AnnounceResponse, MAX_INTERVAL, SwarmCounts, interval};
use crate::url::{TrackerUrl, push_value};
use crate::wording::clean;

/// The longest body that is worth reading, in bytes: 1 MiB.
pub const MAX_BODY: usize = 1 << 20;
/// How many torrents one scrape asks for at most, so that its URL stays within what servers take (8 KiB).
pub const MAX_SCRAPE: usize = 64;
/// The longest tracker id that is kept and sent back, in bytes.
const MAX_TRACKER_ID: usize = 256;

/// Seven keys and values for each of some 14,000 peers in the long form, more than [`MAX_BODY`] holds in practice.
const LIMITS: Limits = Limits { depth: 16, items: 100_000 };

/// The URL whose GET is this announce. What the tracker's URL has as a query stays in front.
pub fn announce_url(tracker: &TrackerUrl, request: &AnnounceRequest) -> String {
    let mut url = Query::of(tracker);
    url.bytes("info_hash", &request.info_hash);
    url.bytes("peer_id", &request.peer_id);
    url.number("port", request.port.into());
    url.number("uploaded", request.uploaded);
    url.number("downloaded", request.downloaded);
    url.number("left", request.left);
    url.text("compact", "1");
    url.text("no_peer_id", "1");
    if let Some(num_want) = request.num_want {
        url.number("numwant", num_want.into());
    }
    url.text("key", &alloc::format!("{:08X}", request.key));
    match request.event {
        None => {}
        Some(Event::Started) => url.text("event", "started"),
        Some(Event::Completed) => url.text("event", "completed"),
        Some(Event::Stopped) => url.text("event", "stopped"),
        Some(Event::Paused) => url.text("event", "paused"),
    }
    if let Some(tracker_id) = &request.tracker_id {
        url.bytes("trackerid", tracker_id);
    }
    if let Some(ip) = request.ipv4 {
        url.text("ipv4", &ip.to_string());
    }
    if let Some(ip) = request.ipv6 {
        url.bytes("ipv6", ip.to_string().as_bytes());
    }
    url.text
}

/// The URL whose GET scrapes these torrents, [`MAX_SCRAPE`] of them at most (BEP 48).
///
/// `None` when the tracker's URL follows no convention for scraping, or when there is nothing to ask.
pub fn scrape_url(tracker: &TrackerUrl, info_hashes: &[[u8; 20]]) -> Option<String> {
    if info_hashes.is_empty() {
        return None;
    }
    let mut url = Query::of(&tracker.scrape()?);
    for info_hash in info_hashes.iter().take(MAX_SCRAPE) {
        url.bytes("info_hash", info_hash);
    }
    Some(url.text)
}

/// A URL whose query is being written.
struct Query {
    text: String,
}

impl Query {
    fn of(tracker: &TrackerUrl) -> Self {
        let mut text = tracker.before_query();
        text.push('?');
        if let Some(query) = tracker.query().map(|query| query.trim_end_matches('&')) {
            text.push_str(query);
        }
        Self { text }
    }

    fn name(&mut self, name: &str) {
        if !self.text.ends_with('?') {
            self.text.push('&');
        }
        self.text.push_str(name);
        self.text.push('=');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text.push_str(value);
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        push_value(&mut self.text, value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        // Writing to a string can't fail.
        let _ = write!(self.text, "{value}");
    }
}

/// What the body of an announce with this HTTP status says.
///
/// # Errors
/// [`Failure::Refused`] where the body has a reason, whatever the status; [`Failure::HttpStatus`] for a status
/// that is no success; [`Failure::TooLong`] and [`Failure::Malformed`] for what can't be read.
pub fn read_announce(status: u16, body: &[u8]) -> Result<AnnounceResponse, Failure> {
    with_status(status, parse_announce(body))
}

/// What the body of a scrape with this HTTP status says, at most [`MAX_SCRAPE`] torrents.
///
/// # Errors
/// As for [`read_announce`].
pub fn read_scrape(status: u16, body: &[u8]) -> Result<Vec<([u8; 20], SwarmCounts)>, Failure> {
    with_status(status, parse_scrape(body))
}

fn with_status<T>(status: u16, parsed: Result<T, Failure>) -> Result<T, Failure> {
    match parsed {
        Err(Failure::Refused { reason, retry: None }) if status == 410 => {
            Err(Failure::Refused { reason, retry: Some(Retry::Never) })
        }
        Err(refused @ Failure::Refused { .. }) => Err(refused),
        _ if !(200..300).contains(&status) => Err(Failure::status(status)),
        parsed => parsed,
    }
}

/// What the body of an announce says.
///
/// # Errors
/// As for [`read_announce`] with a status of success.
pub fn parse_announce(body: &[u8]) -> Result<AnnounceResponse, Failure> {
    let answer = parse_answer(body)?;
    let mut response = AnnounceResponse {
        interval: seconds(&answer, b"interval"),
        min_interval: seconds(&answer, b"min interval"),
        peers: Vec::new(),
        seeds: count(&answer, b"complete"),
        leechers: count(&answer, b"incomplete"),
        downloaded: count(&answer, b"downloaded"),
        external_ip: answer.get(b"external ip").and_then(Value::as_bytes).and_then(packed_ip),
        tracker_id: bytes(&answer, b"tracker id")
            .filter(|id| id.len() <= MAX_TRACKER_ID)
            .map(<[u8]>::to_owned),
        warning: bytes(&answer, b"warning message").map(clean).filter(|text| !text.is_empty()),
    };
    if let Some(value) = answer.get(b"peers") {
        if let Some(compact) = value.as_bytes() {
            peers::push_compact_v4(&mut response.peers, compact);
        }
        for peer in value.as_list().unwrap_or_default() {
            push_long_form(&mut response.peers, peer);
        }
    }
    if let Some(compact) = bytes(&answer, b"peers6") {
        peers::push_compact_v6(&mut response.peers, compact);
    }
    Ok(response)
}

/// What the body of a scrape says, at most [`MAX_SCRAPE`] torrents.
///
/// # Errors
/// As for [`read_scrape`] with a status of success.
pub fn parse_scrape(body: &[u8]) -> Result<Vec<([u8; 20], SwarmCounts)>, Failure> {
    let answer = parse_answer(body)?;
    let Some(files) = answer.get(b"files").and_then(Value::as_dict) else {
        return Err(Failure::Malformed("it has no files".to_owned()));
    };
    let torrents = files.iter().filter_map(|(info_hash, counts)| {
        let counts = SwarmCounts {
            seeds: count(counts, b"complete").unwrap_or(0),
            leechers: count(counts, b"incomplete").unwrap_or(0),
            downloaded: count(counts, b"downloaded").unwrap_or(0),
            downloaders: count(counts, b"downloaders"),
        };
        Some((info_hash.try_into().ok()?, counts))
    });
    Ok(torrents.take(MAX_SCRAPE).collect())
}

/// Whether a body that was cut short, by what its server said of its length, is a whole answer all the same.
pub fn is_whole(body: &[u8]) -> bool {
    let parsed = parse_prefix_leniently(beginning(body), LIMITS);
    body.len() <= MAX_BODY && parsed.is_ok_and(|(answer, _)| answer.as_dict().is_some())
}

/// The body without what scripts print before it by mistake.
fn beginning(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii_start();
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start()
}

/// The dictionary that the body begins with, unless it gives a reason for failure.
fn parse_answer(body: &[u8]) -> Result<Value<'_>, Failure> {
    if body.len() > MAX_BODY {
        return Err(Failure::TooLong);
    }
    let body = beginning(body);
    match body.first() {
        None => return Err(Failure::Malformed("it is empty".to_owned())),
        Some(b'<') => return Err(Failure::Malformed("it is a web page".to_owned())),
        Some(_) => {}
    }
    let (answer, _) =
        parse_prefix_leniently(body, LIMITS).map_err(|error| Failure::Malformed(error.to_string()))?;
    if answer.as_dict().is_none() {
        return Err(Failure::Malformed("it is not a dictionary".to_owned()));
    }
    if let Some(reason) = answer.get(b"failure reason") {
        let reason = match reason.as_bytes().map(clean) {
            Some(reason) if !reason.is_empty() => reason,
            _ => "it gives no reason".to_owned(),
        };
        return Err(Failure::Refused { reason, retry: retry(&answer) });
    }
    Ok(answer)
}

/// "retry in" is "never" or minutes, as a number or written out (BEP 31). A tracker that refuses and names its
/// "min interval" or its "interval" is taken at that word.
fn retry(answer: &Value<'_>) -> Option<Retry> {
    let value = answer.get(b"retry in");
    if value.and_then(Value::as_bytes).is_some_and(|text| text.eq_ignore_ascii_case(b"never")) {
        return Some(Retry::Never);
    }
    let minutes = value.and_then(number).filter(|&minutes| minutes > 0);
    match minutes {
        Some(minutes) => {
            Some(Retry::After(Duration::from_secs(minutes.saturating_mul(60)).min(MAX_INTERVAL)))
        }
        None => seconds(answer, b"min interval").or_else(|| seconds(answer, b"interval")).map(Retry::After),
    }
}

/// A peer as a dictionary of "ip" and "port" (BEP 3).
fn push_long_form(peers: &mut Vec<SocketAddr>, peer: &Value<'_>) {
    let ip = peer.get(b"ip").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let port = peer.get(b"port").and_then(number).and_then(|port| u16::try_from(port).ok());
    if let (Some(ip), Some(port)) = (ip, port) {
        peers::push(peers, ip, port);
    }
}

/// An address of 4 or 16 bytes (BEP 24).
fn packed_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(v6).to_canonical())
}

fn bytes<'a>(answer: &Value<'a>, key: &[u8]) -> Option<&'a [u8]> {
    answer.get(key)?.as_bytes()
}

fn count(answer: &Value<'_>, key: &[u8]) -> Option<u32> {
    Some(u32::try_from(number(answer.get(key)?)?).unwrap_or(u32::MAX))
}

fn seconds(answer: &Value<'_>, key: &[u8]) -> Option<Duration> {
    number(answer.get(key)?).map(interval)
}

/// A number that is not negative, also where it is written as a string.
fn number(value: &Value<'_>) -> Option<u64> {
    match value.as_int() {
        Some(number) => u64::try_from(number).ok(),
        None => value.as_str()?.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Identity, Stats};
    use alloc::format;

    fn request() -> AnnounceRequest {
        let identity =
            Identity { info_hash: [b'h'; 20], peer_id: *b"-QL0100-abcdefghijkl", port: 6881, key: 0xbeef };
        AnnounceRequest::new(&identity, Stats { uploaded: 1, downloaded: 2, left: 3 })
    }

    const REGULAR: &str = "info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=-QL0100-abcdefghijkl&port=6881\
        &uploaded=1&downloaded=2&left=3&compact=1&no_peer_id=1";

    #[test]
    fn what_is_no_answer_at_all_is_called_by_its_name() {
        let said = |body: &str| parse_announce(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(said("\r\n"), "its answer can't be read: it is empty");
        assert_eq!(said("<html>503</html>"), "its answer can't be read: it is a web page");
    }

    #[test]
    fn a_regular_announce_has_no_event() {
        let tracker = TrackerUrl::parse("http://tracker.example:6969/announce").unwrap();
        let expected = format!("http://tracker.example:6969/announce?{REGULAR}&key=0000BEEF");
        assert_eq!(announce_url(&tracker, &request()), expected);
    }

    #[test]
    fn everything_that_is_known_is_told() {
        let tracker = TrackerUrl::parse("https://tracker.example?passkey=x&").unwrap();
        let request = AnnounceRequest {
            event: Some(Event::Started),
            num_want: Some(200),
            tracker_id: Some(b"a b".to_vec()),
            ipv4: Some([192, 0, 2, 1].into()),
            ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            ..request()
        };
        let expected = format!(
            "https://tracker.example/?passkey=x&{REGULAR}&numwant=200&key=0000BEEF&event=started&trackerid=a%20b\
             &ipv4=192.0.2.1&ipv6=2001%3Adb8%3A%3A1"
        );
        assert_eq!(announce_url(&tracker, &request), expected);
    }

    #[test]
    fn scrapes_ask_for_several_torrents_at_once() {
        let tracker = TrackerUrl::parse("http://a/announce?key=1").unwrap();
        let hashes = [[b'a'; 20], [0; 20]];
        let expected =
            format!("http://a/scrape?key=1&info_hash={}&info_hash={}", "a".repeat(20), "%00".repeat(20));
        assert_eq!(scrape_url(&tracker, &hashes), Some(expected));
        assert_eq!(scrape_url(&tracker, &[]), None);
        assert_eq!(scrape_url(&TrackerUrl::parse("http://a/x").unwrap(), &hashes), None);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        for (body, retry) in [
            (&b"d14:failure reason4:busy8:retry in1:5e"[..], Some(Retry::After(Duration::from_secs(300)))),
            (b"d14:failure reason4:busy8:retry ini5ee", Some(Retry::After(Duration::from_secs(300)))),
            (b"d14:failure reason4:busy8:retry in5:nevere", Some(Retry::Never)),
            (b"d14:failure reason4:busy8:retry in9:next weeke", None),
            (b"d14:failure reason4:busy8:retry ini-5ee", None),
            (b"d14:failure reason4:busy8:retry ini9223372036854775807ee", Some(Retry::After(MAX_INTERVAL))),
            (
                b"d14:failure reason4:busy12:min intervali1800ee",
                Some(Retry::After(Duration::from_secs(1800))),
            ),
            (b"d14:failure reason4:busy8:intervali7200ee", Some(Retry::After(Duration::from_secs(7200)))),
            (
                b"d14:failure reason4:busy8:intervali7200e8:retry in1:5e",
                Some(Retry::After(Duration::from_secs(300))),
            ),
            (b"d14:failure reason4:busye", None),
        ] {
            assert_eq!(parse_announce(body), Err(Failure::Refused { reason: "busy".into(), retry }));
        }
    }

    #[test]
    fn a_reason_in_the_body_outweighs_the_status() {
        let body = b"d14:failure reason4:gonee";
        let refused = |retry| Err(Failure::Refused { reason: "gone".into(), retry });
        assert_eq!(read_announce(400, body), refused(None));
        assert_eq!(read_announce(410, body), refused(Some(Retry::Never)));
        assert_eq!(read_announce(404, b"<html>"), Err(Failure::status(404)));
        assert_eq!(read_announce(500, b"d8:intervali1800ee"), Err(Failure::status(500)));
        assert_eq!(read_scrape(404, b""), Err(Failure::status(404)));
        assert!(matches!(read_announce(200, b"<html>"), Err(Failure::Malformed(_))));
        assert!(read_announce(200, b"de").is_ok());
    }

    #[test]
    fn numbers_out_of_range_are_cut_to_it() {
        let body =
            b"d8:completei-1e10:incompletei99999999999e8:intervali9223372036854775807e12:min intervali-1ee";
        let response = parse_announce(body).unwrap();
        assert_eq!((response.seeds, response.leechers), (None, Some(u32::MAX)));
        assert_eq!((response.interval, response.min_interval), (Some(MAX_INTERVAL), None));
    }

    #[test]
    fn sloppy_answers_are_read_where_nothing_can_be_misread() {
        let peers = "5:peers6:\x01\x02\x03\x04\x1a\x29e";
        for beginning in [
            "d8:intervali1800e",
            "\r\n d8:intervali1800e",
            "\u{feff}d8:intervali1800e",
            "\n\u{feff}\nd8:intervali1800e",
            "d8:intervali01800e",
            "d08:intervali1800e",
            "d8:intervali1800.0e",
            "d8:interval4:1800",
            "d8:interval6: 1800 ",
            "d8:intervali1800e8:intervali60e",
        ] {
            let answer = format!("{beginning}{peers}");
            let response = parse_announce(answer.as_bytes()).unwrap();
            assert_eq!(response.interval, Some(Duration::from_secs(1800)), "{answer:?}");
            assert_eq!(response.peers, ["1.2.3.4:6697".parse().unwrap()], "{answer:?}");
            assert!(is_whole(answer.as_bytes()), "{answer:?}");
            assert!(!is_whole(&answer.as_bytes()[..answer.len() - 1]), "{answer:?}");
        }
        let in_words = b"d5:peersld2:ip7:1.2.3.44:port4:6697eee";
        assert_eq!(parse_announce(in_words).unwrap().peers, ["1.2.3.4:6697".parse().unwrap()]);
        for beyond in ["", "  ", "<html>", "i1e", "le", "d8:intervali1 800ee", "d8:intervali--1ee"] {
            assert!(parse_announce(beyond.as_bytes()).is_err(), "{beyond}");
            assert!(!is_whole(beyond.as_bytes()), "{beyond}");
        }
    }

    #[test]
    fn texts_and_ids_are_bounded() {
        let body = format!("d10:tracker id300:{}15:warning message5:\x1b[31me", "x".repeat(300));
        let response = parse_announce(body.as_bytes()).unwrap();
        assert_eq!(response.tracker_id, None);
        assert_eq!(response.warning.as_deref(), Some("[31m"));
        assert_eq!(parse_announce(&alloc::vec![b' '; MAX_BODY + 1]), Err(Failure::TooLong));
    }

    #[test]
    fn external_addresses_are_read_in_both_families() {
        let v4 = parse_announce(b"d11:external ip4:\x01\x02\x03\x04e").unwrap();
        assert_eq!(v4.external_ip, Some([1, 2, 3, 4].into()));
        let v6 = parse_announce(b"d11:external ip16:aaaaaaaaaaaaaaaae").unwrap();
        assert_eq!(v6.external_ip, Some([b'a'; 16].into()));
        assert_eq!(parse_announce(b"d11:external ip5:aaaaae").unwrap().external_ip, None);
    }

    #[test]
    fn scrapes_tell_partial_seeds_from_downloaders() {
        let body = format!(
            "d5:filesd3:xyzde20:{}d8:completei1e11:downloadersi2e10:incompletei5eeee",
            "a".repeat(20)
        );
        let counts = SwarmCounts { seeds: 1, leechers: 5, downloaded: 0, downloaders: Some(2) };
        assert_eq!(parse_scrape(body.as_bytes()), Ok(alloc::vec![([b'a'; 20], counts)]));
        assert!(matches!(parse_scrape(b"de"), Err(Failure::Malformed(_))));
    }
}
