//! Requests to UDP trackers, from asking for a connection id to the answer (BEP 15).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use quelea_time::Time;

use super::packet::{self, MAX_SCRAPE, Reply};
use crate::announcer::Contact;
use crate::failure::Failure;
use crate::request::AnnounceRequest;
use crate::response::{AnnounceResponse, SwarmCounts};

/// How many requests may wait for answers at once; more are turned away as [`Failure::Busy`].
pub const MAX_WAITING: usize = 4096;
/// For how many trackers a connection id is kept.
const MAX_TRACKERS: usize = 1024;
/// How long a connection id may be used after it came (BEP 15, "UDP connections / spoofing").
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// How long the first transmission waits for its answer; the n-th after it waits 2ⁿ times that (BEP 15, "Time outs").
const PATIENCE: Duration = Duration::from_secs(15);
/// BEP 15 would go on for over two hours. After 105 seconds a request has failed here, and the announcer, which
/// backs off in the same manner and knows other trackers, decides when to ask again.
const TRANSMISSIONS: u32 = 3;
/// The same for a torrent that leaves: nobody stays for long to wait for the answer, so a lost datagram is sent again soon.
const LEAVING_PATIENCE: Duration = Duration::from_secs(1);
const LEAVING_TRANSMISSIONS: u32 = 5;
/// The same for a tracker that is asked for the first time: the request has failed after 14 seconds, within
/// [`FIRST_TRY`](crate::FIRST_TRY), and has survived two lost datagrams until then.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// What to ask a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// An announce.
    Announce {
        /// What to tell.
        request: AnnounceRequest,
        /// [`crate::TrackerUrl::path_and_query`] of the tracker (BEP 41).
        url_data: String,
        /// How the tracker is expected to answer.
        contact: Contact,
    },
    /// Counts of these torrents, at most 74 ([`packet::MAX_SCRAPE`]).
    Scrape(Vec<[u8; 20]>),
}

impl Ask {
    fn contact(&self) -> Contact {
        match self {
            Self::Announce { contact, .. } => *contact,
            Self::Scrape(_) => Contact::Working,
        }
    }

    /// How long the first transmission waits.
    fn patience(&self) -> Duration {
        match self.contact() {
            Contact::Leaving => LEAVING_PATIENCE,
            Contact::First => FIRST_PATIENCE,
            Contact::Working | Contact::Again => PATIENCE,
        }
    }

    fn transmissions(&self) -> u32 {
        match self.contact() {
            Contact::Leaving => LEAVING_TRANSMISSIONS,
            Contact::Working | Contact::First | Contact::Again => TRANSMISSIONS,
        }
    }
}

/// What a tracker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To an announce.
    Announce(AnnounceResponse),
    /// To a scrape: the torrents that were asked for, as far as the answer reaches.
    Scrape(Vec<([u8; 20], SwarmCounts)>),
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// Carries requests to UDP trackers and brings back answers.
///
/// One machine serves all torrents and both families; its driver sends each [`Transmit`] from the socket of the
/// destination's family. `I` is the driver's own name for a request, and it must not name two requests at once.
///
/// After every call drain [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event), and call
/// [`handle_timeout`](Self::handle_timeout) when [`timeout`](Self::timeout) has come. Every request ends in exactly
/// one event, unless it is cancelled.
///
/// A reply counts only if it comes from the address that was asked and names a transaction that is under way there;
/// transaction ids are drawn from the seed, which must be unpredictable to strangers.
#[derive(Debug)]
pub struct UdpClient<I> {
    rng: fastrand::Rng,
    trackers: BTreeMap<Key, Tracker>,
    requests: BTreeMap<u32, Waiting<I>>,
    /// When each request's patience ends.
    alarms: BTreeSet<(Time, u32)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<(I, Result<Answer, Failure>)>,
}

/// A tracker's address without what can differ between two views of it (scope, flow, IPv4 mapped into IPv6).
type Key = (IpAddr, u16);

fn key(address: SocketAddr) -> Key {
    (address.ip().to_canonical(), address.port())
}

#[derive(Debug, Default)]
struct Tracker {
    connection: Option<Connection>,
    connecting: Option<Connecting>,
    /// Requests under way to this address; the entry outlives them for its connection id alone.
    requests: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    id: u64,
    since: Time,
}

impl Connection {
    fn is_fresh(&self, now: Time) -> bool {
        now.since(self.since) < CONNECTION_LIFE
    }
}

/// A connect request that has no answer yet.
#[derive(Debug, Clone, Copy)]
struct Connecting {
    transaction: u32,
    sent: Time,
}

#[derive(Debug)]
struct Waiting<I> {
    id: I,
    to: SocketAddr,
    ask: Ask,
    asked: Time,
    /// Transmissions so far, of connect requests on its behalf or of itself.
    transmissions: u32,
    alarm: Time,
    /// The connection it was last sent with.
    sent_with: Option<Connection>,
    /// It is to be sent as soon as there is a connection id.
    awaits_connection: bool,
}

