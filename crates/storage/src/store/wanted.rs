//! Other files are wanted than before, while pieces come and go.

use quelea_metainfo::geometry::PieceIndex;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use super::opening::length_there;
use super::{Holder, Store};
use crate::error::StorageError;

impl Store {
    /// Changes which files are wanted, one entry a file. Of the pieces that are `trusted` what is on the disk was
    /// verified. The files that were written to, so that they are no longer as they were.
    ///
    /// What the part file holds of files that become wanted goes to them, and stays readable all the while. What
    /// is not wanted any longer stays where it is.
    ///
    /// # Errors
    /// When something stands in the place of a file that becomes wanted, or the system refuses; then the same files
    /// are wanted as before, and none of their bytes are lost.
    pub fn set_wanted(
        &self,
        wanted: &[bool],
        trusted: &dyn Fn(PieceIndex) -> bool,
    ) -> Result<BTreeSet<Holder>, StorageError> {
        let _change = self.begin_change();
        let reclaimed = {
            let files = self.files();
            let mut wanted = wanted.iter();
            let paths: Vec<&std::path::Path> = files
                .claimed_paths(|place| wanted.next().is_some_and(|wanted| *wanted) && !place.pad)
                .collect();
            self.claim_anew(files.tree.root_path(), &paths, false)?
        };
        let mut files = self.files_alone();
        if wanted.len() != files.files.len() {
            return Err(StorageError::BadFileList("what is wanted was not said of each file"));
        }
        let unwanted = files.files.iter().zip(wanted).any(|(file, wanted)| !file.pad && !wanted);
        if unwanted && files.parts.is_none() {
            return Err(StorageError::BadFileList("there are unwanted files but no name for a part file"));
        }
        if files.tree.is_read_only() {
            return Err(StorageError::ReadOnly(files.tree.root_path().to_owned()));
        }
        {
            let mut folders = HashMap::new();
            for ((file, place), &wanted) in self.layout.files().zip(&files.files).zip(wanted) {
                if wanted && !place.wanted && !place.pad {
                    let length = self.layout.length_of(file);
                    let there = length_there(&files.tree, &place.path, length, true, &mut folders)?;
                    // Somebody may have put it there since.
                    if place.absent.swap(there.is_none(), Ordering::Relaxed) {
                        let is_unproven = files.proof_needed && there.is_some_and(|length| length > 0);
                        place.unproven.store(is_unproven, Ordering::Relaxed);
                    }
                }
            }
        }
        let before: Vec<bool> = files.files.iter().map(|file| file.wanted).collect();
        let put = |files: &mut super::Files, wanted: &[bool]| {
            files.files.iter_mut().zip(wanted).for_each(|(file, &wanted)| file.wanted = wanted);
        };
        put(&mut files, wanted);
        let had_parts = files.parts.as_ref().is_some_and(|parts| !parts.is_empty());
        let filled = files.move_in_from_parts(trusted).and_then(|filled| {
            files.create_empty_files(false)?;
            Ok(filled)
        });
        match filled {
            Ok(filled) => {
                drop(files);
                self.reclaimed(reclaimed);
                let parts = had_parts.then_some(Holder::PartFile);
                Ok(filled.into_iter().map(Holder::File).chain(parts).collect())
            }
            Err(error) => {
                put(&mut files, &before);
                Err(error)
            }
        }
    }
}
