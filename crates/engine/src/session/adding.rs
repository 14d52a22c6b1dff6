//! Adding torrents, and bringing back those of the library.

use super::Session;
use super::fetching::Heritage;
use crate::driver::ToTorrent;
use crate::entry::{Entry, EntryState, Figures, Known, Life};
use crate::events::TorrentId;
use crate::wishes::{Wishes, file_flags, length_of, wanted_pieces};
use crate::{AddTorrent, Error, Event, Limits, Priority, Result, Torrent};
use quelea_metainfo::Metainfo;
use quelea_resume::{Kept, Leaving, Library};
use quelea_swarm::queue::{Move, Newcomer, Stage, Standing};
use quelea_time::Time;
use quelea_wire::PeerId;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// Labels of one torrent.
const LABELS: usize = 64;
/// Characters of one label.
const LABEL: usize = 128;

impl Session {
    /// Adds a torrent. Where there is a place for it, its files are opened, data that lies there already is
    /// checked, and it starts; where there is none, or it is added paused, it waits. Once this returns, the
    /// library has it, if there is one ([`Session::restore`]).
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Duplicate`], [`Error::NothingSelected`], [`Error::InUse`],
    /// [`Error::Storage`] or [`Error::Closed`]. Then the torrent is not in the session.
    pub async fn add(&self, torrent: AddTorrent) -> Result<Torrent> {
        let peers = torrent.peers.clone();
        let heritage = torrent.heritage.clone();
        let (entry, started) = self.enter(torrent, None)?;
        if let Err(error) = self.begin(&entry, started, heritage, peers).await {
            self.drop_entry(&entry);
            return Err(error);
        }
        Ok(self.handle(entry))
    }

    /// Lets a torrent that was put into the list start, if there is a place for it, with these peers.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn begin(
        &self,
        entry: &Arc<Entry>,
        started: oneshot::Receiver<Result<()>>,
        heritage: Option<Arc<Heritage>>,
        peers: Vec<SocketAddr>,
    ) -> Result<()> {
        // At hand until it runs, not to be read from the library.
        let _info = entry.info()?;
        self.dispatch();
        let waits = {
            let mut shared = self.shared();
            // One that could not start may have said so already.
            let waits =
                matches!(shared.queue.standing(entry.id), Some(Standing::Active | Standing::Failed) | None);
            if !waits {
                shared.waiting.remove(&entry.id);
            }
            waits
        };
        if waits {
            started.await.unwrap_or(Err(Error::Closed))?;
        }
        let mut known = heritage.map(|heritage| heritage.peers_by_source()).unwrap_or_default();
        known.entry(quelea_discovery::Source::Manual).or_default().extend(peers);
        if let Some(mailbox) = entry.mailbox() {
            for (source, found) in known.into_iter().rev().filter(|(_, found)| !found.is_empty()) {
                let _ = mailbox.send(ToTorrent::Addresses { found, source }).await;
            }
        } else if !waits {
            // Until its turn comes, it does not go on with what the fetch of its metadata began.
            drop(self.inner.trackers.leave(entry.id));
            self.leave_dht(entry);
        }
        self.written().await;
        Ok(())
    }

    /// Opens the library in the state directory and brings back the torrents that it has, in their order and as
    /// they were: paused, queued, seeding; and whom its user banned. From here on it keeps what becomes of the session's torrents, so that a
    /// later session can bring them back, however this one ends.
    ///
    /// A seed starts resting: its files are looked at when somebody wants something of it.
    ///
    /// # Errors
    /// [`Error::Library`] where there is no state directory, another session has the library, it cannot be read, or
    /// torrents were added before; [`Error::Closed`].
    pub async fn restore(&self) -> Result<Vec<Torrent>> {
        let Some(directory) = self.inner.settings.state_dir.clone() else {
            return Err(Error::Library("the session has no state directory".to_owned()));
        };
        let is_empty = {
            let shared = self.shared();
            shared.torrents.is_empty() && shared.links.is_empty()
        };
        if !is_empty {
            return Err(Error::Library("torrents were added before it was opened".to_owned()));
        }
        let teller = self.shared().events.clone().ok_or(Error::Closed)?.downgrade();
        let warn = move |message: String| {
            tracing::warn!(target: crate::events::TARGET, "{message}");
            if let Some(events) = teller.upgrade() {
                let _ = events.send(Event::Warning(message));
            }
        };
        let opened = self.on_disk(move || {
            let (library, kept) = Library::open(&directory, warn)?;
            let (banned, links) = (library.banned()?, library.links()?);
            Ok((library, kept, banned, links))
        });
        let (library, kept, banned, links) = opened.await?.map_err(Error::Library)?;
        let library = Arc::new(library);
        if self.inner.library.set(Arc::clone(&library)).is_err() {
            return Err(Error::Library("this session has it already".to_owned()));
        }
        self.restore_bans(banned).await;
        let mut roots: HashSet<Arc<Path>> = HashSet::new();
        let mut torrents = Vec::with_capacity(kept.len());
        let mut leaving = Vec::new();
        for kept in kept {
            let root = roots.get(kept.directory.as_path()).cloned();
            let root = root.unwrap_or_else(|| kept.directory.as_path().into());
            roots.insert(Arc::clone(&root));
            let removal = kept.leaving;
            let entry = self.enter_kept(kept, root, &library)?;
            match removal {
                Leaving::No => torrents.push(self.handle(entry)),
                Leaving::Alone => leaving.push((entry, false)),
                Leaving::WithData => leaving.push((entry, true)),
            }
        }
        for (entry, data) in leaving {
            self.remove(&entry, data).await?;
        }
        self.dispatch();
        torrents.extend(self.restore_links(links)?);
        Ok(torrents)
    }

    /// Puts a torrent into the list and the queue, where none of the same info-hash is.
    ///
    /// With `link`, in the place of the magnet link that led to it.
    pub(super) fn enter(
        &self,
        torrent: AddTorrent,
        link: Option<&Arc<Entry>>,
    ) -> Result<(Arc<Entry>, oneshot::Receiver<Result<()>>)> {
        let AddTorrent {
            metainfo,
            output_dir,
            incomplete_dir,
            mut wanted,
            mut priorities,
            preallocate,
            overwrite,
            limits,
            ..
        } = torrent;
        let wants_named = wanted.is_some() || priorities.is_some();
        let Metainfo { info, trackers, nodes, .. } = metainfo;
        if !info.version.has_v1() {
            return Err(Error::Unsupported(
                "it is a pure v2 torrent (BEP 52), which this version can only show",
            ));
        }
        if wanted.as_ref().is_some_and(|wanted| wanted.len() != info.files.len()) {
            let why = "what is wanted was not said of each file";
            return Err(quelea_storage::StorageError::BadFileList(why).into());
        }
        if let Some(priorities) = &mut priorities {
            let wanted = wanted.get_or_insert_with(|| vec![true; info.files.len()]);
            for (wanted, priority) in wanted.iter_mut().zip(priorities) {
                *wanted &= priority.is_wanted();
                *priority = if *wanted { *priority } else { Priority::UNWANTED };
            }
        }
        let flags = file_flags(&info, wanted.as_deref());
        if !info.files.iter().zip(&flags).any(|(file, wanted)| *wanted && !file.pad) {
            return Err(Error::NothingSelected);
        }
        let root = output_dir.unwrap_or_else(|| self.inner.settings.output_dir.clone());
        let root = std::path::absolute(&root).unwrap_or(root);
        let incomplete = incomplete_dir.or_else(|| self.inner.settings.incomplete_dir.clone());
        let incomplete = incomplete.map(|path| std::path::absolute(&path).unwrap_or(path).into());
        let wanted_length = length_of(&info.geometry, &wanted_pieces(&info, &flags));
        let tiers = (0..).zip(trackers);
        let trackers = tiers.flat_map(|(tier, urls)| urls.into_iter().map(move |url| (tier, url.into())));
        let state = EntryState {
            life: Life::Resting,
            trackers: trackers.collect(),
            labels: clean_labels(&torrent.labels),
            limits,
            wants_named,
            overwrite,
            figures: Figures {
                total_length: info.geometry.total_length(),
                wanted_length,
                pieces: info.geometry.pieces(),
                ..Figures::default()
            },
            ..EntryState::new(Known::Here(Arc::new(info)))
        };
        let newcomer = Newcomer {
            to: torrent.position,
            paused: torrent.paused,
            forced: torrent.forced,
            stage: Stage::Downloading,
            goals: torrent.goals,
            waived: false,
            uploaded: 0,
            size: wanted_length,
            seeded: Duration::ZERO,
        };
        let (start, started) = oneshot::channel();
        let entry = {
            let Known::Here(info) = &state.info else { return Err(Error::Gone) };
            let (info_hash, name, private) = (info.hashes.wire(), info.name.as_str().into(), info.private);
            let mut shared = self.shared();
            if shared.events.is_none() {
                return Err(Error::Closed);
            }
            if link.is_some_and(|link| !shared.links.contains_key(&link.id)) {
                return Err(Error::Gone);
            }
            let of_link = link.is_some_and(|link| link.info_hash == info_hash);
            if shared.hashes.contains(&info_hash) && !of_link {
                return Err(Error::Duplicate);
            }
            let fresh = (TorrentId(shared.next_id), PeerId::own(&mut shared.rng));
            let inherited =
                torrent.heritage.and_then(|heritage| heritage.claim(self, &mut shared, info_hash));
            let (id, peer_id) = inherited.map_or(fresh, |(id, peer_id)| (id.unwrap_or(fresh.0), peer_id));
            let id = link.map_or(id, |link| link.id);
            let wishes = Wishes { root: root.into(), incomplete, wanted, priorities, preallocate };
            let entry = Arc::new(Entry::new(id, info_hash, peer_id, (name, private), wishes, state));
            entry.sequential.store(torrent.sequential, Ordering::Relaxed);
            entry.super_seeding.store(torrent.super_seeding, Ordering::Relaxed);
            shared.next_id += u64::from(id == fresh.0);
            shared.waiting.insert(id, start);
            shared.take_in(&entry, newcomer, self.inner.clock.now());
            if torrent.position != Move::Bottom {
                self.renumber(&shared);
            }
            match link {
                Some(link) => {
                    if shared.links.remove(&id).is_some() && !of_link {
                        shared.hashes.remove(&link.info_hash);
                    }
                    // It is set once: no other torrent takes the link's place.
                    let _ = link.successor.set(Arc::clone(&entry));
                    shared.tell(Event::MetadataFetched(id));
                }
                None => shared.tell(Event::Added(id)),
            }
            entry
        };
        self.remember_new(&entry);
        if let (Some(link), Some(library)) = (link, self.inner.library.get()) {
            library.delete_link(link.id.0);
        }
        if let Some(desk) = self.dht_of(&entry) {
            desk.add_routers(nodes.iter().map(ToString::to_string));
        }
        Ok((entry, started))
    }

    /// Puts a torrent of the library into the list and the queue.
    fn enter_kept(&self, kept: Kept, root: Arc<Path>, library: &Arc<Library>) -> Result<Arc<Entry>> {
        let state = EntryState {
            trackers: kept.trackers,
            labels: kept.labels,
            limits: Limits {
                download: NonZeroU64::new(kept.limits.0),
                upload: NonZeroU64::new(kept.limits.1),
            },
            figures: Figures {
                total_length: kept.total_length,
                wanted_length: kept.wanted_length,
                wanted_have: kept.wanted_have,
                pieces: kept.pieces,
                pieces_have: kept.pieces_have,
                moved_ever: kept.moved,
                ..Figures::default()
            },
            whole: kept.seeding,
            wants_named: kept.wants_named,
            ..EntryState::new(Known::InLibrary(Weak::new(), Arc::downgrade(library)))
        };
        let wanted = kept.wanted.map(|bits| {
            bits.iter().flat_map(|byte| (0..8).map(move |at| byte & (0x80 >> at) != 0)).collect()
        });
        let priorities = kept.priorities.map(|all| {
            all.into_iter().map(|number| Priority::new(number).unwrap_or(Priority::USUAL)).collect()
        });
        let incomplete = kept.incomplete.map(Arc::from);
        let wishes = Wishes { root, incomplete, wanted, priorities, preallocate: kept.preallocate };
        let newcomer = Newcomer {
            to: Move::Bottom,
            paused: kept.paused,
            forced: kept.forced,
            stage: if kept.seeding { Stage::Seeding } else { Stage::Downloading },
            goals: kept.goals,
            waived: kept.waived,
            uploaded: kept.moved.uploaded,
            size: kept.wanted_length,
            seeded: kept.seeded,
        };
        let mut shared = self.shared();
        if shared.events.is_none() {
            return Err(Error::Closed);
        }
        let id = TorrentId(kept.id);
        shared.next_id = shared.next_id.max(id.0 + 1);
        let peer_id = PeerId::own(&mut shared.rng);
        let name = (kept.name.into(), kept.private);
        let entry = Arc::new(Entry::new(id, kept.info_hash, peer_id, name, wishes, state));
        entry.sequential.store(kept.sequential, Ordering::Relaxed);
        entry.super_seeding.store(kept.super_seeding, Ordering::Relaxed);
        shared.take_in(&entry, newcomer, self.inner.clock.now());
        shared.tell(Event::Added(id));
        Ok(entry)
    }
}

impl EntryState {
    /// A torrent of which no more than its info dictionary is known.
    pub(super) fn new(info: Known) -> Self {
        Self {
            life: Life::Resting,
            info,
            trackers: Box::default(),
            labels: Box::default(),
            limits: Limits::NONE,
            figures: Figures::default(),
            error: None,
            whole: false,
            wanted: false,
            quiet_since: None,
            wants_named: false,
            overwrite: false,
            placed: None,
            arranging: 0,
            leaving: false,
            is_told: false,
            told: Time::ZERO,
        }
    }
}

/// Labels without what would not show, each once, no more and no longer than is sensible.
pub(super) fn clean_labels(labels: &[String]) -> Box<[Box<str>]> {
    let mut clean: Vec<Box<str>> = Vec::new();
    for label in labels {
        let label: String = label.chars().filter(|char| !char.is_control()).take(LABEL).collect();
        let label = label.trim();
        if !label.is_empty() && clean.len() < LABELS && !clean.iter().any(|other| **other == *label) {
            clean.push(label.into());
        }
    }
    clean.into()
}
