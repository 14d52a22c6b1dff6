//! Where a torrent's files are if not where it was added, what they are called, how much each is wanted, and how far
//! they have come where they are being moved: tables of the state database.

use super::Name;
use super::database::{Database, StateError, seal};
use super::number_of;
use quelea_storage::{Existing, Moved, Step};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// - `place` leads from the directory that a torrent was added with to the one where it is.
/// - `names.paths` and `moving.paths` have the number and the path of each file that is not called as the torrent
///   says, or might be called otherwise, each of them followed by a zero byte.
/// - `priority.files` has a byte a file, 0 to 7.
/// - `moving` has a row for each torrent whose files are on their way: where they go, and once they are there, where
///   they were; `step` counts as [`Reached`] does.
pub(super) const TABLES: &str = "
CREATE TABLE place (
    info_hash BLOB NOT NULL,
    home BLOB NOT NULL,
    directory BLOB NOT NULL,
    PRIMARY KEY (info_hash, home)
) WITHOUT ROWID;
CREATE TABLE names (
    torrent INTEGER PRIMARY KEY REFERENCES torrent ON DELETE CASCADE,
    paths BLOB NOT NULL
);
CREATE TABLE priority (
    torrent INTEGER PRIMARY KEY REFERENCES torrent ON DELETE CASCADE,
    files BLOB NOT NULL
);
CREATE TABLE moving (
    torrent INTEGER PRIMARY KEY REFERENCES torrent ON DELETE CASCADE,
    directory BLOB NOT NULL,
    paths BLOB NOT NULL,
    existing INTEGER NOT NULL,
    step INTEGER NOT NULL,
    staged INTEGER NOT NULL
);
";

/// The paths of files that are not called as their torrent says, by number.
pub type Names = BTreeMap<usize, PathBuf>;

/// How a torrent's files are arranged, beside what the torrent says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrangement {
    /// Files with other names.
    pub names: Names,
    /// How much each file is wanted, 0 to 7, if that was changed while it ran.
    pub priorities: Option<Vec<u8>>,
    /// Where the files were going when the last run ended.
    pub moving: Option<Moving>,
}

/// Files on their way, when a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// The directory that they were going to; once they are there, the one where they were.
    pub directory: PathBuf,
    /// What they are called in that directory.
    pub names: Names,
    /// What was to be done about files that were there already.
    pub existing: Existing,
    /// How far they had come.
    pub reached: Reached,
    /// Whether they were copied.
    pub staged: bool,
}

/// How far files had come; see [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Copies were being made.
    Copying,
    /// They were being renamed.
    Placing,
    /// They were all there.
    Placed,
}

/// Where files go, as the database takes it.
pub(super) struct Way<'a> {
    pub(super) directory: &'a [u8],
    pub(super) names: &'a Names,
    pub(super) existing: Existing,
}

impl Database {
    /// Where a torrent is that was added with the directory `home`; `None` for there.
    pub(super) fn place(&self, home: &Name) -> Result<Option<Vec<u8>>, StateError> {
        let mut find = self
            .connection()
            .prepare_cached("SELECT directory FROM place WHERE info_hash = ?1 AND home = ?2")?;
        Ok(find.query_row(params![home.info_hash, home.directory], |row| row.get(0)).optional()?)
    }

    /// A torrent that is added with the directory `home` is in `directory`.
    pub(super) fn set_place(&self, home: &Name, directory: &[u8]) -> Result<(), StateError> {
        Ok(set_place(self.connection(), home, directory)?)
    }

    /// How a torrent's files are arranged.
    pub(super) fn arrangement(&self, name: &Name) -> Result<Arrangement, StateError> {
        let Some(id) = id_of(self.connection(), name).optional()? else { return Ok(Arrangement::default()) };
        let blob = |query: &str| {
            let mut find = self.connection().prepare_cached(query)?;
            find.query_row([id], |row| row.get::<_, Vec<u8>>(0)).optional()
        };
        let names = blob("SELECT paths FROM names WHERE torrent = ?1")?;
        let priorities = blob("SELECT files FROM priority WHERE torrent = ?1")?;
        let mut find = self.connection().prepare_cached(
            "SELECT directory, paths, existing, step, staged FROM moving WHERE torrent = ?1",
        )?;
        let moving = find.query_row([id], |row| {
            Ok(Moving {
                directory: path(row.get(0)?),
                names: decode(&row.get::<_, Vec<u8>>(1)?),
                existing: match row.get::<_, i64>(2)? {
                    1 => Existing::Replace,
                    2 => Existing::Adopt,
                    _ => Existing::Refuse,
                },
                reached: match row.get::<_, i64>(3)? {
                    0 => Reached::Copying,
                    1 => Reached::Placing,
                    _ => Reached::Placed,
                },
                staged: row.get(4)?,
            })
        });
        Ok(Arrangement {
            names: names.map(|names| decode(&names)).unwrap_or_default(),
            priorities,
            moving: moving.optional()?,
        })
    }

    /// What files are called.
    pub(super) fn set_names(&self, name: &Name, names: &Names) -> Result<(), StateError> {
        let id = id_of(self.connection(), name)?;
        let names = params![id, encode(names)];
        self.connection().execute("INSERT OR REPLACE INTO names VALUES (?1, ?2)", names)?;
        Ok(())
    }

    /// How much each file is wanted; `None` forgets it.
    pub(super) fn set_priorities(&self, name: &Name, priorities: Option<&[u8]>) -> Result<(), StateError> {
        let id = id_of(self.connection(), name)?;
        match priorities {
            Some(files) => self
                .connection()
                .execute("INSERT OR REPLACE INTO priority VALUES (?1, ?2)", params![id, files])?,
            None => self.connection().execute("DELETE FROM priority WHERE torrent = ?1", [id])?,
        };
        Ok(())
    }

