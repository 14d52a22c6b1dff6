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

/// The session's HTTP clients, made when first needed.
///
/// There is one for each family, so that a tracker with addresses of both hears of both (BEP 7), and each is made
/// once without TLS and once with it: reading the system's certificates takes tens of milliseconds, which a
/// download from a tracker without TLS does not wait for.
pub(crate) struct Http {
    binding: Arc<Binding>,
    user_agent: String,
    plain: OnceLock<Clients>,
    secure: OnceLock<Clients>,
}

type Clients = Result<Families, String>;

/// A client for IPv4 and one for IPv6, where the family can be reached.
#[derive(Clone)]
struct Families {
    four: Option<Client>,
    six: Option<Client>,
}

impl Http {
    pub(crate) fn new(binding: Arc<Binding>) -> Self {
        let user_agent = format!("Quelea/{}", env!("CARGO_PKG_VERSION"));
        Self { binding, user_agent, plain: OnceLock::new(), secure: OnceLock::new() }
    }

    /// Gets `url` over one family: status and body, of at most `limit` bytes.
    pub(crate) async fn get(
        self: &Arc<Self>,
        over_ipv4: bool,
        url: &str,
        limit: usize,
    ) -> Result<(u16, Vec<u8>), Failure> {
        if url.starts_with("https:") {
            return get(&self.secure(over_ipv4).await?, url, limit).await.map(Answer::into_body);
        }
        let plain = self.plain.get_or_init(|| self.build(false)).clone();
        match get(&plain.map_err(Failure::Tls)?.of(over_ipv4)?, url, limit).await? {
            Answer::Body(status, body) => Ok((status, body)),
            Answer::ToTls(url) => {
                get(&self.secure(over_ipv4).await?, &url, limit).await.map(Answer::into_body)
            }
        }
    }

    async fn secure(self: &Arc<Self>, over_ipv4: bool) -> Result<Client, Failure> {
        let clients = match self.secure.get() {
            Some(clients) => clients.clone(),
            None => {
                let http = Arc::clone(self);
                let build = move || http.secure.get_or_init(|| http.build(true)).clone();
                let built = tokio::task::spawn_blocking(build).await;
                built.map_err(|_| Failure::Tls("the session is closing".to_owned()))?
            }
        };
        clients.map_err(Failure::Tls)?.of(over_ipv4)
    }

    fn build(&self, with_tls: bool) -> Clients {
        let build = |family: IpAddr| {
            let Ok(local) = self.binding.local_for(family) else { return Ok(None) };
            let builder = ClientBuilder::new()
                .user_agent(&self.user_agent)
                .local_address(local)
                .connect_timeout(CONNECT)
                .timeout(ANSWER)
                .no_proxy()
                // Announces to one tracker are minutes apart; a kept connection would only be timed out.
                .pool_max_idle_per_host(0);
            let builder = if with_tls {
                builder.redirect(Policy::custom(|attempt| redirect(attempt, true)))
            } else {
                builder.redirect(Policy::custom(|attempt| redirect(attempt, false))).tls_certs_only([])
            };
            builder.build().map(Some).map_err(|error| describe(&error))
        };
        Ok(Families {
            four: build(IpAddr::V4(Ipv4Addr::UNSPECIFIED))?,
            six: build(IpAddr::V6(Ipv6Addr::UNSPECIFIED))?,
        })
    }
}

impl Families {
    fn of(self, over_ipv4: bool) -> Result<Client, Failure> {
        let client = if over_ipv4 { self.four } else { self.six };
        client.ok_or_else(|| Failure::NotAllowed("no address of that family is bound".to_owned()))
    }
}

/// What came of a request.
enum Answer {
    /// Status and body.
    Body(u16, Vec<u8>),
    /// The way leads to this address, which wants TLS.
    ToTls(String),
}

impl Answer {
    fn into_body(self) -> (u16, Vec<u8>) {
        match self {
            Self::Body(status, body) => (status, body),
            // A client that speaks TLS follows such a redirect itself.
            Self::ToTls(_) => (302, Vec::new()),
        }
    }
}

/// A redirect may not lead from the outside to this machine or its network, nor away from TLS, nor out of HTTP.
///
/// Without TLS at hand, a redirect to it is stopped at, to be taken up by a client that has it.
fn redirect(attempt: Attempt<'_>, with_tls: bool) -> reqwest::redirect::Action {
    let from = attempt.previous().last();
    let was_local = from.is_some_and(|url| is_local(url.host_str()));
    let was_https = from.is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("there are too many");
    }
    if !matches!(attempt.url().scheme(), "http" | "https") {
        return attempt.error("it leads out of HTTP");
    }
    if was_https && attempt.url().scheme() != "https" {
        return attempt.error("it leads from https to http");
    }
    if !was_local && is_local(attempt.url().host_str()) {
        return attempt.error("it leads into the local network");
    }
    if !with_tls && attempt.url().scheme() == "https" {
        return attempt.stop();
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

async fn get(client: &Client, url: &str, limit: usize) -> Result<Answer, Failure> {
    let mut response = client.get(url).send().await.map_err(|error| failure(&error))?;
    let status = response.status();
    let location = response.headers().get(reqwest::header::LOCATION).and_then(|to| to.to_str().ok());
    if let Some(to) = location.filter(|to| status.is_redirection() && to.starts_with("https:")) {
        return Ok(Answer::ToTls(to.to_owned()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer::Body(status.as_u16(), body))
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::TimedOut
    } else if error.is_connect() {
        Failure::Connect(describe(error))
    } else if error.is_redirect() {
        Failure::Redirect(describe(error))
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
