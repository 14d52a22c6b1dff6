//! Options that change which trackers a torrent has.

use clap::Args;
use quelea_metainfo::{Magnet, Metainfo};

/// Which trackers are asked beside those of a torrent, and which are not.
#[derive(Debug, Args)]
pub(crate) struct Trackers {
    /// Ask this tracker too (http, https or udp); repeatable
    ///
    /// Every torrent gets it, private ones too, in a tier of its own behind its others.
    #[arg(
        long,
        value_name = "URL",
        env = "QUELEA_ADD_TRACKER",
        hide_env = true,
        value_delimiter = ' ',
        value_parser = tracker
    )]
    #[arg(help_heading = "Peers")]
    pub(crate) add_tracker: Vec<String>,

    /// Do not ask trackers like this: a host, a URL, or a pattern ('*.example'); repeatable
    ///
    /// A star stands for any characters, so '*' excludes all of a torrent's own. What --add-tracker names is asked all
    /// the same.
    #[arg(
        long,
        value_name = "PATTERN",
        env = "QUELEA_EXCLUDE_TRACKER",
        hide_env = true,
        value_delimiter = ' '
    )]
    #[arg(help_heading = "Peers")]
    pub(crate) exclude_tracker: Vec<String>,
}

impl Trackers {
    /// Changes the trackers of a torrent.
    pub(crate) fn apply(&self, metainfo: &mut Metainfo) {
        let tiers = &mut metainfo.trackers;
        for tier in tiers.iter_mut() {
            tier.retain(|url| !self.excludes(url));
        }
        tiers.retain(|tier| !tier.is_empty());
        for url in &self.add_tracker {
            if !tiers.iter().flatten().any(|known| known == url) {
                tiers.push(vec![url.clone()]);
            }
        }
    }

    /// Changes the trackers of a magnet link.
    pub(crate) fn apply_to_link(&self, magnet: &mut Magnet) {
        magnet.trackers.retain(|url| !self.excludes(url));
        for url in &self.add_tracker {
            if !magnet.trackers.contains(url) {
                magnet.trackers.push(url.clone());
            }
        }
    }

    fn excludes(&self, url: &str) -> bool {
        let url = url.to_ascii_lowercase();
        let patterns = self.exclude_tracker.iter().map(|pattern| pattern.to_ascii_lowercase());
        let fits = |pattern: String| is_like(&pattern, &url) || is_like(&pattern, host(&url));
        !self.add_tracker.iter().any(|added| added.eq_ignore_ascii_case(&url))
            && patterns.into_iter().any(fits)
    }
}

/// The host of a URL, without its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, _)) => address,
        None => place.split_once(':').map_or(place, |(host, _)| host),
    }
}

/// Whether a text is like a pattern, in which a star stands for any characters.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn tracker(text: &str) -> Result<String, String> {
    let wrong = || "not the address of a tracker: write http://…, https://… or udp://HOST:PORT".to_owned();
    let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
    let known = ["http", "https", "udp"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let plain = !text.trim().contains(|char: char| char.is_control() || char == ' ');
    if known && plain && !host(rest).is_empty() { Ok(text.trim().to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trackers_are_excluded_by_host_url_or_pattern() {
        for (pattern, url, excluded) in [
            ("*", "udp://a.example:1", true),
            ("a.example", "udp://a.example:1", true),
            ("A.example", "http://user@a.EXAMPLE/announce?x=1", true),
            ("a.example", "http://b.a.example/", false),
            ("*.example", "http://b.a.example/", true),
            ("*.example", "http://example/", false),
            ("udp://*", "udp://a:1", true),
            ("udp://*", "http://a/", false),
            ("http://a/*secret*", "http://a/my/secret/announce", true),
            ("a*b*c", "http://aXbYcZ/", false),
            ("::1", "udp://[::1]:6969", true),
        ] {
            let trackers = Trackers { add_tracker: Vec::new(), exclude_tracker: vec![pattern.to_owned()] };
            assert_eq!(trackers.excludes(url), excluded, "{pattern} {url}");
        }
    }

    #[test]
    fn what_is_added_is_asked_whatever_is_excluded_and_once() {
        let url = "udp://mine.example:1".to_owned();
        let trackers = Trackers { add_tracker: vec![url.clone()], exclude_tracker: vec!["*".to_owned()] };
        let mut magnet: Magnet =
            "magnet:?xt=urn:btih:0123456789012345678901234567890123456789&tr=http%3A%2F%2Fa%2F"
                .parse()
                .unwrap();
        trackers.apply_to_link(&mut magnet);
        assert_eq!(magnet.trackers, std::slice::from_ref(&url));
        trackers.apply_to_link(&mut magnet);
        assert_eq!(magnet.trackers, [url]);
    }

    #[test]
    fn what_is_no_tracker_is_refused() {
        assert_eq!(tracker(" udp://a:1 ").as_deref(), Ok("udp://a:1"));
        for text in ["", "a.example", "ftp://a", "http://", "http:///x", "http://a b", "udp://:80"] {
            assert!(tracker(text).is_err(), "{text}");
        }
    }
}
