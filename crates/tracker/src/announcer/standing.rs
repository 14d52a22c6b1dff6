//! How we stand with one tracker.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use quelea_time::Time;

use super::{Contact, RequestId};
use crate::failure::{Failure, Retry};
use crate::request::Event;
use crate::response::{AnnounceResponse, MAX_INTERVAL};
use crate::url::TrackerUrl;

/// The interval of a tracker that names none.
const INTERVAL: Duration = Duration::from_secs(1800);
/// The shortest interval that is believed.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// How early an announce may come to a tracker that names no minimum, if its interval is not shorter.
const EARLY: Duration = Duration::from_secs(300);
/// The longest wait after a failure that the tracker did not ask for.
const MAX_BACKOFF: Duration = Duration::from_secs(3600);
/// How soon a person may ask again.
const FORCED: Duration = Duration::from_secs(5);

/// How it goes with a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// It has not been needed yet.
    NotContacted,
    /// It is being asked.
    Updating,
    /// It has answered.
    Working,
    /// It has failed; says why.
    Failed(&'a str),
}

/// One tracker, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerStatus<'a> {
    /// Which.
    pub url: &'a TrackerUrl,
    /// Its tier, counted from 0.
    pub tier: usize,
    /// How it goes with it.
    pub state: State<'a>,
    /// When it will be asked next; `None` while it is being asked, and for one that is not needed or gone for good.
    pub next: Option<Time>,
    /// How often it has failed since it last answered.
    pub fails: u32,
    /// Complete peers, by its last answer.
    pub seeds: Option<u32>,
    /// Incomplete peers, by its last answer.
    pub leechers: Option<u32>,
    /// How often the torrent has been downloaded completely, by its last answer.
    pub downloaded: Option<u32>,
    /// How many peers its last answer had.
    pub peers: usize,
    /// Its message for the user.
    pub warning: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    id: RequestId,
    event: Option<Event>,
}

#[derive(Debug)]
pub(super) struct Standing {
    pub(super) url: TrackerUrl,
    pub(super) tier: usize,
    pub(super) tracker_id: Option<Vec<u8>>,
    asked: Option<Asked>,
    asked_at: Option<Time>,
    /// It has answered an announce since we started, so it must hear when we complete and stop.
    knows_us: bool,
    owes_completed: bool,
    /// We leave, and it has not been told yet.
    leaving: bool,
    /// Not to be asked before.
    ready: Time,
    /// `ready` is what the tracker asked for when it refused: starting anew does not override it.
    barred: bool,
    gone: bool,
    /// The last request never came to it, as far as we know.
    unreached: bool,
    fails: u32,
    failure: Option<String>,
    seeds: Option<u32>,
    leechers: Option<u32>,
    downloaded: Option<u32>,
    peers: usize,
    pub(super) warning: Option<String>,
}

impl Standing {
    pub(super) fn new(url: TrackerUrl, tier: usize) -> Self {
        Self {
            url,
            tier,
            tracker_id: None,
            asked: None,
            asked_at: None,
            knows_us: false,
            owes_completed: false,
            leaving: false,
            ready: Time::ZERO,
            barred: false,
            gone: false,
            unreached: false,
            fails: 0,
            failure: None,
            seeds: None,
            leechers: None,
            downloaded: None,
            peers: 0,
            warning: None,
        }
    }

    pub(super) fn start(&mut self) {
        self.asked = None;
        self.knows_us = false;
        self.owes_completed = false;
        self.leaving = false;
        self.fails = 0;
        if !self.barred {
            self.ready = Time::ZERO;
        }
    }

    /// We leave. One that knows us hears of it when it has answered what it is being asked, for what overtakes
    /// that would be forgotten by it; nobody waits for one that never answered.
    pub(super) fn stop(&mut self) {
        self.leaving = self.knows_us;
        if !self.knows_us {
            self.asked = None;
            self.owes_completed = false;
        }
    }

    /// Whether it has ever answered, so that it has to hear when we leave.
    pub(super) const fn knows_us(&self) -> bool {
        self.knows_us
    }

    /// What it has to hear next, now that we leave; `None` while it is being asked and when it has heard all.
    pub(super) fn farewell(&mut self) -> Option<Event> {
        if !self.leaving || self.asked.is_some() {
            return None;
        }
        if core::mem::take(&mut self.owes_completed) {
            return Some(Event::Completed);
        }
        self.leaving = false;
        self.knows_us = false;
        Some(Event::Stopped)
    }

