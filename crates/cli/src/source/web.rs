//! Torrents by URL.

use crate::display;
use crate::exit::Status;
use quelea::web::{Cookies, Headers, WebAnswer, WebError, WebRequest};
use std::net::IpAddr;

/// A server is listened to for this many bytes, which count as they are when unpacked.
const BODY_LIMIT: usize = 10 << 20;

/// How URLs are fetched.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebAccess {
    /// Local addresses to connect from, tried in order; any when there are none.
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) headers: Headers,
    pub(crate) cookies: Cookies,
}

/// What a URL led to.
pub(super) enum Fetched {
    Bytes(Vec<u8>),
    Magnet(String),
}

/// What a URL serves, if it is not too large and comes soon enough.
pub(super) async fn fetch(url: &str, access: &WebAccess) -> anyhow::Result<Fetched> {
    let WebAccess { bind, headers, cookies } = access.clone();
    let request = WebRequest { url: url.to_owned(), bind, headers, cookies, limit: BODY_LIMIT };
    match quelea::web::get(&request).await {
        Ok(WebAnswer::Magnet(link)) => Ok(Fetched::Magnet(link)),
        Ok(WebAnswer::Body(bytes)) => Ok(Fetched::Bytes(bytes)),
        Err(WebError::TooLong(_)) => {
            let limit = display::bytes(BODY_LIMIT as u64);
            Err(failed(url, &format!("larger than {limit}: not a torrent file")))
        }
        Err(error) => Err(failed(url, &display::plain(&error.to_string()))),
    }
}

fn failed(url: &str, why: &str) -> anyhow::Error {
    Status::Network.because(format!("cannot fetch {}: {}", display::clean(url), display::clean(why)))
}
