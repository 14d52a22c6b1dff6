//! The digests of a v2 torrent's pieces: `piece layers` (BEP 52).

use crate::Error;
use crate::info::Info;
use crate::metainfo::PieceLayers;
use alloc::collections::btree_map::Entry;
use quelea_bencode::Value;
use quelea_digest::merkle;

/// The layers of all files longer than a piece, each checked against its file's root.
///
/// A torrent may leave `piece layers` out altogether (it was made from a magnet link); peers have them.
pub(crate) fn read(torrent: &Value<'_>, info: &Info) -> Result<PieceLayers, Error> {
    let mut layers = PieceLayers::new();
    let Some(found) = torrent.get(b"piece layers").filter(|_| info.hashes.v2().is_some()) else {
        return Ok(layers);
    };
    let found = found.as_dict().ok_or(Error::field("piece layers", "must be a dictionary"))?;
    let piece_length = u64::from(info.geometry.piece_length());
    for (number, file) in info.files.iter().filter(|file| !file.pad).enumerate() {
        let Some(root) = file.pieces_root.filter(|_| file.length > piece_length) else { continue };
        let wrong = |fault| Error::PieceLayer { file: number, fault };
        match layers.entry(root) {
            // Files of the same content share their layer, which is hashed once.
            Entry::Occupied(known) => {
                if known.get().len() as u64 != file.length.div_ceil(piece_length) {
                    return Err(wrong("has the wrong length"));
                }
            }
            Entry::Vacant(vacant) => {
                let layer = found.get(&root).ok_or(wrong("is missing"))?;
                let layer = layer.as_bytes().ok_or(wrong("is not a string"))?;
                let (digests, rest) = layer.as_chunks::<32>();
                if !rest.is_empty() || digests.len() as u64 != file.length.div_ceil(piece_length) {
                    return Err(wrong("has the wrong length"));
                }
                if !merkle::layer_matches(layer, file.length, piece_length, &root) {
                    return Err(wrong("does not hash to the file's root"));
                }
                vacant.insert(digests.to_vec());
            }
        }
    }
    Ok(layers)
}
