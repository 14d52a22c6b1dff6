//! When which tracker is asked, and with which event (BEP 12; BEP 3, "event").
//!
//! # Order
//!
//! Trackers of one tier share what they know, so one of them is enough; those of different tiers may not
//! (BEP 12, first example), so every tier is worked at once. Within a tier trackers are asked in an order shuffled
//! once, and the one that answers moves to the front. The next one in order does not wait for a silent one to be
//! given up: it follows after a head start of a second, the one after that half a second later, and so on down to an
//! eighth, so that a row of black holes holds up a live tracker for about two seconds. A tracker that refuses
//! is followed at once.
//!
//! A private torrent (BEP 27) uses one tracker at a time: all tiers are one row, the head start is ten times as
//! long, and a silent tracker is dropped before the next one is asked.
//!
//! # Times
//!
//! Regular announces come at the tracker's interval and a little later (jitter, so that torrents spread), early
//! ones never before its minimum. A failing tracker is asked again after 17, 55, 117 … seconds, at most an hour,
//! unless it says when ("retry in", BEP 31), or that it is gone for good. At most ten requests of a torrent begin at
//! once and ten more each second, whatever the number of its trackers.
//!
//! # Events
//!
//! A tracker is sent `started` until it has answered once. `completed` goes, until it is answered, to trackers
//! that have answered a `started` from before completion. `stopped` goes once to trackers that know us.

mod pace;
mod row;
mod standing;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use quelea_time::Time;

use crate::failure::Failure;
use crate::request::{AnnounceRequest, Event, Identity, Stats};
use crate::response::AnnounceResponse;
use crate::url::{TrackerUrl, UrlError};
use crate::wording::clean;
use pace::Pace;
use row::Row;
use standing::Standing;
pub use standing::{State, TrackerStatus};

/// How many trackers of a torrent are used; a torrent that lists more is up to no good.
pub const MAX_TRACKERS: usize = 256;
/// How many peers are asked for.
const NUM_WANT: u32 = 200;
/// How many notices wait to be read; older ones are dropped.
const MAX_NOTICES: usize = 64;

/// Names a request of one [`Announcer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl RequestId {
    pub(crate) const MIN: Self = Self(0);
    pub(crate) const MAX: Self = Self(u64::MAX);
}

/// How a tracker is expected to answer, which says how urgent a request is and how long it may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contact {
    /// The torrent leaves: the tracker knows us and hears it once.
    Leaving,
    /// It answered last time.
    Working,
    /// It has not been asked since the torrent started; it has [`FIRST_TRY`] to answer, because many a tracker is dead.
    First,
    /// It failed last time.
    Again,
}

impl Contact {
    pub(crate) const ALL: [Self; 4] = [Self::Leaving, Self::Working, Self::First, Self::Again];

    pub(crate) const fn at(self) -> usize {
        self as usize
    }
}

/// How long the driver gives a tracker for its first answer, name look-up and all. A slower one has more time when it is
/// asked again.
pub const FIRST_TRY: Duration = Duration::from_secs(15);

/// An announce to carry to a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To name it when the answer is there.
    pub id: RequestId,
    /// The tracker.
    pub url: TrackerUrl,
    /// What has happened; `None` for a regular announce.
    pub event: Option<Event>,
    /// How many peers to ask for.
    pub num_want: u32,
    /// What the tracker called itself.
    pub tracker_id: Option<Vec<u8>>,
    /// How the tracker is expected to answer.
    pub contact: Contact,
}

impl Request {
    /// The announce in full.
    pub fn announce(&self, identity: &Identity, stats: Stats) -> AnnounceRequest {
        AnnounceRequest {
            event: self.event,
            num_want: Some(self.num_want),
            tracker_id: self.tracker_id.clone(),
            ..AnnounceRequest::new(identity, stats)
        }
    }
}

/// Why an announce is wanted before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// There are too few peers: as soon as the trackers tolerate it.
    FewPeers,
    /// Our network was gone and is back: trackers that could not be reached are asked at once.
    FoundBack,
    /// A person asks for it: at once, intervals and failures notwithstanding, but not within five seconds of
    /// the last time.
    Forced,
}

/// What is worth telling a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A tracker answers that did not before.
    Working(TrackerUrl),
    /// A tracker has failed.
    Failed {
        /// Which.
        url: TrackerUrl,
        /// Why.
        failure: Failure,
        /// When it may be asked again; `None` for never.
        retry: Option<Time>,
    },
    /// A tracker has a message for the user that it did not have before.
    Warning {
        /// Which.
        url: TrackerUrl,
        /// Its words, cleaned.
        message: String,
    },
}

