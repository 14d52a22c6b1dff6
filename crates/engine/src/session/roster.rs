//! Who runs: does what the queue says, wakes who is wanted, and lets rest who is not.
//!
//! A torrent's task starts and stops in [`Session::settle`], one call at a time for each. It asks what the torrent
//! should do at this moment and brings that about, until the two agree; so whatever is decided in between is done
//! in the end, and nothing is done twice.

use super::{Inner, Session};
use crate::clock::Clock;
use crate::driver::ToTorrent;
use crate::driver::accept::{Door, Knock};
use crate::driver::trackers::{Found, Missing};
use crate::entry::{Entry, Life};
use crate::events::TorrentId;
use crate::mapping::Transport;
use crate::{Error, Event, Result, Snapshot, State};
use quelea_storage::StorageError;
use quelea_swarm::queue::{Figures, Output, Stage, Standing, Then};
use quelea_tracker::{Announcer, Identity};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// How often the queue hears how a torrent does.
const TELL: Duration = Duration::from_secs(1);

/// What a torrent should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Off,
    /// Announce and take connections, without a task.
    Rest,
    /// Have files arranged by a task that knows no peer.
    Apart,
    Run,
}

/// The task that a torrent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    None,
    Apart,
    Usual,
}

impl Session {
    /// Does what the queue says.
    pub(super) fn dispatch(&self) {
        let now = self.inner.clock.now();
        let (mut settle, mut reached) = (Vec::new(), Vec::new());
        {
            let mut shared = self.shared();
            let Some(events) = shared.events.clone() else { return };
            while let Some(output) = shared.queue.poll_output(now) {
                match output {
                    Output::Start(id) => settle.extend(shared.torrents.get(&id).cloned()),
                    Output::Stop(id) => {
                        shared.stop_checking(id);
                        settle.extend(shared.torrents.get(&id).cloned());
                        if shared.queue.standing(id) == Some(Standing::Queued) {
                            let _ = events.send(Event::Queued(id));
                        }
                    }
                    Output::Check(id) => {
                        if let Some(may) = shared.checks.remove(&id) {
                            let _ = may.send(());
                        }
                    }
                    Output::Reached(id, goal, then) => {
                        let _ = events.send(Event::GoalReached { id, goal, then });
                        reached.extend(shared.torrents.get(&id).cloned().map(|entry| (entry, then)));
                    }
                }
            }
        }
        for entry in settle {
            if !self.is_settled(&entry) {
                self.spawn_settle(&entry);
            }
        }
        for (entry, then) in reached {
            self.remember(&entry);
            let data = match then {
                Then::Pause => continue,
                Then::Remove => false,
                Then::RemoveWithData => true,
            };
            let session = self.clone();
            self.inner.workers.home().spawn(async move {
                if let Err(error) = session.remove(&entry, data).await {
                    tracing::warn!(%error, "a torrent that has seeded enough could not be removed");
                }
            });
        }
        self.inner.stir.notify_one();
    }

    pub(super) fn spawn_settle(&self, entry: &Arc<Entry>) {
        let (session, entry) = (self.clone(), Arc::clone(entry));
        self.inner.workers.home().spawn(async move { session.settle(&entry).await });
    }

    /// Brings a torrent that has no task, and needs none, to where it should be. Whether that is all.
    fn is_settled(&self, entry: &Arc<Entry>) -> bool {
        let Ok(_turn) = entry.turn.try_lock() else { return false };
        if !matches!(entry.state().life, Life::Resting) {
            return false;
        }
        match self.aim(entry) {
            Aim::Run | Aim::Apart => return false,
            Aim::Rest => self.rest(entry),
            Aim::Off => self.withdraw(entry),
        }
        true
    }

    /// Brings a torrent to where it should be.
    pub(super) async fn settle(&self, entry: &Arc<Entry>) {
        // Whoever wants its files arranged asks for itself.
        let _ = self.bring(entry).await;
    }

