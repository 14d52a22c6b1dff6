//! A torrent's talk with its trackers: carries what its announcer wants said, and brings back addresses.

use super::ToTorrent;
use super::http::Http;
use super::udp::UdpRequest;
use crate::clock::Clock;
use crate::snapshot::{TrackerState, TrackerStatus};
use quelea_discovery::Source;
use quelea_net::Binding;
use quelea_tracker::udp::{Answer, Ask};
use quelea_tracker::{
    AnnounceRequest, AnnounceResponse, Announcer, Failure, Identity, RequestId, Scheme, State, Stats,
    SwarmCounts, TrackerUrl, Urgency,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// What a torrent's talk with its trackers is made from.
pub(crate) struct Setup {
    pub(crate) announcer: Announcer,
    pub(crate) identity: Identity,
    pub(crate) carrier: Arc<Carrier>,
}

/// How far the torrent is, from its task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
    pub(crate) left: u64,
    /// It has just become complete.
    pub(crate) completed: bool,
    /// It has too few peers.
    pub(crate) hungry: bool,
    /// Our network was gone, and is back.
    pub(crate) found_back: bool,
}

type Outcome = (RequestId, Result<AnnounceResponse, Failure>);

/// Announces until `notes` ends, then says goodbye and returns when the trackers that know us have been told.
pub(crate) async fn run(
    setup: Setup,
    clock: Clock,
    mut notes: mpsc::Receiver<Note>,
    complete: bool,
    left: u64,
) {
    let Setup { mut announcer, identity, carrier } = setup;
    for (url, reason) in announcer.skipped() {
        tracing::warn!(url, %reason, "this tracker is not used");
    }
    let mut stats = Stats { uploaded: 0, downloaded: 0, left };
    let mut under_way: JoinSet<Outcome> = JoinSet::new();
    let mut stopping = false;
    let mut shown = Vec::new();
    announcer.start(clock.now(), complete);
    loop {
        while let Some(request) = announcer.poll_request() {
            let announce = request.announce(&identity, stats);
            let carrier = Arc::clone(&carrier);
            under_way.spawn(async move { (request.id, carrier.announce(&request.url, announce).await) });
        }
        while let Some(notice) = announcer.poll_notice() {
            tracing::debug!(?notice, "tracker");
        }
        if stopping && announcer.is_stopped() {
            return;
        }
        let statuses = statuses(&announcer);
        if statuses != shown {
            let answered = settled(&statuses);
            shown.clone_from(&statuses);
            carrier.tell(ToTorrent::Trackers { statuses, answered }).await;
        }
        let due = announcer.timeout();
        tokio::select! {
            note = notes.recv(), if !stopping => match note {
                Some(note) => {
                    stats = Stats { uploaded: note.uploaded, downloaded: note.downloaded, left: note.left };
                    if note.completed {
                        announcer.completed(clock.now());
                    } else if note.found_back {
                        announcer.announce_now(clock.now(), Urgency::FoundBack);
                    } else if note.hungry {
                        announcer.announce_now(clock.now(), Urgency::FewPeers);
                    }
                }
                None => {
                    stopping = true;
                    announcer.stop(clock.now());
                }
            },
            Some(outcome) = under_way.join_next(), if !under_way.is_empty() => {
                let Ok((id, answer)) = outcome else { continue };
                let wanted = announcer.handle_answer(clock.now(), id, answer.as_ref().map_err(Clone::clone));
                if let (true, Ok(response)) = (wanted, answer) {
                    carrier.tell_peers(response).await;
                }
            }
            () = clock.sleep_until(due) => announcer.handle_timeout(clock.now()),
        }
    }
}

/// Whether every tracker has answered or failed, so that there is nothing more to wait for.
fn settled(statuses: &[TrackerStatus]) -> bool {
    let open = |status: &TrackerStatus| matches!(status.state, TrackerState::Idle | TrackerState::Announcing);
    statuses.iter().any(|status| status.state == TrackerState::Working) || !statuses.iter().any(open)
}

fn statuses(announcer: &Announcer) -> Vec<TrackerStatus> {
    announcer
        .status()
        .map(|status| TrackerStatus {
            url: status.url.to_string(),
            tier: status.tier,
            state: match status.state {
                State::NotContacted => TrackerState::Idle,
                State::Updating => TrackerState::Announcing,
                State::Working => TrackerState::Working,
                State::Failed(reason) => TrackerState::Failed(reason.to_owned()),
            },
            seeds: status.seeds,
            leechers: status.leechers,
        })
        .collect()
}