impl<I: Clone + PartialEq> UdpClient<I> {
    /// A client without requests, whose transaction ids follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            trackers: BTreeMap::new(),
            requests: BTreeMap::new(),
            alarms: BTreeSet::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks the tracker at `to`.
    pub fn request(&mut self, now: Time, id: I, to: SocketAddr, ask: Ask) {
        let hashes = if let Ask::Scrape(hashes) = &ask { hashes.len() } else { 1 };
        if hashes == 0 || hashes > MAX_SCRAPE {
            let failure = Failure::Other(alloc::format!("a scrape asks for 1 to {MAX_SCRAPE} torrents"));
            self.events.push_back((id, Err(failure)));
            return;
        }
        if self.requests.len() >= MAX_WAITING {
            self.events.push_back((id, Err(Failure::Busy)));
            return;
        }
        self.make_room(now, key(to));
        let transaction = self.unused_transaction();
        let request = Waiting {
            id,
            to,
            ask,
            asked: now,
            transmissions: 0,
            alarm: now,
            sent_with: None,
            awaits_connection: false,
        };
        self.trackers.entry(key(to)).or_default().requests.insert(transaction);
        self.alarms.insert((now, transaction));
        self.requests.insert(transaction, request);
        self.transmit(now, transaction);
    }

    /// Forgets a request; it has no event any more.
    pub fn cancel(&mut self, id: &I) {
        let found = self.requests.iter().find(|(_, request)| request.id == *id);
        if let Some(transaction) = found.map(|(&transaction, _)| transaction) {
            self.take(transaction);
        }
        self.events.retain(|(named, _)| named != id);
    }

