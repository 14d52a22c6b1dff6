//! Why a torrent or a magnet link was refused.

/// Why a torrent file, an info dictionary or a magnet link was refused. Messages are one line without control
/// characters and hold nothing of the input but numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not bencode.
    #[error("not a torrent: {0}")]
    Bencode(#[from] quelea_bencode::Error),
    /// The input is longer than is read.
    #[error("{length} bytes are too many: the limit is {limit}")]
    TooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A value is missing or is not what it must be.
    #[error("not a torrent that can be read: `{key}` {must}")]
    Field {
        /// The key under which the value stands, or what it is called.
        key: &'static str,
        /// What it must be, as a half sentence.
        must: &'static str,
    },
    /// The info dictionary is of a version that does not exist (BEP 52, "meta version").
    #[error("`meta version` {version} is not known: versions 1 and 2 are")]
    Version {
        /// The version found.
        version: i64,
    },
    /// The piece length is zero, negative, too long, or no power of two where BEP 52 demands one.
    #[error("a piece length of {length} bytes is not allowed")]
    PieceLength {
        /// The length found, in bytes.
        length: i64,
    },
    /// `pieces` is not a whole number of digests, or not one for each piece.
    #[error("`pieces` is {found} bytes long, but {pieces} pieces need 20 bytes each")]
    PieceHashes {
        /// Bytes found.
        found: usize,
        /// Pieces that the files have.
        pieces: u64,
    },
    /// There are more pieces than [`MAX_PIECES`](crate::MAX_PIECES).
    #[error("{pieces} pieces are too many")]
    TooManyPieces {
        /// Pieces that the files have.
        pieces: u64,
    },
    /// The lengths of the files add up to more than 63 bits hold.
    #[error("the files' lengths add up to more than any disk holds")]
    TotalLength,
    /// The names are together longer than [`MAX_NAMES_LENGTH`](crate::MAX_NAMES_LENGTH).
    #[error("the files' names are too long together")]
    NamesLength,
    /// A file's piece layer is missing, has the wrong length or does not hash to the file's root (BEP 52).
    #[error("the piece layer of file {file} {fault}")]
    PieceLayer {
        /// The file's number, from 0, pad files not counted.
        file: usize,
        /// What is wrong with the layer, as a half sentence.
        fault: &'static str,
    },
    /// The v1 and the v2 half of a hybrid torrent describe different files (BEP 52, "upgrade path").
    #[error("the two halves of this hybrid torrent disagree at file {file}: {fault}")]
    Hybrid {
        /// The file's number, from 0, pad files not counted.
        file: usize,
        /// What differs.
        fault: &'static str,
    },
    /// The torrent's swarm speaks TLS with the torrent's own certificate, which cannot be joined.
    #[error("torrents with `ssl-cert` are not supported")]
    Ssl,
    /// The text is not a magnet link.
    #[error("not a magnet link: it begins with \"magnet:?\" and parameters follow")]
    NotMagnet,
    /// The magnet link has no BitTorrent hash (`xt=urn:btih:` or `xt=urn:btmh:`).
    #[error("the magnet link has no BitTorrent info-hash")]
    MagnetWithoutHash,
    /// A hash in the magnet link is not 40 hexadecimal or 32 base32 characters (v1), or 1220 and 64 hexadecimal
    /// characters (v2).
    #[error("the info-hash in the magnet link is damaged")]
    MagnetHash,
    /// The magnet link names two torrents.
    #[error("the magnet link has two different info-hashes of the same version")]
    MagnetHashes,
}

impl Error {
    pub(crate) const fn field(key: &'static str, must: &'static str) -> Self {
        Self::Field { key, must }
    }
}
