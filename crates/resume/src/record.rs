//! What a running torrent has to remember, and how it gets into the database.

use super::database::{Change, Database, Name, Saved, SavedBlock, StateError};
use super::{Lock, Plan, number_of, wanted_bits};
use quelea_block::BlockBuf;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::file_layer::Stamp;
use quelea_storage::{Holder, Standing, StorageError, Store};
use quelea_wire::Bitfield;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// After this a change of a file has another stamp than one before.
const SETTLING: Duration = Duration::from_millis(30);
/// By then a system has written back what somebody wrote to a file. Linux begins after 30 seconds
/// (`dirty_expire_centisecs`) and looks every five.
const WRITTEN_BACK: Duration = Duration::from_secs(120);

/// Told of trouble with a file that was written to.
pub type OnTrouble = Box<dyn Fn(StorageError) + Send + Sync>;

/// What a running torrent has to remember.
pub struct Record {
    home: Name,
    store: Arc<Store>,
    before: Totals,
    on_trouble: OnTrouble,
    /// Whether the database has it.
    is_known: AtomicBool,
    place: Mutex<Place>,
    state: Mutex<State>,
}

/// Where the torrent is.
struct Place {
    name: Name,
    /// The rights to it: there, where it was added, and where it was until its files have left.
    locks: Vec<(Name, Lock)>,
    /// How often that has changed.
    moves: u64,
}

/// Payload moved, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Received.
    pub downloaded: u64,
    /// Sent.
    pub uploaded: u64,
}

struct State {
    /// Pieces whose write has returned, or that were found good.
    have: Bitfield,
    /// The files to be brought to the disk before those pieces may be called good, and whether this run wrote to
    /// them, so that they stand otherwise than before.
    touched: BTreeMap<Holder, bool>,
    /// How files stood before they were hashed, of which the database has not been told.
    unsaid: Vec<(i64, Option<Stamp>)>,
    /// Whether to tell it soon, although no piece is new.
    is_due: bool,
    /// Files that could not be brought to the disk, or are gone.
    doubtful: BTreeSet<Holder>,
    totals: Totals,
    saved_totals: Totals,
}

