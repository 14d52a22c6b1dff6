//! What can fail for the one who uses the library.

use std::path::PathBuf;

/// The result of the engine's own calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. Its `Display` says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A torrent file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    ReadTorrent {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The torrent is not valid.
    #[error("not a valid torrent: {0}")]
    Metainfo(#[from] quelea_metainfo::Error),
    /// A magnet link's v1 and v2 hashes are those of two different torrents.
    #[error(
        "the magnet link names two different torrents: one hash fits and the other does not; leave one of them out"
    )]
    MagnetContradiction,
    /// The torrent is valid but cannot be downloaded by this version.
    #[error("cannot download this torrent: {0}")]
    Unsupported(&'static str),
    /// The same torrent is in the session already.
    #[error("this torrent is already being downloaded")]
    Duplicate,
    /// Another process, or another session with the same state directory, works on it in the same directory.
    #[error(
        "this torrent is being downloaded to {directory:?} already, by another Quelea{}; stop that one first, \
         or name another directory",
        process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse {
        /// The download directory.
        directory: PathBuf,
        /// The process, where it can be told.
        process: Option<u32>,
    },
    /// No file of the torrent is wanted.
    #[error("no file is selected: select at least one")]
    NothingSelected,
    /// The torrent has no such file or folder.
    #[error("the torrent has no file or folder {0:?}; name its present path below the download directory")]
    NoSuchFile(PathBuf),
    /// A file can't be called so.
    #[error(
        "no file can be called {0:?}: name a path below the download directory, of names that every system takes"
    )]
    BadName(PathBuf),
    /// The torrent is a magnet link whose metadata is not here yet.
    #[error("the torrent's metadata is still being fetched; wait for it, or resume the torrent")]
    NoMetadata,
    /// The torrent is not running, so it takes no peers.
    #[error("the torrent is not running; start it first")]
    NotRunning,
    /// Too many changes of the torrent's files wait for their turn.
    #[error("too many changes wait for their turn; try again later")]
    Busy,
    /// Nothing could be listened on.
    #[error("cannot listen on {address}: {source}; name another port or address")]
    Listen {
        /// The address and port.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The files could not be opened or created.
    #[error(transparent)]
    Storage(#[from] quelea_storage::StorageError),
    /// The library of torrents cannot be read or is in use; says why.
    #[error("the library of torrents cannot be used: {0}")]
    Library(String),
    /// What is remembered of torrents cannot be read or written; says why.
    #[error("what is remembered cannot be used: {0}")]
    State(String),
    /// The torrent is not in the session any more.
    #[error("the torrent is not in the session any more")]
    Gone,
    /// An address is none of a tracker.
    #[error("{url:?} is no tracker's address: {reason}")]
    BadTracker {
        /// What was given.
        url: String,
        /// Why it is none.
        reason: String,
    },
    /// The session has no node of the DHT, which is asked for this.
    #[error("the DHT is off, and nobody else knows this: turn it on")]
    NoDht,
    /// The DHT has nothing of a publisher.
    #[error("the DHT has nothing of this publisher, as {nodes} nodes say; try again later")]
    Unpublished {
        /// Nodes that answered.
        nodes: usize,
    },
    /// Threads or sockets could not be made.
    #[error("cannot start the session: {0}")]
    Start(#[source] std::io::Error),
    /// The session has been closed.
    #[error("the session is closed")]
    Closed,
}
