//! Which rights to torrents a session has, seen from outside.

use std::path::Path;

/// Whether a session that keeps its locks in this directory has the right to any torrent.
pub(crate) fn holds_any(locks: &Path) -> std::io::Result<bool> {
    let is_right = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|it| it == "lock");
    Ok(std::fs::read_dir(locks)?.any(|entry| is_right(entry.unwrap())))
}
