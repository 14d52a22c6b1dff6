//! Saving torrents as files: what came by a magnet link or a URL, for the next time.

use crate::display;
use crate::exit::Status;
use quelea_metainfo::Metainfo;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where torrent files are saved.
pub(crate) struct Saving {
    to: PathBuf,
}

impl Saving {
    pub(crate) fn new(to: &Path) -> Self {
        Self { to: to.to_owned() }
    }

    /// Saves a torrent, unless it lies there already. Where another file has the place, that one stays.
    pub(crate) fn save(&self, metainfo: &Metainfo) -> anyhow::Result<()> {
        let to = if self.to.is_dir() {
            self.to.join(format!("{}.torrent", metainfo.info.name))
        } else {
            self.to.clone()
        };
        let shown = display::clean(&to.to_string_lossy());
        let failed = |error: std::io::Error| {
            Status::Disk.because(format!(
                "cannot save the torrent file {shown}: {}",
                display::plain(&error.to_string())
            ))
        };
        match fs::read(&to) {
            Ok(there) => {
                let same =
                    Metainfo::parse(&there).is_ok_and(|there| there.info.hashes == metainfo.info.hashes);
                return if same {
                    Ok(())
                } else {
                    Err(Status::Disk.because(format!(
                        "cannot save the torrent file {shown}: another file has this name; name another"
                    )))
                };
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Whoever looks finds the whole file or none.
        let mut part = to.clone().into_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let written = OpenOptions::new().write(true).create_new(true).open(&part).and_then(|mut file| {
            file.write_all(&metainfo.encode())?;
            file.sync_all()?;
            fs::hard_link(&part, &to).or_else(|_| fs::rename(&part, &to))
        });
        let _ = fs::remove_file(&part);
        written.map_err(failed)
    }
}