    /// Whether it still has to hear that we leave, or is just hearing it.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving || self.asked.is_some()
    }

    pub(super) fn completed(&mut self, now: Time) {
        let hears_of_us = self.asked.is_some_and(|asked| asked.event == Some(Event::Started));
        self.owes_completed = self.knows_us || hears_of_us;
        if self.knows_us {
            // An event need not wait for the interval (BEP 15, "Announce").
            self.ready = now;
        }
    }

    /// What an announce tells it now.
    pub(super) fn event(&self, complete: bool, partial_seed: bool) -> Option<Event> {
        match (self.knows_us, self.owes_completed) {
            (false, _) => Some(Event::Started),
            (true, true) => Some(Event::Completed),
            (true, false) => (partial_seed && !complete).then_some(Event::Paused),
        }
    }

    pub(super) fn asked(&mut self, now: Time, id: RequestId, event: Option<Event>) {
        self.asked = Some(Asked { id, event });
        self.asked_at = Some(now);
    }

    pub(super) const fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn is_asked_as(&self, id: RequestId) -> bool {
        self.asked.is_some_and(|asked| asked.id == id)
    }

    /// From when it may be asked; `None` while it is being asked, and for one that is gone.
    pub(super) const fn ready(&self) -> Option<Time> {
        if self.asked.is_some() || self.gone { None } else { Some(self.ready) }
    }

    pub(super) const fn has_news(&self) -> bool {
        self.owes_completed && self.knows_us
    }

    pub(super) const fn works(&self) -> bool {
        self.knows_us && self.failure.is_none() && !self.gone
    }

    /// How it is expected to answer.
    pub(super) const fn contact(&self) -> Contact {
        if self.works() {
            Contact::Working
        } else if self.fails == 0 {
            Contact::First
        } else {
            Contact::Again
        }
    }

    /// Whether a person has it asked again too soon.
    pub(super) fn is_asked_lately(&self, now: Time) -> bool {
        self.asked_at.is_some_and(|asked| now.since(asked) < FORCED)
    }

    pub(super) fn forgive(&mut self, now: Time) {
        if !self.is_asked_lately(now) {
            self.ready = now;
            self.barred = false;
            self.gone = false;
        }
    }

    /// Forgets that it could not be reached. Whether it is to be asked for that.
    pub(super) fn find_back(&mut self, now: Time) -> bool {
        if self.unreached && self.asked.is_none() && !self.is_asked_lately(now) {
            self.unreached = false;
            self.fails = 0;
            self.ready = now;
            return true;
        }
        false
    }

    /// Takes in an answer; gives the time of the next regular announce.
    pub(super) fn succeeded(
        &mut self,
        now: Time,
        response: &AnnounceResponse,
        rng: &mut fastrand::Rng,
    ) -> Option<Time> {
        let event = self.asked.take()?.event;
        if event == Some(Event::Stopped) {
            return None;
        }
        if event == Some(Event::Completed) {
            self.owes_completed = false;
        }
        self.knows_us = true;
        self.fails = 0;
        self.failure = None;
        self.unreached = false;
        self.barred = false;
        if let Some(tracker_id) = &response.tracker_id {
            self.tracker_id = Some(tracker_id.clone());
        }
        self.seeds = response.seeds;
        self.leechers = response.leechers;
        self.downloaded = response.downloaded;
        self.peers = response.peers.len();
        self.warning.clone_from(&response.warning);

        let named = response.interval.unwrap_or(INTERVAL).clamp(MIN_INTERVAL, MAX_INTERVAL);
        let minimum = response.min_interval.unwrap_or(named.min(EARLY)).clamp(MIN_INTERVAL, MAX_INTERVAL);
        self.ready = if self.owes_completed { now } else { now + minimum };
        Some(now + with_jitter(named.max(minimum), 20, rng))
    }

    /// Takes in a failure; gives the time from which it may be asked again, if ever.
    pub(super) fn failed(&mut self, now: Time, failure: &Failure, rng: &mut fastrand::Rng) -> Option<Time> {
        if self.asked.take().is_some_and(|asked| asked.event == Some(Event::Started)) {
            // The next `started` will say that nothing is missing.
            self.owes_completed = false;
        }
        self.leaving = false;
        self.fails = self.fails.saturating_add(1);
        self.failure = Some(failure.to_string());
        self.unreached = failure.is_unreached();
        let backoff = with_jitter(backoff(self.fails), 10, rng);
        self.barred = false;
        match failure.retry() {
            None => self.ready = now + backoff,
            Some(Retry::After(wait)) => {
                self.barred = true;
                self.ready = now + backoff.max(wait.min(MAX_INTERVAL));
            }
            Some(Retry::Never) => self.gone = true,
        }
        self.ready()
    }

    pub(super) fn status(&self, running: bool, next: Option<Time>) -> TrackerStatus<'_> {
        let state = match (&self.failure, self.asked) {
            (_, Some(_)) => State::Updating,
            (Some(failure), None) => State::Failed(failure),
            (None, None) if self.knows_us && running => State::Working,
            (None, None) => State::NotContacted,
        };
        TrackerStatus {
            url: &self.url,
            tier: self.tier,
            state,
            next,
            fails: self.fails,
            seeds: self.seeds,
            leechers: self.leechers,
            downloaded: self.downloaded,
            peers: self.peers,
            warning: self.warning.as_deref(),
        }
    }
}

/// The wait after so many failures in a row: 5 + 5·2.5·fails² seconds, as libtorrent has it.
fn backoff(fails: u32) -> Duration {
    let millis = u64::from(fails).saturating_pow(2).saturating_mul(12_500).saturating_add(5_000);
    Duration::from_millis(millis).min(MAX_BACKOFF)
}

/// `span` and up to one part in `parts` of it more.
fn with_jitter(span: Duration, parts: u32, rng: &mut fastrand::Rng) -> Duration {
    let most = u64::try_from((span / parts).as_millis()).unwrap_or(u64::MAX);
    span + Duration::from_millis(rng.u64(0..=most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_after_failures_grow_to_an_hour() {
        let waits: [u64; 6] =
            core::array::from_fn(|fails| backoff(u32::try_from(fails).unwrap() + 1).as_secs());
        assert_eq!(waits, [17, 55, 117, 205, 317, 455]);
        assert_eq!(backoff(17), MAX_BACKOFF);
        assert_eq!(backoff(u32::MAX), MAX_BACKOFF);
    }
}
