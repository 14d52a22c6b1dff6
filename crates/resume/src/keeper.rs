//! The thread that writes down what torrents have to remember.

use super::database::{Database, Saved, SavedBlock, StateError};
use super::places::{Arrangement, Names};
use super::record::{OnTrouble, save_all};
use super::relocation::directory_bytes;
use super::{Lock, Locks, Name, Plan, Record, Refused};
use quelea_block::BlockBuf;
use quelea_storage::Store;
use quelea_storage::threads::Threads;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest time that a piece which was written is not remembered, as long as the disk keeps up.
const INTERVAL: Duration = Duration::from_secs(3);
/// Who is in a hurry waits so long for others who are.
const GATHER: Duration = Duration::from_millis(100);
/// The longest that the last of it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The count of bytes that were moved is saved with pieces, and without any after so many intervals.
const TOTALS_ROUNDS: u32 = 10;

/// Torrents that are told of in one transaction: the disk is waited for once for all of them, and other processes that
/// want the database wait no longer than that.
const AT_ONCE: usize = 64;

/// The state of a session's torrents. Dropping it saves what there is to save, for ten seconds at most.
pub struct Keeper {
    directory: PathBuf,
    pub(super) locks: Locks,
    pub(super) shared: Arc<Shared>,
    thread: Threads,
}