/// Decides when which tracker of a torrent is told what.
///
/// There is one for each info hash: a hybrid torrent (BEP 52) has two. It rests until [`start`](Self::start).
///
/// After every call that takes `&mut self` drain [`poll_request`](Self::poll_request) and
/// [`poll_notice`](Self::poll_notice), and call [`handle_timeout`](Self::handle_timeout) when
/// [`timeout`](Self::timeout) has come. The driver hands each request's outcome to
/// [`handle_answer`](Self::handle_answer), exactly once; it must have a deadline of its own for each (it may
/// be long: others don't wait for it). Where a tracker's name has addresses of both families (BEP 7), the driver
/// announces to both, and hands over the first success, or a failure once all have failed.
#[derive(Debug)]
pub struct Announcer {
    /// Whether all trackers stand in one row, of which one is used.
    private: bool,
    rows: Vec<Row>,
    skipped: Vec<(String, UrlError)>,
    rng: fastrand::Rng,
    pace: Pace,
    running: bool,
    complete: bool,
    partial_seed: bool,
    next_id: u64,
    requests: VecDeque<Request>,
    notices: VecDeque<Notice>,
}

impl Announcer {
    /// An announcer for a public torrent with these tiers of URLs, shuffled by `seed`.
    ///
    /// Repeats are left out; so are URLs that can't be used and those beyond [`MAX_TRACKERS`], which
    /// [`skipped`](Self::skipped) lists.
    pub fn new(tiers: Vec<Vec<String>>, seed: u64) -> Self {
        Self::build(tiers, seed, false)
    }

    /// An announcer for a private torrent: it uses one tracker at a time (BEP 27).
    pub fn private(tiers: Vec<Vec<String>>, seed: u64) -> Self {
        Self::build(tiers, seed, true)
    }

    fn build(tiers: Vec<Vec<String>>, seed: u64, private: bool) -> Self {
        let mut announcer = Self {
            private,
            rows: Vec::new(),
            skipped: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            pace: Pace::default(),
            running: false,
            complete: false,
            partial_seed: false,
            next_id: 0,
            requests: VecDeque::new(),
            notices: VecDeque::new(),
        };
        for (tier, mut urls) in tiers.into_iter().enumerate() {
            announcer.rng.shuffle(&mut urls);
            for url in urls {
                if let Err(error) = announcer.insert(Time::ZERO, tier, &url)
                    && announcer.skipped.len() < MAX_TRACKERS
                {
                    announcer.skipped.push((clean(url.as_bytes()), error));
                }
            }
        }
        announcer
    }

    /// The URLs (cleaned for showing) that were given to the constructor but are not used, and why; at most
    /// [`MAX_TRACKERS`] of them.
    pub fn skipped(&self) -> &[(String, UrlError)] {
        &self.skipped
    }

    /// Begins to announce. `complete` says that nothing is missing, so that no `completed` will be sent.
    pub fn start(&mut self, now: Time, complete: bool) {
        self.complete = complete;
        if self.running {
            return;
        }
        self.running = true;
        self.requests.clear();
        for row in &mut self.rows {
            row.start(now);
        }
        self.step(now);
    }

    /// The download has become complete: the trackers that know us hear of it at once.
    pub fn completed(&mut self, now: Time) {
        if self.complete {
            return;
        }
        self.complete = true;
        if self.running {
            self.rows.iter_mut().flat_map(Row::iter_mut).for_each(|tracker| tracker.completed(now));
            self.step(now);
        }
    }

    /// The torrent turned out to be complete without a download: no tracker hears `completed` (BEP 3, "event").
    pub fn found_complete(&mut self) {
        self.complete = true;
    }

    /// Leaves the swarm: nothing new is asked, peers from answers under way are no longer wanted, and the trackers
    /// that know us are told, once, each when it has answered what it is being asked. The driver gives that a few
    /// seconds ([`is_stopped`](Self::is_stopped)).
    pub fn stop(&mut self, now: Time) {
        if !self.running {
            return;
        }
        self.running = false;
        self.rows.iter_mut().flat_map(Row::iter_mut).for_each(Standing::stop);
        self.requests.retain(|request| self.rows.iter().any(|row| row.awaits(request.id)));
        self.say_farewell(now);
    }

    fn say_farewell(&mut self, now: Time) {
        for tracker in self.rows.iter_mut().flat_map(Row::iter_mut) {
            if let Some(event) = tracker.farewell() {
                self.requests.push_back(request(&mut self.next_id, now, tracker, Some(event), true));
            }
        }
    }

    /// Whether it was never started, or was stopped and no tracker still has to hear of it.
    pub fn is_stopped(&self) -> bool {
        !self.running && self.rows.iter().flat_map(Row::iter).all(|tracker| !tracker.is_leaving())
    }

    /// Wants an announce before its time.
    pub fn announce_now(&mut self, now: Time, urgency: Urgency) {
        if !self.running {
            return;
        }
        for row in &mut self.rows {
            match urgency {
                Urgency::FewPeers => row.want_early(now),
                Urgency::FoundBack => row.find_back(now),
                Urgency::Forced => row.force(now),
            }
        }
        self.step(now);
    }

    /// Whether we want nothing more without being complete: regular announces say so (BEP 21, `paused`).
    pub fn set_partial_seed(&mut self, partial_seed: bool) {
        self.partial_seed = partial_seed;
    }

