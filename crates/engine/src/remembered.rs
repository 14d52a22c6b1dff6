//! What a state directory knows of torrents, without a session: which there are, and forgetting them.

use crate::{Error, Result};
use quelea_resume::ForgetError;
use std::path::Path;

pub use quelea_resume::Remembered;

/// All torrents that the state in `state_dir` knows, those first that were written last. Creates nothing; blocks.
///
/// # Errors
/// [`Error::State`].
pub fn list(state_dir: &Path) -> Result<Vec<Remembered>> {
    quelea_resume::remembered(state_dir).map_err(|error| Error::State(error.to_string()))
}

/// Forgets a torrent that was downloaded to `directory`: whether it was known. Its files stay, and are checked when it is
/// added again. Blocks.
///
/// # Errors
/// [`Error::InUse`] while anybody works on it, else [`Error::State`].
pub fn forget(state_dir: &Path, info_hash: [u8; 20], directory: &Path) -> Result<bool> {
    quelea_resume::forget(state_dir, info_hash, directory).map_err(|error| match error {
        ForgetError::InUse(process) => Error::InUse { directory: directory.to_owned(), process },
        ForgetError::State(error) => Error::State(error.to_string()),
    })
}
