//! Bringing a torrent of the list to life: its files are opened and checked, its task begins.

use super::Session;
use super::checking::Checked;
use super::figures::show_found;
use crate::driver::accept::{Door, OpenDoor};
use crate::driver::torrent::{Published, TorrentTask, Watch};
use crate::driver::trackers::Missing;
use crate::driver::{ToTorrent, TorrentIo};
use crate::entry::{Entry, Figures, Life, Running};
use crate::events::TorrentId;
use crate::mapping::Transport;
use crate::naming::Naming;
use crate::opening::{Opened, Place};
use crate::wishes::{executables, file_flags, file_specs, piece_priorities, torrent_links, wanted_pieces};
use crate::{Error, Event, Result, State};
use quelea_metainfo::Info;
use quelea_metainfo::geometry::PieceIndex;
use quelea_resume::{Begun, Plan, Record, SavedBlock};
use quelea_storage::{Options, StorageError, part_file_name, staging_name};
use quelea_swarm::limit::Tree;
use quelea_swarm::torrent::{Config, Torrent as Machine};
use quelea_wire::Bitfield;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for a torrent's task.
const MAILBOX: usize = 1_024;

impl Session {
    /// Opens a torrent's files, checks what lies there, and starts its task.
    ///
    /// With a state to show meanwhile, the task only arranges files: nothing is checked first, and nobody hears of it.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`], [`Error::Duplicate`] or [`Error::Closed`].
    pub(super) async fn wake(&self, entry: &Arc<Entry>, apart: Option<State>) -> Result<()> {
        let (seed, events) = {
            let mut shared = self.shared();
            (shared.rng.u64(..), shared.events.clone().ok_or(Error::Closed)?)
        };
        let mut rng = fastrand::Rng::with_seed(seed);
        let id = entry.id;
        let info = &self.info(entry).await?;
        let files = file_flags(info, entry.wishes.wanted.as_deref());
        let published = &first_figures(entry, apart.unwrap_or(State::Checking));
        entry.state().life = Life::Opening(Arc::clone(published));
        let Opened { store, plan, torn, mut begun, priorities, finished_to } =
            self.open(entry, info, files).await?;
        let wanted_pieces = wanted_pieces(info, &store.wanted());
        let blocks = begun.as_mut().map(|begun| std::mem::take(&mut begun.blocks)).unwrap_or_default();
        let limits = entry.state().limits;
        let limit = self.inner.limiter.branch(Tree::ROOT, limits);
        let io = Arc::new(TorrentIo {
            pool: self.inner.pool.clone(),
            store,
            pipeline: Arc::clone(&self.inner.pipeline),
            binding: Arc::clone(&self.inner.binding),
            connections: Arc::clone(&self.inner.connections),
            ledger: Arc::clone(&self.inner.ledger),
            dialling: Arc::clone(&self.inner.dialling),
            info_hash: info.hashes.wire(),
            pieces: info.geometry.pieces(),
            peer_id: entry.peer_id,
            limit,
            dht: self.dht_of(entry).is_some(),
        });
        // Of a torrent that is new nothing is taken down, so that all is checked when it runs.
        let is_known = begun.as_ref().is_some_and(|begun| begun.saved.is_some());
        let unchecked = apart.is_some() && is_known && !plan.check.is_empty();
        let (mailbox, from_all) = mpsc::channel(MAILBOX);
        let wants_named = entry.state().wants_named;
        let Checked { good: found, cancelled } = match apart {
            Some(_) => Checked::default(),
            None => self.check_first(entry, info, &io, published, &plan).await?,
        };
        if cancelled {
            let record = self.keep(begun, &io, plan, found, wants_named, &mailbox).await?;
            return self.end_cancelled(record).await;
        }
        let mut have = plan.trusted.clone();
        found.iter().for_each(|&piece| _ = have.set(piece));
        if apart.is_none() {
            self.accept(&io, &have, torn).await?;
            entry.state().overwrite = false;
            let shown = show_found(published, &info.geometry, &wanted_pieces, &have);
            entry.state().figures = Figures::of(&shown);
            // What is complete is told once its files are as they should be.
            if shown.state == State::Downloading {
                let _ = events.send(Event::Progress(id, shown));
            }
            // One that only rested, or was paused, stands as it stood.
            let is_news = !std::mem::replace(&mut entry.state().is_told, true) || !plan.check.is_empty();
            if io.store.has_data() && is_news {
                let _ =
                    events.send(Event::Checked { id, good: have.count(), pieces: info.geometry.pieces() });
            }
        }
        let worker = self.inner.workers.place();
        let record = self.keep(begun, &io, plan, found, wants_named, &mailbox).await?;
        if std::mem::take(&mut entry.state().wants_named) {
            self.remember(entry);
        }
        let earlier = entry.state().figures.moved;
        let before = record.as_ref().map_or(earlier, |record| record.before());
        let slots = self.share_slots(id);
        let mut machine =
            Machine::new(self.inner.clock.now(), self.config(info, &io, &wanted_pieces, have, rng.u64(..)));
        machine.set_seed_choking(self.inner.settings.seed_choking);
        if let Some(priorities) = priorities.as_ref().or(entry.wishes.priorities.as_ref()) {
            let pieces = piece_priorities(info, priorities);
            machine.set_priorities(self.inner.clock.now(), |piece| pieces[piece.at()]);
        }
        machine.set_dht_port(self.dht_of(entry).map(|desk| desk.port()));
        for SavedBlock { piece, begin, bytes } in blocks {
            if let Some(span) = info.geometry.span(piece, begin, bytes.len() as u32) {
                let mut block = io.pool.take(bytes.len());
                if block.len() == bytes.len() {
                    block.copy_from_slice(&bytes);
                    machine.restore_block(span, block);
                }
            }
        }
        let missing = Missing::of(&machine.stats(self.inner.clock.now()));
        let task = TorrentTask {
            id,
            machine,
            io: Arc::clone(&io),
            clock: self.inner.clock,
            mailbox: from_all,
            myself: mailbox.clone(),
            events,
            published: Arc::clone(published),
            info: Arc::clone(info),
            is_forgotten: record.is_none() && self.inner.keeper.is_some(),
            keeping: record.zip(self.inner.keeper.clone()),
            before,
            earlier,
            trackers: Arc::clone(&self.inner.trackers),
            dht: self.dht_of(entry).cloned(),
            outside: Arc::clone(&self.inner.outside),
            watch: self.watcher(entry),
            finished_to,
            movers: Arc::clone(&self.inner.movers),
            slots,
            apart,
            unchecked,
        };
        let limit = io.limit.node();
        if apart.is_none() {
            self.announce(entry, missing);
            if let Some(desk) = self.dht_of(entry) {
                desk.attach(id, &mailbox);
            }
            let door = OpenDoor { torrent: mailbox.clone(), io, worker: worker.clone() };
            self.inner.doors.set(entry.info_hash, Door::Open(door));
        }
        self.share_memory(id, info.geometry, &mailbox);
        let published = Arc::clone(published);
        entry.state().life = Life::Running(Running { limit, mailbox, published, apart: apart.is_some() });
        worker.spawn(task.run());
        if let Some(mailbox) = entry.mailbox() {
            // Read after the task can be told, so that no change is lost in between.
            let _ = mailbox.send(ToTorrent::Sequential(entry.sequential.load(Ordering::Relaxed))).await;
            let hides = entry.super_seeding.load(Ordering::Relaxed);
            let _ = mailbox.send(ToTorrent::SuperSeeding(hides)).await;
        }
        entry.tell_limited(&self.inner.limiter).await;
        self.tell_blocked(entry).await;
        self.tell_face(entry).await;
        Ok(())
    }

