//! Magnet links among the session's torrents: their metadata is fetched, and what it leads to takes their place under the
//! same name. The library has them, so that the next session goes on with them however this one ends.
//!
//! A link is no affair of the queue: metadata is little, and of what it costs the session bounds connections.

use super::Session;
use super::adding::clean_labels;
use crate::driver::ToTorrent;
use crate::entry::{Entry, EntryState, Known};
use crate::events::TorrentId;
use crate::link::{Link, LinkFetch};
use crate::wishes::Wishes;
use crate::{AddMagnet, AddTorrent, Error, Event, Fetched, Limits, MagnetRequest, Result, Torrent};
use quelea_metainfo::{Address, Magnet};
use quelea_resume::{KeptLink, Library};
use quelea_swarm::queue::Goals;
use quelea_wire::PeerId;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

impl Session {
    /// Adds a torrent of which only a magnet link is known. It is among the session's torrents at once; as soon as its
    /// metadata is here it goes on as any other torrent does, under the same name and handle. Once this returns, the
    /// library has it, if there is one ([`Session::restore`]).
    ///
    /// # Errors
    /// [`Error::Duplicate`] or [`Error::Closed`].
    pub async fn add_magnet(&self, add: AddMagnet) -> Result<Torrent> {
        let AddMagnet { mut magnet, peers, output_dir, incomplete_dir, preallocate, limits, .. } = add;
        for peer in peers.into_iter().map(Address::Ip) {
            if !magnet.peers.contains(&peer) {
                magnet.peers.push(peer);
            }
        }
        let root = output_dir.unwrap_or_else(|| self.inner.settings.output_dir.clone());
        let root = std::path::absolute(&root).unwrap_or(root);
        let incomplete = incomplete_dir.or_else(|| self.inner.settings.incomplete_dir.clone());
        let incomplete = incomplete.map(|path| std::path::absolute(&path).unwrap_or(path).into());
        let wishes = Wishes { root: root.into(), incomplete, wanted: None, priorities: None, preallocate };
        let state =
            EntryState { labels: clean_labels(&add.labels), limits, ..EntryState::new(Known::Nowhere) };
        let link = Link::new(magnet, add.paused, add.forced, add.goals);
        let entry = self.enter_link(None, link, wishes, state)?;
        entry.sequential.store(add.sequential, Ordering::Relaxed);
        entry.super_seeding.store(add.super_seeding, Ordering::Relaxed);
        self.remember(&entry);
        self.follow_link(&entry);
        self.written().await;
        Ok(self.handle(entry))
    }

    /// Puts the links of the library into the list, and follows them.
    pub(super) fn restore_links(&self, kept: Vec<KeptLink>) -> Result<Vec<Torrent>> {
        let mut links = Vec::new();
        for kept in kept {
            let magnet = match Magnet::parse(&kept.link) {
                Ok(magnet) => magnet,
                Err(error) => {
                    let warning = format!("a magnet link of the library cannot be read: {error}");
                    self.shared().tell(Event::Warning(warning));
                    continue;
                }
            };
            let wishes = Wishes {
                root: kept.directory.as_path().into(),
                incomplete: kept.incomplete.map(Into::into),
                wanted: None,
                priorities: None,
                preallocate: kept.preallocate,
            };
            let limits =
                Limits { download: NonZeroU64::new(kept.limits.0), upload: NonZeroU64::new(kept.limits.1) };
            let state = EntryState { labels: kept.labels, limits, ..EntryState::new(Known::Nowhere) };
            let link = Link::new(magnet, kept.paused, kept.forced, kept.goals);
            let entry = match self.enter_link(Some(TorrentId(kept.id)), link, wishes, state) {
                Err(Error::Duplicate) => continue,
                entered => entered?,
            };
            entry.sequential.store(kept.sequential, Ordering::Relaxed);
            entry.super_seeding.store(kept.super_seeding, Ordering::Relaxed);
            self.follow_link(&entry);
            links.push(self.handle(entry));
        }
        Ok(links)
    }

