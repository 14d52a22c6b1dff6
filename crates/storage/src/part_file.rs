//! The part file: where a piece's bytes lie that belong to files nobody wants.
//!
//! A piece at the border of a wanted file can only be verified, and given to others, with the bytes of its
//! unwanted neighbours. Instead of creating those files, the whole piece goes to one hidden file a torrent (and
//! the wanted bytes to their files besides). The whole piece, so that it is no question which of its bytes are
//! here when other files are wanted later. Its form:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `QLPARTS1` |
//! | 8 | 4 | piece length, little endian |
//! | 12 | 4 | number of pieces, little endian |
//! | 16 | 8 | total length, little endian |
//! | 64 | 4 a piece | the slot of this piece plus one, little endian; 0 when it has none |
//! | next multiple of 4,096 | piece length a slot | the piece's bytes |
//!
//! A slot's entry is written after its bytes, so that after a kill an entry means bytes. (After a loss of power
//! it may not; then the piece's hash says so.)

use quelea_metainfo::geometry::{Geometry, PieceIndex};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::StorageError;
use crate::file_layer::Found;
use crate::file_pool::What;
use crate::tree::{Before, Tree};

const MAGIC: &[u8; 8] = b"QLPARTS1";
const HEADER_LENGTH: usize = 24;
const TABLE_AT: u64 = 64;
const ALIGNMENT: u64 = 4_096;

/// The name of a torrent's part file: hidden, telling whose it is, and no longer than the 255 bytes that file
/// systems take. `name` is the torrent's, `info_hash` begins with the bytes that tell it from its namesakes.
pub fn part_file_name(name: &str, info_hash: &[u8]) -> PathBuf {
    hidden_name(name, info_hash, "parts")
}

/// The name of the folder in which a torrent's files are copied to another file system, with the same promises.
pub fn staging_name(name: &str, info_hash: &[u8]) -> PathBuf {
    hidden_name(name, info_hash, "moving")
}

fn hidden_name(name: &str, info_hash: &[u8], kind: &str) -> PathBuf {
    use std::fmt::Write;
    let mut prefix = String::new();
    for byte in info_hash.iter().take(8) {
        // Writing to a string does not fail.
        let _ = write!(prefix, "{byte:02x}");
    }
    let mut kept = name.replace(['/', '\0'], "_");
    let mut end = kept.len().min(200);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    kept.truncate(end);
    PathBuf::from(format!(".{kept}.{prefix}.{kind}"))
}

pub(crate) struct PartFile {
    path: PathBuf,
    geometry: Geometry,
    slots: Mutex<Slots>,
}

struct Slots {
    /// The slot of each piece that has one.
    of: BTreeMap<u32, u32>,
    /// Whether the header is on the disk.
    begun: bool,
}

impl PartFile {
    /// Reads the table of the part file if there is one.
    pub(crate) fn open(tree: &Tree, path: PathBuf, geometry: Geometry) -> Result<Self, StorageError> {
        let slots = Mutex::new(Slots { of: BTreeMap::new(), begun: false });
        let mut part_file = Self { path, geometry, slots };
        part_file.look_again(tree)?;
        Ok(part_file)
    }

    /// Reads the table anew.
    pub(crate) fn look_again(&mut self, tree: &Tree) -> Result<(), StorageError> {
        let slots = match tree.look(&self.path)? {
            None | Some(Found::File(0)) => Slots { of: BTreeMap::new(), begun: false },
            Some(Found::File(_)) => Slots { of: self.read_table(tree)?, begun: true },
            Some(Found::SymbolicLink) => return Err(StorageError::SymbolicLink(tree.path_of(&self.path))),
            Some(Found::Folder | Found::Other) => return Err(self.foreign(tree)),
        };
        *self.lock() = slots;
        Ok(())
    }

    fn read_table(&self, tree: &Tree) -> Result<BTreeMap<u32, u32>, StorageError> {
        let Some(file) = tree.open_to_read(What::Parts, &self.path)? else { return Err(self.foreign(tree)) };
        let length = tree.length_of(&file, &self.path)?;
        let mut header = [0; HEADER_LENGTH];
        if length < HEADER_LENGTH as u64 {
            return Err(self.foreign(tree));
        }
        tree.read_exact(&file, &self.path, &mut header, 0)?;
        if header != self.header() {
            return Err(self.foreign(tree));
        }
        let mut of = BTreeMap::new();
        let mut taken = std::collections::BTreeSet::new();
        let mut buffer = vec![0; 64 * 1024];
        let table_end = (TABLE_AT + u64::from(self.geometry.pieces()) * 4).min(length);
        let mut at = TABLE_AT;
        while at < table_end {
            // A kill may have cut the table within an entry; what is not whole was never meant.
            let some = usize::try_from((table_end - at) / 4 * 4).unwrap_or(usize::MAX).min(buffer.len());
            if some == 0 {
                break;
            }
            tree.read_exact(&file, &self.path, &mut buffer[..some], at)?;
            for (number, entry) in buffer[..some].as_chunks().0.iter().enumerate() {
                let Some(slot) = u32::from_le_bytes(*entry).checked_sub(1) else { continue };
                let piece = (at - TABLE_AT) / 4 + number as u64;
                let piece = u32::try_from(piece).map_err(|_| self.foreign(tree))?;
                if slot >= self.geometry.pieces() || !taken.insert(slot) {
                    return Err(self.foreign(tree));
                }
                of.insert(piece, slot);
            }
            at += some as u64;
        }
        Ok(of)
    }