    /// A torrent's info dictionary, read on a disk thread where it is not at hand.
    async fn info(&self, entry: &Arc<Entry>) -> Result<Arc<Info>> {
        let entry = Arc::clone(entry);
        self.on_disk(move || entry.info()).await?
    }

    /// Hashes what must be hashed before the torrent runs, when its turn comes. The pieces that are good.
    async fn check_first(
        &self,
        entry: &Entry,
        info: &Arc<Info>,
        io: &TorrentIo,
        published: &Published,
        plan: &Plan,
    ) -> Result<Checked> {
        let events = self.shared().events.clone().ok_or(Error::Closed)?;
        if !plan.check.is_empty() && io.store.has_data() {
            self.may_check(entry.id).await?;
        }
        let found = self.check(entry, info, io, published, &events, plan.check.clone()).await;
        self.shared().queue.end_check(entry.id);
        self.dispatch();
        found
    }

    /// Makes sure that what lies there is the torrent's, on a disk thread.
    async fn accept(&self, io: &TorrentIo, have: &Bitfield, torn: bool) -> Result<()> {
        let (store, have) = (Arc::clone(&io.store), have.clone());
        let accepted = self.on_disk(move || store.accept(&|piece| have.has(piece), torn)).await?;
        Ok(accepted?)
    }

