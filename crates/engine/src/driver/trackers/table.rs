//! The rows of the torrents that announce, when each is to be looked at, and the announces under way.

use crate::driver::ToTorrent;
use crate::events::TorrentId;
use crate::snapshot::{TrackerState, TrackerStatus};
use quelea_time::Time;
use quelea_tracker::{AnnounceQueue, Announcer, Contact, Identity, RequestId, Scheme, State, Stats};
use std::collections::{BTreeSet, HashMap};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Announces by HTTP under way at a time, each of which has a connection or two, and those of torrents that leave.
const HTTP_PLACES: (usize, usize) = (48, 16);
/// The same by UDP, where an announce under way holds no socket.
const UDP_PLACES: (usize, usize) = (512, 256);

pub(super) struct Table {
    pub(super) rows: HashMap<TorrentId, Row>,
    /// When each row is to be looked at, the earliest first.
    pub(super) due: BTreeSet<(Time, TorrentId)>,
    pub(super) http: Lane,
    pub(super) udp: Lane,
}

/// Announces by one kind of transport.
pub(super) struct Lane {
    pub(super) queue: AnnounceQueue<TorrentId>,
    /// The tasks that carry those under way.
    pub(super) tasks: HashMap<(TorrentId, RequestId), AbortHandle>,
}

pub(super) struct Row {
    pub(super) announcer: Announcer,
    pub(super) identity: Identity,
    pub(super) stats: Stats,
    pub(super) due: Option<Time>,
    /// Weak, so that a torrent's mailbox does not live because its trackers do.
    pub(super) mailbox: Option<mpsc::WeakSender<ToTorrent>>,
    /// Who waits for the goodbye, once it is being said.
    pub(super) leaving: Option<oneshot::Sender<()>>,
}

impl Lane {
    fn new((places, leaving_places): (usize, usize)) -> Self {
        Self { queue: AnnounceQueue::new(places, leaving_places), tasks: HashMap::new() }
    }

    /// Forgets announces of a torrent, and ends the tasks of those under way.
    fn cancel(&mut self, torrent: TorrentId, unwanted: impl Fn(RequestId, Contact) -> bool) {
        let of_torrent = self.queue.of_torrent(torrent);
        let unwanted: Vec<RequestId> =
            of_torrent.filter_map(|(id, contact)| unwanted(id, contact).then_some(id)).collect();
        for id in unwanted {
            self.queue.cancel(torrent, id);
            if let Some(task) = self.tasks.remove(&(torrent, id)) {
                task.abort();
            }
        }
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            rows: HashMap::new(),
            due: BTreeSet::new(),
            http: Lane::new(HTTP_PLACES),
            udp: Lane::new(UDP_PLACES),
        }
    }

    pub(super) fn lane(&mut self, scheme: Scheme) -> &mut Lane {
        match scheme {
            Scheme::Http | Scheme::Https => &mut self.http,
            Scheme::Udp => &mut self.udp,
        }
    }

    /// A torrent's announcer is due: takes in what it wants asked, and notes when it is due again.
    pub(super) fn look_after(&mut self, now: Time, due: Time, torrent: TorrentId) {
        let Some(row) = self.rows.get_mut(&torrent) else {
            self.due.remove(&(due, torrent));
            return;
        };
        row.announcer.handle_timeout(now);
        let mut requests = Vec::new();
        while let Some(request) = row.announcer.poll_request() {
            requests.push(request);
        }
        row.tell();
        let next = row.announcer.timeout();
        for request in requests {
            self.lane(request.url.scheme()).queue.push(torrent, request);
        }
        self.forget_unwanted(torrent);
        self.look_at(torrent, next);
    }

    /// Forgets announces whose answers a torrent's announcer does not await any more. Goodbyes go out in any case.
    pub(super) fn forget_unwanted(&mut self, torrent: TorrentId) {
        let Some(row) = self.rows.get(&torrent) else { return };
        let unwanted = |id, contact| !matches!(contact, Contact::Leaving) && !row.announcer.awaits(id);
        self.http.cancel(torrent, unwanted);
        self.udp.cancel(torrent, unwanted);
    }

    pub(super) fn look_at(&mut self, torrent: TorrentId, next: Option<Time>) {
        let Some(row) = self.rows.get_mut(&torrent) else { return };
        if let Some(due) = std::mem::replace(&mut row.due, next) {
            self.due.remove(&(due, torrent));
        }
        if let Some(next) = next {
            self.due.insert((next, torrent));
        }
    }

    pub(super) fn remove(&mut self, torrent: TorrentId) {
        self.look_at(torrent, None);
        for lane in [&mut self.http, &mut self.udp] {
            lane.cancel(torrent, |_, _| true);
        }
        // The receiver of its goodbye hears that no more will come of it.
        self.rows.remove(&torrent);
    }
}

impl Row {
    /// Tells the torrent's task how its trackers stand; where its mailbox is full it hears of the next change.
    pub(super) fn tell(&self) {
        if let Some(mailbox) = self.mailbox.as_ref().and_then(mpsc::WeakSender::upgrade) {
            let statuses = statuses(&self.announcer);
            let answered = settled(&statuses);
            let _ = mailbox.try_send(ToTorrent::Trackers { statuses, answered });
        }
    }
}

/// Whether every tracker has answered or failed, so that there is nothing more to wait for.
fn settled(statuses: &[TrackerStatus]) -> bool {
    let open = |status: &TrackerStatus| matches!(status.state, TrackerState::Idle | TrackerState::Announcing);
    statuses.iter().any(|status| status.state == TrackerState::Working) || !statuses.iter().any(open)
}

pub(super) fn statuses(announcer: &Announcer) -> Vec<TrackerStatus> {
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
            peers: status.peers,
        })
        .collect()
}