    /// Puts a link into the list, where no torrent of the same info-hash is.
    fn enter_link(
        &self,
        id: Option<TorrentId>,
        link: Link,
        wishes: Wishes,
        state: EntryState,
    ) -> Result<Arc<Entry>> {
        let info_hash = link.magnet.hashes.wire();
        let mut shared = self.shared();
        if shared.events.is_none() {
            return Err(Error::Closed);
        }
        if shared.hashes.contains(&info_hash) || shared.fetching.contains_key(&info_hash) {
            return Err(Error::Duplicate);
        }
        let id = id.unwrap_or(TorrentId(shared.next_id));
        shared.next_id = shared.next_id.max(id.0 + 1);
        let peer_id = PeerId::own(&mut shared.rng);
        let entry = Arc::new(Entry::of_link(id, info_hash, peer_id, link, wishes, state));
        shared.hashes.insert(info_hash);
        shared.links.insert(id, Arc::clone(&entry));
        shared.tell(Event::Added(id));
        Ok(entry)
    }

    /// Begins to fetch a link's metadata, unless that is under way or it is paused.
    fn follow_link(&self, entry: &Arc<Entry>) {
        let Some(link) = &entry.link else { return };
        let mut state = link.state();
        if state.paused || state.fetch.is_some() {
            return;
        }
        let mut fetching = match self.fetch(MagnetRequest::new(link.magnet.clone()), Some(entry.id)) {
            Ok(fetching) => fetching,
            Err(error) => {
                drop(state);
                return self.link_failed(entry, &error);
            }
        };
        let figures = fetching.figures.clone();
        let (session, weak) = (self.weak(), Arc::downgrade(entry));
        let task = self.inner.workers.home().spawn(async move {
            let result = fetching.finished().await;
            if let (Some(session), Some(entry)) = (session.upgrade(), weak.upgrade()) {
                session.link_led_to(&entry, result).await;
            }
        });
        state.fetch = Some(LinkFetch { figures, task: task.abort_handle() });
    }

    /// Ends the fetch of a link's metadata, if there is one.
    fn stop_link(&self, entry: &Entry) {
        let fetch = entry.link.as_ref().and_then(|link| link.state().fetch.take());
        if let Some(fetch) = fetch {
            fetch.task.abort();
            self.give_up_fetch_of(entry.id, &entry.info_hash);
        }
    }

