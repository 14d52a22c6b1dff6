//! A torrent of the list: what it is and what is wanted of it, whether or not its task runs.
//!
//! Thousands of these rest at a time, so an entry is small: what a task needs is made when it starts, and the info
//! dictionary of a torrent that the library has is read from there.

use crate::driver::ToTorrent;
use crate::driver::limiter::Limiter;
use crate::driver::torrent::Published;
use crate::driver::trackers::Missing;
use crate::events::TorrentId;
use crate::link::Link;
use crate::wishes::Wishes;
use crate::{Error, Limits, Placement, Result, Snapshot, State};
use quelea_metainfo::Info;
use quelea_resume::{Library, Totals};
use quelea_swarm::limit::NodeId;
use quelea_time::Time;
use quelea_wire::PeerId;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::mpsc;

/// A torrent of a session.
pub(crate) struct Entry {
    pub(crate) id: TorrentId,
    pub(crate) info_hash: [u8; 20],
    pub(crate) peer_id: PeerId,
    pub(crate) name: Box<str>,
    /// Whether peers may come from its trackers alone (BEP 27).
    pub(crate) private: bool,
    pub(crate) wishes: Wishes,
    /// Whether pieces are taken in order.
    pub(crate) sequential: AtomicBool,
    /// Whether it shows its peers a piece at a time while it seeds.
    pub(crate) super_seeding: AtomicBool,
    /// Its place in the queue.
    pub(crate) position: AtomicUsize,
    /// Starting and stopping take turns.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// The magnet link, if it is one whose metadata is still to be fetched.
    pub(crate) link: Option<Link>,
    /// The torrent that the link led to.
    pub(crate) successor: OnceLock<Arc<Self>>,
    state: Mutex<EntryState>,
}

/// What changes of an entry.
pub(crate) struct EntryState {
    pub(crate) life: Life,
    pub(crate) info: Known,
    pub(crate) trackers: Trackers,
    pub(crate) labels: Box<[Box<str>]>,
    /// Its own limits, beside those of the session.
    pub(crate) limits: Limits,
    /// The last figures of its tasks.
    pub(crate) figures: Figures,
    /// Why it could not start.
    pub(crate) error: Option<Box<str>>,
    /// Whether its data are known to be whole, so that it can rest while it seeds.
    pub(crate) whole: bool,
    /// Whether somebody wants something of it.
    pub(crate) wanted: bool,
    /// Whether who added it said what is wanted of it; else that is what was wanted when it ran last.
    pub(crate) wants_named: bool,
    /// Whether it may overwrite what is not its own, when it starts first.
    pub(crate) overwrite: bool,
    /// Where its last task left its files, where nobody remembers.
    pub(crate) placed: Option<Arc<Placement>>,
    /// Since when nobody does.
    pub(crate) quiet_since: Option<Time>,
    /// Changes of its files that are under way although it may not run.
    pub(crate) arranging: u32,
    /// Whether it is leaving the session.
    pub(crate) leaving: bool,
    /// Whether it was told what of it was there.
    pub(crate) is_told: bool,
    /// When its queue figures were last told.
    pub(crate) told: Time,
}

/// What becomes of a torrent's task.
pub(crate) enum Life {
    /// It has none.
    Resting,
    /// Its files are being opened and checked, or it ends.
    Opening(Published),
    Running(Running),
}

/// How to reach a torrent's task.
#[derive(Clone)]
pub(crate) struct Running {
    /// Where it stands in the trees of limits.
    pub(crate) limit: NodeId,
    pub(crate) mailbox: mpsc::Sender<ToTorrent>,
    pub(crate) published: Published,
    /// Whether it only arranges files, for a torrent that may not run.
    pub(crate) apart: bool,
}

/// Where the info dictionary is.
pub(crate) enum Known {
    /// Here.
    Here(Arc<Info>),
    /// In the library; perhaps here as well.
    InLibrary(Weak<Info>, Weak<Library>),
    /// Nobody who was asked has given it yet.
    Nowhere,
}

/// A torrent's trackers, each with its tier.
pub(crate) type Trackers = Box<[(u32, Box<str>)]>;

/// What is known of a torrent without its task. Bytes and pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    pub(crate) total_length: u64,
    pub(crate) wanted_length: u64,
    pub(crate) wanted_have: u64,
    pub(crate) pieces: u32,
    pub(crate) pieces_have: u32,
    /// In this session.
    pub(crate) moved: Totals,
    /// In this and all earlier sessions.
    pub(crate) moved_ever: Totals,
}

