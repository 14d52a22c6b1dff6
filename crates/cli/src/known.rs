//! The torrents that were begun here, kept beside the resume state: what is downloaded, and to where, so that
//! `quelea list` can name it and `quelea resume` can go on with it.
//!
//! Each is a torrent file and a note of a few lines in the folder `torrents` of the state directory. Which pieces are good
//! is in the state alone. [`links`] are those whose torrent is not known yet.

pub(crate) mod links;

use crate::display;
use crate::exit::Status;
use crate::source;
use quelea::create::save;
use quelea::remembered::Remembered;
use quelea::{AddTorrent, Priority};
use quelea_metainfo::{Info, Metainfo};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "torrents";
/// Torrents that are kept; of more, those go that were begun first.
const KEPT: usize = 10_000;
/// One torrent in so many directories.
const DIRECTORIES: usize = 1_000;

/// The note beside a torrent file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    name: String,
    /// The absolute download directory.
    directory: PathBuf,
    /// Which files are wanted, in the torrent's order; null for all.
    wanted: Option<Vec<bool>>,
    /// How much each is, from 0 to 7; null for the default.
    priorities: Option<Vec<u8>>,
}

/// A torrent to be kept.
pub(crate) struct Begun {
    note: Note,
    hash: String,
    torrent: Vec<u8>,
}

/// A torrent that was begun earlier.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    path: PathBuf,
    note: Note,
    /// In hexadecimal.
    pub(crate) hash: String,
}

/// How much of a torrent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of the wanted pieces.
    pub(crate) wanted: u64,
    /// Bytes of those that are good.
    pub(crate) have: u64,
    pub(crate) pieces: u32,
    pub(crate) pieces_have: u32,
}

impl Begun {
    /// What there is to keep of a torrent that is downloaded to `directory`.
    pub(crate) fn new(torrent: &AddTorrent, directory: &Path) -> Self {
        let info = &torrent.metainfo.info;
        let priorities = torrent.priorities.as_ref();
        Self {
            note: Note {
                name: info.name.clone(),
                directory: real(directory),
                wanted: torrent.wanted.clone(),
                priorities: priorities.map(|all| all.iter().map(|priority| priority.get()).collect()),
            },
            hash: hex(&info.hashes.wire()),
            torrent: torrent.metainfo.encode(),
        }
    }

    /// Keeps it in the state directory. Waits for the disk.
    pub(crate) fn keep(&self, state: &Path) -> anyhow::Result<()> {
        let folder = state.join(FOLDER);
        if let Err(error) = fs::create_dir_all(&folder) {
            // The session says that no state can be kept there, which is one thing to a person.
            tracing::debug!(%error, "quelea list and quelea resume will not know this torrent");
            return Ok(());
        }
        let note = serde_json::to_vec(&self.note)?;
        for number in 0..DIRECTORIES {
            let path = folder.join(format!("{}-{number}.json", self.hash));
            match fs::read(&path) {
                Ok(there) if there == note && path.with_extension("torrent").is_file() => return Ok(()),
                Ok(there) if !is_of(&there, &self.note.directory) => {}
                Ok(_) | Err(_) => {
                    save(&path.with_extension("torrent"), &self.torrent, true)?;
                    save(&path, &note, true)?;
                    break;
                }
            }
        }
        forget_old(&folder);
        Ok(())
    }
}

impl Known {
    /// All in the state directory that can be read.
    pub(crate) fn all(state: &Path) -> Vec<Self> {
        let found = read_notes(&state.join(FOLDER)).into_iter();
        found.map(|(path, hash, note)| Self { path, note, hash }).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.note.name
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.note.directory
    }

    /// Reads the torrent itself.
    pub(crate) fn metainfo(&self) -> anyhow::Result<Metainfo> {
        let bytes = source::read_file(&self.path.with_extension("torrent"))?;
        Metainfo::parse(&bytes).map_err(|error| {
            let path = display::clean(&self.path.to_string_lossy());
            Status::Refused.because(format!("{path}: {}", display::clean(&error.to_string())))
        })
    }

    /// The torrent as it was begun.
    pub(crate) fn torrent(&self) -> anyhow::Result<AddTorrent> {
        let mut torrent = AddTorrent::new(self.metainfo()?);
        let files = torrent.metainfo.info.files.len();
        torrent.output_dir = Some(self.note.directory.clone());
        torrent.wanted = self.note.wanted.clone().filter(|wanted| wanted.len() == files);
        let priorities = self.note.priorities.iter().flatten();
        let priorities: Vec<Priority> =
            priorities.map(|number| Priority::new(*number).unwrap_or(Priority::USUAL)).collect();
        torrent.priorities = Some(priorities).filter(|priorities| priorities.len() == files);
        Ok(torrent)
    }

