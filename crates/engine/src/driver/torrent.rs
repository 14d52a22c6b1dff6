//! A torrent's task: feeds its machine, and does what the machine says.

pub(crate) mod changes;
mod disturbed;
mod figures;
pub(crate) mod recheck;
mod trouble;

use super::dht::Desk;
use super::dial::dial;
use super::trackers::Trackers;
use super::{Report, Reported, ToTorrent, TorrentIo};
use crate::clock::Clock;
use crate::events::{Event, TorrentId};
use crate::outbox::Outbox;
use crate::outside::Outside;
use crate::session::slots::{Share, Use};
use crate::snapshot::{Snapshot, State, TrackerStatus};
use changes::Changes;
use disturbed::Disturbance;
use quelea_block::BlockBuf;
use quelea_discovery::external::Witness;
use quelea_metainfo::Info;
use quelea_metainfo::geometry::{BLOCK_LENGTH, PieceIndex, Span};
use quelea_resume::{Ending, Keeper, Record, SavedBlock, Totals};
use quelea_storage::{LinkLeftOut, PieceJob, PieceOutcome, PieceVerdict, StorageError};
use quelea_swarm::event::{Event as SwarmEvent, Output, Verdict};
use quelea_swarm::peers::PeerKey;
use quelea_swarm::torrent::Torrent as Machine;
use quelea_time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use trouble::Trouble;

/// How often figures are published.
const PUBLISH: Duration = Duration::from_millis(250);
/// Messages handled before the outputs are drained.
const BATCH: usize = 64;
/// What is being hashed and written has this long to be done when the torrent stops.
const LAST_WRITES: Duration = Duration::from_secs(3);
/// The disk has this long to take the last of it. After that the next run hashes what this one wrote.
const SAVING: Duration = Duration::from_secs(10);

/// Blocks of pieces that are not whole are saved up to this many: 64 MiB.
const SAVED_BLOCKS: usize = (64 << 20) / BLOCK_LENGTH as usize;

/// A torrent's latest figures, for whoever looks.
pub(crate) type Published = Arc<Mutex<Arc<Snapshot>>>;

/// Everything a torrent's task is made from.
pub(crate) struct TorrentTask {
    pub(crate) id: TorrentId,
    pub(crate) info: Arc<Info>,
    pub(crate) machine: Machine<BlockBuf>,
    pub(crate) io: Arc<TorrentIo>,
    pub(crate) clock: Clock,
    pub(crate) mailbox: mpsc::Receiver<ToTorrent>,
    pub(crate) myself: mpsc::Sender<ToTorrent>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) published: Published,
    /// Where this torrent is remembered, if it is.
    pub(crate) keeping: Option<(Arc<Record>, Arc<Keeper>)>,
    /// Whether the session remembers torrents and failed to begin with this one: where its files went would be forgotten.
    pub(crate) is_forgotten: bool,
    /// What earlier sessions moved.
    pub(crate) before: Totals,
    /// What earlier tasks of this session moved, which is part of `before` where that is remembered.
    pub(crate) earlier: Totals,
    pub(crate) trackers: Arc<Trackers>,
    /// The node of the DHT, unless it is private.
    pub(crate) dht: Option<Arc<Desk>>,
    pub(crate) outside: Arc<Outside>,
    /// Hears the figures whenever they are published.
    pub(crate) watch: Watch,
    /// Where the files go once they are complete, if they are not there.
    pub(crate) finished_to: Option<PathBuf>,
    /// Those who move files to other directories, in the whole session.
    pub(crate) movers: Arc<Semaphore>,
    /// The upload slots that the session lets it have.
    pub(crate) slots: Share,
    /// The torrent's state, where the task is there to arrange its files alone: then it knows no peer.
    pub(crate) apart: Option<State>,
    /// Whether there are pieces that should have been hashed first, so that more may be here than is known.
    pub(crate) unchecked: bool,
}

