//! Torrents of thousands of files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_storage::{FilePool, Options, file_layer};
use std::sync::Arc;
use support::{Torrent, file};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One test, because it counts the descriptors of the whole process.
#[test]
fn thousands_of_files_go_through_a_few_descriptors() {
    for (count, limit, length) in [(5_000, 64, 3_000), (20_000, 8, 500)] {
        let root = tempfile::tempdir().unwrap();
        let files = (0..count).map(|number| file(&format!("t/{}/{number}", number % 100), length)).collect();
        let torrent = Torrent::new(files, 65_536, 1);
        let pool = FilePool::new(limit);
        let options =
            Options { pool: pool.clone(), layer: Arc::new(file_layer::System), ..Options::default() };
        let before = descriptors();
        let store = torrent.open(root.path(), options).unwrap();
        let mut most = 0;
        for piece in torrent.geometry.iter() {
            torrent.write(&store, piece).unwrap();
            most = most.max(descriptors());
            assert!(pool.open_files() <= limit);
        }
        for piece in torrent.geometry.iter() {
            torrent.assert_piece_reads_back(&store, piece);
            most = most.max(descriptors());
            assert!(pool.open_files() <= limit);
        }
        assert!(most <= before + limit, "{most} descriptors were open, {before} of them before");
        store.finish(false).unwrap();
        drop(store);
        assert_eq!(pool.open_files(), 0);
        assert_eq!(descriptors(), before, "descriptors leaked");
        torrent.assert_on_disk(root.path(), &vec![true; count as usize], &[]);
    }
}
