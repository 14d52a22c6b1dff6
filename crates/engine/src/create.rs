//! Making torrents of files.
//!
//! ```no_run
//! use quelea::create::{CreateTorrent, save};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut album = CreateTorrent::new("album");
//! album.trackers.push(vec!["udp://tracker.example:6969".into()]);
//! let created = album.run(|progress| {
//!     eprintln!("{} of {} bytes", progress.done, progress.total);
//!     ControlFlow::Continue(())
//! })?;
//! if let Some(created) = created {
//!     save("album.torrent".as_ref(), &created.bytes, false)?;
//!     println!("{}", created.metainfo.magnet());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same files and options give the same bytes. What becomes part of a torrent and what is left out is said
//! at [`LeftOut`] and [`CreateTorrent::hidden`]; the files are in the order of their names' bytes, folder by
//! folder. The calls block, and hash on threads of their own.

use quelea_metainfo::{Builder, Content, Metainfo, NewFile};
use quelea_storage::create::{ScanOptions, Source};
use std::ops::ControlFlow;
use std::path::PathBuf;

pub use quelea_metainfo::BuildError;
pub use quelea_storage::create::{Followed, LeftOut, Reason, SourceError};
pub use quelea_storage::save::{SaveError, may_save, save};

/// A torrent to be made of a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateTorrent {
    /// The file or folder.
    pub path: PathBuf,
    /// What the torrent is called; `None` for the last name of the path.
    pub name: Option<String>,
    /// Bytes in a piece: a power of two from 16 KiB to 256 MiB; `None` for one that suits the size.
    pub piece_length: Option<u32>,
    /// The trackers in tiers, http, https and udp.
    pub trackers: Vec<Vec<String>>,
    /// The web seeds, http and https.
    pub web_seeds: Vec<String>,
    /// Whether peers may come from the trackers alone (BEP 27).
    pub private: bool,
    /// What the author has to say.
    pub comment: Option<String>,
    /// The program that is named as the torrent's maker.
    pub created_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub creation_date: Option<i64>,
    /// Whether files and folders are taken whose names begin with a dot.
    pub hidden: bool,
    /// A file that is not taken: the torrent file itself, should it lie in the folder already.
    pub except: Option<PathBuf>,
}

/// How far hashing is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are hashed.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A torrent that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The torrent file.
    pub bytes: Vec<u8>,
    /// What it says.
    pub metainfo: Metainfo,
    /// What was found beside the files and is not in it, sorted by path.
    pub left_out: Vec<LeftOut>,
    /// The symbolic links whose targets are in it, sorted by path.
    pub followed: Vec<Followed>,
}

/// Why no torrent was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The files could not be found or read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There can be no such torrent.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl CreateTorrent {
    /// A torrent of this file or folder, with nothing that was not asked for.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: None,
            piece_length: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            private: false,
            comment: None,
            created_by: None,
            creation_date: None,
            hidden: false,
            except: None,
        }
    }

    /// Finds the files, hashes them and builds the torrent.
    ///
    /// `progress` is told several times a second, on the caller's thread; if it breaks, nothing is made and the
    /// result is `None`. What can be refused without hashing is refused before it is told anything.
    ///
    /// # Errors
    /// [`CreateError::Source`] when a file can't be read, was changed while it was, or has a name that no torrent
    /// can have; [`CreateError::Build`] when others could not read the torrent, or would read something else.
    pub fn run(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Created>, CreateError> {
        let options = ScanOptions { hidden: self.hidden, except: self.except.clone() };
        let source = Source::scan(&self.path, &options)?;
        let builder = self.builder(&source);
        builder.check()?;
        let geometry = builder.geometry()?;
        let total = geometry.total_length();
        let Some(digests) = source.hash(geometry, &mut |done| progress(Progress { done, total }))? else {
            return Ok(None);
        };
        let (bytes, metainfo) = builder.build(&digests)?;
        let (left_out, followed) = (source.left_out().to_vec(), source.followed().to_vec());
        Ok(Some(Created { bytes, metainfo, left_out, followed }))
    }

    fn builder(&self, source: &Source) -> Builder {
        let files = source.files();
        let content = if source.is_single() {
            Content::File(files.iter().map(|file| file.length).sum())
        } else {
            let file = |file: &quelea_storage::create::SourceFile| NewFile {
                path: file.elements.clone(),
                length: file.length,
            };
            Content::Folder(files.iter().map(file).collect())
        };
        let mut builder = Builder::new(self.name.as_deref().unwrap_or(source.name()), content);
        builder.piece_length = self.piece_length.unwrap_or(builder.piece_length);
        builder.private = self.private;
        builder.trackers.clone_from(&self.trackers);
        builder.web_seeds.clone_from(&self.web_seeds);
        builder.comment.clone_from(&self.comment);
        builder.created_by.clone_from(&self.created_by);
        builder.creation_date = self.creation_date;
        builder
    }
}
