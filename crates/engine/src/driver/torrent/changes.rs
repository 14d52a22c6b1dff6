//! What changes a torrent's files while it runs: other directories, other names, other priorities. One change at a
//! time, in the order in which they were wished for.

use super::recheck::{Looked, Recheck, Rechecking, Scope};
use super::{Running, Time};
use crate::driver::ToTorrent;
use crate::events::Event;
use crate::wishes::{file_specs, piece_priorities};
use crate::{Error, Result};
use quelea_metainfo::Info;
use quelea_metainfo::path::clean_element;
use quelea_resume::{Keeper, Names, Record, Taken};
use quelea_storage::{
    CheckOutcome, Existing, Goal, Holder, Journal, Relocated, Relocating, Step, StorageError, Store,
    staging_name,
};
use quelea_swarm::picker::Priority;
use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Changes that may wait for their turn.
const WAITING: usize = 64;
/// How soon a move that waits for others to be copied hears that it is cancelled.
const CANCELLED: Duration = Duration::from_millis(100);

/// Told how a change ended.
pub(crate) type Done = oneshot::Sender<Result<()>>;

/// A change of a torrent's files that somebody wishes for.
pub(crate) enum Change {
    /// All files go to another directory.
    Move { root: PathBuf, existing: Existing, progress: Arc<Relocating>, done: Done },
    /// A file, or all files of a folder, get other paths below the directory.
    Rename { from: PathBuf, to: PathBuf, done: Done },
    /// How much each file is wanted.
    Priorities { files: Vec<Priority>, done: Done },
    /// All pieces are hashed.
    Recheck { progress: Arc<Rechecking>, done: Done },
}

/// What came out of the part of a change that waits for the disk.
pub(crate) enum Changed {
    /// Files have other places.
    Relocated(Result<Relocated>),
    /// Other files are wanted.
    Prioritised(Vec<Priority>, Result<BTreeSet<Holder>>),
    /// The files were looked at, before they are hashed.
    Looked(std::result::Result<Looked, StorageError>),
    /// The files were hashed.
    Checked(CheckOutcome),
}

/// Where a torrent's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// The download directory.
    pub directory: PathBuf,
    /// Where each file is below it, in the torrent's order.
    pub paths: Vec<PathBuf>,
    /// Which files are wanted, in the torrent's order.
    pub wanted: Vec<bool>,
}

/// The changes of a torrent.
#[derive(Default)]
pub(super) struct Changes {
    waiting: VecDeque<Change>,
    current: Option<Current>,
}

/// The change that is going on.
enum Current {
    Relocation { progress: Arc<Relocating>, is_move: bool, completes: bool, done: Option<Done> },
    Priorities { grows: bool, done: Done },
    Recheck(Recheck),
}

impl Changes {
    /// Bytes moved, and to be moved, while files go to another directory.
    pub(super) fn moving(&self) -> Option<(u64, u64)> {
        match &self.current {
            Some(Current::Relocation { progress, is_move: true, .. }) => Some(progress.progress()),
            Some(_) | None => None,
        }
    }

    pub(super) fn recheck(&self) -> Option<&Recheck> {
        match &self.current {
            Some(Current::Recheck(recheck)) => Some(recheck),
            Some(Current::Relocation { .. } | Current::Priorities { .. }) | None => None,
        }
    }

    pub(super) fn recheck_mut(&mut self) -> Option<&mut Recheck> {
        match &mut self.current {
            Some(Current::Recheck(recheck)) => Some(recheck),
            Some(Current::Relocation { .. } | Current::Priorities { .. }) | None => None,
        }
    }

    /// Whether something is on the disk that must come to its end before the torrent's files may be left alone.
    pub(super) fn must_end(&self) -> bool {
        matches!(self.current, Some(Current::Relocation { .. } | Current::Priorities { .. }))
    }

