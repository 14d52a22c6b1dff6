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
    name: Name,
    store: Arc<Store>,
    wanted: Vec<u8>,
    before: Totals,
    on_trouble: OnTrouble,
    lock: Mutex<Option<Lock>>,
    state: Mutex<State>,
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
        name: Name,
        store: Arc<Store>,
        lock: Lock,
        (saved, plan): (Option<&Saved>, &Plan),
        on_trouble: OnTrouble,
        database: &mut Database,
    ) -> Result<Self, StateError> {
        let before = saved.map_or(Totals::default(), |saved| Totals {
            downloaded: saved.downloaded,
            uploaded: saved.uploaded,
        });
        let wanted = wanted_bits(&store);
        let state = State {
            have: plan.trusted.clone(),
            touched: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            totals: before,
            saved_totals: before,
        };
        let record = Self {
            name,
            store,
            wanted,
            before,
            on_trouble,
            lock: Mutex::new(Some(lock)),
            state: Mutex::new(state),
        };
        // Files that changed are taken down as they stood before they are hashed: who changes them meanwhile
        // is noticed next time.
        record.tell(database, &plan.trusted, before, &plan.changed, None)?;
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
        let mut stamps = Vec::new();
        for (&holder, &written) in &touched {
            if self.state().doubtful.contains(&holder) {
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
        let told = self.tell(database, &have, totals, &stamps, end);
        let mut state = self.state();
        match &told {
            Ok(()) => state.saved_totals = totals,
            Err(_) => {
                for (holder, written) in touched {
                    *state.touched.entry(holder).or_insert(false) |= written;
                }
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
        have: &Bitfield,
        totals: Totals,
        stamps: &[(i64, Option<Stamp>)],
        end: Option<&[SavedBlock<BlockBuf>]>,
    ) -> Result<(), StateError> {
        database.save(
            &self.name,
            &Change {
                have: have.as_wire(),
                wanted: &self.wanted,
                clean: end.is_some(),
                stamps,
                downloaded: totals.downloaded,
                uploaded: totals.uploaded,
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
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
