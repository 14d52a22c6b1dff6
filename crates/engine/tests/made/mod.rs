//! Torrents and payload made for tests.

use quelea::AddTorrent;
use quelea_bencode::Item;
use std::path::Path;

/// Bytes that look random and are the same in every run.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// The bytes of a v1 torrent of these files below a folder `name`, or of the one file `name` if its path is empty.
pub(crate) fn torrent(name: &str, files: &[(&str, Vec<u8>)], piece_length: usize) -> Vec<u8> {
    let whole: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let pieces: Vec<u8> = whole.chunks(piece_length).flat_map(quelea_digest::sha1).collect();
    let mut info = vec![
        ("name", Item::from(name)),
        ("piece length", Item::from(piece_length as i64)),
        ("pieces", Item::from(pieces)),
    ];
    if let [("", bytes)] = files {
        info.push(("length", Item::from(bytes.len() as i64)));
    } else {
        let file = |(path, bytes): &(&str, Vec<u8>)| {
            let path = path.split('/').map(Item::from).collect::<Vec<_>>();
            Item::dict([("length", Item::from(bytes.len() as i64)), ("path", Item::from(path))])
        };
        info.push(("files", Item::from(files.iter().map(file).collect::<Vec<_>>())));
    }
    Item::dict([("info", Item::dict(info))]).encode()
}

/// Writes the files of such a torrent below `directory`.
pub(crate) fn write(directory: &Path, name: &str, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = if path.is_empty() { directory.join(name) } else { directory.join(name).join(path) };
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Such a torrent, ready to be added.
pub(crate) fn add(torrent: &[u8]) -> AddTorrent {
    AddTorrent::from_bytes(torrent).unwrap()
}