    /// Whether nothing goes on, and nothing waits for its turn.
    pub(super) fn are_none(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Takes no more, and cancels what can be cancelled.
    pub(super) fn cancel(&mut self) {
        for change in self.waiting.drain(..) {
            refuse(change, Error::Closed);
        }
        match &self.current {
            Some(Current::Relocation { progress, .. }) => progress.cancel(),
            Some(Current::Recheck(recheck)) => recheck.cancel(),
            Some(Current::Priorities { .. }) | None => {}
        }
    }

    /// Begins to hash files. While nothing else goes on.
    pub(super) fn set_recheck(&mut self, recheck: Recheck) {
        self.current = Some(Current::Recheck(recheck));
    }

    pub(super) fn end_recheck(&mut self) -> Option<Recheck> {
        match self.current.take() {
            Some(Current::Recheck(recheck)) => Some(recheck),
            other => {
                self.current = other;
                None
            }
        }
    }
}

impl Running {
    /// A change is wished for.
    pub(super) fn wish(&mut self, now: Time, change: Change) {
        if self.changes.waiting.len() >= WAITING {
            refuse(change, Error::Busy);
            return;
        }
        self.changes.waiting.push_back(change);
        self.next_change(now);
    }

    /// Where the files are.
    pub(super) fn placement(&self) -> Placement {
        let store = &self.task.io.store;
        Placement { directory: store.root(), paths: store.paths(), wanted: store.wanted() }
    }

    /// Begins the next change if none is going on.
    pub(super) fn next_change(&mut self, now: Time) {
        while self.changes.current.is_none() {
            let Some(change) = self.changes.waiting.pop_front() else { return };
            match change {
                Change::Move { root, existing, progress, done } => {
                    let paths = self.task.io.store.paths();
                    self.relocate((root, paths, existing), progress, (true, false), Some(done));
                }
                Change::Rename { from, to, done } => {
                    match renamed(&self.task.info, &self.task.io.store, &from, &to) {
                        Ok(paths) => {
                            let root = self.task.io.store.root();
                            self.relocate(
                                (root, paths, Existing::Refuse),
                                Arc::default(),
                                (false, false),
                                Some(done),
                            );
                        }
                        Err(error) => _ = done.send(Err(error)),
                    }
                }
                Change::Priorities { files, done } => self.prioritise(files, done),
                Change::Recheck { progress, done } => {
                    let recheck = Recheck::new(Scope::All, progress, Some(done));
                    self.changes.current = Some(Current::Recheck(recheck));
                    self.begin_recheck(now);
                }
            }
        }
    }

    /// All wanted files are complete and written: they go where they belong, if they are not there, and that is told.
    pub(super) fn completed(&mut self, now: Time) {
        match self.task.finished_to.clone() {
            Some(root) => {
                if self.changes.current.is_some() {
                    // Whatever goes on, this is next.
                    self.completes = true;
                    return;
                }
                let paths = self.task.io.store.paths();
                self.relocate((root, paths, Existing::Refuse), Arc::default(), (true, true), None);
            }
            None => self.tell_completed(),
        }
        self.next_change(now);
    }

    fn tell_completed(&mut self) {
        self.publish();
        self.tell(Event::Completed(self.task.id));
    }

    fn relocate(
        &mut self,
        (root, paths, existing): (PathBuf, Vec<PathBuf>, Existing),
        progress: Arc<Relocating>,
        (is_move, completes): (bool, bool),
        done: Option<Done>,
    ) {
        let info = Arc::clone(&self.task.info);
        let goal = Goal { root, paths, existing, staging: staging_name(&info.name, &self.task.io.info_hash) };
        self.changes.current =
            Some(Current::Relocation { progress: Arc::clone(&progress), is_move, completes, done });
        let (store, keeping) = (Arc::clone(&self.task.io.store), self.task.keeping.clone());
        // Complete files are found where they belong also by a session that knows nothing of them.
        let may_go = completes || !self.task.is_forgotten;
        let (torrent, movers) = (self.task.myself.clone(), Arc::clone(&self.task.movers));
        tokio::spawn(async move {
            let permit = wait_for_turn(movers, &progress).await;
            let tell = torrent.clone();
            let work = move || {
                let relocated = if may_go {
                    relocate_files(&info, &store, keeping, &goal, &progress)
                } else {
                    Err(StorageError::Journal("no state of this torrent can be kept".into()).into())
                };
                drop(permit);
                let _ = torrent.blocking_send(ToTorrent::Changed(Changed::Relocated(relocated)));
            };
            // A thread of its own: it may take hours, and a disk thread is wanted for other things.
            if let Err(error) = std::thread::Builder::new().name("quelea-move".to_owned()).spawn(work) {
                let _ = tell.send(ToTorrent::Changed(Changed::Relocated(Err(Error::Start(error))))).await;
            }
        });
    }