    /// Takes in a datagram. What is no reply to anything under way is ignored.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let Some((transaction, reply)) = packet::read_reply(from, bytes) else { return };
        let Some(tracker) = self.trackers.get_mut(&key(from)) else { return };
        if tracker.connecting.is_some_and(|connecting| connecting.transaction == transaction) {
            match reply {
                Reply::Connect(id) => {
                    tracker.connecting = None;
                    tracker.connection = Some(Connection { id, since: now });
                    let waiting: Vec<u32> = tracker.requests.iter().copied().collect();
                    for transaction in waiting {
                        self.send_with_fresh_connection(now, transaction);
                    }
                }
                Reply::Error(reason) => {
                    tracker.connecting = None;
                    let waiting: Vec<u32> = tracker.requests.iter().copied().collect();
                    for transaction in waiting {
                        self.finish(
                            transaction,
                            Err(Failure::Refused { reason: reason.clone(), retry: None }),
                        );
                    }
                }
                Reply::Announce(_) | Reply::Scrape(_) => {}
            }
        } else if tracker.requests.contains(&transaction) {
            self.handle_reply(now, transaction, reply);
        }
    }

    /// Retransmits what is due, and gives up what has waited long enough.
    pub fn handle_timeout(&mut self, now: Time) {
        while self.alarms.first().is_some_and(|&(due, _)| due <= now) {
            let Some((_, transaction)) = self.alarms.pop_first() else { break };
            let goes_on = |request: &Waiting<I>| request.transmissions < request.ask.transmissions();
            if self.requests.get(&transaction).is_some_and(goes_on) {
                self.transmit(now, transaction);
            } else {
                self.finish(transaction, Err(Failure::TimedOut));
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next request that has ended.
    pub fn poll_event(&mut self) -> Option<(I, Result<Answer, Failure>)> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn timeout(&self) -> Option<Time> {
        self.alarms.first().map(|&(due, _)| due)
    }

    /// How many requests wait for their answers.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    fn handle_reply(&mut self, now: Time, transaction: u32, reply: Reply) {
        let Some(request) = self.requests.get_mut(&transaction) else { return };
        let Some(connection) = request.sent_with else { return };
        match (&request.ask, reply) {
            (Ask::Announce { .. }, Reply::Announce(response)) => {
                self.finish(transaction, Ok(Answer::Announce(response)));
            }
            (Ask::Scrape(hashes), Reply::Scrape(counts)) => {
                let torrents = hashes.iter().copied().zip(counts).collect();
                self.finish(transaction, Ok(Answer::Scrape(torrents)));
            }
            (_, Reply::Error(reason)) => {
                if request.awaits_connection {
                    return;
                }
                // A tracker that was restarted does not know the ids it gave before: it is asked for another, once.
                let outdated =
                    connection.since < request.asked && reason.to_ascii_lowercase().contains("connection");
                if outdated && request.transmissions < request.ask.transmissions() {
                    let to = request.to;
                    self.forget_connection(to, connection);
                    self.transmit(now, transaction);
                } else {
                    self.finish(transaction, Err(Failure::Refused { reason, retry: None }));
                }
            }
            (Ask::Announce { .. }, Reply::Connect(_) | Reply::Scrape(_))
            | (Ask::Scrape(_), Reply::Connect(_) | Reply::Announce(_)) => {}
        }
    }

    /// Sends a request, or a connect request on its behalf where no connection id may be used, and sets its alarm.
    fn transmit(&mut self, now: Time, transaction: u32) {
        let Some(request) = self.requests.get_mut(&transaction) else { return };
        let Some(tracker) = self.trackers.get_mut(&key(request.to)) else { return };
        // An id that was there before this request and brought no answer may be one that the tracker ignores.
        let suspect = request.sent_with.is_some_and(|connection| connection.since < request.asked);
        let usable = tracker
            .connection
            .filter(|connection| connection.is_fresh(now) && !(suspect && connection.since < request.asked));
        match usable {
            Some(connection) => {
                request.sent_with = Some(connection);
                request.awaits_connection = false;
                self.transmits.push_back(written(transaction, request, connection));
            }
            None => {
                tracker.connection = None;
                request.awaits_connection = true;
                let patience = request.ask.patience();
                let recently =
                    tracker.connecting.is_some_and(|connecting| now.since(connecting.sent) < patience);
                if !recently {
                    let drawn = tracker.connecting.map(|connecting| connecting.transaction);
                    let connect = drawn.unwrap_or_else(|| self.rng.u32(..));
                    tracker.connecting = Some(Connecting { transaction: connect, sent: now });
                    let bytes = packet::connect_request(connect);
                    self.transmits.push_back(Transmit { to: request.to, bytes });
                }
            }
        }
        let patience = request.ask.patience() * 2u32.saturating_pow(request.transmissions);
        request.transmissions += 1;
        self.set_alarm(transaction, now + patience);
    }

    /// Sends a request that has waited for a connection id. This is no retransmission: the request has the
    /// patience of the transmission that asked for the id.
    fn send_with_fresh_connection(&mut self, now: Time, transaction: u32) {
        let Some(request) = self.requests.get_mut(&transaction) else { return };
        let Some(connection) = self.trackers.get(&key(request.to)).and_then(|tracker| tracker.connection)
        else {
            return;
        };
        if !core::mem::take(&mut request.awaits_connection) {
            return;
        }
        request.sent_with = Some(connection);
        self.transmits.push_back(written(transaction, request, connection));
        let patience = request.ask.patience() * 2u32.saturating_pow(request.transmissions.saturating_sub(1));
        self.set_alarm(transaction, now + patience);
    }

    fn set_alarm(&mut self, transaction: u32, alarm: Time) {
        if let Some(request) = self.requests.get_mut(&transaction) {
            self.alarms.remove(&(request.alarm, transaction));
            self.alarms.insert((alarm, transaction));
            request.alarm = alarm;
        }
    }

    fn forget_connection(&mut self, to: SocketAddr, outdated: Connection) {
        if let Some(tracker) = self.trackers.get_mut(&key(to))
            && tracker.connection.is_some_and(|connection| connection.id == outdated.id)
        {
            tracker.connection = None;
        }
    }

    fn finish(&mut self, transaction: u32, result: Result<Answer, Failure>) {
        if let Some(request) = self.take(transaction) {
            self.events.push_back((request.id, result));
        }
    }

    fn take(&mut self, transaction: u32) -> Option<Waiting<I>> {
        let request = self.requests.remove(&transaction)?;
        self.alarms.remove(&(request.alarm, transaction));
        if let Some(tracker) = self.trackers.get_mut(&key(request.to)) {
            tracker.requests.remove(&transaction);
            if tracker.requests.is_empty() {
                tracker.connecting = None;
                if tracker.connection.is_none() {
                    self.trackers.remove(&key(request.to));
                }
            }
        }
        Some(request)
    }

    /// Keeps the trackers bounded: beyond the limit, those without requests lose their connection ids.
    fn make_room(&mut self, now: Time, wanted: Key) {
        if self.trackers.len() < MAX_TRACKERS || self.trackers.contains_key(&wanted) {
            return;
        }
        self.trackers.retain(|_, tracker| {
            !tracker.requests.is_empty()
                || tracker.connection.is_some_and(|connection| connection.is_fresh(now))
        });
        if self.trackers.len() >= MAX_TRACKERS {
            self.trackers.retain(|_, tracker| !tracker.requests.is_empty());
        }
    }

    fn unused_transaction(&mut self) -> u32 {
        loop {
            let transaction = self.rng.u32(..);
            if !self.requests.contains_key(&transaction) {
                return transaction;
            }
        }
    }
}

fn written<I>(transaction: u32, request: &Waiting<I>, connection: Connection) -> Transmit {
    let bytes = match &request.ask {
        Ask::Announce { request: announce, url_data, .. } => {
            let over_v6 = request.to.ip().to_canonical().is_ipv6();
            packet::announce_request(connection.id, transaction, announce, url_data, over_v6)
        }
        Ask::Scrape(hashes) => packet::scrape_request(connection.id, transaction, hashes),
    };
    Transmit { to: request.to, bytes }
}
