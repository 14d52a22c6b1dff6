//! The bound on open files: the ones used last stay open, across all torrents of a session.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// How many files stay open when nobody says otherwise. Far below the usual limit of 1,024 descriptors a
/// process, which connections need.
pub const DEFAULT_OPEN_FILES: usize = 64;

/// Open files, shared by the stores that were given clones of it.
///
/// At most so many files stay open; a file that is just being read or written while it falls out is closed
/// when that ends, so that threads can hold one more each.
#[derive(Clone)]
pub struct FilePool {
    shared: Arc<Mutex<Shared>>,
    limit: usize,
}

struct Shared {
    files: HashMap<Key, Entry>,
    clock: u64,
    stores: u64,
}

/// A store, and what it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) store: u64,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    Root,
    Parts,
    File(usize),
}

struct Entry {
    file: Arc<OwnedFd>,
    writable: bool,
    used: u64,
}

impl FilePool {
    /// A pool that keeps at most `limit` files open, at least two.
    pub fn new(limit: usize) -> Self {
        let shared = Shared { files: HashMap::new(), clock: 0, stores: 0 };
        Self { shared: Arc::new(Mutex::new(shared)), limit: limit.max(2) }
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.lock().files.len()
    }

    pub(crate) fn register_store(&self) -> u64 {
        let mut shared = self.lock();
        shared.stores += 1;
        shared.stores
    }

    pub(crate) fn find(&self, key: Key, writable: bool) -> Option<Arc<OwnedFd>> {
        let mut shared = self.lock();
        shared.clock += 1;
        let used = shared.clock;
        let entry = shared.files.get_mut(&key).filter(|entry| entry.writable || !writable)?;
        entry.used = used;
        Some(Arc::clone(&entry.file))
    }

    pub(crate) fn keep(&self, key: Key, writable: bool, file: Arc<OwnedFd>) {
        let mut shared = self.lock();
        shared.clock += 1;
        let entry = Entry { file, writable, used: shared.clock };
        let replaced = shared.files.insert(key, entry);
        let mut closed = None;
        if shared.files.len() > self.limit {
            let oldest = shared.files.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            closed = oldest.and_then(|key| shared.files.remove(&key));
        }
        // Closing may take time on a network's file system; nobody shall wait for it.
        drop(shared);
        drop((replaced, closed));
    }

    /// Closes one file of a store, if it is open.
    pub(crate) fn close(&self, key: Key) {
        let closed = self.lock().files.remove(&key);
        drop(closed);
    }

    /// Closes all files of a store.
    pub(crate) fn close_store(&self, store: u64) {
        let closed: Vec<_> = self.lock().files.extract_if(|key, _| key.store == store).collect();
        drop(closed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FilePool {
    fn default() -> Self {
        Self::new(DEFAULT_OPEN_FILES)
    }
}

impl fmt::Debug for FilePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilePool").field("open", &self.open_files()).field("limit", &self.limit).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<OwnedFd> {
        Arc::new(OwnedFd::from(tempfile::tempfile().unwrap()))
    }

    fn key(store: u64, number: usize) -> Key {
        Key { store, what: What::File(number) }
    }

    #[test]
    fn the_file_used_longest_ago_is_closed() {
        let pool = FilePool::new(2);
        let weak: Vec<_> = (0..3)
            .map(|number| {
                let file = file();
                let weak = Arc::downgrade(&file);
                pool.keep(key(1, number), true, file);
                assert!(pool.find(key(1, 0), true).is_some());
                weak
            })
            .collect();
        assert_eq!(pool.open_files(), 2);
        assert_eq!(weak.iter().map(|weak| weak.strong_count()).collect::<Vec<_>>(), [1, 0, 1]);
    }

    #[test]
    fn a_file_open_for_reading_is_not_found_for_writing() {
        let pool = FilePool::default();
        pool.keep(key(1, 0), false, file());
        assert!(pool.find(key(1, 0), false).is_some());
        assert!(pool.find(key(1, 0), true).is_none());
        pool.keep(key(1, 0), true, file());
        assert!(pool.find(key(1, 0), false).is_some());
        assert_eq!(pool.open_files(), 1);
    }

    #[test]
    fn a_store_closes_its_own_files_alone() {
        let pool = FilePool::default();
        pool.keep(key(1, 0), true, file());
        pool.keep(key(2, 0), true, file());
        pool.close_store(1);
        assert!(pool.find(key(1, 0), false).is_none());
        assert!(pool.find(key(2, 0), false).is_some());
    }
}
