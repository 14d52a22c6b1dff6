//! What can go wrong between pieces and files, and what a person can do about it.

use crate::links::LinkFault;
use quelea_metainfo::geometry::PieceIndex;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why pieces could not be written, read or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The system refused.
    #[error("can't {action} {path:?}: {}{}", reason(.source), remedy(.source))]
    System {
        /// What was tried.
        action: Action,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A symbolic link stands where files are to go, or something of ours is to be moved.
    #[error("{0:?} is a symbolic link; move it away, or choose another download directory")]
    SymbolicLink(PathBuf),
    /// A symbolic link stands where a file or folder of the torrent belongs, and can't be followed.
    #[error("{path:?} is a symbolic link that {fault}")]
    Link {
        /// The link.
        path: PathBuf,
        /// Why it is not followed.
        fault: LinkFault,
    },
    /// Files are reached through a symbolic link, and what it leads to is not moved.
    #[error("{0:?} is a symbolic link, and what it leads to is not moved; move it by hand")]
    ThroughLink(PathBuf),
    /// Something that is no ordinary file stands where a file of the torrent belongs.
    #[error("{0:?} is not an ordinary file; move it away, or choose another download directory")]
    NotAFile(PathBuf),
    /// A file that was there before is longer than the torrent's. It is not cut, for it may be another file.
    #[error(
        "{path:?} has {found} bytes but the torrent's file has {expected}; move it away, choose another \
         download directory, or allow it to be overwritten (--overwrite)"
    )]
    LongerFile {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The torrent's length for it in bytes.
        expected: u64,
    },
    /// An existing file holds nothing of the torrent; it is not written to.
    #[error(
        "{0:?} is there already and is not this torrent's: nothing in it matches; choose another download \
         directory, move it away, or allow it to be overwritten (--overwrite)"
    )]
    ForeignFile(PathBuf),
    /// Another torrent of the session works on the same file.
    #[error(
        "{path:?} belongs to the torrent {name:?} of this session too, which {}; choose another download directory, or \
         wait until that one is {}",
        if *reads { "seeds it" } else { "downloads or checks it" },
        if *reads { "stopped" } else { "complete or stopped" }
    )]
    OtherTorrent {
        /// The shared file.
        path: PathBuf,
        /// Name of the other torrent.
        name: String,
        /// Whether the other torrent only reads the file, so this one could read it too.
        reads: bool,
    },
    /// Another process, or another session of this one, works on the same files.
    #[error(
        "{path:?} is being worked on by another program{}; stop that one first, or choose another download directory",
        process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    OtherProcess {
        /// The file, or the folder that it is in.
        path: PathBuf,
        /// Id of the other process, if the system tells it.
        process: Option<u32>,
    },
    /// The file is not there, or ends before these bytes.
    #[error("{path:?} has no data at byte {offset}; check the torrent's data again")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Where the wanted bytes begin, in bytes.
        offset: u64,
    },
    /// A file that was written to is there no more: what was written may be lost with it.
    #[error("{0:?} has vanished; bring it back, or start the torrent again to fetch what is gone")]
    Vanished(PathBuf),
    /// Another program changed or replaced a file. What it holds is not trusted until it was hashed again.
    #[error("another program changed {0:?}; it is checked again")]
    Disturbed(PathBuf),
    /// A file has the name of the torrent's part file but is none, or one of another torrent.
    #[error("{0:?} is not the part file of this torrent; move it away")]
    ForeignPartFile(PathBuf),
    /// A file's path would leave the download directory, or two files share it.
    #[error("{0:?} can't be the path of a torrent's file; choose another name for it")]
    BadPath(PathBuf),
    /// The lengths of the files, or what is said of each of them, do not fit the torrent.
    #[error("the list of files does not fit the torrent: {0}")]
    BadFileList(&'static str),
    /// The blocks or the buffer do not have the length of the piece or span they are for.
    #[error("{found} bytes were given for {expected} bytes of piece {piece}")]
    WrongLength {
        /// Which piece.
        piece: PieceIndex,
        /// How many bytes were given.
        found: u64,
        /// How many belong there.
        expected: u64,
    },
    /// The store was opened for reading alone.
    #[error("{0:?} was opened for reading alone")]
    ReadOnly(PathBuf),
    /// Something is where a file of the torrent is to go.
    #[error(
        "{0:?} is there already; move it away, choose another place, or say that it may be replaced or used"
    )]
    Exists(PathBuf),
    /// The file system that the files are to go to has not enough room for them.
    #[error(
        "{path:?} has room for {free} bytes but {needed} are to go there; free some space, or choose another \
         directory"
    )]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that are to go there.
        needed: u64,
        /// Bytes that it has room for.
        free: u64,
    },
    /// A file was to be brought elsewhere and is there no more.
    #[error(
        "{0:?} is neither where it was nor where it was going; bring it back, or check the torrent again"
    )]
    Lost(PathBuf),
    /// What was going on was cancelled, and nothing has changed.
    #[error("it was cancelled, and everything is where it was")]
    Cancelled,
    /// It could not be written down where the files go, so they stay.
    #[error("can't write down where the files go: {0}; they stay where they are")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the system was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// To look whether it is there.
    Inspect,
    /// To open it.
    Open,
    /// To create it.
    Create,
    /// To create the folders above it.
    CreateFolder,
    /// To read from it.
    Read,
    /// To write to it.
    Write,
    /// To reserve its space.
    Allocate,
    /// To bring it to the disk.
    Sync,
    /// To remove it.
    Remove,
    /// To give it another place.
    Move,
    /// To copy it to another file system.
    Copy,
    /// To find out how much room there is.
    Measure,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inspect => "look at",
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateFolder => "create the folder of",
            Self::Read => "read",
            Self::Write => "write to",
            Self::Allocate => "reserve space for",
            Self::Sync => "bring to the disk",
            Self::Remove => "remove",
            Self::Move => "move",
            Self::Copy => "copy",
            Self::Measure => "measure the room of",
        })
    }
}