    fn prioritise(&mut self, files: Vec<Priority>, done: Done) {
        let info = &self.task.info;
        let any = info.files.iter().zip(&files).any(|(file, priority)| !file.pad && priority.is_wanted());
        if files.len() != info.files.len() || !any {
            let _ = done.send(Err(Error::NothingSelected));
            return;
        }
        let before = self.task.io.store.wanted();
        let grows = before.iter().zip(&files).any(|(before, after)| !before && after.is_wanted());
        self.changes.current = Some(Current::Priorities { grows, done });
        let (store, torrent) = (Arc::clone(&self.task.io.store), self.task.myself.clone());
        let (keeping, have) = (self.task.keeping.clone(), self.task.machine.have().clone());
        self.task.io.pipeline.run(move || {
            let wanted: Vec<bool> = files.iter().map(|priority| priority.is_wanted()).collect();
            let changed = store.set_wanted(&wanted, &|piece| have.has(piece)).map_err(Error::from);
            let changed = changed.and_then(|changed| {
                if let Some((record, keeper)) = keeping {
                    record.touched(changed.iter().copied());
                    let numbers: Vec<u8> = files.iter().map(|priority| priority.get()).collect();
                    let kept = keeper.set_priorities(&record, Some(&numbers));
                    kept.map_err(|error| StorageError::Journal(Box::new(error)))?;
                }
                Ok(changed)
            });
            let _ = torrent.blocking_send(ToTorrent::Changed(Changed::Prioritised(files, changed)));
        });
    }

    /// The disk's part of a change is done.
    pub(super) fn handle_changed(&mut self, now: Time, changed: Changed) {
        match changed {
            Changed::Relocated(result) => self.relocated(now, result),
            Changed::Prioritised(files, result) => self.prioritised(now, &files, result),
            Changed::Looked(result) => self.looked(now, result),
            Changed::Checked(outcome) => self.rechecked(now, &outcome),
        }
        if std::mem::take(&mut self.completes) {
            if self.changes.current.is_some() {
                self.completes = true;
            } else if self.task.machine.is_complete() {
                self.completed(now);
            }
        }
        self.next_change(now);
    }

    fn relocated(&mut self, now: Time, result: Result<Relocated>) {
        let Some(Current::Relocation { is_move, completes, done, .. }) = self.changes.current.take() else {
            return;
        };
        let id = self.task.id;
        let mut adopted = false;
        match &result {
            Ok(relocated) => {
                adopted = !relocated.adopted.is_empty();
                if is_move {
                    // Where the user wants them, or where they were to go in the end.
                    self.task.finished_to = None;
                    self.tell(Event::FilesMoved { id, directory: self.task.io.store.root() });
                } else {
                    self.tell(Event::FilesRenamed(id));
                }
            }
            Err(error) if is_move => self.tell(Event::MoveFailed { id, message: error.to_string() }),
            Err(_) => {}
        }
        if let (true, Some((_, keeper))) = (result.is_ok(), &self.task.keeping) {
            keeper.hurry();
        }
        let result = result.map(|_| ());
        if adopted {
            // What was found there is the torrent's only as far as its hashes say so.
            self.changes.current = Some(Current::Recheck(Recheck::new(Scope::All, Arc::default(), done)));
            self.begin_recheck(now);
        } else if let Some(done) = done {
            let _ = done.send(result);
        }
        if completes {
            self.tell_completed();
        }
    }