    /// A link's metadata is here, or never will be.
    async fn link_led_to(&self, entry: &Arc<Entry>, result: Result<Fetched>) {
        let Some(link) = &entry.link else { return };
        let (paused, forced, goals) = {
            let mut state = link.state();
            state.fetch = None;
            (state.paused, state.forced, state.goals)
        };
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(Error::Closed) => return,
            Err(error) => return self.link_failed(entry, &error),
        };
        let wanted = fetched.select_only().map(|chosen| {
            let numbered = (0u32..).zip(&fetched.metainfo().info.files);
            numbered.map(|(number, file)| !file.pad && chosen.contains(number)).collect::<Vec<bool>>()
        });
        let (labels, limits) = {
            let state = entry.state();
            (state.labels.iter().map(|label| label.as_ref().to_owned()).collect(), state.limits)
        };
        let torrent = AddTorrent {
            output_dir: Some(entry.wishes.root.to_path_buf()),
            incomplete_dir: entry.wishes.incomplete.as_deref().map(Path::to_path_buf),
            wanted,
            sequential: entry.sequential.load(Ordering::Relaxed),
            super_seeding: entry.super_seeding.load(Ordering::Relaxed),
            preallocate: entry.wishes.preallocate,
            limits,
            paused,
            forced,
            labels,
            goals,
            ..AddTorrent::from_magnet(fetched)
        };
        let heritage = torrent.heritage.clone();
        let (torrent, started) = match self.enter(torrent, Some(entry)) {
            Ok(entered) => entered,
            Err(Error::Closed | Error::Gone) => return,
            Err(error) => return self.link_failed(entry, &error),
        };
        if let Err(error) = self.begin(&torrent, started, heritage, Vec::new()).await {
            // It stays in the list, for whoever sees to it that it can start.
            self.shared().tell(Event::Failed { id: torrent.id, message: error.to_string() });
        }
    }

    /// A link leads to no torrent that can be added: it stays in the list and says why.
    fn link_failed(&self, entry: &Entry, error: &Error) {
        let message = error.to_string();
        entry.state().error = Some(message.as_str().into());
        self.shared().tell(Event::Failed { id: entry.id, message });
    }

    /// Tells the library how a link stands.
    pub(super) fn remember_link(&self, entry: &Entry, library: &Library) {
        let Some(link) = &entry.link else { return };
        // One that was removed, or has become a torrent, shall not come back.
        if !self.shared().links.contains_key(&entry.id) {
            return;
        }
        let (paused, forced, goals) = {
            let state = link.state();
            (state.paused, state.forced, state.goals)
        };
        let state = entry.state();
        let bytes = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        library.put_link(KeptLink {
            id: entry.id.0,
            info_hash: entry.info_hash,
            link: link.magnet.to_string(),
            directory: entry.wishes.root.to_path_buf(),
            incomplete: entry.wishes.incomplete.as_deref().map(Into::into),
            labels: state.labels.clone(),
            preallocate: entry.wishes.preallocate,
            paused,
            forced,
            goals,
            limits: (bytes(state.limits.download), bytes(state.limits.upload)),
            sequential: entry.sequential.load(Ordering::Relaxed),
            super_seeding: entry.super_seeding.load(Ordering::Relaxed),
        });
    }

    /// Stops fetching a link's metadata until it is resumed.
    pub(super) async fn pause_link(&self, entry: &Arc<Entry>, link: &Link) -> Result<()> {
        link.state().paused = true;
        self.stop_link(entry);
        self.tell_of_link(entry, Event::Paused(entry.id)).await
    }

    /// Goes on fetching a link's metadata.
    pub(super) async fn resume_link(&self, entry: &Arc<Entry>, link: &Link, forced: bool) -> Result<()> {
        {
            let mut state = link.state();
            state.paused = false;
            state.forced = forced;
        }
        entry.state().error = None;
        if self.shared().links.contains_key(&entry.id) {
            self.follow_link(entry);
        }
        self.tell_of_link(entry, Event::Wanted(entry.id)).await
    }

    pub(super) async fn set_goals_of_link(
        &self,
        entry: &Arc<Entry>,
        link: &Link,
        goals: Option<Goals>,
    ) -> Result<()> {
        link.state().goals = goals;
        self.tell_of_link(entry, Event::GoalsChanged(entry.id)).await
    }

    /// Tells what a person did to a link, and has it remembered.
    pub(super) async fn tell_of_link(&self, entry: &Arc<Entry>, event: Event) -> Result<()> {
        {
            let shared = self.shared();
            if !shared.links.contains_key(&entry.id) {
                return Err(Error::Gone);
            }
            shared.tell(event);
        }
        self.remember(entry);
        self.written().await;
        Ok(())
    }

    /// Takes a link out of the session.
    pub(super) async fn remove_link(&self, entry: &Arc<Entry>, data: bool) -> Result<()> {
        {
            let mut shared = self.shared();
            if shared.links.remove(&entry.id).is_none() {
                return Err(Error::Gone);
            }
            shared.hashes.remove(&entry.info_hash);
        }
        self.stop_link(entry);
        if let Some(library) = self.inner.library.get() {
            library.delete_link(entry.id.0);
        }
        self.written().await;
        self.shared().tell(Event::Removed { id: entry.id, data });
        Ok(())
    }

    /// The way to the fetch of a link's metadata, if it is under way.
    pub(super) fn mailbox_of_link(&self, entry: &Entry) -> Option<mpsc::Sender<ToTorrent>> {
        let shared = self.shared();
        let seeking = shared.fetching.get(&entry.info_hash).filter(|seeking| seeking.id == entry.id)?;
        Some(seeking.mailbox.clone())
    }
}
