//! HTTP clients, each made when it is first needed, for one way out and one kind of place to go to.

use quelea_discovery::Scope;
use quelea_net::Binding;
use quelea_tracker::Failure;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A connection to a server is made by then, or not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// Headers that an answer may have. Servers behind several others add some each.
const HEADERS: usize = 256;
/// The name by which servers know us.
pub(crate) const USER_AGENT: &str = concat!("Quelea/", env!("CARGO_PKG_VERSION"));

/// What a client is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Purpose {
    /// The local address of its connections. An unspecified one stands for any of its family.
    pub(super) local: Option<IpAddr>,
    /// With TLS or without: reading the system's certificates takes tens of milliseconds, which a download from a
    /// tracker without TLS does not wait for.
    pub(super) with_tls: bool,
    /// The scope of the server that sent us here; `None` where the user did.
    pub(super) sent_from: Option<Scope>,
}

/// The clients made so far: at most one for each [`Purpose`].
pub(crate) struct Clients {
    /// Whether the proxies that the environment names are used.
    with_proxies: bool,
    made: Mutex<HashMap<Purpose, Arc<Made>>>,
}

type Made = OnceLock<Result<Client, String>>;

impl Clients {
    pub(crate) fn new(with_proxies: bool) -> Self {
        Self { with_proxies, made: Mutex::default() }
    }

    /// Whether requests may go by a proxy. Such a proxy looks names up itself, so that nobody but it can judge where
    /// they lead.
    pub(super) fn by_proxy(&self) -> bool {
        const NAMES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];
        let is_set = |name: String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.with_proxies
            && NAMES.into_iter().any(|name| is_set(name.to_owned()) || is_set(name.to_uppercase()))
    }

    pub(super) async fn get(&self, purpose: Purpose) -> Result<Client, Failure> {
        let place = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry(purpose).or_default())
        };
        let (with_proxies, judged) = (self.with_proxies, !self.by_proxy());
        let make = move || place.get_or_init(|| make(purpose, with_proxies, judged)).clone();
        let client = if purpose.with_tls {
            let made = tokio::task::spawn_blocking(make).await;
            made.map_err(|_| Failure::Tls("the session is closing".to_owned()))?
        } else {
            make()
        };
        client.map_err(Failure::Tls)
    }
}

fn make(purpose: Purpose, with_proxies: bool, judged: bool) -> Result<Client, String> {
    let sent_from = purpose.sent_from.filter(|_| judged);
    let builder = ClientBuilder::new()
        .user_agent(USER_AGENT)
        .local_address(purpose.local)
        .dns_resolver(Judge { binding: Binding::new(purpose.local.into_iter().collect()), sent_from })
        // Each step of a way is judged by `hops`; nothing of one URL goes to the next server.
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        // Announces to one tracker are minutes apart; a kept connection would only be timed out.
        .pool_max_idle_per_host(0)
        .http1_max_headers(HEADERS)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true);
    let builder = if with_proxies { builder } else { builder.no_proxy() };
    let builder = if purpose.with_tls { builder } else { builder.tls_certs_only([]) };
    builder.build().map_err(|error| super::reason::innermost(&error))
}

/// Looks names up, and leaves out the addresses to which the server that named them may not lead.
struct Judge {
    binding: Binding,
    sent_from: Option<Scope>,
}

/// A server led us to where it may not.
#[derive(Debug)]
pub(super) struct LedAstray;

impl std::fmt::Display for LedAstray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it leads into this machine or its network")
    }
}

impl std::error::Error for LedAstray {}

impl Resolve for Judge {
    fn resolve(&self, name: Name) -> Resolving {
        let (binding, sent_from) = (self.binding.clone(), self.sent_from);
        Box::pin(async move {
            let found = quelea_net::resolve(&binding, name.as_str(), 0).await?;
            let may_be = |ip| sent_from.is_none_or(|scope| scope.may_lead_to(ip));
            let allowed: Vec<_> = found.into_iter().filter(|address| may_be(address.ip())).collect();
            if allowed.is_empty() {
                return Err(LedAstray.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The addresses of this machine's own name that a server of this scope may lead to.
    async fn led(sent_from: Option<Scope>) -> Result<Vec<IpAddr>, String> {
        let judge = Judge { binding: Binding::default(), sent_from };
        let found = judge.resolve("localhost".parse().unwrap()).await;
        found.map(|found| found.map(|address| address.ip()).collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn names_lead_to_addresses_that_they_may_lead_to_alone() {
        for sent_from in [None, Some(Scope::Machine)] {
            let found = led(sent_from).await.unwrap();
            assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        }
        for sent_from in [Scope::Link, Scope::Site, Scope::World] {
            assert_eq!(led(Some(sent_from)).await, Err(LedAstray.to_string()), "{sent_from:?}");
        }
    }
}
