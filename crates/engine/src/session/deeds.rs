//! What a person does to a torrent: each deed takes effect at once, is told, and is in the library when it returns.

use super::Session;
use super::adding::clean_labels;
use crate::entry::Entry;
use crate::events::TorrentId;
use crate::{Error, Event, Limits, Result, TrackerState, TrackerStatus};
use quelea_swarm::queue::{self, Goals, Move, Queue};
use quelea_tracker::TrackerUrl;
use quelea_tracker::announcer::MAX_TRACKERS;
use std::sync::Arc;

impl Session {
    /// Changes how many torrents run at a time, at once.
    pub fn set_queue_limits(&self, limits: queue::Limits) {
        self.shared().queue.set_limits(limits);
        self.dispatch();
    }

    /// Changes how a torrent stands in the queue.
    pub(crate) async fn queue(
        &self,
        entry: &Arc<Entry>,
        deed: impl FnOnce(&mut Queue<TorrentId>),
        event: Event,
    ) -> Result<()> {
        if entry.link.is_some() {
            return self.tell_of_link(entry, event).await;
        }
        {
            let mut shared = self.shared();
            if !shared.torrents.contains_key(&entry.id) {
                return Err(Error::Gone);
            }
            deed(&mut shared.queue);
            shared.tell(event);
        }
        self.dispatch();
        self.remember(entry);
        self.written().await;
        Ok(())
    }

    pub(crate) async fn pause(&self, entry: &Arc<Entry>) -> Result<()> {
        if let Some(link) = &entry.link {
            return self.pause_link(entry, link).await;
        }
        let (now, id) = (self.inner.clock.now(), entry.id);
        self.queue(entry, |queue| queue.pause(now, id), Event::Paused(id)).await?;
        // A task that has ended holds no file.
        self.settle(entry).await;
        self.remember(entry);
        self.written().await;
        Ok(())
    }

    pub(crate) async fn resume(&self, entry: &Arc<Entry>, forced: bool) -> Result<()> {
        if let Some(link) = &entry.link {
            return self.resume_link(entry, link, forced).await;
        }
        let id = entry.id;
        entry.state().error = None;
        let deed = |queue: &mut Queue<TorrentId>| if forced { queue.force(id) } else { queue.resume(id) };
        self.queue(entry, deed, Event::Wanted(id)).await
    }

    pub(crate) async fn set_position(&self, entry: &Arc<Entry>, to: Move) -> Result<()> {
        if entry.link.is_some() {
            return Err(Error::NoMetadata);
        }
        {
            let mut shared = self.shared();
            if !shared.torrents.contains_key(&entry.id) {
                return Err(Error::Gone);
            }
            shared.queue.shift(entry.id, to);
            self.renumber(&shared);
            let position = shared.queue.position(entry.id).unwrap_or_default();
            shared.tell(Event::Moved(entry.id, position));
        }
        self.dispatch();
        self.written().await;
        Ok(())
    }

    pub(crate) async fn set_goals(&self, entry: &Arc<Entry>, goals: Option<Goals>) -> Result<()> {
        if let Some(link) = &entry.link {
            return self.set_goals_of_link(entry, link, goals).await;
        }
        let id = entry.id;
        self.queue(entry, |queue| queue.set_goals(id, goals), Event::GoalsChanged(id)).await
    }

    pub(crate) async fn set_torrent_limits(&self, entry: &Arc<Entry>, limits: Limits) {
        entry.set_limits(limits, &self.inner.limiter).await;
        self.remember(entry);
        self.written().await;
    }

    pub(crate) fn goals(&self, entry: &Entry) -> Goals {
        let own = match &entry.link {
            Some(link) => link.state().goals,
            None => self.shared().queue.goals(entry.id),
        };
        own.unwrap_or(self.inner.settings.goals)
    }

    pub(crate) async fn set_labels(&self, entry: &Arc<Entry>, labels: &[String]) -> Result<()> {
        entry.state().labels = clean_labels(labels);
        self.queue(entry, |_| (), Event::Labelled(entry.id)).await
    }

    /// How a torrent's trackers stand, also while it does not announce.
    pub(crate) fn tracker_statuses(&self, entry: &Entry) -> Vec<TrackerStatus> {
        self.inner.trackers.statuses(entry.id).unwrap_or_else(|| {
            let idle = |(tier, url): &(u32, Box<str>)| TrackerStatus {
                url: url.as_ref().to_owned(),
                tier: *tier as usize,
                state: TrackerState::Idle,
                seeds: None,
                leechers: None,
                peers: 0,
            };
            entry.state().trackers.iter().map(idle).collect()
        })
    }

    /// Puts `to` in place of `from`; without `from` it is added, without `to` removed.
    pub(crate) async fn edit_tracker(
        &self,
        entry: &Arc<Entry>,
        from: Option<&str>,
        to: Option<(usize, &str)>,
    ) -> Result<()> {
        if entry.link.is_some() {
            return Err(Error::NoMetadata);
        }
        let bad = |url: &str, reason: &dyn std::fmt::Display| Error::BadTracker {
            url: url.chars().take(200).collect(),
            reason: reason.to_string(),
        };
        let parse = |url: &str| TrackerUrl::parse(url).map_err(|error| bad(url, &error));
        let new = to.map(|(tier, url)| Ok::<_, Error>((tier, url, parse(url)?))).transpose()?;
        {
            let mut state = entry.state();
            let mut trackers = state.trackers.to_vec();
            let place = match from {
                Some(from) => match trackers.iter().position(|(_, url)| **url == *from) {
                    Some(at) => Some(trackers.remove(at)),
                    None => return Err(bad(from, &"the torrent has no such tracker")),
                },
                None => None,
            };
            if let Some((tier, url, _)) = &new {
                if trackers.len() >= MAX_TRACKERS {
                    return Err(bad(url, &"the torrent has as many as it can have"));
                }
                if trackers.iter().any(|(_, other)| **other == **url) {
                    return Err(bad(url, &"the torrent has it already"));
                }
                let tier = place.map_or(u32::try_from(*tier).unwrap_or(u32::MAX), |(tier, _)| tier);
                let at = trackers.iter().take_while(|(other, _)| *other <= tier).count();
                trackers.insert(at, (tier, (*url).into()));
            }
            state.trackers = trackers.into();
        }
        let table = &self.inner.trackers;
        if let Some(from) = from.and_then(|from| TrackerUrl::parse(from).ok()) {
            table.remove(entry.id, &from);
        }
        if let Some((tier, url, _)) = new {
            table.add(entry.id, tier, url).map_err(|error| bad(url, &error))?;
        }
        self.queue(entry, |_| (), Event::TrackersChanged(entry.id)).await
    }

    /// Asks the trackers at once. Whether the torrent announces.
    pub(crate) fn reannounce(&self, entry: &Entry) -> bool {
        self.inner.trackers.ask_now(entry.id)
    }
}
