//! Torrent files from the web: a URL, and what a browser would send with it.

mod cookies;
mod headers;

pub use cookies::{CookieError, Cookies};
pub use headers::{HeaderError, Headers};

use crate::driver::http::{Answer, Arrival, Asked, Clients, ask};
use quelea_bencode::Limits;
use quelea_tracker::Failure;
use reqwest::StatusCode;
use reqwest::header::{COOKIE, HeaderMap, HeaderValue};
use std::net::IpAddr;

/// A URL to fetch a torrent file from.
///
/// Redirects are followed: a few, within HTTP and not away from TLS, and from the world not into this machine or its
/// network.
#[derive(Debug, Clone, Default)]
pub struct WebRequest {
    /// An `http` or `https` URL.
    pub url: String,
    /// Local addresses to connect from, tried in order; any when there are none.
    pub bind: Vec<IpAddr>,
    /// Sent to the server of the URL, and to no other that it redirects to.
    pub headers: Headers,
    /// Each is sent to the servers that it belongs to.
    pub cookies: Cookies,
    /// The most that is read, in bytes; a packed body counts as it is unpacked.
    pub limit: usize,
}

/// What a URL led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebAnswer {
    /// A body, unpacked if the server had packed it.
    Body(Vec<u8>),
    /// The server redirects to this magnet link.
    Magnet(String),
}

/// Why nothing was fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The server was not reached; another local address may do better.
    #[error("{0}")]
    Connect(String),
    /// A status that is no success, with its name.
    #[error("the server answered {0}")]
    Status(String),
    /// The body is longer than the request's limit, which is given.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// There was no whole answer in time.
    #[error("no answer within 30 seconds")]
    TimedOut,
    /// Anything else; says what.
    #[error("{0}")]
    Other(String),
}

/// Gets what a URL leads to.
///
/// The proxies that the environment names (`HTTPS_PROXY` and its like) are used. Where a proxy looks names up, a redirect
/// is judged by what its URL says alone.
///
/// # Errors
/// [`WebError`] says what went wrong, not where: the URL is the caller's.
pub async fn get(request: &WebRequest) -> Result<WebAnswer, WebError> {
    let mut ways: Vec<Option<IpAddr>> = request.bind.iter().copied().map(Some).collect();
    if ways.is_empty() {
        ways.push(None);
    }
    let clients = Clients::new(true);
    let mut last = WebError::Connect("no address to connect from".to_owned());
    for local in ways {
        last = match get_from(request, local, &clients).await {
            Err(error @ (WebError::Connect(_) | WebError::TimedOut)) => error,
            result => return result,
        };
    }
    Err(last)
}

async fn get_from(
    request: &WebRequest,
    local: Option<IpAddr>,
    clients: &Clients,
) -> Result<WebAnswer, WebError> {
    let now = crate::clock::since_1970();
    let headers = |url: &reqwest::Url, is_same_server: bool| {
        let mut headers = if is_same_server { request.headers.0.clone() } else { HeaderMap::new() };
        let cookies = request.cookies.header(url, now).and_then(|text| HeaderValue::from_str(&text).ok());
        if let Some(cookies) = cookies.filter(|_| !headers.contains_key(COOKIE)) {
            headers.insert(COOKIE, cookies);
        }
        headers
    };
    let asked = Asked { url: &request.url, local, limit: request.limit, is_whole, headers: &headers };
    match ask(clients, &asked).await.map_err(|failure| error(failure, request.limit))? {
        Arrival::Magnet(link) => Ok(WebAnswer::Magnet(link)),
        Arrival::Answer(Answer { status, body, .. }) if (200..300).contains(&status) => {
            Ok(WebAnswer::Body(body))
        }
        Arrival::Answer(Answer { status, .. }) => {
            let named = StatusCode::from_u16(status).map(|status| status.to_string());
            Err(WebError::Status(named.unwrap_or_else(|_| status.to_string())))
        }
    }
}

fn is_whole(body: &[u8]) -> bool {
    quelea_bencode::parse(body, Limits::TORRENT).is_ok()
}

fn error(failure: Failure, limit: usize) -> WebError {
    match failure {
        Failure::Connect(why) | Failure::Dns(why) => WebError::Connect(why),
        Failure::TimedOut => WebError::TimedOut,
        Failure::TooLong => WebError::TooLong(limit),
        failure @ (Failure::Tls(_)
        | Failure::HttpStatus { .. }
        | Failure::Malformed(_)
        | Failure::Redirect(_)
        | Failure::Refused { .. }
        | Failure::NotAllowed(_)
        | Failure::Busy
        | Failure::Other(_)
        | _) => WebError::Other(failure.to_string()),
    }
}