    /// How much of it the state knows to be there.
    pub(crate) fn progress(&self, info: &Info, remembered: Option<&Remembered>) -> Progress {
        let have = remembered.map(|remembered| &remembered.have[..]).unwrap_or_default();
        let has =
            |piece: u32| have.get(piece as usize / 8).is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0);
        let mut wanted = vec![false; info.geometry.pieces() as usize];
        for (number, file) in info.files.iter().enumerate() {
            let is_wanted = self.note.wanted.as_ref().is_none_or(|all| all.get(number) == Some(&true));
            let unwanted = self.note.priorities.as_ref().is_some_and(|all| all.get(number) == Some(&0));
            if is_wanted && !unwanted && !file.pad {
                let pieces = info.geometry.pieces_touching(file.offset, file.length);
                wanted[pieces.start as usize..pieces.end as usize].fill(true);
            }
        }
        let mut progress = Progress { wanted: 0, have: 0, pieces: info.geometry.pieces(), pieces_have: 0 };
        for piece in info.geometry.iter() {
            let length = u64::from(info.geometry.length_of(piece));
            progress.pieces_have += u32::from(has(piece.get()));
            if wanted[piece.at()] {
                progress.wanted += length;
                progress.have += if has(piece.get()) { length } else { 0 };
            }
        }
        progress
    }

    /// Forgets it here; the state is another matter.
    pub(crate) fn forget(&self) -> std::io::Result<()> {
        fs::remove_file(&self.path)?;
        fs::remove_file(self.path.with_extension("torrent"))
    }
}

impl Progress {
    pub(crate) const fn is_complete(&self) -> bool {
        self.have == self.wanted
    }
}

/// What the state says of torrents, to be found by hash and directory.
pub(crate) struct States(HashMap<(String, PathBuf), Remembered>);

impl States {
    pub(crate) fn read(state: &Path) -> anyhow::Result<Self> {
        let all = quelea::remembered::list(state)?.into_iter();
        Ok(Self(all.map(|one| ((hex(&one.info_hash), real(&one.directory)), one)).collect()))
    }

    pub(crate) fn of(&self, known: &Known) -> Option<&Remembered> {
        self.0.get(&(known.hash.clone(), real(known.directory())))
    }

    /// Those of which there is no torrent file: an earlier version began them.
    pub(crate) fn without(&self, known: &[Known]) -> Vec<&Remembered> {
        let named: Vec<_> = known.iter().map(|known| (known.hash.clone(), real(known.directory()))).collect();
        let mut rest: Vec<_> = self.0.iter().filter(|(key, _)| !named.contains(key)).collect();
        rest.sort_by(|one, other| one.0.cmp(other.0));
        rest.into_iter().map(|(_, remembered)| remembered).collect()
    }
}

pub(crate) fn hex(hash: &[u8]) -> String {
    use std::fmt::Write;
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The paths of the notes in a folder, sorted; none if it can't be read.
fn note_paths(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_note = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_note).collect();
    paths.sort();
    paths
}

/// The notes in a folder that can be read, each with its path and the info-hash that the path names.
fn read_notes<N: DeserializeOwned>(folder: &Path) -> Vec<(PathBuf, String, N)> {
    let read = |path: PathBuf| {
        let note = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let hash = path.file_stem()?.to_str()?.split_once('-')?.0.to_owned();
        Some((path, hash, note))
    };
    note_paths(folder).into_iter().filter_map(read).collect()
}

fn is_of(note: &[u8], directory: &Path) -> bool {
    serde_json::from_slice::<Note>(note).is_ok_and(|note| note.directory == directory)
}

/// The same path for the same directory, however it is named.
fn real(directory: &Path) -> PathBuf {
    let absolute = || std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    directory.canonicalize().unwrap_or_else(|_| absolute())
}

/// Removes those that were begun first, where there are too many.
fn forget_old(folder: &Path) {
    let mut notes = note_paths(folder);
    if notes.len() <= KEPT {
        return;
    }
    notes.sort_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    for path in &notes[..notes.len() - KEPT] {
        let _ = fs::remove_file(path).and_then(|()| fs::remove_file(path.with_extension("torrent")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torrent() -> AddTorrent {
        let text =
            format!("d4:infod6:lengthi40000e4:name1:a12:piece lengthi16384e6:pieces60:{}ee", "x".repeat(60));
        AddTorrent::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_kept_is_found_again_by_directory_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let mut wish = torrent();
        Begun::new(&wish, &one).keep(&state).unwrap();
        wish.wanted = Some(vec![true]);
        wish.priorities = Some(vec![Priority::new(7).unwrap()]);
        for _ in 0..2 {
            Begun::new(&wish, &other).keep(&state).unwrap();
        }
        let all = Known::all(&state);
        assert_eq!(all.iter().map(Known::directory).collect::<Vec<_>>(), [&one, &other]);
        let again = all[1].torrent().unwrap();
        assert_eq!((&again.wanted, again.priorities.map(|all| all[0].get())), (&wish.wanted, Some(7)));
        assert_eq!(again.metainfo.info.hashes, wish.metainfo.info.hashes);
        all[0].forget().unwrap();
        assert_eq!(Known::all(&state).len(), 1);
    }

    #[test]
    fn progress_counts_wanted_pieces() {
        let folder = tempfile::tempdir().unwrap();
        Begun::new(&torrent(), folder.path()).keep(folder.path()).unwrap();
        let known = Known::all(folder.path()).remove(0);
        let info = known.metainfo().unwrap().info;
        let of = |have: u8| {
            let remembered = Remembered {
                info_hash: [0; 20],
                directory: PathBuf::new(),
                have: vec![have],
                downloaded: 0,
                uploaded: 0,
            };
            known.progress(&info, Some(&remembered))
        };
        assert_eq!(of(0b1010_0000).have, 16_384 + (40_000 - 2 * 16_384));
        assert!(of(0b1110_0000).is_complete() && !known.progress(&info, None).is_complete());
    }
}
