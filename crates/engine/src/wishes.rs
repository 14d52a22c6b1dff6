//! What is wanted of a torrent, where, and what follows from that for its pieces.

use quelea_metainfo::geometry::Geometry;
use quelea_metainfo::{File, Info, Link};
use quelea_storage::{FileSpec, TorrentLink};
use quelea_swarm::picker::Priority;
use std::collections::HashMap;
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

/// Which files are to be executed, one entry a file; `None` for none.
pub(crate) fn executables(info: &Info) -> Option<Vec<bool>> {
    let any = info.files.iter().any(|file| file.executable);
    any.then(|| info.files.iter().map(|file| file.executable).collect())
}

/// The symbolic links of a torrent that lead to something in it.
pub(crate) fn torrent_links(info: &Info) -> Vec<TorrentLink> {
    let is_link = |file: &File| matches!(file.link, Some(Link::To(_)));
    if !info.files.iter().any(is_link) {
        return Vec::new();
    }
    // What can be the target: each file, and each folder by the first file that is in it.
    let mut targets: HashMap<&str, (usize, usize)> = HashMap::new();
    let real = info.files.iter().enumerate().filter(|(_, file)| !file.pad && file.link.is_none());
    for (number, file) in real {
        let path = file.path.as_str();
        targets.insert(path, (number, 0));
        for (above, (end, _)) in path.rmatch_indices('/').enumerate() {
            targets.entry(&path[..end]).or_insert((number, above + 1));
        }
    }
    let link = |(number, file): (usize, &File)| match &file.link {
        Some(Link::To(target)) => {
            let &(target, above) = targets.get(target.as_str())?;
            Some(TorrentLink { file: number, target, above })
        }
        Some(Link::Nowhere) | None => None,
    };
    info.files.iter().enumerate().filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quelea_metainfo::Metainfo;

    #[test]
    fn links_lead_to_files_and_folders_by_number() {
        let file = |attributes: &str, path: &str| {
            let elements: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            format!("d{attributes}6:lengthi1e4:pathl{elements}ee")
        };
        let link = |path: &str, target: &str| {
            let elements: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            format!("d4:attr1:l6:lengthi0e4:pathl{elements}e12:symlink pathl{}:{target}ee", target.len())
        };
        let files = [
            file("4:attr1:x", "A/run"),
            link("now", "A"),
            link("r", "plain"),
            link("out", "../x"),
            file("", "plain"),
        ];
        let info = format!(
            "d5:filesl{}e4:name1:t12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxe",
            files.concat()
        );
        let info = Metainfo::parse(format!("d4:info{info}e").as_bytes()).unwrap().info;
        assert_eq!(
            torrent_links(&info),
            [TorrentLink { file: 1, target: 0, above: 1 }, TorrentLink { file: 2, target: 4, above: 0 }]
        );
        assert_eq!(executables(&info), Some(vec![true, false, false, false, false]));
    }
}