/// Carries single requests to trackers.
pub(crate) struct Carrier {
    pub(crate) http: Arc<Http>,
    pub(crate) udp: mpsc::Sender<UdpRequest>,
    pub(crate) binding: Arc<Binding>,
    /// Weak, so that a torrent's mailbox does not live because its trackers do.
    pub(crate) torrent: mpsc::WeakSender<ToTorrent>,
}

impl Carrier {
    /// Announces over every family that reaches the tracker; the first success counts, and the addresses of a
    /// later one are handed on as well.
    async fn announce(
        self: Arc<Self>,
        url: &TrackerUrl,
        request: AnnounceRequest,
    ) -> Result<AnnounceResponse, Failure> {
        let mut families = match url.scheme() {
            Scheme::Http | Scheme::Https => self.announce_http(url, &request).await?,
            Scheme::Udp => self.announce_udp(url, &request).await?,
        };
        let mut failure = Failure::NotAllowed("it cannot be reached from the bound addresses".to_owned());
        while let Some(answer) = families.join_next().await {
            match answer {
                Ok(Ok(response)) => {
                    let carrier = Arc::clone(&self);
                    tokio::spawn(async move {
                        while let Some(answer) = families.join_next().await {
                            if let Ok(Ok(response)) = answer {
                                carrier.tell_peers(response).await;
                            }
                        }
                    });
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
            families.spawn(async move {
                let (status, body) = http.get(to.is_ipv4(), &address, quelea_tracker::http::MAX_BODY).await?;
                quelea_tracker::http::read_announce(status, &body)
            });
        }
        Ok(families)
    }

    async fn announce_udp(
        &self,
        url: &TrackerUrl,
        request: &AnnounceRequest,
    ) -> Result<JoinSet<Result<AnnounceResponse, Failure>>, Failure> {
        let found = self.resolve(url).await?;
        let mut families = JoinSet::new();
        for to in one_of_each_family(&found) {
            let ask = Ask::Announce { request: request.clone(), url_data: url.path_and_query() };
            let answered = ask_udp(self.udp.clone(), to, ask);
            families.spawn(async move {
                match answered.await? {
                    Answer::Announce(response) => Ok(response),
                    Answer::Scrape(_) => Err(Failure::Malformed("a scrape for an announce".to_owned())),
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
                    let answer = self.http.get(to.is_ipv4(), &address, quelea_tracker::http::MAX_BODY).await;
                    match answer.and_then(|(status, body)| quelea_tracker::http::read_scrape(status, &body)) {
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
                for to in one_of_each_family(&found) {
                    match ask_udp(self.udp.clone(), to, Ask::Scrape(vec![info_hash])).await {
                        Ok(Answer::Scrape(answer)) => {
                            counts = answer;
                            break;
                        }
                        Ok(Answer::Announce(_)) => {}
                        Err(reason) => failure = reason,
                    }
                }
                counts
            }
        };
        counts.into_iter().find(|(hash, _)| *hash == info_hash).map(|(_, counts)| counts).ok_or(failure)
    }

    async fn tell_peers(&self, response: AnnounceResponse) {
        if let Some(warning) = response.warning {
            tracing::warn!(warning, "a tracker says");
        }
        if let Some(address) = response.external_ip {
            self.tell(ToTorrent::External(address)).await;
        }
        self.tell(ToTorrent::Addresses { found: response.peers, source: Source::Tracker }).await;
    }

    async fn tell(&self, message: ToTorrent) {
        if let Some(torrent) = self.torrent.upgrade() {
            let _ = torrent.send(message).await;
        }
    }
}

fn one_of_each_family(found: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> + use<> {
    let four = found.iter().copied().find(SocketAddr::is_ipv4);
    let six = found.iter().copied().find(SocketAddr::is_ipv6);
    [four, six].into_iter().flatten()
}

async fn ask_udp(udp: mpsc::Sender<UdpRequest>, to: SocketAddr, ask: Ask) -> Result<Answer, Failure> {
    let gone = || Failure::NotAllowed("the session is closing".to_owned());
    let (answer, answered) = oneshot::channel();
    udp.send(UdpRequest { to, ask, answer }).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}
