//! The state database: one SQLite file for all torrents of a user.
//!
//! Every process of the user may have it open at the same time; SQLite's own locks keep them apart. It has a write-ahead
//! log, so that who reads waits for nobody's disk, unless other machines may have it open too. A database
//! that is damaged, foreign, or of a later version is renamed and stays for whoever can read it.

use super::{bans, library, links, number_of, places};
use quelea_block::BlockBuf;
use quelea_storage::Holder;
use quelea_storage::file_layer::Stamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its name in the state directory.
pub const NAME: &str = "state.db";
/// Held while the database is opened, so that of two processes one alone puts a damaged one aside.
const GUARD: &str = "state.lock";
/// `QLST`, where SQLite keeps whose file it is.
const APPLICATION: i32 = 0x514c_5354;
/// The form of the tables below.
const VERSION: i32 = 5;
/// The longest that another connection, of this process too, may hold the database: a disk with much to do takes many
/// seconds for each transaction, and a torrent of which nothing can be kept is looked for where it was added.
const PATIENCE: Duration = Duration::from_secs(30);
/// Statements that a connection keeps compiled: all that are used of each torrent.
const STATEMENTS: usize = 32;
/// Torrents that are remembered; of more, those are forgotten that were saved longest ago.
const REMEMBERED: u32 = 10_000;

/// - `have` has a bit for each piece (BEP 3, "bitfield"), `wanted` one for each file in the same way.
/// - `clean` is 0 from before the first byte is written until all of them are told of here.
/// - `seal` is the SHA-1 of what pieces are called good by, so that no bit that falls over makes one good.
/// - `file.number` is -1 for the part file; times are nanoseconds since 1970, `saved` is seconds.
const TABLES: &str = "
CREATE TABLE torrent (
    id INTEGER PRIMARY KEY,
    info_hash BLOB NOT NULL,
    directory BLOB NOT NULL,
    have BLOB NOT NULL,
    wanted BLOB NOT NULL,
    clean INTEGER NOT NULL,
    seal BLOB NOT NULL,
    downloaded INTEGER NOT NULL,
    uploaded INTEGER NOT NULL,
    saved INTEGER NOT NULL,
    UNIQUE (info_hash, directory)
);
CREATE TABLE file (
    torrent INTEGER NOT NULL REFERENCES torrent ON DELETE CASCADE,
    number INTEGER NOT NULL,
    length INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (torrent, number)
) WITHOUT ROWID;
CREATE TABLE block (
    torrent INTEGER NOT NULL REFERENCES torrent ON DELETE CASCADE,
    piece INTEGER NOT NULL,
    begin INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (torrent, piece, begin)
);
";

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// SQLite says so.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// The system says so.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What is remembered of a torrent in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The pieces that are good where their files have not changed.
    pub have: Vec<u8>,
    /// Whether no byte was written beyond what is told here.
    pub clean: bool,
    /// How the files stood, by number.
    pub stamps: HashMap<i64, Stamp>,
    /// Payload received in all sessions, in bytes.
    pub downloaded: u64,
    /// Payload sent in all sessions, in bytes.
    pub uploaded: u64,
}

impl Saved {
    /// Whether a file, or the part file, is known to have been there.
    pub fn knows(&self, holder: Holder) -> bool {
        self.stamps.contains_key(&number_of(holder))
    }
}

/// A block of a piece that was not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedBlock<B = Vec<u8>> {
    /// The piece.
    pub piece: u32,
    /// Where in the piece it begins, in bytes.
    pub begin: u32,
    /// What it holds.
    pub bytes: B,
}

/// Names a torrent in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The hash that handshakes carry (BEP 3).
    pub info_hash: [u8; 20],
    /// The absolute download directory, as bytes of the system.
    pub directory: Vec<u8>,
}

/// What is to be remembered.
#[derive(Debug)]
pub struct Change<'a> {
    /// The pieces that are good, a bit for each.
    pub have: &'a [u8],
    /// The files that are wanted, a bit for each.
    pub wanted: &'a [u8],
    /// Whether no byte was written beyond what is told here.
    pub clean: bool,
    /// How files stand, by number; `None` forgets what was known of one.
    pub stamps: &'a [(i64, Option<Stamp>)],
    /// Payload received in all sessions, in bytes.
    pub downloaded: u64,
    /// Payload sent in all sessions, in bytes.
    pub uploaded: u64,
    /// All blocks of pieces that are not whole; `None` keeps those that are there, but for pieces that are good.
    pub blocks: Option<&'a [SavedBlock<BlockBuf>]>,
}

