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
        let found = self.resolve(url).await?;
        self.announce_at(url, &found, request, contact, later).await
    }

    /// Announces to the addresses that were found for the tracker's name.
    async fn announce_at(
        &self,
        url: &TrackerUrl,
        found: &[SocketAddr],
        request: AnnounceRequest,
        contact: Contact,
        later: impl Fn(AnnounceResponse) + Send + 'static,
    ) -> Result<AnnounceResponse, Failure> {
        let mut families = match url.scheme() {
            Scheme::Http | Scheme::Https => self.announce_http(url, found, &request),
            Scheme::Udp => self.announce_udp(url, found, &request, contact),
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

    fn announce_http(
        &self,
        url: &TrackerUrl,
        found: &[SocketAddr],
        request: &AnnounceRequest,
    ) -> JoinSet<Result<AnnounceResponse, Failure>> {
        let address = quelea_tracker::http::announce_url(url, request);
        let mut families = JoinSet::new();
        for to in one_of_each_family(found) {
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
        families
    }

    fn announce_udp(
        &self,
        url: &TrackerUrl,
        found: &[SocketAddr],
        request: &AnnounceRequest,
        contact: Contact,
    ) -> JoinSet<Result<AnnounceResponse, Failure>> {
        let mut families = JoinSet::new();
        for addresses in by_family(found) {
            let ask = Ask::Announce { request: request.clone(), url_data: url.path_and_query(), contact };
            let answered = ask_udp(self.udp.clone(), addresses, ask);
            families.spawn(async move {
                match answered.await? {
                    (from, Answer::Announce(response)) => Ok(believed(from.ip(), response)),
                    (_, Answer::Scrape(_)) => Err(Failure::Malformed("a scrape for an announce".to_owned())),
                }
            });
        }
        families
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use quelea_tracker::{Identity, Stats};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;
    use tokio::net::UdpSocket;
    use tokio::sync::broadcast;

    /// Far more than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(300);
    /// Where the peer is that each tracker names, as trackers pack it.
    const PEER: [u8; 6] = [127, 0, 77, 7, 0x1e, 0x61];

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
    }

    fn carrier() -> Carrier {
        let (binding, clock) = (Arc::new(Binding::default()), Clock::start());
        let (udp, requests) = mpsc::channel(1);
        tokio::spawn(crate::driver::udp::run(Arc::clone(&binding), 1, clock, requests));
        let (events, _) = broadcast::channel(1);
        let outside = Arc::new(Outside::new(clock, 1, events.downgrade()));
        Carrier { http: Arc::new(Http::new(Arc::clone(&binding))), udp, binding, outside }
    }

    fn request() -> AnnounceRequest {
        let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 1, key: 3 };
        AnnounceRequest::new(&identity, Stats { uploaded: 0, downloaded: 0, left: 1 })
    }

    /// Answers requests as a UDP tracker with one peer does (BEP 15). An IPv6 tracker names none.
    async fn serve(socket: UdpSocket) {
        let mut datagram = [0; 2_048];
        while let Ok((_, from)) = socket.recv_from(&mut datagram).await {
            let (action, transaction) = (&datagram[8..12], &datagram[12..16]);
            let peers = if from.is_ipv4() { &PEER[..] } else { &[] };
            let answer = match action {
                [0, 0, 0, 0] => [action, transaction, b"identity"].concat(),
                _ => [action, transaction, &[0, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1], peers].concat(),
            };
            let _ = socket.send_to(&answer, from).await;
        }
    }

    async fn socket(at: &str) -> UdpSocket {
        UdpSocket::bind(at).await.unwrap()
    }

    /// Whether anything was sent to a socket that nobody reads.
    fn was_asked(socket: &UdpSocket) -> bool {
        socket.try_recv_from(&mut [0; 2_048]).is_ok()
    }

    #[test]
    fn a_udp_tracker_is_asked_at_the_next_address_of_its_name_if_one_is_silent() {
        run(async {
            let silent = [socket("127.0.77.1:0").await, socket("127.0.77.2:0").await];
            let works = socket("127.0.77.3:0").await;
            let mut found: Vec<SocketAddr> =
                silent.iter().map(|socket| socket.local_addr().unwrap()).collect();
            found.push(works.local_addr().unwrap());
            tokio::spawn(serve(works));
            let url = TrackerUrl::parse("udp://tracker.example:6969/announce").unwrap();
            let carrier = carrier();
            let response =
                carrier.announce_at(&url, &found, request(), Contact::First, |_| {}).await.unwrap();
            assert_eq!(response.peers, ["127.0.77.7:7777".parse().unwrap()]);
            assert!(silent.iter().all(was_asked));
        });
    }

    #[test]
    fn a_udp_tracker_with_a_name_of_both_families_is_heard_over_either() {
        run(async {
            let names = std::net::ToSocketAddrs::to_socket_addrs("localhost:0").unwrap();
            for ip in names.map(|address| address.ip()).collect::<std::collections::BTreeSet<_>>() {
                let works = socket(&SocketAddr::new(ip, 0).to_string()).await;
                let port = works.local_addr().unwrap().port();
                // The other address of the name is there and silent, or not there at all.
                let other: IpAddr =
                    if ip.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
                let _silent = UdpSocket::bind(SocketAddr::new(other, port)).await;
                let serving = tokio::spawn(serve(works));
                let url = TrackerUrl::parse(&format!("udp://localhost:{port}/announce")).unwrap();
                let carrier = carrier();
                let answer = carrier.announce(&url, request(), Contact::First, |_| {}).await;
                assert_eq!(answer.unwrap().peers.len(), usize::from(ip.is_ipv4()), "{ip}");
                serving.abort();
            }
        });
    }
}