    /// Brings a torrent to where it should be.
    ///
    /// # Errors
    /// Why its files cannot be arranged.
    pub(super) async fn bring(&self, entry: &Arc<Entry>) -> Result<()> {
        let _turn = entry.turn.lock().await;
        loop {
            let task = match &entry.state().life {
                Life::Running(running) if running.apart => Task::Apart,
                Life::Running(_) => Task::Usual,
                Life::Opening(_) | Life::Resting => Task::None,
            };
            match (self.aim(entry), task) {
                (Aim::Run, Task::Usual) | (Aim::Apart, Task::Apart) => break,
                (Aim::Run | Aim::Rest | Aim::Off, Task::Apart) => self.stop_task(entry).await,
                (Aim::Apart, Task::None) => {
                    let state = self.resting_state(entry);
                    if let Err(error) = self.wake(entry, Some(state)).await {
                        entry.state().life = Life::Resting;
                        if self.aim(entry) == Aim::Apart {
                            return Err(error);
                        }
                    }
                }
                (Aim::Run, Task::None) => {
                    entry.state().wanted = true;
                    if let Err(error) = self.wake(entry, None).await {
                        entry.state().life = Life::Resting;
                        // A check that was cut short is begun again if the torrent may run again by now.
                        let cancelled = matches!(error, Error::Storage(StorageError::Cancelled));
                        if !cancelled && self.aim(entry) == Aim::Run {
                            self.fail(entry, error);
                            return Ok(());
                        }
                    }
                }
                (Aim::Rest, Task::Usual) => {
                    self.inner.doors.set(entry.info_hash, Door::Resting(entry.id));
                    self.stop_task(entry).await;
                    self.inner.trackers.detach(entry.id);
                    self.detach_dht(entry);
                }
                (Aim::Off | Aim::Apart, Task::Usual) => {
                    self.inner.doors.close(&entry.info_hash);
                    self.stop_task(entry).await;
                    self.withdraw(entry);
                }
                (Aim::Rest, Task::None) => {
                    self.rest(entry);
                    break;
                }
                (Aim::Off, Task::None) => {
                    self.withdraw(entry);
                    break;
                }
            }
        }
        self.answer(entry.id, Ok(()));
        Ok(())
    }

    /// Whether a torrent should have a task at this moment.
    pub(super) fn may_run(&self, entry: &Entry) -> bool {
        self.aim(entry) == Aim::Run
    }

    /// What a torrent should do at this moment.
    fn aim(&self, entry: &Entry) -> Aim {
        let standing = {
            let shared = self.shared();
            if shared.events.is_none() { None } else { shared.queue.standing(entry.id) }
        };
        let state = entry.state();
        let is_apart = matches!(&state.life, Life::Running(running) if running.apart);
        match standing {
            Some(_) if state.leaving => Aim::Off,
            // One that may run waits until its files are arranged.
            Some(Standing::Paused | Standing::Failed | Standing::Queued) if state.arranging > 0 => Aim::Apart,
            Some(Standing::Active) if is_apart && state.arranging > 0 => Aim::Apart,
            Some(Standing::Active) if state.whole && !state.wanted => Aim::Rest,
            Some(Standing::Active) => Aim::Run,
            Some(Standing::Paused | Standing::Failed | Standing::Queued) | None => Aim::Off,
        }
    }

    /// A torrent announces and takes connections, without a task.
    fn rest(&self, entry: &Arc<Entry>) {
        self.inner.doors.set(entry.info_hash, Door::Resting(entry.id));
        let missing = entry.state().figures.missing();
        self.announce(entry, missing);
    }

    /// A torrent neither announces nor takes connections.
    fn withdraw(&self, entry: &Arc<Entry>) {
        self.inner.doors.close(&entry.info_hash);
        self.fall_silent(entry);
        // Nobody waits for it but the end of the session, which asks for itself.
        drop(self.inner.trackers.leave(entry.id));
        self.leave_dht(entry);
    }

