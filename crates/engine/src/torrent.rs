//! A torrent of a session.

use crate::driver::ToTorrent;
use crate::entry::{Entry, Life};
use crate::session::{Session, WeakSession};
use crate::{Error, Limits, Result, Scrape, Snapshot, State, SwarmSize, TorrentId, TrackerStatus};
use quelea_discovery::Source;
use quelea_metainfo::Info;
use quelea_swarm::queue::{Goals, Move};
use quelea_tracker::TrackerUrl;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A handle to a torrent of a session; clones are the same torrent. It may be a magnet link at first, of which there is no
/// [`info`](Torrent::info) yet: it can be paused, resumed, removed, labelled and limited, and becomes the torrent that it
/// leads to.
///
/// What is done to a torrent takes effect at once; when the call returns, the library has it too, if there is one
/// ([`Session::restore`]). Every call fails with [`Error::Gone`] or [`Error::Closed`] once the torrent or the
/// session is no more.
#[derive(Clone)]
pub struct Torrent {
    entry: Arc<Entry>,
    session: WeakSession,
}

impl Torrent {
    pub(crate) fn new(entry: Arc<Entry>, session: WeakSession) -> Self {
        Self { entry, session }
    }

    pub(crate) fn session(&self) -> Result<Session> {
        self.session.upgrade().ok_or(Error::Closed)
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        self.entry.successor.get().unwrap_or(&self.entry)
    }

    /// Its name within the session; with a library, in all sessions.
    pub fn id(&self) -> TorrentId {
        self.entry().id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.entry().name
    }

    /// What its peers and trackers know it by (BEP 3).
    pub fn info_hash(&self) -> [u8; 20] {
        self.entry().info_hash
    }

    /// What it is: name, files, pieces. That of a torrent without a task is read from the library, which may wait
    /// for the disk.
    ///
    /// # Errors
    /// [`Error::Library`] when it cannot be read, [`Error::NoMetadata`] for a magnet link.
    pub fn info(&self) -> Result<Arc<Info>> {
        self.entry().info()
    }

