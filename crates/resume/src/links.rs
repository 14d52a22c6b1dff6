//! The magnet links whose metadata is still to be fetched, in the library's database. A link's row goes when the torrent
//! that it led to has its own.

use quelea_swarm::queue::{Goals, Then};
use rusqlite::{Connection, Row as SqlRow, params};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// - `link` is the whole link, with its trackers, web seeds, peers and selection (BEP 9, BEP 53).
/// - The other columns mean what those of `library` do.
pub(super) const TABLE: &str = "
CREATE TABLE link (
    id INTEGER PRIMARY KEY,
    info_hash BLOB NOT NULL UNIQUE,
    link TEXT NOT NULL,
    directory BLOB NOT NULL,
    incomplete BLOB,
    labels TEXT NOT NULL,
    preallocate INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    forced INTEGER NOT NULL,
    goals INTEGER NOT NULL,
    goal_ratio REAL,
    goal_seconds INTEGER,
    goal_idle INTEGER,
    goal_then INTEGER NOT NULL,
    limit_down INTEGER NOT NULL,
    limit_up INTEGER NOT NULL,
    sequential INTEGER NOT NULL,
    super_seeding INTEGER NOT NULL
);
";

/// A magnet link of the library.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptLink {
    /// Its number in the session, which the torrent will have too.
    pub id: u64,
    /// Its info-hash.
    pub info_hash: [u8; 20],
    /// The link.
    pub link: String,
    /// The download directory.
    pub directory: PathBuf,
    /// The directory until it is complete; `None` for the same.
    pub incomplete: Option<PathBuf>,
    /// Its labels.
    pub labels: Box<[Box<str>]>,
    /// Whether its files' space is reserved first.
    pub preallocate: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it runs whatever the limits say.
    pub forced: bool,
    /// Its own goals.
    pub goals: Option<Goals>,
    /// Bytes a second that it may receive and send; 0 for no limit.
    pub limits: (u64, u64),
    /// Whether pieces are taken in order.
    pub sequential: bool,
    /// Whether a seed shows its peers a piece at a time (BEP 16).
    pub super_seeding: bool,
}

/// Links that are to be written down, or (`None`) taken out, by their numbers.
pub(super) type Changes = BTreeMap<u64, Option<Box<KeptLink>>>;

/// All of them but those of which there is a torrent, in the order they were added.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<KeptLink>> {
    let mut query = connection.prepare(
        "SELECT id, info_hash, link, directory, incomplete, labels, preallocate, paused, forced, goals,
                goal_ratio, goal_seconds, goal_idle, goal_then, limit_down, limit_up, sequential, super_seeding
         FROM link WHERE id NOT IN (SELECT id FROM library)
             AND info_hash NOT IN (SELECT info_hash FROM library)
         ORDER BY id",
    )?;
    query.query_map([], read_row)?.collect()
}

pub(super) fn write(begun: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut delete = begun.prepare_cached("DELETE FROM link WHERE id = ?1")?;
    let mut put = begun.prepare_cached(
        "INSERT OR REPLACE INTO link VALUES
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    for (id, row) in changes {
        let Some(row) = row else {
            delete.execute([id.cast_signed()])?;
            continue;
        };
        let goals = row.goals.unwrap_or_default();
        put.execute(params![
            row.id.cast_signed(),
            row.info_hash,
            row.link,
            row.directory.as_os_str().as_bytes(),
            row.incomplete.as_ref().map(|path| path.as_os_str().as_bytes()),
            row.labels.join("\n"),
            row.preallocate,
            row.paused,
            row.forced,
            row.goals.is_some(),
            goals.ratio,
            goals.seed_time.map(seconds),
            goals.idle.map(seconds),
            then_number(goals.then),
            row.limits.0.cast_signed(),
            row.limits.1.cast_signed(),
            row.sequential,
            row.super_seeding,
        ])?;
    }
    Ok(())
}

fn read_row(row: &SqlRow<'_>) -> rusqlite::Result<KeptLink> {
    let bytes = |at| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(at)?.cast_unsigned());
    let goals = Goals {
        ratio: row.get(10)?,
        seed_time: row.get::<_, Option<i64>>(11)?.map(duration),
        idle: row.get::<_, Option<i64>>(12)?.map(duration),
        then: then_of(row.get(13)?),
    };
    Ok(KeptLink {
        id: bytes(0)?,
        info_hash: row.get(1)?,
        link: row.get(2)?,
        directory: OsString::from_vec(row.get(3)?).into(),
        incomplete: row.get::<_, Option<Vec<u8>>>(4)?.map(|bytes| OsString::from_vec(bytes).into()),
        labels: row.get_ref(5)?.as_str()?.lines().map(Box::from).collect(),
        preallocate: row.get(6)?,
        paused: row.get(7)?,
        forced: row.get(8)?,
        goals: row.get::<_, bool>(9)?.then_some(goals),
        limits: (bytes(14)?, bytes(15)?),
        sequential: row.get(16)?,
        super_seeding: row.get(17)?,
    })
}

pub(super) fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn duration(seconds: i64) -> Duration {
    Duration::from_secs(seconds.cast_unsigned())
}

/// The number of what follows a goal, as `goal_then` has it.
pub(super) const fn then_number(then: Then) -> i64 {
    match then {
        Then::Pause => 0,
        Then::Remove => 1,
        Then::RemoveWithData => 2,
    }
}

/// What follows a goal.
pub(super) const fn then_of(number: i64) -> Then {
    match number {
        1 => Then::Remove,
        2 => Then::RemoveWithData,
        _ => Then::Pause,
    }
}
