//! HTTP for trackers: one request over one family, one bounded answer.
//!
//! `hops` asks and follows redirects, `clients` connects and judges the addresses of names, `packed` unpacks, `reason`
//! says why something failed. Fetching a torrent file (`crate::fetch`) uses the same parts.

mod clients;
mod hops;
mod packed;
mod reason;

pub(crate) use clients::Clients;
pub(crate) use hops::{Answer, Arrival, Asked, ask};

use quelea_net::Binding;
use quelea_tracker::Failure;
use quelea_tracker::http::{MAX_BODY, is_whole};
use reqwest::header::HeaderMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The session's HTTP, for trackers. Each family has clients of its own, so that a tracker with addresses of both hears
/// of both (BEP 7).
pub(crate) struct Http {
    binding: Arc<Binding>,
    clients: Clients,
}

impl Http {
    pub(crate) fn new(binding: Arc<Binding>) -> Self {
        Self { binding, clients: Clients::new(false) }
    }

    /// The tracker's answer to a GET of `url` over one family.
    pub(crate) async fn get(&self, over_ipv4: bool, url: &str) -> Result<Answer, Failure> {
        let family: IpAddr =
            if over_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let local = self
            .binding
            .local_for(family)
            .map_err(|_| Failure::NotAllowed("no address of that family is bound".to_owned()))?;
        let headers = |_: &_, _| HeaderMap::new();
        let asked = Asked { url, local: Some(local), limit: MAX_BODY, is_whole, headers: &headers };
        match ask(&self.clients, &asked).await? {
            Arrival::Answer(answer) => Ok(answer),
            Arrival::Magnet(_) => Err(Failure::Redirect("it leads to magnet:, which is not HTTP".to_owned())),
        }
    }
}
