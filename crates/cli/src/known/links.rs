//! Magnet links whose metadata did not come yet: a note for each in the folder `links` of the state directory, until the
//! torrent that it leads to is kept.

use super::{DIRECTORIES, Known, hex, read_notes, real};
use crate::display;
use crate::exit::Status;
use quelea::create::save;
use quelea_metainfo::Magnet;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FOLDER: &str = "links";
/// Links that are kept; no more are taken.
const KEPT: usize = 1_000;

/// The choices made for the torrent that a link leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkWishes {
    /// The absolute download directory.
    pub(crate) directory: PathBuf,
    /// The arguments of `--select`.
    pub(crate) select: Vec<String>,
    /// The arguments of `--priority`.
    pub(crate) priority: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    name: String,
    link: String,
    wishes: LinkWishes,
}

/// A link that was begun earlier.
#[derive(Debug, Clone)]
pub(crate) struct KnownLink {
    path: PathBuf,
    note: Note,
    /// In hexadecimal.
    pub(crate) hash: String,
}

/// A link to be kept until its torrent is.
pub(crate) struct BegunLink {
    note: Note,
    hash: String,
    state: PathBuf,
    standing: Mutex<Standing>,
}

enum Standing {
    New,
    Kept(PathBuf),
    /// Its torrent is kept in its place.
    Over,
}

impl LinkWishes {
    pub(crate) fn new(directory: &Path, select: &[String], priority: &[String]) -> Self {
        Self { directory: real(directory), select: select.to_vec(), priority: priority.to_vec() }
    }
}

impl BegunLink {
    /// Makes the note of a link; `name` is the best name known for its torrent.
    pub(crate) fn new(magnet: &Magnet, name: &str, wishes: LinkWishes, state: &Path) -> Self {
        Self {
            note: Note { name: name.to_owned(), link: magnet.to_string(), wishes },
            hash: hex(&magnet.hashes.wire()),
            state: state.to_owned(),
            standing: Mutex::new(Standing::New),
        }
    }

    /// Keeps it, unless its torrent is kept. Waits for the disk.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = &self.note.wishes.directory;
        let is_same = |known: &Known| known.hash == self.hash && known.directory() == directory;
        if !matches!(*standing, Standing::New) || Known::all(&self.state).iter().any(is_same) {
            return Ok(());
        }
        let folder = self.state.join(FOLDER);
        if let Err(error) = fs::create_dir_all(&folder) {
            // The session says that no state can be kept there, which is one thing to a person.
            tracing::debug!(%error, "quelea list and quelea resume will not know this link");
            return Ok(());
        }
        if KnownLink::all(&self.state).len() >= KEPT {
            anyhow::bail!("too many links wait for their metadata");
        }
        let bytes = serde_json::to_vec(&self.note)?;
        for number in 0..DIRECTORIES {
            let path = folder.join(format!("{}-{number}.json", self.hash));
            let there = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
            if there.is_none_or(|note| note.wishes.directory == *directory) {
                save(&path, &bytes, true)?;
                *standing = Standing::Kept(path);
                break;
            }
        }
        Ok(())
    }

    /// Its torrent is kept in its place. Waits for the disk.
    pub(crate) fn forget(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Standing::Kept(path) = std::mem::replace(&mut *standing, Standing::Over)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, "quelea list still knows the link of a torrent that is there");
        }
    }
}

impl KnownLink {
    /// All in the state directory that can be read.
    pub(crate) fn all(state: &Path) -> Vec<Self> {
        let found = read_notes(&state.join(FOLDER)).into_iter();
        found.map(|(path, hash, note)| Self { path, note, hash }).collect()
    }

    /// Those whose torrent is not among the known ones.
    pub(crate) fn awaited(state: &Path, known: &[Known]) -> Vec<Self> {
        let is_same =
            |link: &Self, known: &Known| known.hash == link.hash && known.directory() == link.directory();
        let mut all = Self::all(state);
        all.retain(|link| !known.iter().any(|known| is_same(link, known)));
        all
    }

    pub(crate) fn name(&self) -> &str {
        &self.note.name
    }

    pub(crate) fn link(&self) -> &str {
        &self.note.link
    }

    pub(crate) fn wishes(&self) -> &LinkWishes {
        &self.note.wishes
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.note.wishes.directory
    }

    /// Reads the link itself.
    pub(crate) fn magnet(&self) -> anyhow::Result<Magnet> {
        Magnet::parse(&self.note.link).map_err(|error| {
            let path = display::clean(&self.path.to_string_lossy());
            Status::Refused.because(format!("{path}: {}", display::clean(&error.to_string())))
        })
    }

    /// Forgets it.
    pub(crate) fn forget(&self) -> std::io::Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::Begun;
    use quelea::AddTorrent;

    fn torrent() -> AddTorrent {
        let text =
            format!("d4:infod6:lengthi40000e4:name1:a12:piece lengthi16384e6:pieces60:{}ee", "x".repeat(60));
        AddTorrent::from_bytes(text.as_bytes()).unwrap()
    }

    fn link(state: &Path, directory: &Path, select: &str) -> BegunLink {
        let magnet = torrent().metainfo.magnet();
        BegunLink::new(&magnet, "a", LinkWishes::new(directory, &[select.to_owned()], &[]), state)
    }

    #[test]
    fn a_link_is_kept_for_each_directory_until_its_torrent_is() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        link(&state, &one, "x").keep().unwrap();
        // The same command again.
        let begun = link(&state, &one, "y");
        begun.keep().unwrap();
        link(&state, &other, "z").keep().unwrap();
        let all = KnownLink::all(&state);
        assert_eq!(all.iter().map(KnownLink::directory).collect::<Vec<_>>(), [&one, &other]);
        assert_eq!(all[0].wishes().select, ["y"]);
        assert_eq!(all[0].magnet().unwrap(), torrent().metainfo.magnet());
        Begun::new(&torrent(), &one).keep(&state).unwrap();
        begun.forget();
        all[1].forget().unwrap();
        assert!(KnownLink::all(&state).is_empty());
        begun.keep().unwrap();
        link(&state, &one, "x").keep().unwrap();
        assert!(KnownLink::all(&state).is_empty(), "the torrent is known");
    }
}
