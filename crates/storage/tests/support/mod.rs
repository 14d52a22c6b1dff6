//! A made-up torrent and its content.
#![allow(dead_code, unreachable_pub)]

pub mod clocked;
pub mod faulty;
pub mod moves;

use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex, Span};
use quelea_storage::{FileSpec, Options, StorageError, Store};
use std::path::{Path, PathBuf};

pub struct Torrent {
    pub files: Vec<FileSpec>,
    pub geometry: Geometry,
    pub content: Vec<u8>,
}

pub fn file(path: &str, length: u64) -> FileSpec {
    FileSpec { path: path.into(), length, pad: false }
}

pub fn pad(length: u64) -> FileSpec {
    FileSpec { path: format!(".pad/{length}").into(), length, pad: true }
}

impl Torrent {
    pub fn new(files: Vec<FileSpec>, piece_length: u32, seed: u64) -> Self {
        let total = files.iter().map(|file| file.length).sum();
        let geometry = Geometry::new(total, piece_length).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut content = Vec::new();
        for file in &files {
            let byte = |_| if file.pad { 0 } else { random.u8(1..) };
            content.extend((0..file.length).map(byte));
        }
        Self { files, geometry, content }
    }

    pub fn open(&self, root: &Path, options: Options) -> Result<Store, StorageError> {
        Store::open(root, self.files.clone(), self.geometry, options)
    }

    pub fn piece(&self, piece: PieceIndex) -> &[u8] {
        let start = self.geometry.offset_of(piece) as usize;
        &self.content[start..start + self.geometry.length_of(piece) as usize]
    }

    pub fn blocks(&self, piece: PieceIndex) -> Vec<&[u8]> {
        self.piece(piece).chunks(BLOCK_LENGTH as usize).collect()
    }

    pub fn write(&self, store: &Store, piece: PieceIndex) -> Result<(), StorageError> {
        store.write_piece(piece, &self.blocks(piece))
    }

    pub fn write_all(&self, store: &Store) {
        for piece in self.geometry.iter() {
            self.write(store, piece).unwrap();
        }
    }

    pub fn whole(&self, piece: PieceIndex) -> Span {
        self.geometry.span(piece.get(), 0, self.geometry.length_of(piece)).unwrap()
    }

    pub fn bytes_of(&self, number: usize) -> &[u8] {
        let start: u64 = self.files[..number].iter().map(|file| file.length).sum();
        &self.content[start as usize..(start + self.files[number].length) as usize]
    }

    pub fn assert_piece_reads_back(&self, store: &Store, piece: PieceIndex) {
        let mut read = vec![0xee; self.piece(piece).len()];
        store.read(self.whole(piece), &mut read).unwrap();
        assert!(read == self.piece(piece), "piece {piece} differs");
    }

    /// Every wanted file has its content, and nothing else is there but what `besides` names.
    pub fn assert_on_disk(&self, root: &Path, wanted: &[bool], besides: &[&Path]) {
        let mut expected: Vec<PathBuf> = besides.iter().map(|path| path.to_path_buf()).collect();
        for (number, file) in self.files.iter().enumerate() {
            if wanted[number] && !file.pad {
                let found = std::fs::read(root.join(&file.path)).unwrap();
                assert!(found == self.bytes_of(number), "{:?} differs", file.path);
                expected.push(file.path.clone());
            }
        }
        expected.sort();
        assert_eq!(files_below(root), expected);
    }
}

pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