/// Hears a torrent's figures, what it does with its upload slots, and whether it is a seed that nobody wants anything of.
pub(crate) type Watch = Box<dyn Fn(&Arc<Snapshot>, Use, bool) + Send>;

struct Running {
    task: TorrentTask,
    outboxes: BTreeMap<PeerKey, Arc<Outbox>>,
    /// Outboxes with work whose connections are not woken yet.
    touched: BTreeSet<PeerKey>,
    tracker_statuses: Vec<TrackerStatus>,
    trackers_answered: bool,
    trouble: Option<Trouble>,
    /// The trackers' task is to hear that our network is back.
    found_back: bool,
    changes: Changes,
    disturbance: Disturbance,
    /// Whether it became complete while something else was done with its files.
    completes: bool,
    files: Files,
}

/// Whether the files of a complete torrent are as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// Nobody knows.
    Unfinished,
    /// They get their exact lengths.
    Finishing,
    /// They are.
    Finished,
}

impl TorrentTask {
    /// Runs until it is told to stop.
    pub(crate) async fn run(self) {
        self.trackers.attach(self.id, &self.myself);
        let mut running = Running {
            task: self,
            outboxes: BTreeMap::new(),
            touched: BTreeSet::new(),
            tracker_statuses: Vec::new(),
            trackers_answered: false,
            trouble: None,
            found_back: false,
            changes: Changes::default(),
            disturbance: Disturbance::default(),
            completes: false,
            files: Files::Unfinished,
        };
        if let Some(goodbye) = running.run().await {
            let _ = goodbye.send(running.placement());
        }
    }
}

