//! The library: the torrents that a session has, so that the next one has them again.
//!
//! It lies in the state database beside what is remembered of each torrent's pieces. One session at a time has it
//! open. Writes are collected and done by a thread of its own, all that wait in one transaction, so that a thousand
//! changes at once cost one. Who must know that a change outlasts a kill waits for [`Library::when_written`].
//!
//! Bounded by the session's torrents: of each at most one row waits to be written, however often it changes.

use super::database::{Database, StateError, create_folder};
use super::links::{self, KeptLink, duration, seconds, then_number, then_of};
use super::{Totals, bans};
use quelea_metainfo::Info;
use quelea_storage::threads::Threads;
use quelea_swarm::queue::Goals;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Held by the session that has the library.
const LOCK: &str = "library.lock";
/// What the disk refused is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// The longest that the last of it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// - `directory` is the download directory, as bytes of the system; `wanted` has a bit for each file, the first one
///   highest, NULL for all; `priorities` a byte for each, NULL for the usual.
/// - `incomplete` is the directory until it is complete, NULL for the same; `wants_named` is 1 as long as what was
///   wanted earlier does not matter.
/// - `trackers` has a line for each, tier and URL; `labels` a line for each.
/// - `goals` says whether the torrent has its own; of these NULL is none, `goal_then` 0 pause, 1 remove, 2 with data.
/// - Of the limits, in bytes a second, 0 is none.
/// - `leaving` is 1 while the torrent is being removed, 2 with its files: the next session goes on with it.
pub(super) const TABLES: &str = "
CREATE TABLE library (
    id INTEGER PRIMARY KEY,
    info_hash BLOB NOT NULL UNIQUE,
    position INTEGER NOT NULL,
    directory BLOB NOT NULL,
    name TEXT NOT NULL,
    private INTEGER NOT NULL,
    trackers TEXT NOT NULL,
    labels TEXT NOT NULL,
    wanted BLOB,
    preallocate INTEGER NOT NULL,
    seeding INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    forced INTEGER NOT NULL,
    waived INTEGER NOT NULL,
    goals INTEGER NOT NULL,
    goal_ratio REAL,
    goal_seconds INTEGER,
    goal_idle INTEGER,
    goal_then INTEGER NOT NULL,
    seeded INTEGER NOT NULL,
    total_length INTEGER NOT NULL,
    wanted_length INTEGER NOT NULL,
    wanted_have INTEGER NOT NULL,
    pieces INTEGER NOT NULL,
    pieces_have INTEGER NOT NULL,
    downloaded INTEGER NOT NULL,
    uploaded INTEGER NOT NULL,
    leaving INTEGER NOT NULL,
    limit_down INTEGER NOT NULL,
    limit_up INTEGER NOT NULL,
    priorities BLOB,
    sequential INTEGER NOT NULL,
    incomplete BLOB,
    wants_named INTEGER NOT NULL,
    super_seeding INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE metainfo (
    torrent INTEGER PRIMARY KEY REFERENCES library ON DELETE CASCADE,
    info BLOB NOT NULL
);
";

/// What version 2 had not.
pub(super) const SINCE_2: &str = "ALTER TABLE library ADD COLUMN super_seeding INTEGER NOT NULL DEFAULT 0";

/// A torrent of the library.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its number in the session.
    pub id: u64,
    /// Its info-hash.
    pub info_hash: [u8; 20],
    /// The download directory.
    pub directory: PathBuf,
    /// Its name.
    pub name: String,
    /// Whether peers may come from its trackers alone (BEP 27).
    pub private: bool,
    /// Its trackers, each with its tier.
    pub trackers: Box<[(u32, Box<str>)]>,
    /// Its labels.
    pub labels: Box<[Box<str>]>,
    /// A bit for each file; `None` for all.
    pub wanted: Option<Vec<u8>>,
    /// The directory until it is complete; `None` for the same.
    pub incomplete: Option<PathBuf>,
    /// Whether what was wanted of it earlier does not matter.
    pub wants_named: bool,
    /// Whether its files' space is reserved first.
    pub preallocate: bool,
    /// Whether it is complete.
    pub seeding: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it runs whatever the limits say.
    pub forced: bool,
    /// Whether it goes on although it has reached its goal.
    pub waived: bool,
    /// Its own goals.
    pub goals: Option<Goals>,
    /// How long it has seeded.
    pub seeded: Duration,
    /// Bytes of all files.
    pub total_length: u64,
    /// Bytes of wanted pieces.
    pub wanted_length: u64,
    /// Bytes of wanted pieces that are there.
    pub wanted_have: u64,
    /// Pieces in all.
    pub pieces: u32,
    /// Pieces that are there.
    pub pieces_have: u32,
    /// Payload moved.
    pub moved: Totals,
    /// Bytes a second that it may receive and send; 0 for no limit.
    pub limits: (u64, u64),
    /// How much each file is wanted, where that is not the usual.
    pub priorities: Option<Vec<u8>>,
    /// Whether pieces are taken in order.
    pub sequential: bool,
    /// Whether a seed shows its peers a piece at a time (BEP 16).
    pub super_seeding: bool,
    /// Whether it is being removed.
    pub leaving: Leaving,
}