impl StorageError {
    pub(crate) fn system(action: Action, path: &Path, source: io::Error) -> Self {
        Self::System { action, path: path.to_owned(), source }
    }

    /// Whether the error says that the data are not there, rather than that they could not be had.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Whether the system allows no change in this place.
    pub fn is_forbidden(&self) -> bool {
        let is_forbidden = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        };
        matches!(self, Self::System { source, .. } if is_forbidden(source))
    }

    /// Whether the file system has no room left, or a quota is used up.
    pub fn is_full(&self) -> bool {
        let is_full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        matches!(self, Self::NoRoom { .. }) || matches!(self, Self::System { source, .. } if is_full(source))
    }
}

/// The system's words for an error, without its number.
fn reason(error: &io::Error) -> String {
    let words = error.to_string();
    match words.find(" (os error") {
        Some(end) => words[..end].to_lowercase(),
        None => words,
    }
}

/// What a person can do, as the end of a sentence; empty where there is nothing to say.
fn remedy(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => "; free some space, or choose another download directory",
        Some(Errno::DQUOT) => {
            "; your quota is used up: free some space, or choose another download directory"
        }
        Some(Errno::ACCESS | Errno::PERM) => "; check its permissions, or choose another download directory",
        Some(Errno::ROFS) => "; choose a download directory that can be written to",
        Some(Errno::NAMETOOLONG) => {
            "; the file system takes no such long names: choose another download directory"
        }
        Some(Errno::ISDIR) => "; a folder stands in its place: move it away",
        Some(Errno::NOTDIR) => "; a file stands where a folder belongs: move it away",
        Some(Errno::FBIG) => {
            "; a file may not be that long here: raise the limit (ulimit -f), or choose a download directory whose \
             file system takes it"
        }
        Some(Errno::MFILE | Errno::NFILE) => "; raise the limit of open files (ulimit -n)",
        Some(Errno::IO) => "; the disk may be failing: look into the system's log",
        Some(Errno::INVAL | Errno::ILSEQ) => {
            "; the file system may not take this name: choose another directory"
        }
        _ => "",
    }
}