    /// The pieces that have bytes here.
    pub(crate) fn pieces(&self) -> Vec<PieceIndex> {
        self.lock().of.keys().filter_map(|&piece| self.geometry.piece(piece)).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().of.is_empty()
    }

    pub(crate) fn has(&self, piece: PieceIndex) -> bool {
        self.lock().of.contains_key(&piece.get())
    }

    /// Writes a whole piece; it counts once all of it is written.
    ///
    /// One piece at a time: there are two of them a run of unwanted files, so nobody waits long.
    pub(crate) fn write(
        &self,
        tree: &Tree,
        piece: PieceIndex,
        slices: &mut [IoSlice<'_>],
    ) -> Result<(), StorageError> {
        let mut slots = self.lock();
        let before =
            if slots.begun { Before::Unknown } else { Before::Absent { executable: false, alone: false } };
        let file = tree.open_to_write(What::Parts, &self.path, before, u64::MAX, true)?;
        if !slots.begun {
            tree.write_all(What::Parts, &file, &self.path, &mut [IoSlice::new(&self.header())], 0)?;
            slots.begun = true;
        }
        let known = slots.of.get(&piece.get()).copied();
        let slot = known.unwrap_or_else(|| slots.first_free());
        tree.write_all(What::Parts, &file, &self.path, slices, self.slot_at(slot))?;
        if known.is_none() {
            let entry = (slot + 1).to_le_bytes();
            tree.write_all(
                What::Parts,
                &file,
                &self.path,
                &mut [IoSlice::new(&entry)],
                self.entry_at(piece),
            )?;
            slots.of.insert(piece.get(), slot);
        }
        Ok(())
    }

    /// Reads a run of a piece. False when the piece has no bytes here.
    pub(crate) fn read(
        &self,
        tree: &Tree,
        piece: PieceIndex,
        begin: u64,
        into: &mut [u8],
    ) -> Result<bool, StorageError> {
        let Some(slot) = self.lock().of.get(&piece.get()).copied() else { return Ok(false) };
        let Some(file) = tree.open_to_read(What::Parts, &self.path)? else {
            return Err(tree.missing(&self.path, self.slot_at(slot) + begin));
        };
        tree.read_exact(&file, &self.path, into, self.slot_at(slot) + begin)?;
        Ok(true)
    }

    /// Forgets a piece's bytes: another piece may take their place.
    pub(crate) fn forget(&self, tree: &Tree, piece: PieceIndex) -> Result<(), StorageError> {
        let mut slots = self.lock();
        if slots.of.contains_key(&piece.get()) {
            let file = tree.open_to_write(What::Parts, &self.path, Before::Unknown, u64::MAX, true)?;
            tree.write_all(
                What::Parts,
                &file,
                &self.path,
                &mut [IoSlice::new(&[0; 4])],
                self.entry_at(piece),
            )?;
            slots.of.remove(&piece.get());
        }
        Ok(())
    }

    /// Removes the file if no piece has bytes in it.
    pub(crate) fn remove_if_empty(&self, tree: &Tree) -> Result<(), StorageError> {
        let mut slots = self.lock();
        if slots.begun && slots.of.is_empty() {
            tree.remove(What::Parts, &self.path)?;
            slots.begun = false;
        }
        Ok(())
    }

    pub(crate) fn sync(&self, tree: &Tree) -> Result<(), StorageError> {
        match tree.open_to_read(What::Parts, &self.path)? {
            Some(file) => tree.sync(&file, &self.path),
            None => Ok(()),
        }
    }

    fn header(&self) -> [u8; HEADER_LENGTH] {
        let mut header = [0; HEADER_LENGTH];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&self.geometry.piece_length().to_le_bytes());
        header[12..16].copy_from_slice(&self.geometry.pieces().to_le_bytes());
        header[16..].copy_from_slice(&self.geometry.total_length().to_le_bytes());
        header
    }

    fn entry_at(&self, piece: PieceIndex) -> u64 {
        TABLE_AT + u64::from(piece.get()) * 4
    }

    fn slot_at(&self, slot: u32) -> u64 {
        let table_end = TABLE_AT + u64::from(self.geometry.pieces()) * 4;
        table_end.next_multiple_of(ALIGNMENT) + u64::from(slot) * u64::from(self.geometry.piece_length())
    }

    fn foreign(&self, tree: &Tree) -> StorageError {
        StorageError::ForeignPartFile(tree.path_of(&self.path))
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn first_free(&self) -> u32 {
        let taken: std::collections::BTreeSet<u32> = self.of.values().copied().collect();
        (0..).zip(&taken).find(|(slot, taken)| slot != *taken).map_or(taken.len() as u32, |(slot, _)| slot)
    }
}

/// Whether a path is one plain name, as a part file's must be.
pub(crate) fn is_plain_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hidden_plain_and_short() {
        let hash = [0xab; 20];
        assert_eq!(part_file_name("a name", &hash), Path::new(".a name.abababababababab.parts"));
        assert!(is_plain_name(&part_file_name("a/../b", &hash)));
        let long = part_file_name(&"ü".repeat(300), &hash);
        assert!(long.as_os_str().len() <= 255);
        assert!(is_plain_name(&long));
    }

    #[test]
    fn a_freed_slot_is_taken_again() {
        let mut slots = Slots { of: BTreeMap::from([(5, 0), (9, 1), (7, 2)]), begun: true };
        assert_eq!(slots.first_free(), 3);
        slots.of.remove(&9);
        assert_eq!(slots.first_free(), 1);
        slots.of.clear();
        assert_eq!(slots.first_free(), 0);
    }
}
