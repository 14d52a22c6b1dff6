//! Which addresses of trackers and web seeds are taken from a torrent or a magnet link.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use quelea_bencode::Value;

/// The address of a tracker, if it is one that can be announced to: http, https or udp.
pub(crate) fn tracker(text: &str) -> Option<&str> {
    with_scheme(text, &["http", "https", "udp"]).filter(|url| !url.contains(' '))
}

/// The address of a web seed, http or https; spaces are escaped.
pub(crate) fn web_seed(text: &str) -> Option<String> {
    with_scheme(text, &["http", "https"]).map(|url| url.replace(' ', "%20"))
}

fn with_scheme<'a>(text: &'a str, schemes: &[&str]) -> Option<&'a str> {
    let url = text.trim();
    let (scheme, rest) = url.split_once("://")?;
    let known = schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (known && !rest.is_empty() && !rest.starts_with('/') && !url.contains(char::is_control)).then_some(url)
}

/// Why a new torrent should not name this tracker, as a half sentence; `None` for one that can be announced to.
///
/// Stricter than [`tracker`]: what others wrote is tried as it is, what is about to be written can still be mended.
pub(crate) fn tracker_fault(text: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = tracker(text).and_then(|url| url.split_once("://")) else {
        return Some("it begins with http://, https:// or udp://, and has no spaces");
    };
    if rest.split(',').skip(1).any(|part| tracker(part).is_some()) {
        return Some("these are several: give each on its own");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_and_port.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) if address.parse::<Ipv6Addr>().is_ok() => {
            (address, port.strip_prefix(':'))
        }
        Some(_) => return Some("its IPv6 address is none, or has no closing bracket"),
        None if host_and_port.matches(':').count() > 1 => return Some("an IPv6 address stands in brackets"),
        None => {
            host_and_port.split_once(':').map_or((host_and_port, None), |(host, port)| (host, Some(port)))
        }
    };
    let is_host = |host: &str| {
        !host.is_empty()
            && host.split('.').all(|label| label.len() <= 63)
            && !host.starts_with('.')
            && !host.contains("..")
            && host.chars().all(|char| char.is_alphanumeric() || matches!(char, '-' | '.' | '_'))
    };
    // The address in brackets is known to be one.
    if !host.contains(':') && !is_host(host) {
        return Some("it has no host, or one with characters that no name has");
    }
    match port {
        Some(port)
            if !port.bytes().all(|byte| byte.is_ascii_digit())
                || !port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Some("its port is not a number from 1 to 65535")
        }
        None if scheme.eq_ignore_ascii_case("udp") => Some("udp has no default port: write udp://HOST:PORT"),
        Some(_) | None => None,
    }
}

/// The tiers of trackers: `announce-list` where it names any (BEP 12), else `announce` (BEP 3). No tracker is
/// named twice and no tier is empty. A tier that is a string is a tier of one.
pub(crate) fn tiers(torrent: &Value<'_>) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut take = |value: &Value<'_>| {
        let url = value.as_str().and_then(tracker)?;
        seen.insert(url.to_string()).then(|| url.to_string())
    };
    let list = torrent.get(b"announce-list").and_then(Value::as_list).unwrap_or_default();
    let mut tiers: Vec<Vec<String>> = list
        .iter()
        .map(|tier| {
            tier.as_list().unwrap_or(core::slice::from_ref(tier)).iter().filter_map(&mut take).collect()
        })
        .filter(|tier: &Vec<String>| !tier.is_empty())
        .collect();
    if tiers.is_empty() {
        tiers.extend(torrent.get(b"announce").and_then(take).map(|url| [url].into()));
    }
    tiers
}

/// The web seeds under `key`, which is one string or a list of them (BEP 17, 19), none twice.
pub(crate) fn web_seeds(torrent: &Value<'_>, key: &[u8]) -> Vec<String> {
    let Some(value) = torrent.get(key) else { return Vec::new() };
    let values = value.as_list().unwrap_or(core::slice::from_ref(value));
    let mut seen = BTreeSet::new();
    values
        .iter()
        .filter_map(|value| web_seed(value.as_str()?))
        .filter(|url| seen.insert(url.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quelea_bencode::{Limits, parse};

    fn read(torrent: &str) -> Vec<Vec<String>> {
        tiers(&parse(torrent.as_bytes(), Limits::default()).unwrap())
    }

    #[test]
    fn only_what_can_be_announced_to_is_a_tracker() {
        for url in ["http://a/b", "HTTPS://a", "udp://[::1]:6969", " http://a \n"] {
            assert_eq!(tracker(url), Some(url.trim()));
        }
        for url in
            ["", "http", "http://", "http:///x", "wss://a", "ftp://a", "http://a b", "http://a\nb", "//a"]
        {
            assert_eq!(tracker(url), None, "{url}");
        }
        assert_eq!(web_seed("http://a/b c").as_deref(), Some("http://a/b%20c"));
        assert_eq!(web_seed("udp://a"), None);
    }

    #[test]
    fn a_new_torrent_names_only_trackers_that_can_be_asked() {
        for url in [
            "http://a.example/announce?key=1,2",
            "HTTPS://user:word@a.example:8443/x",
            "udp://[::1]:6969",
            "http://[2001:db8::1]/announce",
            "http://bücher.example/announce",
            "udp://under_score:1",
        ] {
            assert_eq!(tracker_fault(url), None, "{url}");
        }
        for (url, fault) in [
            ("a.example", "it begins with"),
            ("http://a b", "it begins with"),
            ("http://a.example/announce,http://b.example/announce", "these are several"),
            ("udp://a.example:1,udp://b.example:2", "these are several"),
            ("http://[::1/announce", "its IPv6 address"),
            ("http://[1.2.3.4]/announce", "its IPv6 address"),
            ("http://::1/announce", "an IPv6 address stands in brackets"),
            ("http://a.example:99999/announce", "its port"),
            ("http://a.example:0/announce", "its port"),
            ("http://a.example:+1/announce", "its port"),
            ("http://a.example:/announce", "its port"),
            ("http://?x", "it has no host"),
            ("http://:80/", "it has no host"),
            ("http://a..b/", "it has no host"),
            ("http://a<b>/", "it has no host"),
            ("udp://a.example", "udp has no default port"),
        ] {
            assert!(
                tracker_fault(url).is_some_and(|told| told.starts_with(fault)),
                "{url}: {:?}",
                tracker_fault(url)
            );
        }
    }

    #[test]
    fn announce_counts_only_without_an_announce_list() {
        assert_eq!(read("d8:announce8:http://xe"), [["http://x"]]);
        assert_eq!(
            read("d8:announce8:http://x13:announce-listll8:http://y8:http://yel8:http://yeee"),
            [["http://y"]]
        );
        assert_eq!(read("d8:announce8:http://x13:announce-listllel0:eee"), [["http://x"]]);
        assert_eq!(read("d8:announcei1e13:announce-list8:http://ze").len(), 0);
    }
}
