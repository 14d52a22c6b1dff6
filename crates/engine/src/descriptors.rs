//! How a session divides the open files that the system allows the process: between files, peers and the rest.
//!
//! Whoever opens something counts: a peer that connects must never be the reason that a piece cannot be written.

/// What is open beside peers and torrents' files: event queues of the threads, listening sockets, UDP, trackers'
/// connections, look-ups of names, the resume state, the program's own streams.
const OWN: usize = 64;
/// Threads that may hold a file which has left the pool meanwhile; see [`quelea_storage::FilePool`].
const THREADS: usize = 16;
/// What the system is taken to allow where it does not say.
const PLENTY: usize = 1 << 20;
/// Handshakes under way with peers that connect, at most; more wait in the system's queue.
const HANDSHAKES: usize = 256;
/// Connections under way of one torrent, at most.
const HALF_OPEN: usize = 32;

/// How many of each may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Files that stay open.
    pub(crate) files: usize,
    /// Connections with peers of all torrents, those under way included.
    pub(crate) connections: usize,
    /// Handshakes under way with peers that connect.
    pub(crate) handshakes: usize,
    /// Connections under way of one torrent.
    pub(crate) half_open: usize,
    /// Connected peers of one torrent.
    pub(crate) peers: usize,
}

impl Descriptors {
    /// Divides `limit` for a session that wants so many files and so many peers a torrent.
    ///
    /// One torrent alone never waits for a connection: its peers, its own attempts and the handshakes of strangers
    /// fit together.
    pub(crate) fn divide(limit: usize, files: usize, peers: usize) -> Self {
        let free = limit.saturating_sub(OWN + THREADS).max(32);
        let files = files.min(free / 3);
        let connections = free - files;
        let handshakes = HANDSHAKES.min(connections / 4);
        let half_open = HALF_OPEN.min(connections / 8);
        let peers = peers.min(connections - handshakes - half_open);
        Self { files, connections, handshakes, half_open, peers }
    }

    /// Divides what the system allows this process.
    pub(crate) fn of_process(files: usize, peers: usize) -> Self {
        Self::divide(limit(), files, peers)
    }
}

#[cfg(unix)]
fn limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(PLENTY, |limit| usize::try_from(limit).unwrap_or(PLENTY).min(PLENTY))
}

#[cfg(not(unix))]
fn limit() -> usize {
    PLENTY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_together_stays_within_the_limit() {
        for limit in 112..5_000 {
            let shares = Descriptors::divide(limit, 128, 200);
            let Descriptors { files, connections, handshakes, half_open, peers } = shares;
            assert!(OWN + THREADS + files + connections <= limit, "{limit}: {shares:?}");
            assert!(peers + half_open + handshakes <= connections, "{limit}: {shares:?}");
            assert!(files >= 8 && half_open >= 2 && handshakes >= 4 && peers >= 10, "{limit}: {shares:?}");
        }
    }

    #[test]
    fn what_is_wanted_is_given_where_there_is_enough() {
        let shares = Descriptors::divide(1_024, 128, 200);
        let expected =
            Descriptors { files: 128, connections: 816, handshakes: 204, half_open: 32, peers: 200 };
        assert_eq!(shares, expected);
    }

    #[test]
    fn with_256_there_are_files_and_peers() {
        let shares = Descriptors::divide(256, 128, 200);
        assert_eq!((shares.files, shares.peers), (58, 75));
    }
}
