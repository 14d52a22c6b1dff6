//! Files on their way, written down: the journal of [`quelea_storage::Store::relocate`], and where a recovery goes on.

use super::database::StateError;
use super::keeper::{Begun, Keeper, Shared};
use super::places::{Names, Way};
use super::{Lock, Moving, Name, Reached, Record, Refused, real_path};
use quelea_storage::{Existing, Goal, Journal, Step};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A torrent's files on their way to another directory or other names.
pub struct Relocation {
    shared: Arc<Shared>,
    record: Arc<Record>,
    directory: Vec<u8>,
    names: Names,
    existing: Existing,
    /// The right to the torrent there; the record takes it over.
    lock: Mutex<Option<Lock>>,
}

impl Keeper {
    /// Begins to write down how files go to `goal`, where `names` are not those that the torrent says. Waits for
    /// the disk.
    ///
    /// # Errors
    /// When somebody else has the torrent there: which process, if it says so; or no lock can be had.
    pub fn relocation(&self, record: &Arc<Record>, goal: &Goal, names: Names) -> Result<Relocation, Taken> {
        let directory = real_path(&goal.root).into_os_string().as_bytes().to_vec();
        let name = Name { info_hash: record.name().info_hash, directory: directory.clone() };
        let lock = if record.holds(&name) {
            None
        } else {
            match self.locks.take(&name) {
                Ok(lock) => Some(lock),
                Err(Refused::Held { by }) => return Err(Taken::By(by)),
                Err(Refused::System(error)) => return Err(Taken::System(error)),
            }
        };
        Ok(Relocation {
            shared: Arc::clone(&self.shared),
            record: Arc::clone(record),
            directory,
            names,
            existing: goal.existing,
            lock: Mutex::new(lock),
        })
    }

    /// A relocation that was interrupted is where it was going, or where it began; `at_goal` says which, and
    /// `over` whether nothing is left to be done.
    ///
    /// # Errors
    /// When that can't be written down.
    pub fn recovered(&self, begun: &mut Begun, at_goal: bool, over: bool) -> Result<(), StateError> {
        let Some(moving) = begun.arrangement.moving.clone() else { return Ok(()) };
        let mut slot = self.shared.database();
        let Some(database) = slot.as_mut() else { return Ok(()) };
        let directory = moving.directory.as_os_str().as_bytes();
        let way = Way { directory, names: &moving.names, existing: moving.existing };
        if at_goal && moving.reached != Reached::Placed {
            database.placed((&begun.home, &begun.name), &way, &[])?;
            let old = std::mem::replace(&mut begun.name.directory, directory.to_vec());
            let names = std::mem::replace(&mut begun.arrangement.names, moving.names.clone());
            let (directory, reached) = (super::places::path(old), Reached::Placed);
            begun.arrangement.moving = Some(Moving { directory, names, reached, ..moving.clone() });
        }
        if over {
            database.note_step(&begun.name, &way, Step::Over)?;
            begun.arrangement.moving = None;
        }
        Ok(())
    }
}

/// Why a torrent's files can't go to a directory.
#[derive(Debug)]
pub enum Taken {
    /// Somebody works on the same torrent there: which process, if it says so.
    By(Option<u32>),
    /// It could not be found out.
    System(std::io::Error),
}

impl Journal for Relocation {
    fn note(&self, step: Step<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut slot = self.shared.database();
        let database = slot.as_mut().ok_or("the state database is not open")?;
        self.record.introduce(database)?;
        let way = Way { directory: &self.directory, names: &self.names, existing: self.existing };
        match step {
            Step::Placed { moved } => {
                database.placed((self.record.home(), &self.record.name()), &way, moved)?;
                let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.record.moved_to(self.directory.clone(), lock);
            }
            Step::Copying | Step::Placing { .. } | Step::Over => {
                database.note_step(&self.record.name(), &way, step)?;
                if matches!(step, Step::Over) {
                    self.record.has_left();
                }
            }
        }
        Ok(())
    }
}

/// The directory, as the database names it.
pub(super) fn directory_bytes(path: &Path) -> Vec<u8> {
    real_path(path).into_os_string().as_bytes().to_vec()
}