/// The state database, open.
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

/// A database that cannot be used as it is.
enum Unfit {
    Aside(String),
    Failed(StateError),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Aside("it is damaged".to_owned()) } else { Self::Failed(error.into()) }
    }
}

impl Database {
    /// Opens the database in `directory`, creating both where they are missing. What a person should know is
    /// put into `warnings`.
    ///
    /// # Errors
    /// Those of SQLite and the system; damage is none of them.
    pub fn open(directory: &Path, warnings: &mut Vec<String>) -> Result<Self, StateError> {
        create_folder(directory)?;
        let guard = File::options().create(true).append(true).open(directory.join(GUARD))?;
        guard.lock()?;
        let path = directory.join(NAME);
        match Self::open_at(&path) {
            Ok(database) => Ok(database),
            Err(Unfit::Failed(error)) => Err(error),
            Err(Unfit::Aside(why)) => {
                let aside = put_aside(&path)?;
                warnings.push(format!(
                    "the resume state {} cannot be used: {why}; it is kept as {}, and what is there is checked",
                    path.display(),
                    aside.display()
                ));
                Self::open_at(&path).map_err(|unfit| match unfit {
                    Unfit::Failed(error) => error,
                    Unfit::Aside(why) => std::io::Error::other(why).into(),
                })
            }
        }
    }

    fn open_at(path: &Path) -> Result<Self, Unfit> {
        // SQLite takes less than its smallest page for an empty database, and would write over it.
        if path.metadata().is_ok_and(|found| (1..512).contains(&found.len())) {
            return Err(Unfit::Aside("it is damaged".to_owned()));
        }
        if is_for_reading_only(path) {
            return Err(Unfit::Aside("it is damaged, or a later SQLite wrote it".to_owned()));
        }
        let mut database = Self { connection: connect(path)?, path: path.to_owned() };
        database.look_over()?;
        // Whoever reads does not wait for who writes, and a commit waits for the disk once. Where that cannot be
        // it is done without.
        if !is_shared(path) {
            let _ = database.connection.pragma_update(None, "journal_mode", "WAL");
        }
        database.forget_old()?;
        Ok(database)
    }

    /// A database that lies nowhere.
    #[cfg(test)]
    pub fn in_memory() -> Self {
        let Ok(database) = Self::open_at(Path::new(":memory:")) else { unreachable!() };
        database
    }

