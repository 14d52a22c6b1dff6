//! One request and the redirects that its answers ask for, each judged before it is followed.

use super::clients::{Clients, Purpose};
use super::packed::{TooLong, Unpacked, unpack};
use super::reason;
use crate::clock::since_1970;
use quelea_discovery::Scope;
use quelea_tracker::{Failure, http_date, retry_after};
use reqwest::header::{CONTENT_ENCODING, DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Response, Url};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::Sleep;

/// An answer is whole by then, or not at all.
const ANSWER: Duration = Duration::from_secs(30);
/// Redirects followed.
const REDIRECTS: usize = 5;
/// The longest URL that a redirect may lead to, in bytes.
const MAX_URL: usize = 8192;

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) url: &'a str,
    /// The local address to ask from.
    pub(crate) local: Option<IpAddr>,
    /// The most that is read, packed or not, in bytes.
    pub(crate) limit: usize,
    /// Whether a body is all there though its server said that there is more.
    pub(crate) is_whole: fn(&[u8]) -> bool,
    /// The headers to send to a URL on the way, by whether it is at the host that was asked first.
    pub(crate) headers: &'a (dyn Fn(&Url, bool) -> HeaderMap + Sync),
}

/// Where a way ends.
#[derive(Debug)]
pub(crate) enum Arrival {
    Answer(Answer),
    /// The server redirects to a magnet link.
    Magnet(String),
}

/// The last answer of a way.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The server that gave it.
    pub(crate) from: Option<SocketAddr>,
    /// How long the server wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
}

/// Asks, follows redirects, and reads the answer.
pub(crate) async fn ask(clients: &Clients, asked: &Asked<'_>) -> Result<Arrival, Failure> {
    let mut deadline = pin!(tokio::time::sleep(ANSWER));
    let first = Url::parse(asked.url).map_err(|error| Failure::Malformed(error.to_string()))?;
    let (mut url, mut sent_from) = (first.clone(), None);
    for _ in 0..=REDIRECTS {
        judge_literal(&url, sent_from)?;
        let purpose = Purpose { local: asked.local, with_tls: url.scheme() == "https", sent_from };
        let client = clients.get(purpose).await?;
        let request = client.get(url.clone()).headers((asked.headers)(&url, is_same_server(&first, &url)));
        let sent = by(deadline.as_mut(), request.send()).await.ok_or(Failure::TimedOut)?;
        let response = sent.map_err(|error| reason::failure(&error))?;
        match next_hop(&url, response.status().as_u16(), response.headers())? {
            Hop::Stay => return read(response, asked, deadline.as_mut()).await.map(Arrival::Answer),
            Hop::Magnet(link) => return Ok(Arrival::Magnet(link)),
            Hop::To(next) => {
                let address = response.remote_addr().filter(|_| !clients.by_proxy());
                let from = address.map(|address| address.ip()).or_else(|| literal(&url));
                sent_from = Some(from.map_or(Scope::World, Scope::of));
                url = next;
            }
        }
    }
    Err(Failure::Redirect(format!("there are more than {REDIRECTS}, one after the other")))
}

/// What an answer asks for.
#[derive(Debug, PartialEq, Eq)]
enum Hop {
    Stay,
    To(Url),
    Magnet(String),
}

/// Only the statuses that mean a redirect of this request are one (RFC 9110, section 15.4): of 300 and 304 the
/// "Location" is not where the answer is.
fn next_hop(from: &Url, status: u16, headers: &HeaderMap) -> Result<Hop, Failure> {
    let refused = |why: &str| Err(Failure::Redirect(why.to_owned()));
    let Some(location) = headers.get(LOCATION).filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))
    else {
        return Ok(Hop::Stay);
    };
    let Ok(location) = std::str::from_utf8(location.as_bytes()) else {
        return refused("its URL is not text");
    };
    if location.len() > MAX_URL {
        return refused("its URL is too long");
    }
    if location.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:")) {
        return Ok(Hop::Magnet(location.to_owned()));
    }
    let Ok(to) = from.join(location) else { return refused("its URL cannot be read") };
    match (from.scheme(), to.scheme()) {
        ("https", "http") => refused("it leads from https to http"),
        (_, "http" | "https") => Ok(Hop::To(to)),
        (_, scheme) => refused(&format!("it leads to {scheme}:, which is not HTTP")),
    }
}

/// Refuses a URL with an address in it that whoever sent us there may not lead to. Names are judged when they have been
/// looked up, by [`Clients`].
fn judge_literal(url: &Url, sent_from: Option<Scope>) -> Result<(), Failure> {
    match (sent_from, literal(url)) {
        (Some(scope), Some(ip)) if !scope.may_lead_to(ip) => {
            Err(Failure::Redirect(super::clients::LedAstray.to_string()))
        }
        _ => Ok(()),
    }
}

