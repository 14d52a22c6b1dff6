//! What is remembered between two runs, so that a torrent goes on without hashing everything again.
//!
//! Owns: the state database, the file of DHT nodes, the locks that keep two processes from working on one torrent in one directory, and
//! the thread that writes. Does not own: files, what a piece's hash is, or when a torrent begins and ends.
//!
//! # What is promised
//! No piece is called good that is not, whenever the process is killed or the power fails, and no piece that is
//! whole on the disk is fetched again. The order of things sees to it:
//!
//! 1. A piece counts from the moment its write has returned ([`Record::written`]).
//! 2. Every few seconds the files that were written to are brought to the disk (`fdatasync`), then compared with
//!    what our own last write left (length and times; [`Store::standing`]), and then one transaction says which
//!    pieces are good and how the files stand. So a piece that the database calls good is on the disk, and a file
//!    that another program changed after our last write is not recorded as ours.
//! 3. A file that does not stand as the database says is hashed ([`Plan`]). After a stop that was not clean, so
//!    are the pieces that the database does not know of: they may have been written after the last transaction.
//!
//! A stamp counts as a proof once it is older than a tick of the file system's clock, for a change within the same
//! tick leaves the same stamp; until then the file is recorded without one and is hashed at the next start.
//!
//! A file that could not be brought to the disk is doubtful: what was written may be lost although later calls
//! succeed. Its pieces are hashed when the torrent starts next.
//!
//! Nothing here runs on a thread that talks to the network; what it has to remember is bounded by the torrent's
//! own size, since one record of what changed is kept a torrent, however often it changes.
#![forbid(unsafe_code)]

mod bans;
pub mod database;
mod keeper;
mod library;
mod links;
mod lock;
mod nodes;
mod places;
mod plan;
mod record;
mod relocation;
mod remembered;
#[cfg(test)]
mod tests;

use database::Name;
pub use database::SavedBlock;
pub use keeper::{Begun, Ending, Keeper};
pub use library::{Kept, Leaving, Library};
pub use links::KeptLink;
use lock::{Lock, Locks, Refused};
pub use nodes::{NodeFile, SavedNodes};
pub use places::{Arrangement, Moving, Names, Reached};
pub use plan::Plan;
pub use record::{OnTrouble, Record, Totals};
pub use relocation::{Relocation, Taken};
pub use remembered::{ForgetError, Remembered, forget, remembered};

use quelea_storage::{Holder, Store};
use std::path::{Component, Path, PathBuf};

/// The number that the database has for a file.
fn number_of(holder: Holder) -> i64 {
    match holder {
        Holder::File(file) => file.at() as i64,
        Holder::PartFile => -1,
    }
}

impl Name {
    /// The name of a torrent in the directory of this store. Asks the system where it really is.
    pub fn new(info_hash: [u8; 20], directory: &Path) -> Self {
        Self { info_hash, directory: real_path(directory).into_os_string().into_encoded_bytes() }
    }
}

/// The same path for the same directory, however it was named; it need not be there yet.
fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, mut real)) = there else { return absolute };
    for component in absolute.strip_prefix(above).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => real.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    real
}

/// Which files of a store are wanted, a bit for each.
fn wanted_bits(store: &Store) -> Vec<u8> {
    let bits = |files: &[bool]| files.iter().zip(0..).map(|(&wanted, at)| u8::from(wanted) << (7 - at)).sum();
    store.wanted().chunks(8).map(bits).collect()
}