    /// Its figures, at most a quarter of a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let Ok(session) = self.session() else { return self.entry().snapshot(State::Paused) };
        let mut snapshot = self.entry().snapshot(session.resting_state(self.entry()));
        if matches!(self.entry().state().life, Life::Resting) {
            let shown = Arc::make_mut(&mut snapshot);
            shown.trackers = session.tracker_statuses(self.entry());
            if let Some(link) = &self.entry().link {
                link.show(shown);
            }
        }
        snapshot
    }

    /// Stops it until it is resumed. It leaves its trackers, and has no connection and no open file when this
    /// returns. What was being done to its files is cancelled; what is wished for later is done all the same.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub async fn pause(&self) -> Result<()> {
        self.session()?.pause(self.entry()).await
    }

    /// Lets it run when its turn comes, whatever paused, forced or stopped it before, and once its files are where
    /// they were to go. One that has reached its
    /// goal goes on nevertheless; one that its disk stopped tries at once whether that is mended.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub async fn resume(&self) -> Result<()> {
        // A torrent whose task has ended has no trouble.
        if let Some(mailbox) = self.entry().mailbox() {
            let _ = mailbox.send(ToTorrent::Retry).await;
        }
        self.session()?.resume(self.entry(), false).await
    }

    /// Lets it run at once, whatever the session's limits say, until it is resumed or paused.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub async fn force_start(&self) -> Result<()> {
        self.session()?.resume(self.entry(), true).await
    }

    /// Takes it out of the session. With `data` its own files are deleted, and those of its folders that are empty
    /// then; never anything else.
    ///
    /// # Errors
    /// See [`Torrent`]; [`Error::Storage`] when a file could not be deleted: the torrent is gone nevertheless.
    pub async fn remove(&self, data: bool) -> Result<()> {
        self.session()?.remove(self.entry(), data).await
    }

    /// Moves it in the queue.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub async fn set_position(&self, to: Move) -> Result<()> {
        self.session()?.set_position(self.entry(), to).await
    }

    /// Its labels.
    pub fn labels(&self) -> Vec<String> {
        self.entry().state().labels.iter().map(|label| label.as_ref().to_owned()).collect()
    }

    /// Gives it these labels and no others. At most 64, of 128 characters each; what does not show is left out.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub async fn set_labels(&self, labels: &[String]) -> Result<()> {
        self.session()?.set_labels(self.entry(), labels).await
    }

    /// What it seeds for: its own goals, or the session's.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub fn goals(&self) -> Result<Goals> {
        Ok(self.session()?.goals(self.entry()))
    }

    /// Gives it goals of its own; `None` for the session's.
    ///
    /// # Errors
    /// See [`Torrent`].
    pub async fn set_goals(&self, goals: Option<Goals>) -> Result<()> {
        self.session()?.set_goals(self.entry(), goals).await
    }

    /// Its trackers, and how they stand.
    pub fn trackers(&self) -> Vec<TrackerStatus> {
        self.session().map(|session| session.tracker_statuses(self.entry())).unwrap_or_default()
    }

    /// Adds a tracker at the end of a tier, counted from 0.
    ///
    /// # Errors
    /// See [`Torrent`]; [`Error::BadTracker`] for a URL that is none of a tracker, or that it has already.
    pub async fn add_tracker(&self, tier: usize, url: &str) -> Result<()> {
        self.session()?.edit_tracker(self.entry(), None, Some((tier, url))).await
    }

    /// Puts another tracker in the place of one.
    ///
    /// # Errors
    /// See [`Torrent::add_tracker`]; also when it has no tracker `from`.
    pub async fn replace_tracker(&self, from: &str, to: &str) -> Result<()> {
        self.session()?.edit_tracker(self.entry(), Some(from), Some((0, to))).await
    }

    /// Removes a tracker; it is told that we leave.
    ///
    /// # Errors
    /// See [`Torrent`]; [`Error::BadTracker`] when it has no such tracker.
    pub async fn remove_tracker(&self, url: &str) -> Result<()> {
        self.session()?.edit_tracker(self.entry(), Some(url), None).await
    }

    /// Asks every tracker at once, though not within five seconds of the last time. Whether the torrent announces
    /// at all: one that is paused or queued does not.
    pub fn reannounce(&self) -> bool {
        self.session().is_ok_and(|session| session.reannounce(self.entry()))
    }

    /// Asks every tracker how many peers it knows (BEP 48; BEP 15 over UDP), side by side.
    pub async fn scrape(&self) -> Vec<Scrape> {
        let info_hash = self.entry().info_hash;
        let Ok(session) = self.session() else { return Vec::new() };
        let (trackers, home) = session.announcing();
        let ask = |url: String| {
            let carrier = Arc::clone(trackers.carrier());
            let tracker = url.clone();
            let asked = home.spawn(async move {
                let tracker = TrackerUrl::parse(&tracker).map_err(|error| error.to_string())?;
                carrier.scrape(&tracker, info_hash).await.map_err(|failure| failure.to_string())
            });
            (url, asked)
        };
        let urls: Vec<String> = self.trackers().into_iter().map(|tracker| tracker.url).collect();
        let asked: Vec<_> = urls.into_iter().map(ask).collect();
        let mut scrapes = Vec::new();
        for (url, answer) in asked {
            let answer = answer.await.unwrap_or_else(|_| Err("the session is closed".to_owned()));
            scrapes.push(Scrape {
                url,
                counts: answer.map(|counts| SwarmSize {
                    seeds: counts.seeds,
                    leechers: counts.leechers,
                    downloaded: counts.downloaded,
                }),
            });
        }
        scrapes
    }

    /// Its own limits, beside those of the session.
    pub fn limits(&self) -> Limits {
        self.entry().state().limits
    }

    /// Gives it limits of its own, which hold at once.
    pub async fn set_limits(&self, limits: Limits) {
        if let Ok(session) = self.session() {
            session.set_torrent_limits(self.entry(), limits).await;
        }
    }

    /// Whether its pieces are taken in order.
    pub fn is_sequential(&self) -> bool {
        self.entry().sequential.load(Ordering::Relaxed)
    }

    /// Takes its pieces in order from here on, so that what comes can be used meanwhile, or rarest first, which is
    /// better for the swarm.
    pub async fn set_sequential(&self, sequential: bool) {
        self.entry().sequential.store(sequential, Ordering::Relaxed);
        // One without a task is told when it has one.
        if let Some(mailbox) = self.entry().mailbox() {
            let _ = mailbox.send(ToTorrent::Sequential(sequential)).await;
        }
        self.remembered().await;
    }

    /// Whether it shows its peers a piece at a time while it seeds (BEP 16).
    pub fn is_super_seeding(&self) -> bool {
        self.entry().super_seeding.load(Ordering::Relaxed)
    }

    /// Shows peers that come from here on a piece at a time while it seeds (BEP 16), or everything. It is for the only
    /// seed of a swarm, which need not send much more than one copy then; with other seeds there it is a hindrance.
    pub async fn set_super_seeding(&self, on: bool) {
        self.entry().super_seeding.store(on, Ordering::Relaxed);
        if let Some(mailbox) = self.entry().mailbox() {
            let _ = mailbox.send(ToTorrent::SuperSeeding(on)).await;
        }
        self.remembered().await;
    }

    /// Connects to these peers too. They are not remembered.
    ///
    /// # Errors
    /// See [`Torrent`]; [`Error::NotRunning`] for one that is paused, queued or failed.
    pub async fn add_peers(&self, peers: &[SocketAddr]) -> Result<()> {
        let mailbox = self.session()?.mailbox(self.entry()).await.ok_or(Error::NotRunning)?;
        let found = ToTorrent::Addresses { found: peers.to_vec(), source: Source::Manual };
        mailbox.send(found).await.map_err(|_| Error::NotRunning)
    }

    /// Comes once the library has it as it is.
    async fn remembered(&self) {
        if let Ok(session) = self.session() {
            session.remember(self.entry());
            session.written().await;
        }
    }
}

impl fmt::Debug for Torrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torrent")
            .field("id", &self.entry().id)
            .field("name", &self.entry().name)
            .finish_non_exhaustive()
    }
}