/// Whether a torrent is being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It is not.
    No,
    /// Its files stay.
    Alone,
    /// Its files go.
    WithData,
}

/// The library of a session; dropping it writes what there is to write.
pub struct Library {
    shared: Arc<Shared>,
    thread: Threads,
    /// Keeps the lock.
    lock: Mutex<Option<File>>,
}

struct Shared {
    database: Mutex<Database>,
    /// The same for those who look something up, so that they do not wait for the disk that is written to.
    reading: Mutex<Database>,
    work: Mutex<Work>,
    wake: Condvar,
    warn: Box<dyn Fn(String) + Send + Sync>,
}

#[derive(Default)]
struct Work {
    changes: BTreeMap<u64, Change>,
    /// All torrents in the queue's order, if that has changed.
    order: Option<Vec<u64>>,
    bans: bans::Changes,
    links: links::Changes,
    waiting: Vec<Box<dyn FnOnce() + Send>>,
    stopping: bool,
}

enum Change {
    Put { row: Box<Kept>, info: Option<Arc<Info>> },
    Delete,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.has_nothing_to_write() && self.waiting.is_empty()
    }

    fn has_nothing_to_write(&self) -> bool {
        self.changes.is_empty() && self.order.is_none() && self.bans.is_empty() && self.links.is_empty()
    }
}

