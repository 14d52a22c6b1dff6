//! What is wanted of a torrent, where, and what follows from that for its pieces.

use quelea_metainfo::Info;
use quelea_metainfo::geometry::Geometry;
use quelea_storage::FileSpec;
use quelea_swarm::picker::Priority;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wanted of a torrent, and where.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// The download directory.
    pub(crate) root: Arc<Path>,
    /// Where it is until it is complete, if not there.
    pub(crate) incomplete: Option<Arc<Path>>,
    /// Which files are wanted, one entry a file; perhaps some more; `None` for all.
    pub(crate) wanted: Option<Vec<bool>>,
    /// How much they are wanted, one entry a file, where that is not the usual.
    pub(crate) priorities: Option<Vec<Priority>>,
    /// Whether the files' space is reserved first.
    pub(crate) preallocate: bool,
}

/// Which files are wanted, one entry a file.
pub(crate) fn file_flags(info: &Info, wanted: Option<&[bool]>) -> Vec<bool> {
    let flag = |at: usize| wanted.is_none_or(|wanted| wanted.get(at).copied().unwrap_or(false));
    (0..info.files.len()).map(flag).collect()
}

/// Which pieces hold bytes of wanted files.
pub(crate) fn wanted_pieces(info: &Info, wanted: &[bool]) -> Vec<bool> {
    let mut pieces = vec![false; info.geometry.pieces() as usize];
    for (file, _) in info.files.iter().zip(wanted).filter(|(file, wanted)| **wanted && !file.pad) {
        for piece in info.geometry.pieces_touching(file.offset, file.length) {
            pieces[piece as usize] = true;
        }
    }
    pieces
}

/// How much each piece is wanted: as much as that of its files which is wanted most.
pub(crate) fn piece_priorities(info: &Info, files: &[Priority]) -> Vec<Priority> {
    let mut pieces = vec![Priority::UNWANTED; info.geometry.pieces() as usize];
    for (file, &priority) in info.files.iter().zip(files).filter(|(file, _)| !file.pad) {
        for piece in info.geometry.pieces_touching(file.offset, file.length) {
            let most = &mut pieces[piece as usize];
            *most = priority.max(*most);
        }
    }
    pieces
}

pub(crate) fn length_of(geometry: &Geometry, pieces: &[bool]) -> u64 {
    let lengths = geometry.iter().filter(|piece| pieces[piece.at()]);
    lengths.map(|piece| u64::from(geometry.length_of(piece))).sum()
}

pub(crate) fn file_specs(info: &Info) -> Vec<FileSpec> {
    let spec = |file: &quelea_metainfo::File| FileSpec {
        path: file.path.elements().collect::<PathBuf>(),
        length: file.length,
        pad: file.pad || file.link.is_some(),
    };
    info.files.iter().map(spec).collect()
}
