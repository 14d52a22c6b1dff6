//! Tracker URLs: which ones are usable, and their parts.
//!
//! A URL is data from a stranger that an HTTP library will read again, so it is read strictly: what we take the
//! host to be must be what every other reader takes it to be. Control characters, back-slashes before the path,
//! hosts that are half a number, percent-encoded hosts and scope identifiers are refused rather than repaired.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// The longest URL that is looked at, in bytes.
const MAX_LENGTH: usize = 4096;
/// The longest host name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// Why a URL is not used as a tracker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Longer than 4096 bytes.
    #[error("the tracker URL is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Neither HTTP, HTTPS nor UDP, or no URL at all.
    #[error("not a tracker URL: it must begin with http://, https:// or udp://")]
    Scheme,
    /// A byte below space, or DEL.
    #[error("the tracker URL has a control character in it")]
    ControlCharacter,
    /// Nothing between `://` and the path.
    #[error("the tracker URL names no host")]
    NoHost,
    /// The part before `@` has characters that must be percent-encoded.
    #[error("the user name in the tracker URL must be percent-encoded")]
    UserInfo,
    /// The host is neither a name nor an address.
    #[error("the host of the tracker URL is neither a name (in ASCII) nor an address")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the port of the tracker URL is not a number from 1 to 65535")]
    Port,
    /// The torrent has more trackers than are used.
    #[error("the torrent has too many trackers; this one is left out")]
    TooMany,
}

/// How a tracker is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// BEP 3 over plain HTTP.
    Http,
    /// BEP 3 over TLS.
    Https,
    /// BEP 15.
    Udp,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Udp => "udp",
        }
    }

    /// The port where the URL names none. BEP 15 has no default; others assume HTTP's.
    const fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::Udp => 80,
            Self::Https => 443,
        }
    }
}

/// Where a tracker is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name to resolve, in lower case.
    Name(String),
    /// An address that stands in the URL itself.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A usable tracker URL in its parts. It prints as a URL again, without fragment and default port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerUrl {
    scheme: Scheme,
    user_info: Option<String>,
    host: Host,
    port: u16,
    path: String,
    query: Option<String>,
}

impl TrackerUrl {
    /// Reads a URL. Surrounding white space is dropped, as is a fragment; bytes of path and query that may not
    /// stand in a URL are percent-encoded.
    ///
    /// # Errors
    /// Says what makes it unusable.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.len() > MAX_LENGTH {
            return Err(UrlError::TooLong);
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(UrlError::ControlCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = [Scheme::Http, Scheme::Https, Scheme::Udp]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known.name()))
            .ok_or(UrlError::Scheme)?;

        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user_info, host_and_port) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        if user_info.is_some_and(|text| !text.bytes().all(may_stand_in_user_info)) {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = parse_host_and_port(host_and_port)?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let url = Self {
            scheme,
            user_info: user_info.map(ToString::to_string),
            host,
            port: port.unwrap_or(scheme.default_port()),
            path: escaped(path),
            query: query.map(escaped),
        };
        // Percent-encoding makes it up to three times as long.
        if url.to_string().len() > MAX_LENGTH { Err(UrlError::TooLong) } else { Ok(url) }
    }

    /// How to speak to it.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where it is.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port, by default that of its scheme (80 for UDP).
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What stands before `@` in the authority, still percent-encoded.
    pub fn user_info(&self) -> Option<&str> {
        self.user_info.as_deref()
    }

    /// The path with its leading slash; empty where the URL has none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the question mark.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Path and query as BEP 41 sends them to a UDP tracker; empty where there is neither.
    pub fn path_and_query(&self) -> String {
        let mut text = self.path.clone();
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(query);
        }
        text
    }

    /// Where this tracker is scraped (BEP 48): the last path segment that begins with `announce` has that word
    /// replaced by `scrape`. UDP trackers are scraped where they are. `None` when the convention does not apply.
    pub fn scrape(&self) -> Option<Self> {
        if self.scheme == Scheme::Udp {
            return Some(self.clone());
        }
        const ANNOUNCE: &str = "/announce";
        let at = self.path.rfind(ANNOUNCE)?;
        let (before, from) = self.path.split_at(at);
        let after = from.get(ANNOUNCE.len()..)?;
        let mut path = String::from(before);
        path.push_str("/scrape");
        path.push_str(after);
        Some(Self { path, ..self.clone() })
    }

    /// The URL up to its query, ready for `?`: an empty path is written as `/`.
    pub(crate) fn before_query(&self) -> String {
        let mut text = Self { query: None, ..self.clone() }.to_string();
        if self.path.is_empty() {
            text.push('/');
        }
        text
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if let Some(user_info) = &self.user_info {
            write!(f, "{user_info}@")?;
        }
        self.host.fmt(f)?;
        if self.scheme == Scheme::Udp || self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

fn parse_host_and_port(text: &str) -> Result<(Host, Option<u16>), UrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (literal, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        let ip: Ipv6Addr = literal.parse().map_err(|_| UrlError::Host)?;
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return Err(UrlError::Host),
        };
        (Host::Ip(IpAddr::V6(ip)), port)
    } else {
        let (name, port) = text.split_once(':').unwrap_or((text, ""));
        (parse_name(name)?, port)
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match port.parse() {
        Ok(port) if port != 0 => Ok((host, Some(port))),
        _ => Err(UrlError::Port),
    }
}