impl Library {
    /// Opens the library in `directory`, and reads who is in it, in the queue's order. Waits for the disk.
    ///
    /// # Errors
    /// Why it cannot be used, for a person.
    pub fn open(
        directory: &Path,
        warn: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<(Self, Vec<Kept>), String> {
        let lock = create_folder(directory)
            .and_then(|()| File::options().create(true).append(true).open(directory.join(LOCK)))
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        if lock.try_lock().is_err() {
            return Err(format!("another session has the one in {}", directory.display()));
        }
        let mut warnings = Vec::new();
        let opened = Database::open(directory, &mut warnings);
        warnings.into_iter().for_each(&warn);
        let database = opened.map_err(|error| format!("{}: {error}", directory.display()))?;
        let kept = read_all(database.connection()).map_err(|error| error.to_string())?;
        // What was read once is not read again soon.
        let _ = database.connection().pragma_update(None, "cache_size", -256);
        let _ = database.connection().release_memory();
        let shared = Arc::new(Shared {
            reading: Mutex::new(database.connect_again().map_err(|error| error.to_string())?),
            database: Mutex::new(database),
            work: Mutex::default(),
            wake: Condvar::new(),
            warn: Box::new(warn),
        });
        let serving = Arc::clone(&shared);
        let mut thread = Threads::default();
        thread.spawn("quelea-library", move || serving.serve()).map_err(|error| error.to_string())?;
        Ok((Self { shared, thread, lock: Mutex::new(Some(lock)) }, kept))
    }

    /// Puts a torrent in, with its info dictionary when it is new, or changes it.
    pub fn put(&self, row: Kept, info: Option<Arc<Info>>) {
        let mut work = self.shared.work();
        let before = match work.changes.remove(&row.id) {
            Some(Change::Put { info, .. }) => info,
            Some(Change::Delete) | None => None,
        };
        work.changes.insert(row.id, Change::Put { row: Box::new(row), info: info.or(before) });
        self.shared.wake.notify_one();
    }

    /// Takes a torrent out.
    pub fn delete(&self, id: u64) {
        let mut work = self.shared.work();
        work.changes.insert(id, Change::Delete);
        // The link that led to it, if its row has outlasted that.
        work.links.insert(id, None);
        drop(work);
        self.shared.wake.notify_one();
    }

    /// The queue's order is this.
    pub fn set_order(&self, order: Vec<u64>) {
        self.shared.work().order = Some(order);
        self.shared.wake.notify_one();
    }

    /// The user bans an address, or takes that back.
    pub fn set_banned(&self, address: IpAddr, banned: bool) {
        self.shared.work().bans.insert(address, banned);
        self.shared.wake.notify_one();
    }

    /// The addresses that the user banned. Waits for the disk.
    ///
    /// # Errors
    /// Why they cannot be read, for a person.
    pub fn banned(&self) -> Result<Vec<IpAddr>, String> {
        bans::read(self.shared.reading().connection()).map_err(|error| error.to_string())
    }

    /// Puts a magnet link in whose metadata is still to be fetched, or changes it.
    pub fn put_link(&self, row: KeptLink) {
        self.shared.work().links.insert(row.id, Some(Box::new(row)));
        self.shared.wake.notify_one();
    }

    /// Takes a magnet link out.
    pub fn delete_link(&self, id: u64) {
        self.shared.work().links.insert(id, None);
        self.shared.wake.notify_one();
    }

    /// The magnet links whose metadata is still to be fetched, in the order they were added. Waits for the disk.
    ///
    /// # Errors
    /// Why they cannot be read, for a person.
    pub fn links(&self) -> Result<Vec<KeptLink>, String> {
        links::read(self.shared.reading().connection()).map_err(|error| error.to_string())
    }

    /// `done` is called once all that was told is written, or cannot be, which is told.
    pub fn when_written(&self, done: Box<dyn FnOnce() + Send>) {
        let mut work = self.shared.work();
        if work.stopping {
            // Dropping it tells as well.
            return;
        }
        work.waiting.push(done);
        drop(work);
        self.shared.wake.notify_one();
    }

    /// Writes what there is to write, for ten seconds at most, and lets another session have the library. What is told
    /// later is lost.
    pub fn close(&self) {
        self.shared.work().stopping = true;
        self.shared.wake.notify_one();
        if !self.thread.join(PATIENCE) {
            (self.shared.warn)("the disk is slow: the last changes of the library may be lost".to_owned());
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The info dictionary of a torrent. Waits for the disk.
    ///
    /// # Errors
    /// That it is not there, for a person.
    pub fn info(&self, id: u64) -> Result<Info, String> {
        if let Some(Change::Put { info: Some(info), .. }) = self.shared.work().changes.get(&id) {
            return Ok(Info::clone(info));
        }
        let database = self.shared.reading();
        let bytes = database
            .connection()
            .prepare_cached("SELECT info FROM metainfo WHERE torrent = ?1")
            .and_then(|mut query| {
                query.query_row([id.cast_signed()], |row| row.get::<_, Vec<u8>>(0)).optional()
            })
            .map_err(|error| error.to_string())?
            .ok_or("it has no metainfo of this torrent; remove it, and add it again")?;
        Info::parse(&bytes).map_err(|error| error.to_string())
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn serve(&self) {
        let mut failing = false;
        loop {
            let idle = |work: &mut Work| work.is_empty() && !work.stopping;
            let work = self.wake.wait_while(self.work(), idle);
            let mut work = work.unwrap_or_else(PoisonError::into_inner);
            let stopping = work.stopping;
            let taken = Work {
                changes: std::mem::take(&mut work.changes),
                order: work.order.take(),
                bans: std::mem::take(&mut work.bans),
                links: std::mem::take(&mut work.links),
                waiting: std::mem::take(&mut work.waiting),
                stopping,
            };
            drop(work);
            let written = self.database().write(&taken);
            match written {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        (self.warn)(format!(
                            "the library of torrents cannot be written: {error}; until it can, what changes is \
                             not remembered"
                        ));
                    }
                    self.put_back(taken.changes, taken.order, taken.bans, taken.links);
                }
            }
            for waiting in taken.waiting {
                waiting();
            }
            if stopping {
                return;
            }
            if failing {
                let work = self.work();
                drop(self.wake.wait_timeout_while(work, RETRY, |work| !work.stopping));
            }
        }
    }

    /// What could not be written is written later, unless it has changed since.
    fn put_back(
        &self,
        changes: BTreeMap<u64, Change>,
        order: Option<Vec<u64>>,
        bans: bans::Changes,
        links: links::Changes,
    ) {
        let mut work = self.work();
        for (id, link) in links {
            work.links.entry(id).or_insert(link);
        }
        for (address, banned) in bans {
            work.bans.entry(address).or_insert(banned);
        }
        for (id, change) in changes {
            let later = work.changes.remove(&id);
            let change = match (change, later) {
                (change, None) => change,
                (Change::Put { info: before, .. }, Some(Change::Put { row, info })) => {
                    Change::Put { row, info: info.or(before) }
                }
                (Change::Put { .. } | Change::Delete, Some(later)) => later,
            };
            work.changes.insert(id, change);
        }
        if work.order.is_none() {
            work.order = order;
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Database> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Writes all of it, or nothing.
    fn write(&mut self, work: &Work) -> Result<(), StateError> {
        if work.has_nothing_to_write() {
            return Ok(());
        }
        let begun = self.connection_mut().transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = begun.prepare_cached(
                "INSERT OR REPLACE INTO library VALUES (?1, ?2,
                     coalesce((SELECT position FROM library WHERE id = ?1), 1 << 40), ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                     ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31,
                     ?32, ?33, ?34)
                 ON CONFLICT (id) DO UPDATE SET
                     trackers = ?6, labels = ?7, wanted = ?8, preallocate = ?9, seeding = ?10, paused = ?11,
                     forced = ?12, waived = ?13, goals = ?14, goal_ratio = ?15, goal_seconds = ?16, goal_idle = ?17,
                     goal_then = ?18, seeded = ?19, wanted_length = ?21, wanted_have = ?22, pieces_have = ?24,
                     downloaded = ?25, uploaded = ?26, leaving = ?27, directory = ?3,
                     limit_down = ?28, limit_up = ?29, priorities = ?30, sequential = ?31, incomplete = ?32,
                     wants_named = ?33, super_seeding = ?34",
            )?;
            let mut info_of = begun.prepare_cached("INSERT OR REPLACE INTO metainfo VALUES (?1, ?2)")?;
            let mut delete = begun.prepare_cached("DELETE FROM library WHERE id = ?1")?;
            let mut place = begun
                .prepare_cached("UPDATE library SET position = ?2 WHERE id = ?1 AND position IS NOT ?2")?;
            for (id, change) in &work.changes {
                match change {
                    Change::Delete => _ = delete.execute([id.cast_signed()])?,
                    Change::Put { row, info } => {
                        put_row(&mut put, row)?;
                        if let Some(info) = info {
                            info_of.execute(params![id.cast_signed(), info.raw()])?;
                        }
                    }
                }
            }
            for (position, id) in (0i64..).zip(work.order.iter().flatten()) {
                place.execute([id.cast_signed(), position])?;
            }
            bans::write(&begun, &work.bans)?;
            links::write(&begun, &work.links)?;
        }
        Ok(begun.commit()?)
    }
}

fn put_row(put: &mut rusqlite::Statement<'_>, row: &Kept) -> rusqlite::Result<()> {
    let trackers: Vec<String> = row.trackers.iter().map(|(tier, url)| format!("{tier} {url}")).collect();
    let goals = row.goals.unwrap_or_default();
    put.execute(params![
        row.id.cast_signed(),
        row.info_hash,
        row.directory.as_os_str().as_bytes(),
        row.name,
        row.private,
        trackers.join("\n"),
        row.labels.join("\n"),
        row.wanted,
        row.preallocate,
        row.seeding,
        row.paused,
        row.forced,
        row.waived,
        row.goals.is_some(),
        goals.ratio,
        goals.seed_time.map(seconds),
        goals.idle.map(seconds),
        then_number(goals.then),
        seconds(row.seeded),
        row.total_length.cast_signed(),
        row.wanted_length.cast_signed(),
        row.wanted_have.cast_signed(),
        row.pieces,
        row.pieces_have,
        row.moved.downloaded.cast_signed(),
        row.moved.uploaded.cast_signed(),
        match row.leaving {
            Leaving::No => 0,
            Leaving::Alone => 1,
            Leaving::WithData => 2,
        },
        row.limits.0.cast_signed(),
        row.limits.1.cast_signed(),
        row.priorities,
        row.sequential,
        row.incomplete.as_ref().map(|path| path.as_os_str().as_bytes()),
        row.wants_named,
        row.super_seeding,
    ])?;
    Ok(())
}

fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut query = connection.prepare(
        "SELECT id, info_hash, directory, name, private, trackers, labels, wanted, preallocate, seeding, paused,
                forced, waived, goals, goal_ratio, goal_seconds, goal_idle, goal_then, seeded, total_length,
                wanted_length, wanted_have, pieces, pieces_have, downloaded, uploaded, leaving,
                limit_down, limit_up, priorities, sequential, incomplete, wants_named,
                super_seeding
         FROM library ORDER BY position, id",
    )?;
    query.query_map([], read_row)?.collect()
}

fn read_row(row: &SqlRow<'_>) -> rusqlite::Result<Kept> {
    let bytes = |at| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(at)?.cast_unsigned());
    let time = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(duration));
    let goals =
        Goals { ratio: row.get(14)?, seed_time: time(15)?, idle: time(16)?, then: then_of(row.get(17)?) };
    let tracker = |line: &str| {
        let (tier, url) = line.split_once(' ')?;
        Some((tier.parse().ok()?, url.into()))
    };
    Ok(Kept {
        id: bytes(0)?,
        info_hash: row.get(1)?,
        directory: OsString::from_vec(row.get(2)?).into(),
        name: row.get(3)?,
        private: row.get(4)?,
        trackers: row.get_ref(5)?.as_str()?.lines().filter_map(tracker).collect(),
        labels: row.get_ref(6)?.as_str()?.lines().map(Box::from).collect(),
        wanted: row.get(7)?,
        preallocate: row.get(8)?,
        seeding: row.get(9)?,
        paused: row.get(10)?,
        forced: row.get(11)?,
        waived: row.get(12)?,
        goals: row.get::<_, bool>(13)?.then_some(goals),
        seeded: time(18)?.unwrap_or_default(),
        total_length: bytes(19)?,
        wanted_length: bytes(20)?,
        wanted_have: bytes(21)?,
        pieces: row.get(22)?,
        pieces_have: row.get(23)?,
        moved: Totals { downloaded: bytes(24)?, uploaded: bytes(25)? },
        leaving: match row.get::<_, i64>(26)? {
            0 => Leaving::No,
            1 => Leaving::Alone,
            _ => Leaving::WithData,
        },
        limits: (bytes(27)?, bytes(28)?),
        priorities: row.get(29)?,
        sequential: row.get(30)?,
        incomplete: row.get::<_, Option<Vec<u8>>>(31)?.map(|bytes| OsString::from_vec(bytes).into()),
        wants_named: row.get(32)?,
        super_seeding: row.get(33)?,
    })
}
