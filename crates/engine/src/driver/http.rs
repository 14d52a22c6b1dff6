//! HTTP for trackers: one request, one bounded answer.

use quelea_net::Binding;
use quelea_tracker::Failure;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A connection to a tracker is made by then, or not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// An answer is whole by then, or not at all.
const ANSWER: Duration = Duration::from_secs(30);
/// Redirects followed.
const REDIRECTS: usize = 5;

/// The session's HTTP clients, one for each family that can be reached, so that a tracker with addresses of both
/// hears of both (BEP 7). Made when first needed, since reading the system's certificates takes a moment.
pub(crate) struct Http {
    binding: Arc<Binding>,
    user_agent: String,
    clients: OnceLock<Result<Vec<FamilyClient>, String>>,
}

/// A client that speaks over one family.
#[derive(Clone)]
pub(crate) struct FamilyClient {
    client: Client,
    pub(crate) is_ipv4: bool,
}

impl Http {
    pub(crate) fn new(binding: Arc<Binding>) -> Self {
        let user_agent = format!("Quelea/{}", env!("CARGO_PKG_VERSION"));
        Self { binding, user_agent, clients: OnceLock::new() }
    }

    /// A client for each family.
    pub(crate) fn clients(&self) -> Result<Vec<FamilyClient>, Failure> {
        self.clients.get_or_init(|| self.build()).clone().map_err(Failure::Tls)
    }

    fn build(&self) -> Result<Vec<FamilyClient>, String> {
        let families = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let locals = families.into_iter().filter_map(|family| self.binding.local_for(family).ok());
        let build = |local: IpAddr| {
            ClientBuilder::new()
                .user_agent(&self.user_agent)
                .local_address(local)
                .connect_timeout(CONNECT)
                .timeout(ANSWER)
                .redirect(Policy::custom(redirect))
                .no_proxy()
                // Announces to one tracker are minutes apart; a kept connection would only be timed out.
                .pool_max_idle_per_host(0)
                .build()
                .map(|client| FamilyClient { client, is_ipv4: local.is_ipv4() })
                .map_err(|error| describe(&error))
        };
        locals.map(build).collect()
    }
}

/// A redirect may not lead from the outside to this machine or its network, nor away from TLS.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last();
    let was_local = from.is_some_and(|url| is_local(url.host_str()));
    let was_https = from.is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    if was_https && attempt.url().scheme() != "https" {
        return attempt.error("a redirect from https to http");
    }
    if !was_local && is_local(attempt.url().host_str()) {
        return attempt.error("a redirect to an address of the local network");
    }
    attempt.follow()
}

fn is_local(host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    match host.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Gets `url`: status and body, of at most `limit` bytes.
pub(crate) async fn get(client: &FamilyClient, url: &str, limit: usize) -> Result<(u16, Vec<u8>), Failure> {
    let mut response = client.client.get(url).send().await.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::TimedOut
    } else if error.is_connect() {
        Failure::Connect(describe(error))
    } else if error.is_redirect() {
        Failure::NotAllowed(describe(error))
    } else {
        Failure::Malformed(describe(error))
    }
}

/// The innermost reason, which is the one that says something.
fn describe(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_others() {
        for host in
            ["localhost", "127.0.0.1", "10.1.2.3", "[::1]", "192.168.0.1", "[fe80::1]", "[::ffff:10.0.0.1]"]
        {
            assert!(is_local(Some(host)), "{host}");
        }
        for host in ["example.org", "1.1.1.1", "[2001:db8::1]"] {
            assert!(!is_local(Some(host)), "{host}");
        }
    }
}