impl Running {
    async fn run(&mut self) -> Option<oneshot::Sender<changes::Placement>> {
        let mut publish = tokio::time::interval(PUBLISH);
        publish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        if self.task.apart.is_some() {
            let now = self.now();
            self.task.machine.stop(now);
        }
        self.drain();
        if self.task.machine.is_complete() {
            self.finish();
        }
        loop {
            let (clock, due) = (self.task.clock, self.task.machine.timeout());
            let retry_due = self.retry_due();
            tokio::select! {
                biased;
                count = self.task.mailbox.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return None;
                    }
                    let mut taken = Vec::new();
                    for message in batch.drain(..) {
                        if let ToTorrent::Stop(done) = message {
                            self.stop().await;
                            return Some(done);
                        }
                        taken.extend(self.handle(message));
                    }
                    self.drain();
                    for peer in taken {
                        if let Some(outbox) = self.outboxes.get(&peer) {
                            outbox.report_taken(self.task.machine.has_delivered(peer));
                        }
                    }
                }
                () = clock.sleep_until(due) => {
                    let now = self.now();
                    self.task.machine.handle_timeout(now);
                    self.drain();
                }
                () = clock.sleep_until(retry_due) => {
                    self.retry();
                    self.drain();
                }
                _ = publish.tick() => {
                    self.publish();
                    self.drain();
                }
            }
        }
    }

    fn now(&self) -> Time {
        self.task.clock.now()
    }

    /// Handles a message. The peer whose report it was, to be acknowledged.
    fn handle(&mut self, message: ToTorrent) -> Option<PeerKey> {
        let now = self.now();
        let machine = &mut self.task.machine;
        match message {
            ToTorrent::Connected { hello, reply } => {
                let admitted = machine.handle_connected(now, hello).map(|key| {
                    let outbox = Arc::new(Outbox::default());
                    self.outboxes.insert(key, Arc::clone(&outbox));
                    (key, outbox)
                });
                if let Err(Ok((key, _))) = reply.send(admitted) {
                    self.outboxes.remove(&key);
                    self.task.machine.handle_disconnected(now, key);
                }
            }
            ToTorrent::ConnectFailed(address) => machine.handle_connect_failed(now, address),
            ToTorrent::Report(report) => return self.handle_report(now, report),
            ToTorrent::Verified { piece, outcome } => self.handle_verified(now, piece, outcome),
            ToTorrent::Addresses { found, source } => machine.handle_addresses(now, found, source),
            ToTorrent::Trackers { statuses, answered } => {
                self.tracker_statuses = statuses;
                self.trackers_answered |= answered;
            }
            ToTorrent::Face(face) => machine.set_face(face.port, face.addresses),
            ToTorrent::Finished(result) => self.handle_finished(now, result),
            ToTorrent::Change(change) => self.wish(now, change),
            ToTorrent::Changed(changed) => self.handle_changed(now, changed),
            ToTorrent::Where(reply) => _ = reply.send(self.placement()),
            ToTorrent::DiskTrouble(error @ StorageError::Disturbed(_)) => self.note_disturbed(now, &error),
            ToTorrent::DiskTrouble(error) => self.fail(now, &error),
            ToTorrent::Mended(result) => self.handle_mended(now, result),
            ToTorrent::Retry => self.retry(),
            ToTorrent::OpenPieces(pieces) => machine.set_open_pieces(pieces),
            ToTorrent::Filter(filter) => machine.set_filter(now, filter),
            ToTorrent::Ban { ip, banned: true } => machine.handle_ban(now, ip),
            ToTorrent::Ban { ip, banned: false } => machine.handle_unban(ip),
            ToTorrent::Sequential(sequential) => machine.set_sequential(sequential),
            ToTorrent::SuperSeeding(on) => machine.set_super_seeding(now, on),
            ToTorrent::DownloadLimited(limited) => machine.set_download_limited(limited),
            ToTorrent::Stop(_) => {}
        }
        None
    }

    fn handle_report(&mut self, now: Time, report: Report) -> Option<PeerKey> {
        let peer = report.peer;
        let machine = &mut self.task.machine;
        for event in report.events {
            match event {
                Reported::Message(message) => machine.handle_message(now, peer, &message),
                Reported::Block(span, block) => machine.handle_block(now, peer, span, block),
                Reported::Uploaded(span) => machine.handle_uploaded(now, peer, span),
                Reported::UploadFailed(span) => machine.handle_upload_failed(now, peer, span),
                Reported::Alive => machine.handle_alive(now, peer),
                Reported::Closed => {
                    machine.handle_disconnected(now, peer);
                    self.outboxes.remove(&peer);
                }
                Reported::Fault(what) => {
                    machine.handle_fault(now, peer, what);
                    self.outboxes.remove(&peer);
                }
            }
        }
        Some(peer)
    }

    fn handle_verified(&mut self, now: Time, piece: PieceIndex, outcome: PieceOutcome) {
        match outcome.verdict {
            PieceVerdict::Written => {
                self.task.machine.handle_verdict(now, piece, Verdict::Written, &outcome.block_digests);
                self.tried(now, piece);
            }
            PieceVerdict::HashMismatch => {
                self.task.machine.handle_verdict(now, piece, Verdict::Mismatch, &outcome.block_digests);
                self.tried(now, piece);
            }
            PieceVerdict::Failed(error) => self.not_written(now, piece, outcome.blocks, &error),
        }
        self.go_on_with_recheck(now);
    }

    /// Does what the machine wants.
    fn drain(&mut self) {
        let now = self.now();
        while let Some(output) = self.task.machine.poll_output(now) {
            match output {
                Output::Connect(address) => {
                    tokio::spawn(dial(address, self.task.myself.clone(), Arc::clone(&self.task.io)));
                }
                Output::Send(key, message) => {
                    if let Some(outbox) = self.outboxes.get(&key) {
                        outbox.send(&message);
                        self.touched.insert(key);
                    }
                }
                Output::Upload(key, span) => {
                    if let Some(outbox) = self.outboxes.get(&key) {
                        outbox.upload(span);
                        self.touched.insert(key);
                    }
                }
                Output::Read(key, read) => {
                    if let Some(outbox) = self.outboxes.get(&key) {
                        outbox.read(read);
                        self.touched.insert(key);
                    }
                }
                Output::Disconnect(key, why) => {
                    tracing::debug!(peer = %key, ?why, "disconnecting");
                    if let Some(outbox) = self.outboxes.remove(&key) {
                        outbox.close();
                    }
                }
                Output::Verify { piece, blocks, digest_blocks } => self.verify(piece, blocks, digest_blocks),
                Output::Event(event) => self.tell_swarm_event(event),
            }
        }
        for key in std::mem::take(&mut self.touched) {
            if let Some(outbox) = self.outboxes.get(&key) {
                outbox.wake();
            }
        }
    }

    fn verify(&mut self, piece: PieceIndex, blocks: Vec<BlockBuf>, digest_blocks: bool) {
        let Some(expected) = self.task.info.piece_hash(piece) else { return };
        let torrent = self.task.myself.clone();
        let record = self.task.keeping.as_ref().map(|(record, _)| Arc::clone(record));
        self.task.io.pipeline.submit(PieceJob {
            store: Arc::clone(&self.task.io.store),
            piece,
            blocks,
            expected: *expected,
            digest_blocks,
            // The mailbox has room for every piece that may be open, and the torrent never waits for a lane.
            done: Box::new(move |outcome| {
                if let (PieceVerdict::Written, Some(record)) = (&outcome.verdict, record) {
                    record.written(piece);
                }
                let _ = torrent.blocking_send(ToTorrent::Verified { piece, outcome });
            }),
        });
    }

    fn tell_swarm_event(&mut self, event: SwarmEvent) {
        let id = self.task.id;
        match event {
            SwarmEvent::PieceDone(_) => {}
            SwarmEvent::PieceFailed(piece) => self.tell(Event::PieceFailed { id, piece: piece.get() }),
            SwarmEvent::Banned(address, reason) => self.tell(Event::PeerBanned { id, address, reason }),
            SwarmEvent::Completed => self.finish(),
            SwarmEvent::FoundBack => {
                self.found_back = true;
                self.task.outside.doubt();
            }
            SwarmEvent::SeenAt { by, address } => self.task.outside.vote(Witness::Peer(by), address),
            SwarmEvent::Node(node) => {
                if let Some(desk) = &self.task.dht {
                    desk.add_node(node);
                }
            }
            other => tracing::debug!(?other, "an event without words"),
        }
    }

    /// All wanted pieces are there: the files get their exact lengths, once the torrent runs.
    fn finish(&mut self) {
        if self.task.apart.is_some() {
            return;
        }
        self.files = Files::Finishing;
        let (store, torrent) = (Arc::clone(&self.task.io.store), self.task.myself.clone());
        let events = self.task.events.clone();
        self.task.io.pipeline.run(move || {
            // From here on it is read, so that other torrents of the same files may be.
            let finished = store.finish(false).and_then(|()| store.end_writing());
            if finished.is_ok() {
                for LinkLeftOut { path, reason } in store.make_links() {
                    let _ = events.send(Event::Warning(format!("the link {path:?} is not made: {reason}")));
                }
            }
            let _ = torrent.blocking_send(ToTorrent::Finished(finished));
        });
    }

    fn handle_finished(&mut self, now: Time, result: Result<(), StorageError>) {
        match result {
            Ok(()) => {
                self.files = Files::Finished;
                self.completed(now);
            }
            Err(error) => {
                self.files = Files::Unfinished;
                self.not_finished(now, &error);
            }
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listening is no fault.
        let _ = self.task.events.send(event);
    }

    async fn stop(&mut self) {
        let now = self.now();
        self.note();
        self.task.machine.stop(now);
        self.drain();
        // What is being hashed and written is finished, so that the next run finds it.
        self.changes.cancel();
        self.changes.end_recheck();
        self.disturbance = Disturbance::default();
        self.task.finished_to = None;
        let patience = tokio::time::sleep(LAST_WRITES);
        tokio::pin!(patience);
        while self.is_writing(now) || self.files == Files::Finishing {
            tokio::select! {
                message = self.task.mailbox.recv() => match message {
                    Some(ToTorrent::Verified { piece, outcome }) => {
                        self.handle_verified(now, piece, outcome);
                        self.drain();
                    }
                    Some(ToTorrent::Finished(result)) => self.handle_finished(now, result),
                    Some(ToTorrent::Changed(changed)) => self.handle_changed(now, changed),
                    Some(_) => {}
                    None => break,
                },
                () = &mut patience => break,
            }
        }
        // Files on their way are in two places; whoever comes next must find them in one.
        while self.changes.must_end() {
            match self.task.mailbox.recv().await {
                Some(ToTorrent::Changed(changed)) => self.handle_changed(now, changed),
                Some(_) => {}
                None => break,
            }
        }
        self.publish();
        self.save(now).await;
        self.disclaim().await;
    }

    /// Gives the files back, which connections that end may keep a little longer: the next task of the torrent, or another
    /// torrent, shall find them free.
    async fn disclaim(&mut self) {
        let store = Arc::clone(&self.task.io.store);
        let (done, disclaimed) = oneshot::channel();
        self.task.io.pipeline.run(move || {
            store.disclaim();
            // Who no longer waits for it needs not be told.
            let _ = done.send(());
        });
        if tokio::time::timeout(SAVING, disclaimed).await.is_err() {
            tracing::warn!("the disk is slow: the torrent's files are not given back yet");
        }
    }

    /// Whether pieces are being hashed and written, those left out that wait for the disk to be mended.
    fn is_writing(&mut self, now: Time) -> bool {
        let waiting = self.trouble.as_ref().map_or(0, Trouble::waiting);
        self.task.machine.stats(now).pieces_verifying > waiting
    }

    /// Has all of it remembered, so that the next run goes on from here.
    async fn save(&mut self, now: Time) {
        let Some((record, keeper)) = self.task.keeping.take() else { return };
        // What was not checked is to be checked next time, as after a stop that was not clean.
        let clean = !self.is_writing(now) && !self.task.unchecked;
        let blocks = clean.then(|| self.blocks_to_save());
        save_last(&keeper, |done| Ending { record, blocks, done }).await;
    }
}

