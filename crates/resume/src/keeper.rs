//! The thread that writes down what torrents have to remember.

use super::database::{Database, Saved, SavedBlock, StateError};
use super::record::OnTrouble;
use super::{Lock, Name, Plan, Record, Refused};
use quelea_block::BlockBuf;
use quelea_storage::Store;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest time that a piece which was written is not remembered, as long as the disk keeps up.
const INTERVAL: Duration = Duration::from_secs(3);
/// The count of bytes that were moved is saved with pieces, and without any after so many intervals.
const TOTALS_ROUNDS: u32 = 10;

/// The state of a session's torrents. Dropping it saves what there is to save.
pub struct Keeper {
    directory: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Open from the first torrent on.
    database: Mutex<Option<Database>>,
    work: Mutex<Work>,
    wake: Condvar,
    warn: Box<dyn Fn(String) + Send + Sync>,
}

#[derive(Default)]
struct Work {
    records: Vec<Arc<Record>>,
    endings: Vec<Ending>,
    /// Whether there is something to save that took long to find out.
    hurry: bool,
    stopping: bool,
}

/// The end of a torrent.
pub struct Ending {
    /// What there is to remember of it.
    pub record: Arc<Record>,
    /// Blocks of pieces that are not whole, if nothing is being written any more.
    pub blocks: Option<Vec<SavedBlock<BlockBuf>>>,
    /// Called when all is saved.
    pub done: Box<dyn FnOnce() + Send>,
}

/// The right to a torrent in a directory, and what is known of it.
pub struct Begun {
    name: Name,
    lock: Lock,
    /// What is remembered.
    pub saved: Option<Saved>,
    /// Blocks of pieces that were not whole.
    pub blocks: Vec<SavedBlock>,
}

impl Keeper {
    /// A keeper of the state in `directory`, which is created when there is something to keep. What a person should
    /// know goes to `warn`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(directory: PathBuf, warn: impl Fn(String) + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            database: Mutex::default(),
            work: Mutex::default(),
            wake: Condvar::new(),
            warn: Box::new(warn),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("quelea-state".to_owned());
        let thread = thread.spawn(move || serving.serve())?;
        Ok(Self { directory, shared, thread: Some(thread) })
    }

    /// Takes a torrent in a directory. Waits for the disk. `None` where no state can be kept, which is told.
    ///
    /// # Errors
    /// When somebody else has it: which process, if it says so.
    pub fn begin(&self, info_hash: [u8; 20], output: &Path) -> Result<Option<Begun>, Option<u32>> {
        let name = Name::new(info_hash, output);
        let lock = match Lock::take(&self.directory, &name) {
            Ok(lock) => lock,
            Err(Refused::Held { by }) => return Err(by),
            Err(Refused::System(error)) => {
                self.warn_of(&error);
                return Ok(None);
            }
        };
        match self.load(&name) {
            Ok((saved, blocks)) => Ok(Some(Begun { name, lock, saved, blocks })),
            Err(error) => {
                self.warn_of(&error);
                Ok(None)
            }
        }
    }

    fn load(&self, name: &Name) -> Result<(Option<Saved>, Vec<SavedBlock>), StateError> {
        let mut slot = self.shared.database();
        let database = match slot.take() {
            Some(database) => slot.insert(database),
            None => {
                let mut warnings = Vec::new();
                let opened = Database::open(&self.directory, &mut warnings);
                warnings.into_iter().for_each(&self.shared.warn);
                slot.insert(opened?)
            }
        };
        let saved = database.load(name)?;
        let blocks = if saved.is_some() { database.load_blocks(name)? } else { Vec::new() };
        Ok((saved, blocks))
    }

    /// Begins to keep the state of a torrent. Waits for the disk. `None` where that fails, which is told.
    pub fn keep(
        &self,
        begun: Begun,
        store: Arc<Store>,
        plan: &Plan,
        on_trouble: OnTrouble,
    ) -> Option<Arc<Record>> {
        let Begun { name, lock, saved, .. } = begun;
        let started = {
            let mut slot = self.shared.database();
            Record::start(name, store, lock, (saved.as_ref(), plan), on_trouble, slot.as_mut()?)
        };
        match started {
            Ok(record) => {
                let record = Arc::new(record);
                self.shared.work().records.push(Arc::clone(&record));
                Some(record)
            }
            Err(error) => {
                self.warn_of(&error);
                None
            }
        }
    }

    /// Saves soon: pieces were hashed, which shall not be for nothing.
    pub fn hurry(&self) {
        self.shared.work().hurry = true;
        self.shared.wake.notify_one();
    }

    /// Saves a torrent for the last time.
    pub fn end(&self, ending: Ending) {
        self.shared.work().endings.push(ending);
        self.shared.wake.notify_one();
    }

    fn warn_of(&self, error: &dyn std::error::Error) {
        (self.shared.warn)(format!(
            "no resume state can be kept in {}: {error}; what is there will be checked at every start",
            self.directory.display()
        ));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.work().stopping = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut round: u32 = 0;
        let mut failing = false;
        loop {
            let (endings, stopping) = {
                let idle = |work: &mut Work| work.endings.is_empty() && !work.hurry && !work.stopping;
                let waited = self.wake.wait_timeout_while(self.work(), INTERVAL, idle);
                let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
                work.hurry = false;
                (std::mem::take(&mut work.endings), work.stopping)
            };
            round = round.wrapping_add(1);
            let totals = stopping || round.is_multiple_of(TOTALS_ROUNDS);
            for Ending { record, blocks, done } in endings {
                self.note(&mut failing, record.save(&self.database, blocks.as_deref()));
                record.unlock();
                self.work().records.retain(|other| !Arc::ptr_eq(other, &record));
                done();
            }
            // Not in the loop's head, where the lock would be held until its end.
            let records = self.work().records.clone();
            for record in &records {
                if record.has_pieces_to_save() || (totals && record.has_news()) {
                    self.note(&mut failing, record.save(&self.database, None));
                }
            }
            if stopping {
                records.iter().for_each(|record| record.unlock());
                return;
            }
        }
    }

    /// Warns when saving begins to fail.
    fn note(&self, failing: &mut bool, saved: Result<(), StateError>) {
        match saved {
            Ok(()) => *failing = false,
            Err(error) if !*failing => {
                *failing = true;
                (self.warn)(format!(
                    "the resume state cannot be saved: {error}; until it can, what is downloaded will have \
                     to be checked at the next start"
                ));
            }
            Err(_) => {}
        }
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
