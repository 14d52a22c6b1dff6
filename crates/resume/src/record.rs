//! What a running torrent has to remember, and how it gets into the database.

use super::database::{Change, Database, Name, Saved, SavedBlock, StateError};
use super::{Lock, Plan, number_of, wanted_bits};
use quelea_block::BlockBuf;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::file_layer::Stamp;
use quelea_storage::{Holder, StorageError, Store};
use quelea_wire::Bitfield;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told of trouble with a file that was written to.
pub type OnTrouble = Box<dyn Fn(StorageError) + Send + Sync>;

/// What a running torrent has to remember.
pub struct Record {
    home: Name,
    store: Arc<Store>,
    before: Totals,
    on_trouble: OnTrouble,
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
    /// Files that could not be brought to the disk, or are gone.
    doubtful: BTreeSet<Holder>,
    totals: Totals,
    saved_totals: Totals,
}

impl Record {
    /// The record of a torrent that starts with the pieces that its plan trusts; tells the database so.
    pub(crate) fn start(
        (home, name): (Name, Name),
        store: Arc<Store>,
        locks: Vec<(Name, Lock)>,
        (saved, plan): (Option<&Saved>, &Plan),
        on_trouble: OnTrouble,
        database: &mut Database,
    ) -> Result<Self, StateError> {
        let before = saved.map_or(Totals::default(), |saved| Totals {
            downloaded: saved.downloaded,
            uploaded: saved.uploaded,
        });
        let state = State {
            have: plan.trusted.clone(),
            touched: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            totals: before,
            saved_totals: before,
        };
        let record = Self {
            home,
            store,
            before,
            on_trouble,
            place: Mutex::new(Place { name, locks, moves: 0 }),
            state: Mutex::new(state),
        };
        // Files that changed are taken down as they stood before they are hashed: who changes them meanwhile
        // is noticed next time.
        let wanted = wanted_bits(&record.store);
        let told = Told { have: &plan.trusted, wanted: &wanted, totals: before, stamps: &plan.changed };
        record.tell(database, &told, None)?;
        Ok(record)
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

    /// These pieces are good and no others, as hashing all of them has shown.
    pub fn found_anew(&self, have: &Bitfield) {
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
        !self.state().touched.is_empty()
    }

    /// Whether there is anything that the database does not know of.
    pub(super) fn has_news(&self) -> bool {
        let state = self.state();
        !state.touched.is_empty() || state.totals != state.saved_totals
    }

    /// Brings what was written to the disk and then tells the database. With `end` the torrent is over: its
    /// blocks, if all that it wrote has been told.
    pub(super) fn save(
        &self,
        database: &Mutex<Option<Database>>,
        end: Option<&[SavedBlock<BlockBuf>]>,
    ) -> Result<(), StateError> {
        let (have, touched, totals) = {
            let mut state = self.state();
            (state.have.clone(), std::mem::take(&mut state.touched), state.totals)
        };
        let (moves, wanted) = (self.place().moves, wanted_bits(&self.store));
        let mut stamps = Vec::new();
        for (&holder, &written) in &touched {
            if self.state().doubtful.contains(&holder) {
                stamps.push((number_of(holder), None));
                continue;
            }
            if holder == Holder::PartFile && self.store.is_part_file_empty() {
                // It is removed with the last that it had.
                stamps.push((number_of(holder), None));
                continue;
            }
            match self.bring_to_disk(holder, written) {
                Ok(Some(stamp)) => stamps.push((number_of(holder), Some(stamp))),
                Ok(None) => {}
                Err(error) => {
                    self.state().doubtful.insert(holder);
                    stamps.push((number_of(holder), None));
                    (self.on_trouble)(error);
                }
            }
        }
        let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_mut() else { return Ok(()) };
        // Files that were moved since then stand otherwise, but what is good is good.
        let stale = self.place().moves != moves;
        if stale {
            stamps.clear();
        }
        let told = Told { have: &have, wanted: &wanted, totals, stamps: &stamps };
        let told = self.tell(database, &told, end);
        let mut state = self.state();
        if told.is_ok() {
            state.saved_totals = totals;
        }
        if told.is_err() || stale {
            for (holder, written) in touched {
                *state.touched.entry(holder).or_insert(false) |= written;
            }
        }
        told
    }

    /// The stamp of a file that this run has written to, once that is on the disk.
    fn bring_to_disk(&self, holder: Holder, written: bool) -> Result<Option<Stamp>, StorageError> {
        self.store.sync(holder)?;
        if !written {
            return Ok(None);
        }
        // A file that was removed takes writes as before, and they are lost with it.
        let stamp = self.store.stamp(holder)?.ok_or_else(|| self.store.vanished(holder))?;
        Ok(Some(stamp))
    }

    fn tell(
        &self,
        database: &mut Database,
        told: &Told<'_>,
        end: Option<&[SavedBlock<BlockBuf>]>,
    ) -> Result<(), StateError> {
        database.save(
            &self.name(),
            &Change {
                have: told.have.as_wire(),
                wanted: told.wanted,
                clean: end.is_some(),
                stamps: told.stamps,
                downloaded: told.totals.downloaded,
                uploaded: told.totals.uploaded,
                blocks: end,
            },
        )
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

/// What the database is told.
struct Told<'a> {
    have: &'a Bitfield,
    wanted: &'a [u8],
    totals: Totals,
    stamps: &'a [(i64, Option<Stamp>)],
}