    fn prioritised(&mut self, now: Time, files: &[Priority], result: Result<BTreeSet<Holder>>) {
        let Some(Current::Priorities { grows, done }) = self.changes.current.take() else { return };
        if let Err(error) = result {
            let _ = done.send(Err(error));
            return;
        }
        let info = Arc::clone(&self.task.info);
        let pieces = piece_priorities(&info, files);
        let was_complete = self.task.machine.is_complete();
        self.task.machine.set_priorities(now, |piece| pieces[piece.at()]);
        if grows && was_complete && self.task.machine.is_complete() {
            // Files that became wanted and need no piece still get their lengths.
            self.finish();
        }
        if let Some((_, keeper)) = &self.task.keeping {
            keeper.hurry();
        }
        // What was wanted is not what is wanted; what is here is known when it runs.
        self.publish_all();
        self.tell(Event::PrioritiesChanged(self.task.id));
        let _ = done.send(Ok(()));
    }
}

impl Change {
    /// Has somebody else told how it ends; who was to be told.
    pub(crate) fn replace_done(&mut self, by: Done) -> Done {
        let (Self::Move { done, .. }
        | Self::Rename { done, .. }
        | Self::Priorities { done, .. }
        | Self::Recheck { done, .. }) = self;
        std::mem::replace(done, by)
    }
}

/// Says of a change that it is not going to happen.
pub(crate) fn refuse(change: Change, error: Error) {
    let (Change::Move { done, .. }
    | Change::Rename { done, .. }
    | Change::Priorities { done, .. }
    | Change::Recheck { done, .. }) = change;
    let _ = done.send(Err(error));
}

/// A place among those that move files, or nothing if it is cancelled meanwhile.
async fn wait_for_turn(
    movers: Arc<Semaphore>,
    progress: &Relocating,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    let turn = movers.acquire_owned();
    tokio::pin!(turn);
    loop {
        tokio::select! {
            permit = &mut turn => return permit.ok(),
            () = tokio::time::sleep(CANCELLED) => {
                if progress.is_cancelled() {
                    return None;
                }
            }
        }
    }
}

/// Nothing is written down.
struct Unwritten;

impl Journal for Unwritten {
    fn note(&self, _step: Step<'_>) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

fn relocate_files(
    info: &Info,
    store: &Store,
    keeping: Option<(Arc<Record>, Arc<Keeper>)>,
    goal: &Goal,
    progress: &Relocating,
) -> Result<Relocated> {
    let Some((record, keeper)) = keeping else { return Ok(store.relocate(goal, &Unwritten, progress)?) };
    let own = file_specs(info).into_iter().zip(&goal.paths).enumerate();
    // Of a file that may have several names it is always said which it has, so that nobody looks which are there.
    let is_pad = |number: usize| info.files.get(number).is_none_or(|file| file.pad);
    let several = |number: usize| info.files.get(number).is_some_and(quelea_metainfo::File::has_other_names);
    let names: Names = own
        .filter(|(number, (file, path))| !is_pad(*number) && (file.path != **path || several(*number)))
        .map(|(number, (_, path))| (number, path.clone()))
        .collect();
    let journal = keeper.relocation(&record, goal, names).map_err(|taken| match taken {
        Taken::By(process) => Error::InUse { directory: goal.root.clone(), process },
        Taken::System(error) => Error::Storage(StorageError::Journal(Box::new(error))),
    })?;
    Ok(store.relocate(goal, &journal, progress)?)
}

/// The paths of all files once `from` is called `to`.
fn renamed(info: &Info, store: &Store, from: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let plain = |component: Component<'_>| match component {
        Component::Normal(name) => {
            name.to_str().is_some_and(|name| clean_element(name.as_bytes()).as_deref() == Some(name))
        }
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
    };
    // Some systems write a trailing slash, which names nothing.
    if to.as_os_str().is_empty() || !to.components().all(plain) {
        return Err(Error::BadName(to.to_owned()));
    }
    let mut found = false;
    let mut paths = store.paths();
    for (path, _) in paths.iter_mut().zip(&info.files).filter(|(_, file)| !file.pad) {
        if let Ok(rest) = path.strip_prefix(from) {
            found = true;
            *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
        }
    }
    if !found || from.as_os_str().is_empty() { Err(Error::NoSuchFile(from.to_owned())) } else { Ok(paths) }
}