    /// A torrent is announced to the neighbours, unless it is private (BEP 27) or the user wants none of it.
    fn call_out(&self, entry: &Entry) {
        if let Some(neighbours) = self.inner.neighbours.as_ref().filter(|_| !entry.private) {
            neighbours.enter(entry.info_hash, entry.id);
        }
    }

    /// A torrent is announced to the neighbours no more.
    pub(super) fn fall_silent(&self, entry: &Entry) {
        if let Some(neighbours) = &self.inner.neighbours {
            neighbours.leave(&entry.info_hash);
        }
    }

    /// A torrent begins to announce, to its trackers, the DHT and the neighbours, where it does not yet.
    pub(super) fn announce(&self, entry: &Entry, missing: Missing) {
        self.call_out(entry);
        self.enter_dht(entry, missing);
        if self.inner.trackers.knows(entry.id) {
            return;
        }
        let (seed, key) = {
            let mut shared = self.shared();
            (shared.rng.u64(..), shared.rng.u32(..))
        };
        let tiers = entry.tiers();
        let announcer =
            if entry.private { Announcer::private(tiers, seed) } else { Announcer::new(tiers, seed) };
        let identity = Identity {
            info_hash: entry.info_hash,
            peer_id: entry.peer_id.0,
            port: self.inner.outside.port(Transport::Tcp),
            key,
        };
        self.inner.trackers.enter(entry.id, announcer, identity, missing);
    }

    async fn stop_task(&self, entry: &Arc<Entry>) {
        let Some(mailbox) = entry.begin_to_stop() else { return };
        let (done, goodbye) = oneshot::channel();
        if mailbox.send(ToTorrent::Stop(done)).await.is_ok() {
            // A task that is gone has said goodbye.
            if let (Ok(placement), None) = (goodbye.await, &self.inner.keeper) {
                entry.state().placed = Some(Arc::new(placement));
            }
        }
        self.return_slots(entry.id);
        self.return_memory(entry.id);
        entry.state().life = Life::Resting;
        self.remember(entry);
    }

    /// Tells who waits for a torrent's start.
    fn answer(&self, id: TorrentId, started: Result<()>) {
        if let Some(waiting) = self.shared().waiting.remove(&id) {
            let _ = waiting.send(started);
        }
    }

    /// A torrent could not start: who added it is told, else everybody.
    fn fail(&self, entry: &Arc<Entry>, error: crate::Error) {
        let now = self.inner.clock.now();
        let message = error.to_string();
        entry.state().error = Some(message.as_str().into());
        self.inner.doors.close(&entry.info_hash);
        self.fall_silent(entry);
        {
            let mut shared = self.shared();
            shared.queue.fail(now, entry.id);
            match shared.waiting.remove(&entry.id) {
                Some(waiting) => _ = waiting.send(Err(error)),
                None => shared.tell(Event::Failed { id: entry.id, message }),
            }
        }
        drop(self.inner.trackers.leave(entry.id));
        self.leave_dht(entry);
        self.dispatch();
    }

    /// A torrent's task publishes its figures; `quiet` says that it is a seed nobody wants anything of.
    pub(super) fn watch(&self, entry: &Arc<Entry>, snapshot: &Snapshot, quiet: bool) {
        let now = self.inner.clock.now();
        let complete = snapshot.wanted_have == snapshot.wanted_length;
        let (changed, tell, rest) = {
            let mut state = entry.state();
            state.figures = crate::entry::Figures::of(snapshot);
            let changed = state.whole != complete;
            state.whole = complete;
            if quiet && state.wanted {
                state.quiet_since.get_or_insert(now);
            } else {
                state.quiet_since = None;
            }
            let rest =
                state.quiet_since.is_some_and(|since| now.since(since) >= self.inner.settings.rest_after);
            if rest {
                state.wanted = false;
                state.quiet_since = None;
            }
            let tell = changed || now.since(state.told) >= TELL;
            if tell {
                state.told = now;
            }
            (changed, tell, rest)
        };
        if tell {
            let mut shared = self.shared();
            let stage = if complete { Stage::Seeding } else { Stage::Downloading };
            shared.queue.handle_stage(now, entry.id, stage);
            let figures = Figures {
                download_rate: snapshot.download_rate,
                upload_rate: snapshot.upload_rate,
                uploaded: snapshot.uploaded_ever,
                size: snapshot.wanted_length,
            };
            shared.queue.handle_figures(now, entry.id, figures);
            let work = shared.queue.has_work();
            drop(shared);
            if work {
                self.dispatch();
            }
        }
        if changed {
            self.remember(entry);
        }
        if rest {
            self.spawn_settle(entry);
        }
    }