impl Entry {
    pub(crate) fn new(
        id: TorrentId,
        info_hash: [u8; 20],
        peer_id: PeerId,
        (name, private): (Box<str>, bool),
        wishes: Wishes,
        state: EntryState,
    ) -> Self {
        Self {
            id,
            info_hash,
            peer_id,
            name,
            private,
            wishes,
            sequential: AtomicBool::new(false),
            super_seeding: AtomicBool::new(false),
            position: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            link: None,
            successor: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// A magnet link whose metadata is still to be fetched.
    pub(crate) fn of_link(
        id: TorrentId,
        info_hash: [u8; 20],
        peer_id: PeerId,
        link: Link,
        wishes: Wishes,
        mut state: EntryState,
    ) -> Self {
        let trackers = (0..).zip(&link.magnet.trackers);
        state.trackers = trackers.map(|(tier, url)| (tier, url.as_str().into())).collect();
        let name = link.name().into();
        Self { link: Some(link), ..Self::new(id, info_hash, peer_id, (name, false), wishes, state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mailbox(&self) -> Option<mpsc::Sender<ToTorrent>> {
        match &self.state().life {
            Life::Running(running) => Some(running.mailbox.clone()),
            Life::Opening(_) | Life::Resting => None,
        }
    }

    /// How to reach its task, while it runs.
    pub(crate) fn running(&self) -> Option<Running> {
        match &self.state().life {
            Life::Running(running) => Some(running.clone()),
            Life::Opening(_) | Life::Resting => None,
        }
    }

    /// The way to its task, for the last message: whoever wants something of it from here on waits for its end.
    pub(crate) fn begin_to_stop(&self) -> Option<mpsc::Sender<ToTorrent>> {
        let mut state = self.state();
        let Life::Running(running) = &state.life else { return None };
        let Running { mailbox, published, .. } = running.clone();
        state.life = Life::Opening(published);
        Some(mailbox)
    }

    /// Gives it limits of its own, which hold at once.
    pub(crate) async fn set_limits(&self, limits: Limits, limiter: &Limiter) {
        let running = {
            let mut state = self.state();
            state.limits = limits;
            match &state.life {
                Life::Running(running) => Some(running.limit),
                Life::Opening(_) | Life::Resting => None,
            }
        };
        if let Some(node) = running {
            limiter.set(node, limits);
        }
        self.tell_limited(limiter).await;
    }

    /// Tells its task whether a limit holds for what it receives: then slow peers are none of theirs.
    pub(crate) async fn tell_limited(&self, limiter: &Limiter) {
        let running = match &self.state().life {
            Life::Running(running) => running.clone(),
            Life::Opening(_) | Life::Resting => return,
        };
        let limited = limiter.limits_downloads(running.limit);
        // A task that is gone receives nothing.
        let _ = running.mailbox.send(ToTorrent::DownloadLimited(limited)).await;
    }

    /// Its info dictionary. May wait for the disk.
    ///
    /// # Errors
    /// [`Error::Library`] when the library has lost it, [`Error::NoMetadata`].
    pub(crate) fn info(&self) -> Result<Arc<Info>> {
        let library = match &self.state().info {
            Known::Here(info) => return Ok(Arc::clone(info)),
            Known::InLibrary(info, library) => match info.upgrade() {
                Some(info) => return Ok(info),
                None => library.upgrade().ok_or(Error::Closed)?,
            },
            Known::Nowhere => return Err(Error::NoMetadata),
        };
        let info = Arc::new(library.info(self.id.0).map_err(Error::Library)?);
        self.state().info = Known::InLibrary(Arc::downgrade(&info), Arc::downgrade(&library));
        Ok(info)
    }

    /// The tiers of its trackers, as an announcer takes them.
    pub(crate) fn tiers(&self) -> Vec<Vec<String>> {
        let mut tiers: Vec<Vec<String>> = Vec::new();
        for (tier, url) in &self.state().trackers {
            let tier = (*tier as usize).min(quelea_tracker::announcer::MAX_TRACKERS);
            if tiers.len() <= tier {
                tiers.resize_with(tier + 1, Vec::new);
            }
            if let Some(tier) = tiers.get_mut(tier) {
                tier.push(url.as_ref().to_owned());
            }
        }
        tiers
    }

    /// Its figures; `resting` is its state where it has no task.
    pub(crate) fn snapshot(&self, resting: State) -> Arc<Snapshot> {
        let state = self.state();
        let position = self.position.load(Ordering::Relaxed);
        let labels = || state.labels.iter().map(|label| label.as_ref().to_owned()).collect();
        let published = match &state.life {
            Life::Running(Running { published, .. }) | Life::Opening(published) => published,
            Life::Resting => {
                let Figures { total_length, wanted_length, wanted_have, pieces, pieces_have, .. } =
                    state.figures;
                return Arc::new(Snapshot {
                    position,
                    labels: labels(),
                    wanted_have,
                    wanted_received: wanted_have,
                    pieces_have,
                    downloaded: state.figures.moved.downloaded,
                    uploaded: state.figures.moved.uploaded,
                    downloaded_ever: state.figures.moved_ever.downloaded,
                    uploaded_ever: state.figures.moved_ever.uploaded,
                    error: state.error.as_deref().map(str::to_owned),
                    ..Snapshot::new(self.id, &self.name, resting, [total_length, wanted_length], pieces)
                });
            }
        };
        let mut snapshot = Arc::clone(&published.lock().unwrap_or_else(PoisonError::into_inner));
        let apart = matches!(&state.life, Life::Running(Running { apart: true, .. }));
        if apart && snapshot.state != State::Checking {
            let shown = Arc::make_mut(&mut snapshot);
            shown.state = resting;
            shown.error = state.error.as_deref().map(str::to_owned).or_else(|| shown.error.take());
        }
        if snapshot.position != position || snapshot.labels.len() + state.labels.len() > 0 {
            let changed = Arc::make_mut(&mut snapshot);
            changed.position = position;
            changed.labels = labels();
        }
        snapshot
    }
}

impl Figures {
    /// What the torrent lacks, the whole to within a piece.
    pub(crate) fn missing(&self) -> Missing {
        let pieces = u128::from(self.pieces_have.min(self.pieces));
        let have = u128::from(self.total_length) * pieces / u128::from(self.pieces.max(1));
        let of_torrent = self.total_length.saturating_sub(u64::try_from(have).unwrap_or(u64::MAX));
        Missing { of_torrent, of_wanted: self.wanted_length.saturating_sub(self.wanted_have) }
    }

    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self {
            total_length: snapshot.total_length,
            wanted_length: snapshot.wanted_length,
            wanted_have: snapshot.wanted_have,
            pieces: snapshot.pieces,
            pieces_have: snapshot.pieces_have,
            moved: Totals { downloaded: snapshot.downloaded, uploaded: snapshot.uploaded },
            moved_ever: Totals { downloaded: snapshot.downloaded_ever, uploaded: snapshot.uploaded_ever },
        }
    }
}