fn parse_name(name: &str) -> Result<Host, UrlError> {
    if name.is_empty() {
        return Err(UrlError::NoHost);
    }
    if let Ok(ip) = name.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    let well_formed = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > MAX_NAME || !labels.split('.').all(well_formed) {
        return Err(UrlError::Host);
    }
    // "127.1", "0x7f000001" and "2130706433" are addresses to some readers and names to others.
    let last = labels.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"));
    if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Host);
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn may_stand_in_user_info(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'%'
        )
}

/// Path or query with everything percent-encoded that may not stand there (RFC 3986, section 3.3 and 3.4).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if may_stand_in_user_info(byte) || matches!(byte, b'/' | b'?' | b'@') {
            out.push(char::from(byte));
        } else {
            push_percent(&mut out, byte);
        }
    }
    out
}

/// Appends bytes as a query value: all but the unreserved characters percent-encoded (RFC 3986, section 2.3).
pub(crate) fn push_value(out: &mut String, value: &[u8]) {
    for &byte in value {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            push_percent(out, byte);
        }
    }
}

fn push_percent(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> TrackerUrl {
        TrackerUrl::parse(text).unwrap()
    }

    #[test]
    fn a_url_falls_into_its_parts() {
        let url = parsed(" HTTP://user:pa%20ss@Tracker.Example:8080/a/announce.php?passkey=1&x=?#top\n");
        assert_eq!(url.scheme(), Scheme::Http);
        assert_eq!(url.user_info(), Some("user:pa%20ss"));
        assert_eq!(*url.host(), Host::Name("tracker.example".into()));
        assert_eq!(url.port(), 8080);
        assert_eq!(url.path(), "/a/announce.php");
        assert_eq!(url.query(), Some("passkey=1&x=?"));
        assert_eq!(url.to_string(), "http://user:pa%20ss@tracker.example:8080/a/announce.php?passkey=1&x=?");
    }

    #[test]
    fn ports_follow_from_the_scheme() {
        assert_eq!(parsed("http://a/announce").port(), 80);
        assert_eq!(parsed("https://a/announce").port(), 443);
        assert_eq!(parsed("udp://a").port(), 80);
        assert_eq!(parsed("http://a:/announce").port(), 80);
        assert_eq!(parsed("https://a:443/x").to_string(), "https://a/x");
        assert_eq!(parsed("udp://a:80").to_string(), "udp://a:80");
    }

    #[test]
    fn addresses_stand_for_themselves() {
        assert_eq!(*parsed("udp://127.0.0.1:6969").host(), Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let url = parsed("udp://[::1]:6969/announce");
        assert_eq!(*url.host(), Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(url.to_string(), "udp://[::1]:6969/announce");
        assert_eq!(parsed("http://[2001:db8::1]/").port(), 80);
    }

    #[test]
    fn unusable_urls_are_refused_with_their_reason() {
        let long = alloc::format!("http://a/{}", "x".repeat(MAX_LENGTH));
        for (text, error) in [
            ("", UrlError::Scheme),
            ("tracker.example:80", UrlError::Scheme),
            ("wss://tracker.example", UrlError::Scheme),
            ("http:/tracker.example", UrlError::Scheme),
            ("http://", UrlError::NoHost),
            ("http:///announce", UrlError::NoHost),
            ("http://:80/announce", UrlError::NoHost),
            ("http://a\tb/announce", UrlError::ControlCharacter),
            ("http://a/announce\r\nHost: b", UrlError::ControlCharacter),
            ("http://a b/announce", UrlError::Host),
            ("http://a..b/announce", UrlError::Host),
            ("http://%61/announce", UrlError::Host),
            ("http://trȧcker/announce", UrlError::Host),
            ("http://127.1/announce", UrlError::Host),
            ("http://0x7f000001/announce", UrlError::Host),
            ("http://2130706433/announce", UrlError::Host),
            ("http://127.0.0.1./announce", UrlError::Host),
            ("http://[::1/announce", UrlError::Host),
            ("http://[fe80::1%25eth0]/announce", UrlError::Host),
            ("http://[::1]80/announce", UrlError::Host),
            ("http://::1/announce", UrlError::NoHost),
            ("http://a:0/announce", UrlError::Port),
            ("http://a:65536/announce", UrlError::Port),
            ("http://a:+80/announce", UrlError::Port),
            ("http://a:80:80/announce", UrlError::Port),
            ("http://a\\@b/announce", UrlError::UserInfo),
            ("http://a@b@c/announce", UrlError::UserInfo),
            (&long, UrlError::TooLong),
        ] {
            assert_eq!(TrackerUrl::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_url_that_percent_encoding_makes_too_long_is_refused() {
        let fits = alloc::format!("http://a/{}", "<".repeat((MAX_LENGTH - 9) / 3));
        let url = TrackerUrl::parse(&fits).unwrap();
        assert_eq!(TrackerUrl::parse(&url.to_string()), Ok(url));
        let grows = alloc::format!("http://a/{}", "<".repeat((MAX_LENGTH - 9) / 3 + 1));
        assert_eq!(TrackerUrl::parse(&grows), Err(UrlError::TooLong));
    }

    #[test]
    fn bytes_that_may_not_stand_in_a_url_are_percent_encoded() {
        assert_eq!(parsed("http://a/ü b\\c?q=<\">|").to_string(), "http://a/%C3%BC%20b%5Cc?q=%3C%22%3E%7C");
        assert_eq!(parsed("http://a/%2Fx%").to_string(), "http://a/%2Fx%");
    }

    #[test]
    fn scrape_urls_follow_the_convention() {
        for (announce, scrape) in [
            ("http://a/announce", Some("http://a/scrape")),
            ("http://a/x/announce", Some("http://a/x/scrape")),
            ("http://a/announce.php", Some("http://a/scrape.php")),
            ("http://a/announce?x=1", Some("http://a/scrape?x=1")),
            ("http://a/announce/passkey", Some("http://a/scrape/passkey")),
            ("http://a/announce?x=2/4", Some("http://a/scrape?x=2/4")),
            ("http://a/a", None),
            ("http://a/x%064announce", None),
            ("http://announce", None),
            ("http://a/?announce", None),
            ("udp://a:1/announce", Some("udp://a:1/announce")),
        ] {
            assert_eq!(parsed(announce).scrape().map(|url| url.to_string()).as_deref(), scrape, "{announce}");
        }
    }

    #[test]
    fn path_and_query_are_what_a_udp_tracker_is_told() {
        assert_eq!(parsed("udp://tracker.example.com:80/dir?a=b&c=d").path_and_query(), "/dir?a=b&c=d");
        assert_eq!(parsed("udp://tracker.example.com:80").path_and_query(), "");
        assert_eq!(parsed("udp://tracker.example.com:80?a").path_and_query(), "?a");
    }
}