    /// A step of files on their way is about to be taken, [`Step::Placed`] left out.
    pub(super) fn note_step(&mut self, name: &Name, way: &Way<'_>, step: Step<'_>) -> Result<(), StateError> {
        let id = id_of(self.connection(), name)?;
        match step {
            Step::Copying => put_way(self.connection(), id, way, Reached::Copying, true)?,
            Step::Placing { staged } => put_way(self.connection(), id, way, Reached::Placing, staged)?,
            Step::Placed { .. } => {}
            Step::Over => {
                self.connection().execute("DELETE FROM moving WHERE torrent = ?1", [id])?;
            }
        }
        Ok(())
    }

    /// The files of the torrent that was added with `home` are all where they were going.
    pub(super) fn placed(
        &mut self,
        (home, name): (&Name, &Name),
        way: &Way<'_>,
        moved: &[Moved],
    ) -> Result<(), StateError> {
        let begun = self.connection_mut().transaction_with_behavior(TransactionBehavior::Immediate)?;
        let id = id_of(&begun, name)?;
        if way.directory != name.directory {
            go(&begun, id, home, name, way.directory)?;
        }
        let before = begun.query_row("SELECT paths FROM names WHERE torrent = ?1", [id], |row| row.get(0));
        let before: Vec<u8> = before.optional()?.unwrap_or_default();
        begun.execute("INSERT OR REPLACE INTO names VALUES (?1, ?2)", params![id, encode(way.names)])?;
        {
            // A file that somebody has changed meanwhile stays unknown.
            let mut restamp = begun.prepare(
                "UPDATE file SET length = ?3, modified = ?4, changed = ?5
                 WHERE torrent = ?1 AND number = ?2 AND length = ?6 AND modified = ?7 AND changed = ?8",
            )?;
            for Moved { holder, before, after } in moved {
                restamp.execute(params![
                    id,
                    number_of(*holder),
                    after.length.cast_signed(),
                    after.modified,
                    after.changed,
                    before.length.cast_signed(),
                    before.modified,
                    before.changed
                ])?;
            }
        }
        begun.execute(
            "UPDATE moving SET step = 2, directory = ?2, paths = ?3 WHERE torrent = ?1",
            params![id, name.directory, before],
        )?;
        Ok(begun.commit()?)
    }
}

/// Changes the directory of a torrent.
fn go(begun: &Transaction<'_>, id: i64, home: &Name, name: &Name, directory: &[u8]) -> rusqlite::Result<()> {
    let new = Name { info_hash: name.info_hash, directory: directory.to_vec() };
    // What was remembered of files there is of no use: they are replaced, or adopted and checked.
    begun.execute(
        "DELETE FROM torrent WHERE info_hash = ?1 AND directory = ?2",
        params![new.info_hash, new.directory],
    )?;
    let (have, clean): (Vec<u8>, bool) =
        begun.query_row("SELECT have, clean FROM torrent WHERE id = ?1", [id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    begun.execute(
        "UPDATE torrent SET directory = ?2, seal = ?3 WHERE id = ?1",
        params![id, new.directory, seal(&new, &have, clean)],
    )?;
    begun.execute(
        "UPDATE place SET directory = ?3 WHERE info_hash = ?1 AND directory = ?2",
        params![name.info_hash, name.directory, directory],
    )?;
    set_place(begun, home, directory)?;
    begun.execute("DELETE FROM place WHERE info_hash = ?1 AND home = directory", params![name.info_hash])?;
    Ok(())
}

fn set_place(connection: &Connection, home: &Name, directory: &[u8]) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO place VALUES (?1, ?2, ?3)",
        params![home.info_hash, home.directory, directory],
    )?;
    Ok(())
}

fn put_way(
    connection: &Connection,
    id: i64,
    way: &Way<'_>,
    reached: Reached,
    staged: bool,
) -> rusqlite::Result<()> {
    let existing = match way.existing {
        Existing::Refuse => 0,
        Existing::Replace => 1,
        Existing::Adopt => 2,
    };
    connection.execute(
        "INSERT OR REPLACE INTO moving VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, way.directory, encode(way.names), existing, number_reached(reached), staged],
    )?;
    Ok(())
}

fn number_reached(reached: Reached) -> i64 {
    match reached {
        Reached::Copying => 0,
        Reached::Placing => 1,
        Reached::Placed => 2,
    }
}

fn id_of(connection: &Connection, name: &Name) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT id FROM torrent WHERE info_hash = ?1 AND directory = ?2")?
        .query_row(params![name.info_hash, name.directory], |row| row.get(0))
}

pub(super) fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn encode(names: &Names) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, path) in names {
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(Path::new(path).as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

/// What is not as it was written is left out: then the torrent's own name counts.
fn decode(bytes: &[u8]) -> Names {
    let mut fields = bytes.split(|&byte| byte == 0);
    let mut names = Names::new();
    while let (Some(number), Some(name)) = (fields.next(), fields.next()) {
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        if let (Some(number), false) = (number, name.is_empty()) {
            names.insert(number, path(name.to_vec()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_written() {
        let names: Names =
            [(0, "a".into()), (7, path(vec![b'x', b'/', 0xff, b'\n'])), (12, "b/c".into())].into();
        assert_eq!(decode(&encode(&names)), names);
        assert_eq!(decode(b""), Names::new());
        assert_eq!(decode(b"x\0a\0"), Names::new());
        assert_eq!(decode(b"1\0a\x002"), Names::from([(1, "a".into())]));
    }
}
