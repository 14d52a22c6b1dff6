//! What the state knows of torrents, for whoever asks without running them, and forgetting it.

use super::database::{Database, NAME, Name, StateError};
use super::{Locks, Refused};
use rusqlite::params;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What is remembered of a torrent in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The hash that handshakes carry (BEP 3).
    pub info_hash: [u8; 20],
    /// The absolute download directory.
    pub directory: PathBuf,
    /// The pieces that are good where their files have not changed, a bit for each, the first one highest.
    pub have: Vec<u8>,
    /// Payload received in all sessions, in bytes.
    pub downloaded: u64,
    /// Payload sent in all sessions, in bytes.
    pub uploaded: u64,
}

/// Why a torrent could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// Another process, or another session, works on it.
    #[error("it is being downloaded or seeded")]
    InUse(Option<u32>),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// All torrents that the state in `directory` knows, those first that were written last. Creates nothing. Waits for
/// the disk.
///
/// # Errors
/// When the state cannot be read.
pub fn remembered(directory: &Path) -> Result<Vec<Remembered>, StateError> {
    let Some(database) = open(directory)? else { return Ok(Vec::new()) };
    let mut all = database.connection().prepare(
        "SELECT info_hash, directory, have, downloaded, uploaded FROM torrent ORDER BY saved DESC, id DESC",
    )?;
    let rows = all.query_map([], |row| {
        Ok(Remembered {
            info_hash: row.get(0)?,
            directory: OsString::from_vec(row.get(1)?).into(),
            have: row.get(2)?,
            downloaded: row.get::<_, i64>(3)?.cast_unsigned(),
            uploaded: row.get::<_, i64>(4)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets a torrent in a download directory, whose files stay: whether it was known. Waits for the disk.
///
/// # Errors
/// [`ForgetError::InUse`], or when the state cannot be written.
pub fn forget(directory: &Path, info_hash: [u8; 20], downloads: &Path) -> Result<bool, ForgetError> {
    let Some(database) = open(directory)? else { return Ok(false) };
    let name = Name::new(info_hash, downloads);
    // As long as this is held nobody begins with it.
    let _right = match Locks::new(directory).take(&name) {
        Ok(right) => right,
        Err(Refused::Held { by }) => return Err(ForgetError::InUse(by)),
        Err(Refused::System(error)) => return Err(StateError::from(error).into()),
    };
    let whole = || -> rusqlite::Result<usize> {
        let of = params![name.info_hash, name.directory];
        let connection = database.connection();
        connection.execute("DELETE FROM place WHERE info_hash = ?1 AND ?2 IN (home, directory)", of)?;
        connection.execute("DELETE FROM torrent WHERE info_hash = ?1 AND directory = ?2", of)
    };
    Ok(whole().map_err(StateError::from)? > 0)
}

fn open(directory: &Path) -> Result<Option<Database>, StateError> {
    if !directory.join(NAME).exists() {
        return Ok(None);
    }
    let mut warnings = Vec::new();
    let database = Database::open(directory, &mut warnings)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(Some(database))
}

#[cfg(test)]
mod tests {
    use super::super::database::Change;
    use super::*;

    #[test]
    fn what_was_saved_is_listed_until_it_is_forgotten_and_not_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (state, downloads) = (folder.path().join("state"), folder.path().join("downloads"));
        assert_eq!(remembered(&state).unwrap(), []);
        assert!(!state.exists());
        let name = Name::new([7; 20], &downloads);
        let change = Change {
            have: &[0xf0],
            wanted: &[0x80],
            clean: true,
            stamps: &[(0, None)],
            downloaded: 5,
            uploaded: 6,
            blocks: None,
        };
        Database::open(&state, &mut Vec::new()).unwrap().save(&name, &change).unwrap();
        let [known] = &remembered(&state).unwrap()[..] else { panic!("one is known") };
        assert_eq!((known.info_hash, &known.have[..], known.downloaded), ([7; 20], &[0xf0][..], 5));

        let locks = Locks::new(&state);
        let running = locks.take(&name).unwrap();
        assert!(matches!(forget(&state, [7; 20], &known.directory), Err(ForgetError::InUse(Some(_)))));
        drop(running);
        assert!(!forget(&state, [8; 20], &known.directory).unwrap());
        assert!(forget(&state, [7; 20], &known.directory).unwrap());
        assert_eq!(remembered(&state).unwrap(), []);
    }
}