/// Saves a torrent for the last time, and waits for that, though not forever.
pub(crate) async fn save_last(keeper: &Keeper, ending: impl FnOnce(Box<dyn FnOnce() + Send>) -> Ending) {
    let (done, saved) = oneshot::channel();
    let done = move || {
        // Whoever no longer waits for it need not be told.
        let _ = done.send(());
    };
    keeper.end(ending(Box::new(done)));
    if tokio::time::timeout(SAVING, saved).await.is_err() {
        tracing::warn!("the disk is slow: the next start checks what was written last");
    }
}

impl Running {
    /// Blocks that are on no disk: of pieces that are not whole, and of those that the disk refused.
    fn blocks_to_save(&mut self) -> Vec<SavedBlock<BlockBuf>> {
        let geometry = self.task.info.geometry;
        let unwritten = self.trouble.take().map(Trouble::into_unwritten).unwrap_or_default();
        let whole = unwritten.into_iter().flat_map(|(piece, blocks)| {
            (0..).zip(blocks).filter_map(move |(number, block)| Some((geometry.block(piece, number)?, block)))
        });
        let open = self.task.machine.take_blocks();
        let saved = |(span, bytes): (Span, BlockBuf)| SavedBlock {
            piece: span.piece.get(),
            begin: span.begin,
            bytes,
        };
        whole.chain(open).take(SAVED_BLOCKS).map(saved).collect()
    }
}