    /// Makes sure that this is a whole database of ours.
    fn look_over(&mut self) -> Result<(), Unfit> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number = |pragma| begun.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: i64 = begun.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if (application, version, tables) == (0, 0, 0) {
            begun.execute_batch(TABLES)?;
            begun.execute_batch(library::TABLES)?;
            begun.execute_batch(places::TABLES)?;
            begun.execute_batch(bans::TABLE)?;
            begun.execute_batch(links::TABLE)?;
            begun.pragma_update(None, "application_id", APPLICATION)?;
            begun.pragma_update(None, "user_version", VERSION)?;
            return Ok(begun.commit()?);
        }
        if application != APPLICATION {
            return Err(Unfit::Aside("it is no state of Quelea's".to_owned()));
        }
        if version > VERSION {
            return Err(Unfit::Aside("a later version of Quelea wrote it".to_owned()));
        }
        let verdict: String = begun.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" || version < 1 {
            return Err(Unfit::Aside("it is damaged".to_owned()));
        }
        // Version 1 had neither library nor places.
        if version < 2 {
            begun.execute_batch(library::TABLES)?;
            begun.execute_batch(places::TABLES)?;
        } else if version < 3 {
            begun.execute_batch(library::SINCE_2)?;
        }
        if version < 4 {
            begun.execute_batch(bans::TABLE)?;
        }
        if version < 5 {
            begun.execute_batch(links::TABLE)?;
        }
        if version < VERSION {
            begun.pragma_update(None, "user_version", VERSION)?;
        }
        // Every column that is used, so that a table of another form shows itself here.
        begun.query_row(
            "SELECT count(have), count(wanted), count(clean), count(seal), count(downloaded), count(uploaded)
             FROM torrent",
            [],
            |_| Ok(()),
        )?;
        begun.query_row("SELECT count(modified), count(changed) FROM file", [], |_| Ok(()))?;
        begun.query_row("SELECT count(bytes) FROM block", [], |_| Ok(()))?;
        begun.query_row("SELECT count(leaving) FROM library", [], |_| Ok(()))?;
        begun.query_row("SELECT count(info) FROM metainfo", [], |_| Ok(()))?;
        begun.query_row("SELECT count(address) FROM ban", [], |_| Ok(()))?;
        begun.query_row("SELECT count(link) FROM link", [], |_| Ok(()))?;
        begun.query_row("SELECT count(directory) FROM place", [], |_| Ok(()))?;
        begun.query_row("SELECT count(paths) FROM names", [], |_| Ok(()))?;
        begun.query_row("SELECT count(files) FROM priority", [], |_| Ok(()))?;
        begun.query_row("SELECT count(paths), count(existing), count(staged) FROM moving", [], |_| Ok(()))?;
        Ok(begun.commit()?)
    }

    /// Another connection with the same database, which nobody's writing holds up.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn connect_again(&self) -> Result<Self, StateError> {
        Ok(Self { connection: connect(&self.path)?, path: self.path.clone() })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn forget_old(&self) -> rusqlite::Result<()> {
        self.connection.execute(
            "DELETE FROM torrent WHERE id IN (SELECT id FROM torrent ORDER BY saved DESC LIMIT -1 OFFSET ?1)",
            [REMEMBERED],
        )?;
        Ok(())
    }

    /// What is remembered of a torrent. Nothing, where it is not what was written.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn load(&self, name: &Name) -> Result<Option<Saved>, StateError> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT id, have, clean, seal, downloaded, uploaded FROM torrent
                 WHERE info_hash = ?1 AND directory = ?2",
            )?
            .query_row(params![name.info_hash, name.directory], |row| {
                let saved = Saved {
                    have: row.get(1)?,
                    clean: row.get(2)?,
                    stamps: HashMap::new(),
                    downloaded: row.get::<_, i64>(4)?.cast_unsigned(),
                    uploaded: row.get::<_, i64>(5)?.cast_unsigned(),
                };
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(3)?, saved))
            })
            .optional()?;
        let Some((id, seal, mut saved)) = found else { return Ok(None) };
        if seal != self::seal(name, &saved.have, saved.clean) {
            return Ok(None);
        }
        let mut files = self
            .connection
            .prepare_cached("SELECT number, length, modified, changed FROM file WHERE torrent = ?1")?;
        let rows = files.query_map([id], |row| {
            let length = row.get::<_, i64>(1)?.cast_unsigned();
            Ok((row.get(0)?, Stamp { length, modified: row.get(2)?, changed: row.get(3)? }))
        })?;
        saved.stamps = rows.collect::<rusqlite::Result<_>>()?;
        Ok(Some(saved))
    }

    /// The blocks of pieces that were not whole. Nothing vouches for them but the hashes of their pieces.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn load_blocks(&self, name: &Name) -> Result<Vec<SavedBlock>, StateError> {
        let mut blocks = self.connection.prepare_cached(
            "SELECT piece, begin, bytes FROM block JOIN torrent ON torrent.id = block.torrent
             WHERE info_hash = ?1 AND directory = ?2",
        )?;
        let rows = blocks.query_map(params![name.info_hash, name.directory], |row| {
            Ok(SavedBlock { piece: row.get(0)?, begin: row.get(1)?, bytes: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Remembers all of it, or nothing.
    ///
    /// # Errors
    /// Those of SQLite: the disk is full, another process holds the database.
    pub fn save(&mut self, name: &Name, change: &Change<'_>) -> Result<(), StateError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        save(&begun, name, change)?;
        Ok(begun.commit()?)
    }

    /// Remembers all of several torrents, or nothing.
    ///
    /// # Errors
    /// Those of [`Database::save`].
    pub fn save_all(&mut self, changes: &[(&Name, Change<'_>)]) -> Result<(), StateError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (name, change) in changes {
            save(&begun, name, change)?;
        }
        Ok(begun.commit()?)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is committed outlasts a loss of power; see the order of things in `record`.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Whether the database lies on a file system that other machines may have open too: they cannot share the memory that
/// a write-ahead log needs (SQLite's "Write-Ahead Logging").
fn is_shared(path: &Path) -> bool {
    /// NFS, SMB 1, SMB 2 and 3, Ceph, AFS, Coda, 9P, FUSE: `linux/magic.h`.
    const NETWORKS: [u64; 8] =
        [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f, 0x7375_7245, 0x0102_1997, 0x6573_5546];
    rustix::fs::statfs(path).is_ok_and(|found| NETWORKS.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

fn save(begun: &Connection, name: &Name, change: &Change<'_>) -> rusqlite::Result<()> {
    let mut put = begun.prepare_cached(
        "INSERT INTO torrent
             (info_hash, directory, have, wanted, clean, seal, downloaded, uploaded, saved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, unixepoch())
         ON CONFLICT (info_hash, directory) DO UPDATE SET
             have = ?3, wanted = ?4, clean = ?5, seal = ?6, downloaded = ?7, uploaded = ?8,
             saved = unixepoch()
         RETURNING id",
    )?;
    let id: i64 = put.query_row(
        params![
            name.info_hash,
            name.directory,
            change.have,
            change.wanted,
            change.clean,
            seal(name, change.have, change.clean),
            change.downloaded.cast_signed(),
            change.uploaded.cast_signed(),
        ],
        |row| row.get(0),
    )?;
    {
        let mut put = begun.prepare_cached("INSERT OR REPLACE INTO file VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut forget = begun.prepare_cached("DELETE FROM file WHERE torrent = ?1 AND number = ?2")?;
        for (number, stamp) in change.stamps {
            match stamp {
                Some(Stamp { length, modified, changed }) => {
                    put.execute(params![id, number, length.cast_signed(), modified, changed])?
                }
                None => forget.execute(params![id, number])?,
            };
        }
        if let Some(blocks) = change.blocks {
            begun.prepare_cached("DELETE FROM block WHERE torrent = ?1")?.execute([id])?;
            let mut put = begun.prepare_cached("INSERT OR REPLACE INTO block VALUES (?1, ?2, ?3, ?4)")?;
            for block in blocks {
                put.execute(params![id, block.piece, block.begin, &block.bytes[..]])?;
            }
        } else {
            let mut find = begun.prepare_cached("SELECT DISTINCT piece FROM block WHERE torrent = ?1")?;
            let mut forget = begun.prepare_cached("DELETE FROM block WHERE torrent = ?1 AND piece = ?2")?;
            let pieces = find.query_map([id], |row| row.get::<_, u32>(0))?;
            for piece in pieces.collect::<rusqlite::Result<Vec<u32>>>()? {
                if has(change.have, piece) {
                    forget.execute(params![id, piece])?;
                }
            }
        }
    }
    Ok(())
}

/// Whether a bit is set (BEP 3, "bitfield").
fn has(bits: &[u8], piece: u32) -> bool {
    bits.get(piece as usize / 8).is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0)
}

/// Binds what pieces are called good by to the torrent and directory.
pub(super) fn seal(name: &Name, have: &[u8], clean: bool) -> [u8; 20] {
    let length = (name.directory.len() as u64).to_le_bytes();
    let parts: [&[u8]; 5] = [&name.info_hash, &length, &name.directory, &[u8::from(clean)], have];
    quelea_digest::sha1(&parts.concat())
}

/// Whether the database says that no SQLite of our days may write to it ("File format version numbers" in SQLite's
/// "Database File Format"): opening it would fail only when something has to be saved.
fn is_for_reading_only(path: &Path) -> bool {
    let mut header = [0; 19];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header.starts_with(b"SQLite format 3\0") && header[18] > 2
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    if let Error::SqliteFailure(failure, _) = error {
        // A table or column that is missing is an unspecific error of SQLite's.
        return matches!(
            failure.code,
            ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::TypeMismatch
                | ErrorCode::Unknown
        );
    }
    matches!(
        error,
        Error::SqlInputError { .. }
            | Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::QueryReturnedNoRows
    )
}

/// Renames the database, and the journal that belongs to it, to names that are free.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut number = 1u32;
    let aside = loop {
        let aside = beside(&format!(".aside-{number}"));
        if aside.symlink_metadata().is_err() {
            break aside;
        }
        number += 1;
    };
    std::fs::rename(path, &aside)?;
    for suffix in ["-journal", "-wal", "-shm"] {
        let mut to = aside.as_os_str().to_owned();
        to.push(suffix);
        match std::fs::rename(beside(suffix), to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

/// Creates a folder that is its user's alone, as the XDG base directory specification asks.
pub(crate) fn create_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
