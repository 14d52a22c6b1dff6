//! Which addresses of trackers and web seeds are taken from a torrent or a magnet link.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
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