    /// Somebody wants something of a torrent that rests.
    async fn awaken(&self, id: TorrentId) -> Option<Arc<Entry>> {
        let entry = self.shared().torrents.get(&id).cloned()?;
        entry.state().wanted = true;
        self.settle(&entry).await;
        Some(entry)
    }

    /// The way to a torrent's task, which is begun for it where the torrent may run; `None` where it may not.
    pub(crate) async fn mailbox(&self, entry: &Arc<Entry>) -> Option<mpsc::Sender<ToTorrent>> {
        if entry.link.is_some() {
            return self.mailbox_of_link(entry);
        }
        if let Some(mailbox) = entry.mailbox() {
            return Some(mailbox);
        }
        entry.state().wanted = true;
        self.settle(entry).await;
        entry.mailbox()
    }

    /// Does something on a thread of the session, while there is one.
    pub(crate) fn at_home<F>(&self, deed: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.inner.workers.home().spawn(deed(self.clone()));
    }

    /// How a torrent without a task shows itself.
    pub(crate) fn resting_state(&self, entry: &Entry) -> State {
        if let Some(link) = &entry.link {
            return link.standing(entry.state().error.is_some());
        }
        let standing = self.shared().queue.standing(entry.id);
        match standing {
            Some(Standing::Failed) => State::Failed,
            Some(Standing::Queued) => State::Queued,
            Some(Standing::Active) if entry.state().whole => State::Seeding,
            Some(Standing::Active) => State::Checking,
            Some(Standing::Paused) | None => State::Paused,
        }
    }
}

/// Serves the queue's times, those who knock, and trackers that name peers, until the session is gone.
pub(super) async fn run(
    inner: Weak<Inner>,
    clock: Clock,
    stir: Arc<Notify>,
    mut knocks: mpsc::Receiver<Knock>,
    mut found: mpsc::Receiver<Found>,
) {
    loop {
        let Some(session) = inner.upgrade().map(|inner| Session { inner }) else { return };
        let due = session.shared().queue.timeout();
        let home = session.inner.workers.home();
        // Whoever waits here keeps no session alive.
        drop(session);
        let session = || inner.upgrade().map(|inner| Session { inner });
        tokio::select! {
            () = stir.notified() => {}
            () = clock.sleep_until(due) => {
                let Some(session) = session() else { return };
                session.shared().queue.handle_timeout(clock.now());
                session.dispatch();
            }
            Some(Knock { torrent, awake }) = knocks.recv() => {
                let Some(session) = session() else { return };
                home.spawn(async move {
                    session.awaken(torrent).await;
                    let _ = awake.send(());
                });
            }
            Some(Found { torrent, peers, source, wakes }) = found.recv() => {
                let Some(session) = session() else { return };
                home.spawn(async move {
                    let awake = || session.shared().torrents.get(&torrent).cloned();
                    let entry = if wakes { session.awaken(torrent).await } else { awake() };
                    if let Some(mailbox) = entry.and_then(|entry| entry.mailbox()) {
                        let _ = mailbox.send(ToTorrent::Addresses { found: peers, source }).await;
                    }
                });
            }
        }
    }
}
