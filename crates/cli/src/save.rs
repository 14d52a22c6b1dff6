//! Saving torrents as files: what came by a magnet link or a URL, for the next time.

use crate::display;
use crate::exit::Status;
use quelea::create::{SaveError, save};
use quelea_metainfo::Metainfo;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Bytes that a file's name may have on the usual file systems.
const NAME_MAX: usize = 255;
/// What a torrent file's name ends with.
const EXTENSION: &str = ".torrent";
/// Digits of the info-hash that tell torrents apart whose names were cut.
const DIGITS: usize = 8;
/// The word for standard output.
const STDOUT: &str = "-";

/// Where torrent files are saved.
pub(crate) struct Saving {
    to: PathBuf,
}

impl Saving {
    pub(crate) fn new(to: &Path) -> Self {
        Self { to: to.to_owned() }
    }

    /// Whether they are printed.
    pub(crate) fn is_stdout(&self) -> bool {
        self.to.as_os_str() == STDOUT
    }

    /// Saves a torrent, unless it lies there already. Where another file has the place, that one stays.
    ///
    /// # Errors
    /// With a message that says where it should have been saved; the torrent itself is none the worse.
    pub(crate) fn save(&self, metainfo: &Metainfo) -> anyhow::Result<()> {
        if self.is_stdout() {
            return print(&metainfo.encode());
        }
        let to = if self.to.is_dir() { self.to.join(file_name(metainfo)) } else { self.to.clone() };
        let shown = display::clean(&to.to_string_lossy());
        let failed = |error: &dyn std::fmt::Display| {
            let error = display::plain(&error.to_string());
            Status::Disk.because(format!("cannot save the torrent file {shown}: {error}"))
        };
        let other = || {
            Status::Disk.because(format!(
                "cannot save the torrent file {shown}: another file has this name; name another with --save-torrent"
            ))
        };
        match fs::read(&to) {
            Ok(there)
                if Metainfo::parse(&there).is_ok_and(|there| there.info.hashes == metainfo.info.hashes) =>
            {
                return Ok(());
            }
            Ok(_) => return Err(other()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
        save(&to, &metainfo.encode(), false).map_err(|error| match error {
            SaveError::Exists(_) => other(),
            SaveError::System { source, .. } => failed(&source),
            error => failed(&error),
        })
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| {
        let error = display::plain(&error.to_string());
        Status::Disk.because(format!("cannot write the torrent file to standard output: {error}"))
    })
}

/// The name of the file that holds a torrent: the torrent's own, cut where that is too long.
fn file_name(metainfo: &Metainfo) -> String {
    let info = &metainfo.info;
    let hash = info.hashes.v1_hex().or_else(|| info.hashes.v2_hex()).unwrap_or_default();
    torrent_name(&info.name, hash.get(..DIGITS).unwrap_or_default())
}

/// `name.torrent`; where that is more than a file system takes, the name is cut between two characters, and `mark`
/// stands behind it.
pub(crate) fn torrent_name(name: &str, mark: &str) -> String {
    if name.len() + EXTENSION.len() <= NAME_MAX {
        return format!("{name}{EXTENSION}");
    }
    let mark = if mark.is_empty() { String::new() } else { format!("-{mark}") };
    let room = NAME_MAX - EXTENSION.len() - mark.len();
    let cut = name.get(..name.floor_char_boundary(room)).unwrap_or_default();
    format!("{}{mark}{EXTENSION}", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torrent(name: &str, piece: &str) -> Metainfo {
        let text = format!(
            "d4:infod6:lengthi10e4:name{}:{name}12:piece lengthi16384e6:pieces20:{piece}ee",
            name.len()
        );
        Metainfo::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn long_names_are_cut_between_characters_and_stay_apart() {
        let folder = tempfile::tempdir().unwrap();
        let saving = Saving::new(folder.path());
        for length in 220..=255 {
            let name = "é".repeat(length / 2) + if length % 2 == 1 { "x" } else { "" };
            for piece in ["x".repeat(20), "y".repeat(20)] {
                let metainfo = torrent(&name, &piece);
                let named = file_name(&metainfo);
                assert!(named.len() <= NAME_MAX && named.ends_with(EXTENSION), "{named}");
                if length + EXTENSION.len() > NAME_MAX {
                    saving.save(&metainfo).unwrap();
                    saving.save(&metainfo).unwrap();
                    let saved = fs::read(folder.path().join(named)).unwrap();
                    assert_eq!(Metainfo::parse(&saved).unwrap().info.hashes, metainfo.info.hashes);
                }
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2 * 8);
    }

    #[test]
    fn another_file_of_the_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.torrent"), b"mine").unwrap();
        let error = Saving::new(folder.path()).save(&torrent("a", &"x".repeat(20))).unwrap_err().to_string();
        assert!(error.contains("another file has this name"), "{error}");
        assert_eq!(fs::read(folder.path().join("a.torrent")).unwrap(), b"mine");
    }
}