pub(super) struct Shared {
    /// Open from the first torrent on.
    database: Mutex<Option<Database>>,
    /// The same for those who look up what is known, so that they do not wait for the disk that is written to.
    reading: Mutex<Option<Database>>,
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
    /// The torrent where it is.
    pub(super) name: Name,
    /// The torrent where it was added.
    pub(super) home: Name,
    locks: Vec<(Name, Lock)>,
    /// How its files are arranged.
    pub arrangement: Arrangement,
    /// What is remembered.
    pub saved: Option<Saved>,
    /// Blocks of pieces that were not whole.
    pub blocks: Vec<SavedBlock>,
    /// Whether files were named since it was loaded.
    pub(super) renamed: bool,
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
            reading: Mutex::default(),
            work: Mutex::default(),
            wake: Condvar::new(),
            warn: Box::new(warn),
        });
        let serving = Arc::clone(&shared);
        let mut thread = Threads::default();
        thread.spawn("quelea-state", move || serving.serve())?;
        Ok(Self { locks: Locks::new(&directory), directory, shared, thread })
    }

    /// Takes a torrent that is added with the directory `home`, wherever it is. One that nothing is known of is in
    /// `first`, if that is named, until it is moved. Waits for the disk. `None` where no state can be kept, which
    /// is told.
    ///
    /// # Errors
    /// When somebody else has it: which process, if it says so.
    pub fn begin(
        &self,
        info_hash: [u8; 20],
        home: &Path,
        first: Option<&Path>,
    ) -> Result<Option<Begun>, Option<u32>> {
        let home = Name::new(info_hash, home);
        let begun = match self.locks.take(&home) {
            Ok(lock) => self.begin_with(home, lock, first),
            Err(refused) => Err(refused.into()),
        };
        match begun {
            Ok(begun) => Ok(Some(begun)),
            Err(NotBegun::Held(by)) => Err(by),
            Err(NotBegun::Failed(error)) => {
                self.warn_of(&error);
                Ok(None)
            }
        }
    }

    fn begin_with(&self, home: Name, lock: Lock, first: Option<&Path>) -> Result<Begun, NotBegun> {
        let mut locks = vec![(home.clone(), lock)];
        // Nobody can change it while the first lock is held.
        let place = self.place(&home, first)?;
        let name = Name { info_hash: home.info_hash, directory: place };
        if name != home {
            locks.push((name.clone(), self.locks.take(&name)?));
        }
        let (saved, blocks, arrangement) = self.load(&name)?;
        if let Some(moving) = &arrangement.moving {
            let goal = Name { info_hash: home.info_hash, directory: directory_bytes(&moving.directory) };
            if goal != name && goal != home {
                let lock = self.locks.take(&goal)?;
                locks.push((goal, lock));
            }
        }
        Ok(Begun { name, home, locks, arrangement, saved, blocks, renamed: false })
    }

    /// Where a torrent is.
    fn place(&self, home: &Name, first: Option<&Path>) -> Result<Vec<u8>, StateError> {
        let first = first.map(directory_bytes).filter(|first| *first != home.directory);
        let (place, is_new) = {
            let slot = self.read()?;
            let Some(database) = slot.as_ref() else { return Ok(home.directory.clone()) };
            let place = database.place(home)?;
            let is_new = place.is_none() && first.is_some() && database.load(home)?.is_none();
            (place, is_new)
        };
        match (place, first) {
            (Some(place), _) => Ok(place),
            (None, Some(first)) if is_new => {
                if let Some(database) = self.open()?.as_ref() {
                    database.set_place(home, &first)?;
                }
                Ok(first)
            }
            (None, _) => Ok(home.directory.clone()),
        }
    }

    /// The directory where a torrent is that was added with `home`, if not there. Waits for the disk.
    pub fn directory_of(&self, info_hash: [u8; 20], home: &Path) -> Option<PathBuf> {
        let slot = self.read().ok()?;
        let place = slot.as_ref()?.place(&Name::new(info_hash, home)).ok()??;
        Some(super::places::path(place))
    }

    /// The database, open.
    fn open(&self) -> Result<MutexGuard<'_, Option<Database>>, StateError> {
        let mut slot = self.shared.database();
        if slot.is_none() {
            let mut warnings = Vec::new();
            let opened = Database::open(&self.directory, &mut warnings);
            warnings.into_iter().for_each(&self.shared.warn);
            *slot = Some(opened?);
        }
        Ok(slot)
    }

    /// The database, open for reading.
    fn read(&self) -> Result<MutexGuard<'_, Option<Database>>, StateError> {
        let mut slot = self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = self.open()?.as_ref().map(Database::connect_again).transpose()?;
        }
        Ok(slot)
    }

    fn load(&self, name: &Name) -> Result<(Option<Saved>, Vec<SavedBlock>, Arrangement), StateError> {
        let slot = self.read()?;
        let Some(database) = slot.as_ref() else { return Ok(Default::default()) };
        let saved = database.load(name)?;
        let blocks = if saved.is_some() { database.load_blocks(name)? } else { Vec::new() };
        Ok((saved, blocks, database.arrangement(name)?))
    }

    /// How much each file is wanted, 0 to 7, from here on; `None` for what it is added with. Waits for the disk.
    ///
    /// # Errors
    /// When it can't be written down.
    pub fn set_priorities(&self, record: &Record, priorities: Option<&[u8]>) -> Result<(), StateError> {
        match self.shared.database().as_mut() {
            Some(database) => {
                record.introduce(database)?;
                database.set_priorities(&record.name(), priorities)
            }
            None => Ok(()),
        }
    }

    /// What files are called from here on, where the torrent leaves a choice. Waits for the disk.
    fn set_names(&self, record: &Record, names: &Names) -> Result<(), StateError> {
        match self.shared.database().as_mut() {
            Some(database) => {
                record.introduce(database)?;
                database.set_names(&record.name(), names)
            }
            None => Ok(()),
        }
    }

    /// Begins to keep the state of a torrent. Waits for the disk. `None` where that fails, which is told.
    pub fn keep(
        &self,
        begun: Begun,
        store: Arc<Store>,
        plan: &Plan,
        on_trouble: OnTrouble,
    ) -> Option<Arc<Record>> {
        let Begun { name, home, locks, saved, arrangement, renamed, .. } = begun;
        let started = Record::start(
            (home, name),
            store,
            locks,
            (saved.as_ref(), plan),
            on_trouble,
            &self.shared.database,
        );
        match started {
            Ok(record) => {
                let record = Arc::new(record);
                if renamed && let Err(error) = self.set_names(&record, &arrangement.names) {
                    self.warn_of(&error);
                }
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

impl Begun {
    /// The directory where the torrent is.
    pub fn directory(&self) -> PathBuf {
        super::places::path(self.name.directory.clone())
    }

    /// These are the names of files that are not called as the torrent says, or might be called otherwise. They are
    /// remembered once the torrent's state is kept.
    pub fn name_files(&mut self, names: Names) {
        self.renamed |= names != self.arrangement.names;
        self.arrangement.names = names;
    }

    /// Whether that is the directory that it was added with.
    pub fn is_at_home(&self) -> bool {
        self.name == self.home
    }
}

/// Why a torrent could not be taken.
enum NotBegun {
    Held(Option<u32>),
    Failed(StateError),
}

impl From<Refused> for NotBegun {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Held { by } => Self::Held(by),
            Refused::System(error) => Self::Failed(error.into()),
        }
    }
}

impl From<StateError> for NotBegun {
    fn from(error: StateError) -> Self {
        Self::Failed(error)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.work().stopping = true;
        self.shared.wake.notify_one();
        if !self.thread.join(PATIENCE) {
            (self.shared.warn)("the disk is slow: the next start checks what was written last".to_owned());
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
                if work.endings.is_empty() && !work.stopping {
                    // Others may be about to have something too; the disk is waited for once for all of them.
                    let alone = |work: &mut Work| work.endings.is_empty() && !work.stopping;
                    let waited = self.wake.wait_timeout_while(work, GATHER, alone);
                    (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
                work.hurry = false;
                (std::mem::take(&mut work.endings), work.stopping)
            };
            round = round.wrapping_add(1);
            let totals = stopping || round.is_multiple_of(TOTALS_ROUNDS);
            let mut endings = endings.into_iter().peekable();
            while endings.peek().is_some() {
                let some: Vec<Ending> = endings.by_ref().take(AT_ONCE).collect();
                let news = some.iter().map(|ending| ending.record.news(ending.blocks.as_deref())).collect();
                self.note(&mut failing, save_all(&self.database, news));
                for Ending { record, done, .. } in some {
                    record.unlock();
                    self.work().records.retain(|other| !Arc::ptr_eq(other, &record));
                    done();
                }
            }
            // Not in the loop's head, where the lock would be held until its end.
            let records = self.work().records.clone();
            let is_news =
                |record: &&Arc<Record>| record.has_pieces_to_save() || (totals && record.has_news());
            let mut new = records.iter().filter(is_news).peekable();
            while new.peek().is_some() {
                let news = new.by_ref().take(AT_ONCE).map(|record| record.news(None)).collect();
                self.note(&mut failing, save_all(&self.database, news));
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

    pub(super) fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
