//! Carries single requests to trackers, over HTTP and UDP.

use super::http::{self, Http};
use super::udp::UdpRequest;
use crate::outside::Outside;
use quelea_discovery::Scope;
use quelea_discovery::external::Witness;
use quelea_net::Binding;
use quelea_tracker::udp::{Answer, Ask};
use quelea_tracker::{AnnounceRequest, AnnounceResponse, Contact, Failure, Scheme, SwarmCounts, TrackerUrl};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How many addresses of one family are tried for a tracker's name.
const MAX_ADDRESSES: usize = 4;
/// How long an address is waited for before the next one of the same name is asked as well.
const HEAD_START: Duration = Duration::from_secs(3);

/// Carries single requests to trackers.
pub(crate) struct Carrier {
    pub(crate) http: Arc<Http>,
    pub(crate) udp: mpsc::Sender<UdpRequest>,
    pub(crate) binding: Arc<Binding>,
    pub(crate) outside: Arc<Outside>,
}

impl Carrier {
    /// Announces over every family that reaches the tracker; the first success counts, and a later one is handed
    /// to `later`.
    pub(super) async fn announce(
        &self,
        url: &TrackerUrl,
        request: AnnounceRequest,
        contact: Contact,
        later: impl Fn(AnnounceResponse) + Send + 'static,
    ) -> Result<AnnounceResponse, Failure> {
        let mut families = match url.scheme() {
            Scheme::Http | Scheme::Https => self.announce_http(url, &request).await?,
            Scheme::Udp => self.announce_udp(url, &request, contact).await?,
        };
        let mut failure = Failure::NotAllowed("it cannot be reached from the bound addresses".to_owned());
        while let Some(answer) = families.join_next().await {
            match answer {
                Ok(Ok(response)) => {
                    if !families.is_empty() {
                        tokio::spawn(async move {
                            while let Some(answer) = families.join_next().await {
                                if let Ok(Ok(response)) = answer {
                                    later(response);
                                }
                            }
                        });
                    }
                    return Ok(response);
                }
                Ok(Err(reason)) => failure = reason,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn announce_http(
        &self,
        url: &TrackerUrl,
        request: &AnnounceRequest,
    ) -> Result<JoinSet<Result<AnnounceResponse, Failure>>, Failure> {
        let found = self.resolve(url).await?;
        let address = quelea_tracker::http::announce_url(url, request);
        let mut families = JoinSet::new();
        for to in one_of_each_family(&found) {
            let (http, address) = (Arc::clone(&self.http), address.clone());
            let outside = Arc::clone(&self.outside);
            families.spawn(async move {
                let answer = http.get(to.is_ipv4(), &address).await?;
                let read = quelea_tracker::http::read_announce(answer.status, &answer.body);
                let response = read.map_err(|failure| put_off(failure, &answer))?;
                let from = answer.from.map_or(to.ip(), |from| from.ip());
                if let Some(seen_at) = response.external_ip {
                    outside.vote(Witness::Tracker(from), seen_at);
                }
                Ok(believed(from, response))
            });
        }
        Ok(families)
    }

    async fn announce_udp(
        &self,
        url: &TrackerUrl,
        request: &AnnounceRequest,
        contact: Contact,
    ) -> Result<JoinSet<Result<AnnounceResponse, Failure>>, Failure> {
        let found = self.resolve(url).await?;
        let mut families = JoinSet::new();
        for addresses in by_family(&found) {
            let ask = Ask::Announce { request: request.clone(), url_data: url.path_and_query(), contact };
            let answered = ask_udp(self.udp.clone(), addresses, ask);
            families.spawn(async move {
                match answered.await? {
                    (from, Answer::Announce(response)) => Ok(believed(from.ip(), response)),
                    (_, Answer::Scrape(_)) => Err(Failure::Malformed("a scrape for an announce".to_owned())),
                }
            });
        }
        Ok(families)
    }

    /// The tracker's addresses that can be reached.
    async fn resolve(&self, url: &TrackerUrl) -> Result<Vec<SocketAddr>, Failure> {
        let found = quelea_net::resolve(&self.binding, &url.host().to_string(), url.port()).await;
        found.map_err(|error| Failure::Dns(error.to_string()))
    }

    /// What a tracker knows about the torrent (BEP 48, BEP 15): the first family that answers.
    pub(crate) async fn scrape(&self, url: &TrackerUrl, info_hash: [u8; 20]) -> Result<SwarmCounts, Failure> {
        let found = self.resolve(url).await?;
        let unsupported = || Failure::NotAllowed("it has no address for scrapes (BEP 48)".to_owned());
        let mut failure = unsupported();
        let counts = match url.scheme() {
            Scheme::Http | Scheme::Https => {
                let address = quelea_tracker::http::scrape_url(url, &[info_hash]).ok_or_else(unsupported)?;
                let mut counts = Vec::new();
                for to in one_of_each_family(&found) {
                    let answer = self.http.get(to.is_ipv4(), &address).await;
                    match answer.and_then(|it| quelea_tracker::http::read_scrape(it.status, &it.body)) {
                        Ok(answer) => {
                            counts = answer;
                            break;
                        }
                        Err(reason) => failure = reason,
                    }
                }
                counts
            }
            Scheme::Udp => {
                let mut counts = Vec::new();
                for addresses in by_family(&found) {
                    match ask_udp(self.udp.clone(), addresses, Ask::Scrape(vec![info_hash])).await {
                        Ok((_, Answer::Scrape(answer))) => {
                            counts = answer;
                            break;
                        }
                        Ok((_, Answer::Announce(_))) => {}
                        Err(reason) => failure = reason,
                    }
                }
                counts
            }
        };
        counts.into_iter().find(|(hash, _)| *hash == info_hash).map(|(_, counts)| counts).ok_or(failure)
    }
}

/// An answer of the tracker at `from`, without the peers to which it may not lead us.
fn believed(from: IpAddr, mut response: AnnounceResponse) -> AnnounceResponse {
    let scope = Scope::of(from);
    response.peers.retain(|peer| scope.may_lead_to(peer.ip()));
    response
}

fn put_off(failure: Failure, answer: &http::Answer) -> Failure {
    match answer.retry_after {
        Some(wait) => failure.put_off(wait),
        None => failure,
    }
}

fn one_of_each_family(found: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> + use<> {
    let four = found.iter().copied().find(SocketAddr::is_ipv4);
    let six = found.iter().copied().find(SocketAddr::is_ipv6);
    [four, six].into_iter().flatten()
}

/// The addresses of each family that has any, in the order of the name's, at most [`MAX_ADDRESSES`] of each.
fn by_family(found: &[SocketAddr]) -> impl Iterator<Item = Vec<SocketAddr>> + use<> {
    let take = |family: fn(&SocketAddr) -> bool| -> Vec<SocketAddr> {
        found.iter().copied().filter(family).take(MAX_ADDRESSES).collect()
    };
    [take(SocketAddr::is_ipv4), take(SocketAddr::is_ipv6)].into_iter().filter(|family| !family.is_empty())
}

/// Asks the addresses of one tracker, each [`HEAD_START`] after the one before or as soon as that has failed. The first
/// answer counts, with the address that it came from, and the last failure where there is none.
async fn ask_udp(
    udp: mpsc::Sender<UdpRequest>,
    addresses: Vec<SocketAddr>,
    ask: Ask,
) -> Result<(SocketAddr, Answer), Failure> {
    let mut addresses = addresses.into_iter();
    let mut under_way = JoinSet::new();
    let mut failure = Failure::TimedOut;
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        if let Some(to) = next {
            let answered = ask_address(udp.clone(), to, ask.clone());
            under_way.spawn(async move { Ok((to, answered.await?)) });
        } else if under_way.is_empty() {
            return Err(failure);
        }
        let answer = tokio::select! {
            answer = under_way.join_next() => answer,
            () = tokio::time::sleep(HEAD_START), if !is_last => continue,
        };
        match answer {
            Some(Ok(Ok(answer))) => return Ok(answer),
            Some(Ok(Err(reason))) => failure = reason,
            Some(Err(_)) | None => {}
        }
    }
}

async fn ask_address(udp: mpsc::Sender<UdpRequest>, to: SocketAddr, ask: Ask) -> Result<Answer, Failure> {
    let gone = || Failure::NotAllowed("the session is closing".to_owned());
    let (answer, answered) = oneshot::channel();
    udp.send(UdpRequest { to, ask, answer }).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}
