//! The talk of all torrents with their trackers: one table, one task, one schedule.
//!
//! A torrent has a row here from when it begins to announce until it has said goodbye, whether or not its own task
//! runs: a seed that nobody wants anything of costs its announcer and no more. When a tracker is asked is the announcers'
//! policy, and which announces may be under way at a time is that of [`AnnounceQueue`].

mod table;

use super::ToTorrent;
use super::carrier::Carrier;
use crate::clock::Clock;
use crate::events::{Event, TorrentId};
use crate::snapshot::TrackerStatus;
use quelea_discovery::Source;
use quelea_swarm::torrent::Stats as SwarmStats;
use quelea_time::Time;
use quelea_tracker::{
    AnnounceResponse, Announcer, Contact, FIRST_TRY, Failure, Identity, Notice, Request, RequestId, Scheme,
    Stats, TrackerUrl, Urgency, UrlError,
};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::{Row, Table, statuses};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

/// What a torrent lacks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Of the whole torrent: the `left` of BEP 3.
    pub(crate) of_torrent: u64,
    /// Of the files that are wanted.
    pub(crate) of_wanted: u64,
}

impl Missing {
    pub(crate) const fn of(stats: &SwarmStats) -> Self {
        Self { of_torrent: stats.bytes_left, of_wanted: stats.bytes_missing }
    }

    /// Whether all that is wanted is here, and something else is not (BEP 21).
    pub(crate) const fn is_partial_seed(self) -> bool {
        self.of_wanted == 0 && self.of_torrent > 0
    }
}

/// How far a torrent is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
    pub(crate) missing: Missing,
    /// It has too few peers.
    pub(crate) hungry: bool,
    /// Our network was gone, and is back.
    pub(crate) found_back: bool,
}

/// Peers that were found for a torrent whose task may not run.
pub(crate) struct Found {
    pub(crate) torrent: TorrentId,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) source: Source,
    /// Whether a torrent that rests is woken for them.
    pub(crate) wakes: bool,
}

/// The trackers of all torrents of a session.
pub(crate) struct Trackers {
    clock: Clock,
    carrier: Arc<Carrier>,
    table: Mutex<Table>,
    stir: Notify,
    events: broadcast::WeakSender<Event>,
    found: mpsc::Sender<Found>,
}

type Outcome = (TorrentId, RequestId, TrackerUrl, Result<AnnounceResponse, Failure>);