    /// Waits for its turn to hash.
    async fn may_check(&self, id: TorrentId) -> Result<()> {
        let (may, granted) = oneshot::channel();
        {
            let mut shared = self.shared();
            shared.checks.insert(id, may);
            shared.queue.want_check(id);
        }
        self.dispatch();
        granted.await.map_err(|_| StorageError::Cancelled.into())
    }

    /// Hears a torrent's figures, as long as the session is there.
    fn watcher(&self, entry: &Arc<Entry>) -> Watch {
        let (inner, entry) = (Arc::downgrade(&self.inner), Arc::downgrade(entry));
        Box::new(move |snapshot, slots, quiet| {
            if let (Some(inner), Some(entry)) = (inner.upgrade(), entry.upgrade()) {
                let session = Session { inner };
                session.want_slots(entry.id, slots);
                session.watch(&entry, snapshot, quiet);
            }
        })
    }

    /// Opens a torrent's files, on a disk thread.
    async fn open(&self, entry: &Entry, info: &Info, files: Vec<bool>) -> Result<Opened> {
        let info_hash = info.hashes.wire();
        let options = Options {
            wanted: Some(files),
            executable: executables(info),
            links: torrent_links(info),
            preallocate: entry.wishes.preallocate,
            overwrite: entry.state().overwrite,
            claims: Some((self.inner.claims.clone(), info.name.clone())),
            part_file: Some(part_file_name(&info.name, &info_hash)),
            pool: self.inner.files.clone(),
            ..Options::default()
        };
        let (specs, geometry) = (file_specs(info), info.geometry);
        let (keeper, wishes) = (self.inner.keeper.clone(), entry.wishes.clone());
        let (wants_named, placed) = {
            let state = entry.state();
            (state.wants_named, state.placed.clone())
        };
        let staging = staging_name(&info.name, &info_hash);
        let naming = Naming::new(info, self.inner.settings.names);
        let opened = self.on_disk(move || {
            let place = Place {
                keeper: keeper.as_deref(),
                info_hash,
                home: &wishes.root,
                incomplete: wishes.incomplete.as_deref(),
                placed: placed.as_deref(),
                naming: &naming,
                staging: &staging,
                wants_named,
            };
            Opened::open(place, specs, geometry, options)
        });
        opened.await?
    }

    fn config(&self, info: &Info, io: &TorrentIo, wanted: &[bool], have: Bitfield, seed: u64) -> Config {
        let mut pieces = Bitfield::none(info.geometry.pieces());
        for piece in info.geometry.iter().filter(|piece| wanted[piece.at()]) {
            pieces.set(piece);
        }
        Config {
            geometry: info.geometry,
            info_hash: io.info_hash,
            peer_id: io.peer_id,
            client: format!("Quelea {}", env!("CARGO_PKG_VERSION")),
            port: Some(self.inner.outside.port(Transport::Tcp)),
            metadata: info.shared_raw(),
            private: info.private,
            pex: self.inner.settings.pex,
            wanted: pieces,
            have,
            max_peers: self.inner.descriptors.peers,
            max_half_open: self.inner.descriptors.half_open,
            // Its share follows before anybody is let in.
            upload_slots: 0,
            open_pieces: self.open_pieces(&info.geometry),
            seed,
        }
    }

    /// Begins to remember what a torrent does, where anything is remembered.
    async fn keep(
        &self,
        begun: Option<Begun>,
        io: &TorrentIo,
        mut plan: Plan,
        found: Vec<PieceIndex>,
        wants_named: bool,
        mailbox: &mpsc::Sender<ToTorrent>,
    ) -> Result<Option<Arc<Record>>> {
        let Some((begun, keeper)) = begun.zip(self.inner.keeper.clone()) else { return Ok(None) };
        let (store, torrent) = (Arc::clone(&io.store), mailbox.downgrade());
        let on_trouble = move |error| {
            // It hears of it again, as long as it lasts.
            if let Some(torrent) = torrent.upgrade() {
                let _ = torrent.try_send(ToTorrent::DiskTrouble(error));
            }
        };
        plan.forget_unproven(&store);
        self.on_disk(move || {
            let record = keeper.keep(begun, store, &plan, Box::new(on_trouble))?;
            if wants_named && let Err(error) = keeper.set_priorities(&record, None) {
                tracing::warn!(%error, "what was wanted earlier could not be forgotten");
            }
            if !found.is_empty() {
                record.found(found.into_iter());
                keeper.hurry();
            }
            Some(record)
        })
        .await
    }
}

/// The figures that a torrent shows until its task has its own.
fn first_figures(entry: &Entry, state: State) -> Published {
    Arc::new(Mutex::new(entry.snapshot(state)))
}
