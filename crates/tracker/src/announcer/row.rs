//! Trackers of which one is enough: a tier, or all the tiers of a private torrent.

use alloc::vec::Vec;
use core::time::Duration;

use quelea_time::Time;

use super::standing::{Standing, TrackerStatus};
use super::{Notice, RequestId};
use crate::failure::Failure;
use crate::response::AnnounceResponse;
use crate::url::TrackerUrl;

/// How long the first tracker of a public torrent is waited for before the next one is asked as well.
const HEAD_START: Duration = Duration::from_secs(1);
/// The same for a private torrent, where the next one is asked instead.
const PRIVATE_HEAD_START: Duration = Duration::from_secs(10);
/// The head start is halved from tracker to tracker, down to this part of it.
const LEAST_PART: u32 = 8;

#[derive(Debug)]
pub(super) struct Row {
    /// One tracker at a time (BEP 27).
    private: bool,
    /// In the order in which they are tried; tiers stay in order.
    trackers: Vec<Standing>,
    /// When the row wants an announce: until one succeeds, its trackers are asked one after the other.
    due: Time,
    /// The head start of the tracker asked last: the next one is not asked before.
    hold: Time,
    /// The head start of the next one.
    head_start: Duration,
    latest: Option<RequestId>,
}

impl Row {
    pub(super) const fn new(due: Time, private: bool) -> Self {
        let head_start = if private { PRIVATE_HEAD_START } else { HEAD_START };
        Self { private, trackers: Vec::new(), due, hold: Time::ZERO, head_start, latest: None }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.trackers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Standing> {
        self.trackers.iter_mut()
    }

    pub(super) fn has_tier(&self, tier: usize) -> bool {
        self.trackers.iter().any(|tracker| tracker.tier == tier)
    }

    /// Adds a tracker as the last of its tier.
    pub(super) fn add(&mut self, tracker: Standing) {
        let at = self.trackers.partition_point(|other| other.tier <= tracker.tier);
        // Most torrents have one or two, and there may be thousands of torrents.
        self.trackers.reserve_exact(1);
        self.trackers.insert(at, tracker);
    }

    pub(super) fn remove(&mut self, url: &TrackerUrl) -> Option<Standing> {
        let at = self.trackers.iter().position(|tracker| tracker.url == *url)?;
        let tracker = self.trackers.remove(at);
        let works = tracker.works();
        if works && !self.trackers.iter().any(Standing::works) {
            // Another one has to take its place; each is ready when it may be asked.
            self.due = Time::ZERO;
        }
        Some(tracker)
    }

    pub(super) fn start(&mut self, now: Time) {
        self.trackers.iter_mut().for_each(Standing::start);
        self.want(now);
    }

    /// Wants an announce as soon as a tracker that works tolerates it. Without one that works the row wants one
    /// anyway.
    pub(super) fn want_early(&mut self, now: Time) {
        let works = self.trackers.iter().filter(|tracker| tracker.works());
        if let Some(ready) = works.filter_map(Standing::ready).min() {
            self.due = self.due.min(ready.max(now));
        }
    }

    /// Asks those again that could not be reached, unless one works.
    pub(super) fn find_back(&mut self, now: Time) {
        if self.trackers.iter().any(Standing::works) {
            return;
        }
        // Each of them, not only the first.
        let found =
            self.trackers.iter_mut().filter_map(|tracker| tracker.find_back(now).then_some(())).count();
        if found > 0 {
            self.want(now);
        }
    }

    /// Wants an announce at once, whatever trackers have said.
    pub(super) fn force(&mut self, now: Time) {
        let satisfied =
            now < self.due && self.trackers.iter().any(|it| it.works() && it.is_asked_lately(now));
        if satisfied {
            return;
        }
        self.trackers.iter_mut().for_each(|tracker| tracker.forgive(now));
        self.want(now);
    }

    fn want(&mut self, now: Time) {
        self.due = now;
        self.rest();
    }

    /// Forgets head starts.
    fn rest(&mut self) {
        *self = Self { trackers: core::mem::take(&mut self.trackers), ..Self::new(self.due, self.private) };
    }

    /// When [`launch`](Self::launch) will have something, if ever.
    pub(super) fn next_launch(&self) -> Option<Time> {
        let launches = self.trackers.iter().filter_map(|tracker| {
            let ready = tracker.ready()?;
            Some(if tracker.has_news() { ready } else { ready.max(self.due).max(self.hold) })
        });
        launches.min()
    }

    /// The tracker that is to be asked now, as request `id`, if any.
    pub(super) fn launch(
        &mut self,
        now: Time,
        id: RequestId,
        rng: &mut fastrand::Rng,
        notices: &mut Vec<Notice>,
    ) -> Option<&mut Standing> {
        let ready = |tracker: &Standing| tracker.ready().is_some_and(|ready| ready <= now);
        if let Some(at) = self.trackers.iter().position(|tracker| tracker.has_news() && ready(tracker)) {
            return self.trackers.get_mut(at);
        }
        if now < self.due || now < self.hold {
            return None;
        }
        let at = self.trackers.iter().position(ready)?;
        if self.private {
            for silent in self.trackers.iter_mut().filter(|tracker| tracker.is_asked()) {
                notices.push(failed(silent, now, Failure::TimedOut, rng));
            }
        }
        self.latest = Some(id);
        self.hold = now + self.head_start;
        let least = if self.private { PRIVATE_HEAD_START } else { HEAD_START } / LEAST_PART;
        self.head_start = (self.head_start / 2).max(least);
        self.trackers.get_mut(at)
    }

    pub(super) fn awaits(&self, id: RequestId) -> bool {
        self.trackers.iter().any(|tracker| tracker.is_asked_as(id))
    }

    /// Takes in an answer; says whether its peers are to be used.
    pub(super) fn succeeded(
        &mut self,
        now: Time,
        id: RequestId,
        response: &AnnounceResponse,
        rng: &mut fastrand::Rng,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let Some(at) = self.trackers.iter().position(|tracker| tracker.is_asked_as(id)) else { return false };
        let Some(tracker) = self.trackers.get_mut(at) else { return false };
        let worked = tracker.works();
        let warned = tracker.warning.take();
        let Some(next) = tracker.succeeded(now, response, rng) else { return false };
        if !worked {
            notices.push(Notice::Working(tracker.url.clone()));
        }
        if tracker.warning != warned
            && let Some(message) = tracker.warning.clone()
        {
            notices.push(Notice::Warning { url: tracker.url.clone(), message });
        }
        // A tracker that answers after another one did keeps its place and changes no times.
        if self.due <= now {
            let tracker = self.trackers.remove(at);
            let front = self.trackers.partition_point(|other| other.tier < tracker.tier);
            self.trackers.insert(front, tracker);
            self.due = next;
            self.rest();
        } else if at == 0 {
            self.due = next;
        }
        true
    }

    /// Takes in a failure: the next tracker need not wait any longer.
    pub(super) fn failed(
        &mut self,
        now: Time,
        id: RequestId,
        failure: Failure,
        rng: &mut fastrand::Rng,
        notices: &mut Vec<Notice>,
    ) {
        if let Some(tracker) = self.trackers.iter_mut().find(|tracker| tracker.is_asked_as(id)) {
            notices.push(failed(tracker, now, failure, rng));
        }
        if self.latest == Some(id) {
            self.hold = now;
        }
    }

    pub(super) fn status(&self, running: bool) -> impl Iterator<Item = TrackerStatus<'_>> {
        // While one works the others are not needed.
        let current = self.trackers.iter().position(Standing::works);
        self.trackers.iter().enumerate().map(move |(at, tracker)| {
            let needed = running && current.is_none_or(|current| current == at);
            let next = tracker.ready().filter(|_| needed).map(|ready| ready.max(self.due));
            tracker.status(running, next)
        })
    }
}

fn failed(tracker: &mut Standing, now: Time, failure: Failure, rng: &mut fastrand::Rng) -> Notice {
    let retry = tracker.failed(now, &failure, rng);
    Notice::Failed { url: tracker.url.clone(), failure, retry }
}