    /// Begins the requests that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.step(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn timeout(&self) -> Option<Time> {
        if !self.running {
            return None;
        }
        let due = self.rows.iter().filter_map(Row::next_launch).min()?;
        Some(due.max(self.pace.opens()))
    }

    /// Whether [`poll_request`](Self::poll_request) has something.
    pub fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The next request to carry.
    pub fn poll_request(&mut self) -> Option<Request> {
        next(&mut self.requests)
    }

    /// The next thing to tell a person.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        next(&mut self.notices)
    }

    /// The outcome of a request. `false` when nobody waits for it any more, so that its peers are not to be used:
    /// the torrent was stopped, or a private one has moved on to another tracker.
    pub fn handle_answer(
        &mut self,
        now: Time,
        id: RequestId,
        answer: Result<&AnnounceResponse, Failure>,
    ) -> bool {
        let Some(row) = self.rows.iter_mut().find(|row| row.awaits(id)) else { return false };
        let mut notices = Vec::new();
        let wanted = match answer {
            Ok(response) => row.succeeded(now, id, response, &mut self.rng, &mut notices),
            Err(failure) => {
                row.failed(now, id, failure, &mut self.rng, &mut notices);
                self.running
            }
        };
        if self.running {
            for notice in notices {
                self.notify(notice);
            }
        } else {
            self.say_farewell(now);
        }
        self.step(now);
        wanted && self.running
    }

    /// Whether the answer to a request is still of use.
    pub fn awaits(&self, id: RequestId) -> bool {
        self.rows.iter().any(|row| row.awaits(id))
    }

    /// Every tracker, in the order in which they are tried.
    pub fn status(&self) -> impl Iterator<Item = TrackerStatus<'_>> {
        self.rows.iter().flat_map(|row| row.status(self.running))
    }

    /// Adds a tracker at the end of a tier. One that is there already is left where it is.
    ///
    /// # Errors
    /// Says why the URL is not used.
    pub fn add(&mut self, now: Time, tier: usize, url: &str) -> Result<(), UrlError> {
        self.insert(now, tier, url)?;
        self.step(now);
        Ok(())
    }

    /// Removes a tracker, and tells it that we leave if it knows us. `false` when there is no such tracker.
    pub fn remove(&mut self, now: Time, url: &TrackerUrl) -> bool {
        let Some(mut tracker) = self.rows.iter_mut().find_map(|row| row.remove(url)) else { return false };
        self.rows.retain(|row| row.iter().next().is_some());
        self.requests.retain(|request| request.url != *url);
        if self.running && tracker.knows_us() {
            let request = request(&mut self.next_id, now, &mut tracker, Some(Event::Stopped), true);
            self.requests.push_back(request);
        }
        self.step(now);
        true
    }

    fn insert(&mut self, now: Time, tier: usize, url: &str) -> Result<(), UrlError> {
        if self.rows.iter().map(|row| row.iter().count()).sum::<usize>() >= MAX_TRACKERS {
            return Err(UrlError::TooMany);
        }
        let url = TrackerUrl::parse(url)?;
        if self.rows.iter().flat_map(Row::iter).any(|tracker| tracker.url == url) {
            return Ok(());
        }
        let private = self.private;
        let row = match self.rows.iter().position(|row| private || row.has_tier(tier)) {
            Some(at) => self.rows.get_mut(at),
            None => {
                self.rows.reserve_exact(1);
                self.rows.push(Row::new(now, private));
                self.rows.last_mut()
            }
        };
        if let Some(row) = row {
            row.add(Standing::new(url, tier));
        }
        Ok(())
    }

    /// Begins every request whose time has come.
    fn step(&mut self, now: Time) {
        if !self.running {
            return;
        }
        let mut notices = Vec::new();
        for row in &mut self.rows {
            while self.pace.allows(now)
                && let Some(tracker) = row.launch(now, RequestId(self.next_id), &mut self.rng, &mut notices)
            {
                self.pace.take(now);
                let event = tracker.event(self.complete, self.partial_seed);
                self.requests.push_back(request(&mut self.next_id, now, tracker, event, false));
            }
        }
        for notice in notices {
            self.notify(notice);
        }
    }

    fn notify(&mut self, notice: Notice) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }
}

/// The request that asks `tracker`, under the next id.
fn request(
    next_id: &mut u64,
    now: Time,
    tracker: &mut Standing,
    event: Option<Event>,
    leaving: bool,
) -> Request {
    let num_want = if leaving { 0 } else { NUM_WANT };
    let id = RequestId(*next_id);
    *next_id += 1;
    let contact = if leaving { Contact::Leaving } else { tracker.contact() };
    tracker.asked(now, id, event);
    Request { id, url: tracker.url.clone(), event, num_want, tracker_id: tracker.tracker_id.clone(), contact }
}

/// The next of a queue. One that is used up keeps no room: thousands of torrents have nothing to say most of the time.
fn next<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if next.is_none() {
        queue.shrink_to_fit();
    }
    next
}
