//! Bringing a torrent of the list to life: its files are opened and checked, its task begins.

use super::Session;
use super::figures::show_found;
use crate::driver::accept::Door;
use crate::driver::torrent::TorrentTask;
use crate::driver::tracker::{self, Carrier};
use crate::driver::{ToTorrent, TorrentIo};
use crate::entry::{Entry, Running};
use crate::opening::{Opened, Place};
use crate::wishes::{file_specs, length_of, piece_priorities, wanted_pieces};
use crate::{Error, Event, Result};
use quelea_metainfo::Info;
use quelea_metainfo::geometry::PieceIndex;
use quelea_resume::{Begun, Plan, Record, SavedBlock};
use quelea_storage::{Options, part_file_name};
use quelea_swarm::limit::Tree;
use quelea_swarm::torrent::{Config, Torrent as Machine};
use quelea_tracker::{Announcer, Identity};
use quelea_wire::{Bitfield, PeerId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Messages that may wait for a torrent's task.
const MAILBOX: usize = 1_024;

impl Session {
    /// Opens a torrent's files, checks what lies there, and starts its task.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`], [`Error::Duplicate`] or [`Error::Closed`].
    pub(super) async fn wake(&self, entry: &Arc<Entry>) -> Result<()> {
        let (seed, events) = {
            let mut shared = self.shared();
            (shared.rng.u64(..), shared.events.clone().ok_or(Error::Closed)?)
        };
        let mut rng = fastrand::Rng::with_seed(seed);
        let (id, info, published) = (entry.id, &entry.info, &entry.published);
        let wanted_pieces = wanted_pieces(info, &entry.wishes.wanted);
        let Opened { store, plan, mut begun } = self.open(entry).await?;
        let blocks = begun.as_mut().map(|begun| std::mem::take(&mut begun.blocks)).unwrap_or_default();
        let limit = self.inner.limiter.branch(Tree::ROOT, entry.limits());
        let io = Arc::new(TorrentIo {
            pool: self.inner.pool.clone(),
            store,
            pipeline: Arc::clone(&self.inner.pipeline),
            binding: Arc::clone(&self.inner.binding),
            connections: Arc::clone(&self.inner.connections),
            dialling: Arc::clone(&self.inner.dialling),
            info_hash: info.hashes.wire(),
            pieces: info.geometry.pieces(),
            peer_id: PeerId::own(&mut rng),
            limit,
        });
        let found = self.check(info, &io, published, &events, plan.check.clone()).await?;
        let mut have = plan.trusted.clone();
        found.iter().for_each(|&piece| _ = have.set(piece));
        if io.store.has_data() {
            let _ = events.send(Event::Checked { id, good: have.count(), pieces: info.geometry.pieces() });
        }
        show_found(published, &info.geometry, &wanted_pieces, &have);
        let (mailbox, from_all) = mpsc::channel(MAILBOX);
        let worker = self.inner.workers.place();
        let door = Door { torrent: mailbox.clone(), io: Arc::clone(&io), worker: worker.clone() };
        if !self.inner.doors.open(io.info_hash, door) {
            return Err(Error::Duplicate);
        }
        let record = self.keep(begun, &io, plan, found, &mailbox).await?;
        let before = record.as_ref().map(|record| record.before()).unwrap_or_default();
        let mut machine =
            Machine::new(self.inner.clock.now(), self.config(info, &io, &wanted_pieces, have, rng.u64(..)));
        if let Some(priorities) = &entry.wishes.priorities {
            let pieces = piece_priorities(info, priorities);
            machine.set_priorities(self.inner.clock.now(), |piece| pieces[piece.at()]);
        }
        for SavedBlock { piece, begin, bytes } in blocks {
            if let Some(span) = info.geometry.span(piece, begin, bytes.len() as u32) {
                let mut block = io.pool.take(bytes.len());
                if block.len() == bytes.len() {
                    block.copy_from_slice(&bytes);
                    machine.restore_block(span, block);
                }
            }
        }
        let task = TorrentTask {
            id,
            machine,
            io: Arc::clone(&io),
            clock: self.inner.clock,
            mailbox: from_all,
            myself: mailbox.clone(),
            events,
            published: Arc::clone(published),
            wanted_length: length_of(&info.geometry, &wanted_pieces),
            wanted: wanted_pieces,
            info: Arc::clone(info),
            keeping: record.zip(self.inner.keeper.clone()),
            before,
        };
        let tiers = entry.trackers.clone();
        let announcer = if info.private {
            Announcer::private(tiers, rng.u64(..))
        } else {
            Announcer::new(tiers, rng.u64(..))
        };
        let carrier = Arc::new(Carrier {
            http: Arc::clone(&self.inner.http),
            udp: self.inner.udp.clone(),
            binding: Arc::clone(&self.inner.binding),
            torrent: mailbox.downgrade(),
        });
        let setup = tracker::Setup {
            announcer,
            identity: Identity {
                info_hash: io.info_hash,
                peer_id: io.peer_id.0,
                port: self.inner.port,
                key: rng.u32(..),
            },
            carrier: Arc::clone(&carrier),
        };
        worker.spawn(task.run(setup));
        entry.set_running(Running { limit: io.limit.node(), mailbox, carrier, worker });
        if let Some(mailbox) = entry.mailbox() {
            // Read after the task can be told, so that no change is lost in between.
            let _ = mailbox.send(ToTorrent::Sequential(entry.sequential.load(Ordering::Relaxed))).await;
        }
        entry.tell_limited(&self.inner.limiter).await;
        self.tell_blocked(entry).await;
        self.divide_memory().await;
        Ok(())
    }

    /// Opens a torrent's files, on a disk thread.
    async fn open(&self, entry: &Entry) -> Result<Opened> {
        let info = &entry.info;
        let info_hash = info.hashes.wire();
        let options = Options {
            wanted: Some(entry.wishes.wanted.clone()),
            preallocate: entry.wishes.preallocate,
            part_file: Some(part_file_name(&info.name, &info_hash)),
            pool: self.inner.files.clone(),
            ..Options::default()
        };
        let (specs, geometry) = (file_specs(info), info.geometry);
        let (keeper, root) = (self.inner.keeper.clone(), entry.wishes.root.clone());
        let opened = self.on_disk(move || {
            let place = Place { keeper: keeper.as_deref(), info_hash, root: &root };
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
            port: Some(self.inner.port),
            wanted: pieces,
            have,
            max_peers: self.inner.descriptors.peers,
            max_half_open: self.inner.descriptors.half_open,
            upload_slots: self.inner.settings.upload_slots,
            open_pieces: self.open_pieces(&info.geometry, 1),
            seed,
        }
    }

    /// Begins to remember what a torrent does, where anything is remembered.
    async fn keep(
        &self,
        begun: Option<Begun>,
        io: &TorrentIo,
        plan: Plan,
        found: Vec<PieceIndex>,
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
        self.on_disk(move || {
            let record = keeper.keep(begun, store, &plan, Box::new(on_trouble))?;
            if !found.is_empty() {
                record.found(found.into_iter());
                keeper.hurry();
            }
            Some(record)
        })
        .await
    }
}