impl Trackers {
    pub(crate) fn new(
        clock: Clock,
        carrier: Arc<Carrier>,
        events: broadcast::WeakSender<Event>,
        found: mpsc::Sender<Found>,
    ) -> Self {
        Self { clock, carrier, table: Mutex::new(Table::new()), stir: Notify::new(), events, found }
    }

    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        &self.carrier
    }

    /// A torrent begins to announce. One that does already goes on as it is.
    pub(crate) fn enter(
        &self,
        torrent: TorrentId,
        mut announcer: Announcer,
        identity: Identity,
        missing: Missing,
    ) {
        for (url, reason) in announcer.skipped() {
            tracing::warn!(url, %reason, "this tracker is not used");
        }
        let now = self.clock.now();
        let mut table = self.table();
        if table.rows.get(&torrent).is_some_and(|row| row.leaving.is_none()) {
            return;
        }
        announcer.set_partial_seed(missing.is_partial_seed());
        announcer.start(now, missing.of_torrent == 0);
        let stats = Stats { uploaded: 0, downloaded: 0, left: missing.of_torrent };
        table.remove(torrent);
        table
            .rows
            .insert(torrent, Row { announcer, identity, stats, due: None, mailbox: None, leaving: None });
        table.look_at(torrent, Some(now));
        drop(table);
        self.stir.notify_one();
    }

    /// Where what concerns a torrent goes while its task runs.
    pub(crate) fn attach(&self, torrent: TorrentId, mailbox: &mpsc::Sender<ToTorrent>) {
        let mut table = self.table();
        if let Some(row) = table.rows.get_mut(&torrent) {
            row.mailbox = Some(mailbox.downgrade());
            row.tell();
        }
    }

    /// Its task has ended; it goes on announcing.
    pub(crate) fn detach(&self, torrent: TorrentId) {
        if let Some(row) = self.table().rows.get_mut(&torrent) {
            row.mailbox = None;
        }
    }

    /// A torrent announces no more, and nobody is told: it goes on under another name.
    pub(crate) fn forget(&self, torrent: TorrentId) {
        self.table().remove(torrent);
    }

    /// Whether a torrent announces.
    pub(crate) fn knows(&self, torrent: TorrentId) -> bool {
        self.table().rows.get(&torrent).is_some_and(|row| row.leaving.is_none())
    }

    /// A torrent says goodbye. What comes back ends when the trackers that know it have been told; `None` when there
    /// are none.
    pub(crate) fn leave(&self, torrent: TorrentId) -> Option<oneshot::Receiver<()>> {
        let now = self.clock.now();
        let mut table = self.table();
        let row = table.rows.get_mut(&torrent)?;
        row.announcer.stop(now);
        row.mailbox = None;
        if row.announcer.is_stopped() {
            table.remove(torrent);
            return None;
        }
        let (done, told) = oneshot::channel();
        row.leaving = Some(done);
        table.forget_unwanted(torrent);
        table.look_at(torrent, Some(now));
        drop(table);
        self.stir.notify_one();
        Some(told)
    }

    /// How far a torrent is. One of which nothing is left any more has completed if something of it was downloaded;
    /// otherwise it was found complete, which no tracker counts.
    pub(crate) fn note(&self, torrent: TorrentId, note: Note) {
        let Note { uploaded, downloaded, missing, .. } = note;
        let stats = Stats { uploaded, downloaded, left: missing.of_torrent };
        let now = self.clock.now();
        let mut table = self.table();
        let Some(row) = table.rows.get_mut(&torrent) else { return };
        let before = std::mem::replace(&mut row.stats, stats);
        row.announcer.set_partial_seed(missing.is_partial_seed());
        if stats.left == 0 && stats.downloaded == 0 {
            row.announcer.found_complete();
        }
        if before.left > 0 && stats.left == 0 {
            row.announcer.completed(now);
        } else if note.found_back {
            row.announcer.announce_now(now, Urgency::FoundBack);
        } else if note.hungry {
            row.announcer.announce_now(now, Urgency::FewPeers);
        } else {
            return;
        }
        self.reconsider(table, torrent);
    }

    /// A person wants the trackers asked at once. Whether the torrent announces at all.
    pub(crate) fn ask_now(&self, torrent: TorrentId) -> bool {
        let now = self.clock.now();
        let mut table = self.table();
        let Some(row) = table.rows.get_mut(&torrent) else { return false };
        row.announcer.announce_now(now, Urgency::Forced);
        self.reconsider(table, torrent);
        true
    }

    /// Adds a tracker at the end of a tier.
    pub(crate) fn add(&self, torrent: TorrentId, tier: usize, url: &str) -> Result<(), UrlError> {
        let now = self.clock.now();
        let mut table = self.table();
        let Some(row) = table.rows.get_mut(&torrent) else { return Ok(()) };
        row.announcer.add(now, tier, url)?;
        self.reconsider(table, torrent);
        Ok(())
    }

    /// Removes a tracker; it hears that we leave.
    pub(crate) fn remove(&self, torrent: TorrentId, url: &TrackerUrl) {
        let now = self.clock.now();
        let mut table = self.table();
        let Some(row) = table.rows.get_mut(&torrent) else { return };
        row.announcer.remove(now, url);
        table.forget_unwanted(torrent);
        self.reconsider(table, torrent);
    }

    /// Others reach us at this port from here on: every tracker is told, as soon as it tolerates it.
    pub(crate) fn set_port(&self, port: u16) {
        let now = self.clock.now();
        let mut table = self.table();
        let Table { rows, due, .. } = &mut *table;
        for (torrent, row) in rows.iter_mut().filter(|(_, row)| row.leaving.is_none()) {
            row.identity.port = port;
            row.announcer.announce_now(now, Urgency::FewPeers);
            if let Some(before) = row.due.replace(now) {
                due.remove(&(before, *torrent));
            }
            due.insert((now, *torrent));
        }
        drop(table);
        self.stir.notify_one();
    }

    /// How a torrent's trackers stand; `None` for one that does not announce.
    pub(crate) fn statuses(&self, torrent: TorrentId) -> Option<Vec<TrackerStatus>> {
        self.table().rows.get(&torrent).map(|row| statuses(&row.announcer))
    }

    /// Announces until the session ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut under_way: JoinSet<Outcome> = JoinSet::new();
        loop {
            self.launch(&mut under_way);
            let due = self.table().due.first().map(|(due, _)| *due);
            tokio::select! {
                () = self.stir.notified() => {}
                Some(outcome) = under_way.join_next(), if !under_way.is_empty() => {
                    if let Ok(outcome) = outcome {
                        self.answered(outcome);
                    }
                }
                () = self.clock.sleep_until(due) => {}
            }
        }
    }

    /// Lets the announcers speak that are due, and begins what there are places for.
    fn launch(self: &Arc<Self>, under_way: &mut JoinSet<Outcome>) {
        let now = self.clock.now();
        let mut table = self.table();
        while let Some((due, torrent)) = table.due.first().copied()
            && due <= now
        {
            table.look_after(now, due, torrent);
        }
        for scheme in [Scheme::Http, Scheme::Udp] {
            while let Some((torrent, request)) = table.lane(scheme).queue.poll_launch() {
                let id = request.id;
                let task = under_way.spawn(self.carry(&table, torrent, request));
                table.lane(scheme).tasks.insert((torrent, id), task);
            }
        }
    }

    /// Carries a request to its tracker.
    fn carry(
        self: &Arc<Self>,
        table: &Table,
        torrent: TorrentId,
        request: Request,
    ) -> impl Future<Output = Outcome> + use<> {
        let announce = table.rows.get(&torrent).map(|row| request.announce(&row.identity, row.stats));
        let trackers = Arc::clone(self);
        async move {
            let later = {
                let trackers = Arc::clone(&trackers);
                move |response| trackers.learn(torrent, response)
            };
            let answer = match announce {
                Some(announce) => {
                    let answer = trackers.carrier.announce(&request.url, announce, request.contact, later);
                    if request.contact == Contact::First {
                        let within = tokio::time::timeout(FIRST_TRY, answer).await;
                        within.unwrap_or(Err(Failure::TimedOut))
                    } else {
                        answer.await
                    }
                }
                None => Err(Failure::Other("the torrent is gone".to_owned())),
            };
            (torrent, request.id, request.url, answer)
        }
    }

    fn answered(&self, (torrent, id, url, answer): Outcome) {
        let now = self.clock.now();
        let mut table = self.table();
        let lane = table.lane(url.scheme());
        lane.tasks.remove(&(torrent, id));
        let alike = lane.queue.ended(torrent, id, answer.as_ref());
        if let Err(failure) = &answer {
            for (torrent, id) in alike {
                self.take_in(&mut table, now, torrent, id, Err(failure));
            }
        }
        let wanted = self.take_in(&mut table, now, torrent, id, answer.as_ref());
        drop(table);
        if let (true, Ok(response)) = (wanted, answer) {
            self.say(Event::TrackerAnswered {
                id: torrent,
                url: url.to_string(),
                peers: response.peers.len(),
            });
            self.learn(torrent, response);
        }
    }

    /// Hands an announcer the outcome of a request. Whether its peers are to be used.
    fn take_in(
        &self,
        table: &mut Table,
        now: Time,
        torrent: TorrentId,
        id: RequestId,
        answer: Result<&AnnounceResponse, &Failure>,
    ) -> bool {
        let Some(row) = table.rows.get_mut(&torrent) else { return false };
        let wanted = row.announcer.handle_answer(now, id, answer.map_err(Clone::clone));
        while let Some(notice) = row.announcer.poll_notice() {
            match notice {
                Notice::Failed { url, failure, .. } => {
                    let (url, message) = (url.to_string(), failure.to_string());
                    self.say(Event::TrackerFailed { id: torrent, url, message });
                }
                Notice::Warning { url, message } => tracing::warn!(%url, said = message, "a tracker says"),
                Notice::Working(_) => {}
            }
        }
        row.tell();
        if row.leaving.is_some() && row.announcer.is_stopped() {
            table.remove(torrent);
        } else {
            // Announces that became due in the meantime go out at once.
            table.look_at(torrent, Some(now));
        }
        wanted
    }

    /// Hands on what a tracker knows. A torrent without a task is woken only by peers that may want something.
    fn learn(&self, torrent: TorrentId, response: AnnounceResponse) {
        let mailbox = {
            let table = self.table();
            let Some(row) = table.rows.get(&torrent).filter(|row| row.leaving.is_none()) else { return };
            row.mailbox.as_ref().and_then(mpsc::WeakSender::upgrade)
        };
        // Where there is no room the next announce names them again.
        match mailbox {
            Some(mailbox) => {
                let found = ToTorrent::Addresses { found: response.peers, source: Source::Tracker };
                let _ = mailbox.try_send(found);
            }
            None if response.peers.is_empty() || response.leechers == Some(0) => {}
            None => {
                let (peers, source) = (response.peers, Source::Tracker);
                let _ = self.found.try_send(Found { torrent, peers, source, wakes: true });
            }
        }
    }

    fn say(&self, event: Event) {
        if let Some(events) = self.events.upgrade() {
            let _ = events.send(event);
        }
    }

    /// The announcer was told something: it is looked at when it wants.
    fn reconsider(&self, mut table: MutexGuard<'_, Table>, torrent: TorrentId) {
        let Some(row) = table.rows.get(&torrent) else { return };
        let next = if row.announcer.has_requests() { Some(Time::ZERO) } else { row.announcer.timeout() };
        let earlier = next.is_some_and(|next| row.due.is_none_or(|due| next < due));
        table.look_at(torrent, next);
        drop(table);
        if earlier {
            self.stir.notify_one();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{Carrier, Clock, Missing, Note, Trackers};
    use crate::driver::http::Http;
    use crate::events::TorrentId;
    use crate::outside::Outside;
    use crate::snapshot::TrackerState;
    use quelea_net::Binding;
    use quelea_tracker::{Announcer, Identity};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::{broadcast, mpsc};

    /// Answers every announce, and tells the event that it carries.
    async fn serve(listener: TcpListener, heard: mpsc::Sender<String>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let (_, event) = request.split_once("event=").unwrap_or(("", "none "));
            let _ = heard.send(event.split(['&', ' ']).next().unwrap_or_default().to_owned()).await;
            let body = "d8:intervali1800e5:peers0:e";
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    }

    #[test]
    fn one_that_leaves_as_soon_as_nothing_is_left_has_told_that_it_completed() {
        let test = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/announce", listener.local_addr().unwrap());
            let (heard, mut hears) = mpsc::channel(16);
            tokio::spawn(serve(listener, heard));

            let binding = Arc::new(Binding::new(vec!["127.0.0.1".parse().unwrap()]));
            let (udp, _requests) = mpsc::channel(1);
            let http = Arc::new(Http::new(Arc::clone(&binding)));
            let (events, _) = broadcast::channel(16);
            let outside = Arc::new(Outside::new(Clock::start(), 1, events.downgrade()));
            let carrier = Arc::new(Carrier { http, udp, binding, outside });
            let (found, _finding) = mpsc::channel(1);
            let trackers = Arc::new(Trackers::new(Clock::start(), carrier, events.downgrade(), found));
            tokio::spawn(Arc::clone(&trackers).run());

            let id = TorrentId(1);
            let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 1, key: 3 };
            let missing = |left| Missing { of_torrent: left, of_wanted: left };
            trackers.enter(id, Announcer::new(vec![vec![url]], 4), identity, missing(10));
            assert_eq!(hears.recv().await.unwrap(), "started");
            while trackers.statuses(id).unwrap()[0].state != TrackerState::Working {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let note = |left| Note {
                uploaded: 0,
                downloaded: 10 - left,
                missing: missing(left),
                hungry: false,
                found_back: false,
            };
            trackers.note(id, note(5));
            trackers.note(id, note(0));
            let goodbye = trackers.leave(id).expect("a tracker that has to be told");
            let _ = goodbye.await;
            assert_eq!(hears.recv().await.unwrap(), "completed");
            assert_eq!(hears.recv().await.unwrap(), "stopped");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(300), test).await.expect("in time") });
    }
}