impl Record {
    /// The record of a torrent that starts with the pieces that its plan trusts; tells the database so, if that knows
    /// the torrent.
    pub(crate) fn start(
        (home, name): (Name, Name),
        store: Arc<Store>,
        locks: Vec<(Name, Lock)>,
        (saved, plan): (Option<&Saved>, &Plan),
        on_trouble: OnTrouble,
        database: &Mutex<Option<Database>>,
    ) -> Result<Self, StateError> {
        let before = saved.map_or(Totals::default(), |saved| Totals {
            downloaded: saved.downloaded,
            uploaded: saved.uploaded,
        });
        let state = State {
            have: plan.trusted.clone(),
            touched: BTreeMap::new(),
            unsaid: Vec::new(),
            is_due: false,
            doubtful: BTreeSet::new(),
            totals: before,
            saved_totals: before,
        };
        let record = Self {
            home,
            store,
            before,
            on_trouble,
            is_known: AtomicBool::new(false),
            place: Mutex::new(Place { name, locks, moves: 0 }),
            state: Mutex::new(state),
        };
        // Files that changed are taken down as they stood before they are hashed: who changes them meanwhile
        // is noticed next time.
        // A new torrent whose files will be written is told of before the first byte is, so that files which a kill leaves
        // are known to be what a download of ours may have left. One that is complete is told of with its pieces.
        if saved.is_some() || record.store.is_writing() {
            if let Some(database) = database.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                record.begin(database, &plan.trusted, &plan.changed)?;
            }
        } else {
            record.state().unsaid.clone_from(&plan.changed);
        }
        Ok(record)
    }

    /// Tells the database what is trusted while files are written to.
    fn begin(
        &self,
        database: &mut Database,
        trusted: &Bitfield,
        stamps: &[(i64, Option<Stamp>)],
    ) -> Result<(), StateError> {
        let change = Change {
            have: trusted.as_wire(),
            wanted: &wanted_bits(&self.store),
            clean: false,
            stamps,
            downloaded: self.before.downloaded,
            uploaded: self.before.uploaded,
            blocks: None,
        };
        database.save(&self.name(), &change)?;
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes sure that the database knows the torrent, so that more can be told of it.
    pub(super) fn introduce(&self, database: &mut Database) -> Result<(), StateError> {
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.begin(database, &Bitfield::none(self.store.layout().geometry().pieces()), &[])
    }

    /// What earlier runs moved.
    pub fn before(&self) -> Totals {
        self.before
    }

    /// These pieces were hashed and are good.
    pub fn found(&self, pieces: impl Iterator<Item = PieceIndex>) {
        let mut state = self.state();
        for piece in pieces {
            state.have.set(piece);
            for holder in self.store.written_with(piece) {
                state.touched.entry(holder).or_insert(false);
            }
        }
    }

    /// This piece has been written.
    pub fn written(&self, piece: PieceIndex) {
        let mut state = self.state();
        state.have.set(piece);
        for holder in self.store.written_with(piece) {
            state.touched.insert(holder, true);
        }
    }

    /// Files were written to by other means than whole pieces.
    pub fn touched(&self, holders: impl IntoIterator<Item = Holder>) {
        let mut state = self.state();
        state.touched.extend(holders.into_iter().map(|holder| (holder, true)));
    }

    /// These pieces are good and no others, as hashing has shown. The files that were hashed stood so before.
    pub fn found_anew(&self, have: &Bitfield, stood: &[(Holder, Option<Stamp>)]) {
        let mut state = self.state();
        let changed: Vec<Holder> = {
            let geometry = self.store.layout().geometry();
            let differs = |piece: &PieceIndex| state.have.has(*piece) != have.has(*piece);
            geometry.iter().filter(differs).flat_map(|piece| self.store.written_with(piece)).collect()
        };
        state.have = have.clone();
        for holder in changed {
            state.touched.entry(holder).or_insert(false);
        }
        state.unsaid.extend(stood.iter().map(|(holder, stamp)| (number_of(*holder), *stamp)));
        state.is_due = true;
    }

    /// The torrent where it is.
    pub(super) fn name(&self) -> Name {
        self.place().name.clone()
    }

    /// The torrent where it was added.
    pub(super) fn home(&self) -> &Name {
        &self.home
    }

    /// Whether it has the right to the torrent there.
    pub(super) fn holds(&self, name: &Name) -> bool {
        self.place().locks.iter().any(|(held, _)| held == name)
    }

    /// The torrent is in another directory, as the database has been told.
    pub(super) fn moved_to(&self, directory: Vec<u8>, lock: Option<Lock>) {
        let mut place = self.place();
        place.name.directory = directory;
        let name = place.name.clone();
        place.locks.extend(lock.map(|lock| (name, lock)));
        place.moves += 1;
    }

    /// The torrent has left every other directory.
    pub(super) fn has_left(&self) {
        let mut place = self.place();
        let name = place.name.clone();
        place.locks.retain(|(held, _)| *held == name || *held == self.home);
    }

    /// What this run has moved so far.
    pub fn moved(&self, totals: Totals) {
        self.state().totals = Totals {
            downloaded: self.before.downloaded.saturating_add(totals.downloaded),
            uploaded: self.before.uploaded.saturating_add(totals.uploaded),
        };
    }

    /// Whether there are pieces that the database does not know of.
    pub(super) fn has_pieces_to_save(&self) -> bool {
        let state = self.state();
        !state.touched.is_empty() || state.is_due
    }

    /// Whether there is anything that the database does not know of.
    pub(super) fn has_news(&self) -> bool {
        let state = self.state();
        !state.touched.is_empty() || state.is_due || state.totals != state.saved_totals
    }

    /// Brings what was written to the disk and then tells the database. With `end` the torrent is over: its
    /// blocks, if all that it wrote has been told.
    #[cfg(test)]
    pub(super) fn save(
        &self,
        database: &Mutex<Option<Database>>,
        end: Option<&[SavedBlock<BlockBuf>]>,
    ) -> Result<(), StateError> {
        save_all(database, vec![self.news(end)])
    }

    /// Brings what was written to the disk: what there is to tell the database then. With `end` the torrent is over:
    /// its blocks, if all that it wrote has been told.
    pub(super) fn news<'a>(&'a self, end: Option<&'a [SavedBlock<BlockBuf>]>) -> News<'a> {
        let (have, touched, unsaid, totals) = {
            let mut state = self.state();
            let (touched, unsaid) = (std::mem::take(&mut state.touched), std::mem::take(&mut state.unsaid));
            state.is_due = false;
            (state.have.clone(), touched, unsaid, state.totals)
        };
        // One after the other: who moves the files has them locked while it tells where they are.
        let moves = self.place().moves;
        let wanted = wanted_bits(&self.store);
        // What was written to since stands otherwise: that comes behind.
        let mut stamps = unsaid.clone();
        // Nobody asks again after the end, so a file that was written just now is waited for: once, for after that the
        // others are old enough too, unless their file system's clock is ahead of ours.
        let mut may_wait = end.is_some();
        let mut to_disk = Vec::new();
        for (&holder, &written) in &touched {
            let gone = holder == Holder::PartFile && self.store.is_part_file_empty();
            if gone || self.state().doubtful.contains(&holder) {
                // The part file is removed with the last that it had.
                stamps.push((number_of(holder), None));
            } else if written || self.is_fresh(holder) {
                to_disk.push(holder);
            }
        }
        let synced = self.store.sync_all(&to_disk);
        for (holder, synced) in to_disk.into_iter().zip(synced) {
            let written = touched.get(&holder).copied().unwrap_or(true);
            match synced.and_then(|()| self.standing_of(holder, written, &mut may_wait)) {
                Ok(None) => {}
                Ok(Some(Standing::Ours(stamp))) => stamps.push((number_of(holder), Some(stamp))),
                Ok(Some(Standing::Unproven)) => stamps.push((number_of(holder), None)),
                Ok(Some(Standing::Unsettled)) => {
                    // What is told of it then is as good as nothing, and is told better next time.
                    stamps.push((number_of(holder), None));
                    self.state().touched.insert(holder, true);
                }
                Ok(Some(Standing::Disturbed)) => {
                    stamps.push((number_of(holder), None));
                    (self.on_trouble)(StorageError::Disturbed(self.store.path_of(holder)));
                }
                Ok(Some(Standing::Absent)) => {
                    // A file that was removed takes writes as before, and they are lost with it.
                    self.state().doubtful.insert(holder);
                    stamps.push((number_of(holder), None));
                    (self.on_trouble)(self.store.vanished(holder));
                }
                Err(error) => {
                    self.state().doubtful.insert(holder);
                    stamps.push((number_of(holder), None));
                    (self.on_trouble)(error);
                }
            }
        }
        News { record: self, have, touched, unsaid, totals, moves, wanted, stamps, end }
    }

    /// Whether what was only read may be in memory alone, since somebody wrote it a moment ago: a run that was killed, for
    /// one. What is older the system has brought to the disk by itself.
    #[allow(
        clippy::disallowed_methods,
        reason = "compared with the times of files; nothing that is decided by it is replayed"
    )]
    fn is_fresh(&self, holder: Holder) -> bool {
        // One that cannot be looked at is synced, which tells what is wrong with it.
        let Ok(Some(stamp)) = self.store.stamp(holder) else { return true };
        let last = Duration::from_nanos(u64::try_from(stamp.modified.max(stamp.changed)).unwrap_or(0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now < last + WRITTEN_BACK
    }

    /// How a file that this run has written to stands, once that is on the disk. If it `may_wait`, it waits for a stamp to
    /// settle, and may not again.
    fn standing_of(
        &self,
        holder: Holder,
        written: bool,
        may_wait: &mut bool,
    ) -> Result<Option<Standing>, StorageError> {
        if !written {
            return Ok(None);
        }
        let mut standing = self.store.standing(holder)?;
        if standing == Standing::Unsettled && std::mem::take(may_wait) {
            std::thread::sleep(SETTLING);
            standing = self.store.standing(holder)?;
        }
        Ok(Some(standing))
    }

    /// Whether the files that were in doubt are there again and can be brought to the disk. They stay in doubt.
    ///
    /// # Errors
    /// What is wrong with the first that is not.
    pub fn is_mended(&self) -> Result<(), StorageError> {
        let doubtful = self.state().doubtful.clone();
        for holder in doubtful {
            self.store.sync(holder)?;
            self.store.stamp(holder)?.ok_or_else(|| self.store.vanished(holder))?;
        }
        Ok(())
    }

    /// Lets others work on the torrent.
    pub(super) fn unlock(&self) {
        self.place().locks.clear();
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is to tell the database of a torrent whose files are on the disk.
pub(super) struct News<'a> {
    record: &'a Record,
    have: Bitfield,
    touched: BTreeMap<Holder, bool>,
    unsaid: Vec<(i64, Option<Stamp>)>,
    totals: Totals,
    moves: u64,
    wanted: Vec<u8>,
    stamps: Vec<(i64, Option<Stamp>)>,
    end: Option<&'a [SavedBlock<BlockBuf>]>,
}

/// Tells the database of several torrents: of all, or of none.
pub(super) fn save_all(
    database: &Mutex<Option<Database>>,
    mut news: Vec<News<'_>>,
) -> Result<(), StateError> {
    let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(database) = database.as_mut() else { return Ok(()) };
    // Files that were moved since then stand otherwise, but what is good is good.
    let mut stale = Vec::with_capacity(news.len());
    for each in &mut news {
        stale.push(each.record.place().moves != each.moves);
        if stale.last() == Some(&true) {
            each.stamps.clear();
        }
    }
    let named: Vec<Name> = news.iter().map(|each| each.record.name()).collect();
    let changes: Vec<(&Name, Change<'_>)> =
        named.iter().zip(&news).map(|(name, each)| (name, each.change())).collect();
    let told = database.save_all(&changes);
    drop(changes);
    for (News { record, touched, unsaid, totals, .. }, stale) in news.into_iter().zip(stale) {
        let mut state = record.state();
        if told.is_ok() {
            record.is_known.store(true, Ordering::Relaxed);
            state.saved_totals = totals;
        }
        if told.is_err() {
            let since = std::mem::replace(&mut state.unsaid, unsaid);
            state.unsaid.extend(since);
            state.is_due = true;
        }
        if told.is_err() || stale {
            for (holder, written) in touched {
                *state.touched.entry(holder).or_insert(false) |= written;
            }
        }
    }
    told
}

impl News<'_> {
    fn change(&self) -> Change<'_> {
        Change {
            have: self.have.as_wire(),
            wanted: &self.wanted,
            clean: self.end.is_some(),
            stamps: &self.stamps,
            downloaded: self.totals.downloaded,
            uploaded: self.totals.uploaded,
            blocks: self.end,
        }
    }
}