/// The address that a URL has for its host.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether a URL is at the same server as the one asked first: at the same port, or where that one moved to TLS.
fn is_same_server(first: &Url, url: &Url) -> bool {
    let ports = (first.port_or_known_default(), url.port_or_known_default());
    first.host_str() == url.host_str() && (ports.0 == ports.1 || ports == (Some(80), Some(443)))
}

/// What comes of `future` until then.
async fn by<T>(deadline: Pin<&mut Sleep>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = deadline => None,
        output = future => Some(output),
    }
}

async fn read(
    mut response: Response,
    asked: &Asked<'_>,
    mut deadline: Pin<&mut Sleep>,
) -> Result<Answer, Failure> {
    let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let sent = header(DATE).and_then(http_date).unwrap_or_else(since_1970);
    let retry_after = header(RETRY_AFTER).and_then(|value| retry_after(value, sent));
    let encoding = header(CONTENT_ENCODING).unwrap_or_default().to_owned();
    let (status, from) = (response.status().as_u16(), response.remote_addr());
    let is_said_too_long = response
        .content_length()
        .is_some_and(|length| usize::try_from(length).is_ok_and(|it| it > asked.limit));
    let mut body = Vec::new();
    // A connection may end before the body does, by what the server said of its length or without TLS's goodbye. What
    // came is all there if it is a whole value.
    let cut = loop {
        match by(deadline.as_mut(), response.chunk()).await {
            Some(Ok(Some(chunk))) if body.len() + chunk.len() > asked.limit => return Err(Failure::TooLong),
            Some(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Some(Ok(None)) => break None,
            Some(Err(error)) => break Some(reason::failure(&error)),
            None => break Some(Failure::TimedOut),
        }
    };
    let Unpacked { bytes, is_cut } =
        unpack(body, &encoding, asked.limit).map_err(|TooLong| Failure::TooLong)?;
    let cut = cut.or_else(|| is_cut.then(|| Failure::Malformed("it is packed, and damaged".to_owned())));
    if let Some(failure) = cut.filter(|_| !(asked.is_whole)(&bytes)) {
        return Err(if is_said_too_long { Failure::TooLong } else { failure });
    }
    Ok(Answer { status, from, retry_after, body: bytes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn hop(from: &str, status: u16, location: &str) -> Result<Hop, Failure> {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())]);
        next_hop(&url(from), status, &headers)
    }

    #[test]
    fn redirects_are_followed_within_http_and_not_away_from_tls() {
        let to = |text| Ok(Hop::To(url(text)));
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(hop("http://a/x?k=1", status, "/there"), to("http://a/there"));
        }
        assert_eq!(hop("http://a/x", 302, "HTTPS://b/"), to("https://b/"));
        assert_eq!(hop("http://a/x", 302, "//b/y"), to("http://b/y"));
        assert_eq!(hop("https://a/x", 302, "//b/y"), to("https://b/y"));
        let magnet = "Magnet:?xt=urn:btih:x";
        assert_eq!(hop("https://a/x", 302, magnet), Ok(Hop::Magnet(magnet.to_owned())));
        for (from, location) in [
            ("https://a/x", "http://a/x"),
            ("http://a/x", "ftp://a/x"),
            ("http://a/x", "file:///etc/passwd"),
            ("http://a/x", "http://"),
            ("http://a/x", "http://a:99999/"),
            ("http://a/x", "data:text/plain,de"),
        ] {
            assert!(matches!(hop(from, 302, location), Err(Failure::Redirect(_))), "{location}");
        }
        assert!(matches!(hop("http://a/", 302, &"x".repeat(MAX_URL + 1)), Err(Failure::Redirect(_))));
    }

    #[test]
    fn other_statuses_lead_nowhere() {
        for status in [200, 201, 300, 304, 305, 306, 400, 503] {
            assert_eq!(hop("http://a/", status, "http://b/"), Ok(Hop::Stay), "{status}");
        }
        assert_eq!(next_hop(&url("http://a/"), 302, &HeaderMap::new()), Ok(Hop::Stay));
    }

    #[test]
    fn addresses_in_urls_are_judged_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
        ] {
            let url = url(&format!("http://{host}:9000/"));
            assert!(judge_literal(&url, Some(Scope::World)).is_err(), "{host}");
            assert!(judge_literal(&url, None).is_ok(), "{host}");
        }
        assert!(judge_literal(&url("http://127.0.0.1/"), Some(Scope::Machine)).is_ok());
        assert!(judge_literal(&url("http://192.168.7.2/"), Some(Scope::Site)).is_ok());
        assert!(judge_literal(&url("http://203.0.113.5/"), Some(Scope::World)).is_ok());
    }

    #[test]
    fn a_server_is_a_host_and_its_port() {
        let first = url("http://a.example/x");
        for same in ["http://a.example/y", "http://A.example:80/", "https://a.example/"] {
            assert!(is_same_server(&first, &url(same)), "{same}");
        }
        for other in ["http://b.example/", "http://a.example:81/", "https://a.example:8443/"] {
            assert!(!is_same_server(&first, &url(other)), "{other}");
        }
    }
}
