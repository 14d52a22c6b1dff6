//! The info dictionary: what a torrent's bytes are (BEP 3, 47, 52).

use crate::encoding::Decoded;
use crate::file_list::{self, Entry, FileList};
use crate::geometry::{Geometry, PieceIndex};
use crate::hashes::{InfoHashes, to_hex};
use crate::path::{NativePath, SafePath, clean_element};
use crate::{Error, MAX_PIECE_LENGTH, MAX_PIECES, MAX_TORRENT_LENGTH, file_tree, names};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use encoding_rs::Encoding;
use quelea_bencode::{Limits, Value};

/// Which halves a torrent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// SHA-1 of pieces (BEP 3).
    V1,
    /// SHA-256 trees of files (BEP 52).
    V2,
    /// Both, over the same files.
    Hybrid,
}

impl Version {
    /// Whether there is a v1 half, so that the torrent can be downloaded by its SHA-1 pieces.
    pub const fn has_v1(self) -> bool {
        matches!(self, Self::V1 | Self::Hybrid)
    }

    /// Whether there is a v2 half.
    pub const fn has_v2(self) -> bool {
        matches!(self, Self::V2 | Self::Hybrid)
    }
}

/// What a torrent's bytes are: an info dictionary, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The hashes of the dictionary as it was written.
    pub hashes: InfoHashes,
    /// Which halves there are.
    pub version: Version,
    /// The torrent's name, clean as a path's element: the name of the file or of the folder around all files.
    pub name: String,
    /// How the bytes divide into pieces. In a pure v2 torrent each file begins at a piece, and the bytes between
    /// files are nobody's.
    pub geometry: Geometry,
    /// The files in the order of the torrent's bytes, pad files included.
    pub files: Vec<File>,
    /// Whether peers may come from the torrent's trackers alone (BEP 27).
    pub private: bool,
    raw: Arc<[u8]>,
    /// Where the SHA-1 digests stand in `raw`.
    pieces: Range<usize>,
}

/// A file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is written, relative to the download directory, with the torrent's own folder. No other file has
    /// this path in any case or composition. (Pad files share paths: they are never written.)
    pub path: SafePath,
    /// The same with the names that the author gave it, where those are others and a file system can have them.
    pub native: Option<NativePath>,
    /// Further paths at which other programs may have written it, the likeliest first: of a torrent whose names are not
    /// UTF-8, the names to the byte, and what becomes of them where nobody knows the encoding.
    pub aliases: Vec<NativePath>,
    /// In bytes; 0 for a link.
    pub length: u64,
    /// Where it begins, in bytes from the torrent's beginning.
    pub offset: u64,
    /// Zeros that exist to align the next file, not written (BEP 47).
    pub pad: bool,
    /// To be executable.
    pub executable: bool,
    /// To be hidden, where the system can.
    pub hidden: bool,
    /// What it leads to, if it is a symbolic link.
    pub link: Option<Link>,
    /// The root of its SHA-256 tree, for files of a v2 half that are not empty.
    pub pieces_root: Option<[u8; 32]>,
}

/// What a symbolic link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A file or folder of the same torrent that is no link, relative to the download directory.
    To(SafePath),
    /// Nothing that exists, or out of the torrent, or in a circle: not to be made.
    Nowhere,
}

impl Info {
    /// Reads an info dictionary, as it stands in a torrent file or comes from peers (BEP 9).
    ///
    /// # Errors
    /// What is not bencode, is missing, contradicts itself, or is beyond the crate's limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_TORRENT_LENGTH {
            return Err(Error::TooLong { length: bytes.len(), limit: MAX_TORRENT_LENGTH });
        }
        Self::read(&quelea_bencode::parse(bytes, Limits::TORRENT)?, None)
    }

    /// Reads an info dictionary; `encoding` is what its torrent file says of its names.
    pub(crate) fn read(info: &Value<'_>, encoding: Option<&'static Encoding>) -> Result<Self, Error> {
        if info.as_dict().is_none() {
            return Err(Error::field("info", "must be a dictionary"));
        }
        if info.get(b"ssl-cert").is_some() {
            return Err(Error::Ssl);
        }
        let version = version(info)?;
        let names: Vec<&[u8]> =
            [b"name.utf-8".as_slice(), b"name"].iter().filter_map(|key| info.get(key)?.as_bytes()).collect();
        let name =
            names.iter().find(|name| !name.is_empty() && str::from_utf8(name).is_ok()).or(names.last());
        let name = name.ok_or(Error::field("name", "must be a string"))?;
        let piece_length = piece_length(info, version)?;

        let v2 = version.has_v2().then(|| file_tree::read(info, piece_length, &names)).transpose()?;
        let list = match (version.has_v1().then(|| file_list::read(info)).transpose()?, v2) {
            (Some(mut v1), Some(v2)) => {
                file_tree::join(&mut v1, &v2, piece_length)?;
                v1
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Err(Error::field("pieces", "must be a string")),
        };
        let pieces = list.total_length.div_ceil(u64::from(piece_length));
        let geometry =
            Geometry::new(list.total_length, piece_length).filter(|_| pieces <= u64::from(MAX_PIECES));
        let geometry = geometry.ok_or(Error::TooManyPieces { pieces })?;

        let raw = info.raw();
        let hashes = InfoHashes {
            v1: version.has_v1().then(|| quelea_digest::sha1(raw)),
            v2: version.has_v2().then(|| quelea_digest::sha256(raw)),
        };
        let marked = info.get(b"name.utf-8").is_some();
        let decoded = encoding.and_then(|encoding| Decoded::new(encoding, marked, name, &list.entries));
        let clean = |name: &[u8]| clean_element(name).unwrap_or_else(|| to_hex(&hashes.wire()));
        let decoded_name = decoded.as_ref().map(|decoded| decoded.name.as_bytes());
        Ok(Self {
            hashes,
            version,
            files: files(name, &list, decoded.as_ref(), &clean),
            name: clean(decoded_name.unwrap_or(*name)),
            geometry,
            private: info.get(b"private").and_then(Value::as_int).is_some_and(|private| private != 0),
            pieces: if version.has_v1() { piece_hashes(info, pieces)? } else { 0..0 },
            raw: raw.into(),
        })
    }

    /// The info dictionary as it was written, which peers ask for (BEP 9) and the info-hashes are made of.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The same, shared: for whoever gives it to peers.
    pub fn shared_raw(&self) -> Arc<[u8]> {
        Arc::clone(&self.raw)
    }

    /// The SHA-1 of a piece, if there is a v1 half.
    pub fn piece_hash(&self, piece: PieceIndex) -> Option<&[u8; 20]> {
        self.raw.get(self.pieces.clone())?.as_chunks::<20>().0.get(piece.at())
    }

    /// Bytes of all files that are written: the total length without pad files and gaps.
    pub fn content_length(&self) -> u64 {
        self.files.iter().filter(|file| !file.pad).map(|file| file.length).sum()
    }
}

fn version(info: &Value<'_>) -> Result<Version, Error> {
    match info.get(b"meta version").map(Value::as_int) {
        None | Some(Some(1)) => Ok(Version::V1),
        Some(Some(2)) if info.get(b"pieces").is_some() => Ok(Version::Hybrid),
        Some(Some(2)) => Ok(Version::V2),
        Some(Some(version)) => Err(Error::Version { version }),
        Some(None) => Err(Error::field("meta version", "must be a number")),
    }
}

fn piece_length(info: &Value<'_>, version: Version) -> Result<u32, Error> {
    let length = info.get(b"piece length").and_then(Value::as_int);
    let length = length.ok_or(Error::field("piece length", "must be a number"))?;
    let allowed = u32::try_from(length).ok().filter(|length| (1..=MAX_PIECE_LENGTH).contains(length));
    let merkle = |length: &u32| quelea_digest::merkle::piece_height(u64::from(*length)).is_some();
    allowed.filter(|length| !version.has_v2() || merkle(length)).ok_or(Error::PieceLength { length })
}

/// Where in the info dictionary the digests of this many pieces stand.
fn piece_hashes(info: &Value<'_>, pieces: u64) -> Result<Range<usize>, Error> {
    let hashes =
        info.get(b"pieces").and_then(Value::as_bytes).ok_or(Error::field("pieces", "must be a string"))?;
    let wrong = Error::PieceHashes { found: hashes.len(), pieces };
    if hashes.len() as u64 != pieces * 20 {
        return Err(wrong);
    }
    // The string borrows from the dictionary, so its place there is the distance of the two.
    let start = hashes.as_ptr().addr().checked_sub(info.raw().as_ptr().addr()).ok_or(wrong)?;
    Ok(start..start + hashes.len())
}

fn files(
    name: &[u8],
    list: &FileList<'_>,
    decoded: Option<&Decoded>,
    clean: &dyn Fn(&[u8]) -> String,
) -> Vec<File> {
    let written = Names { name, single: list.single, entries: &list.entries };
    let own = decoded.map(|decoded| decoded.entries(&list.entries));
    let meant = match (decoded, &own) {
        (Some(decoded), Some(entries)) => Names { name: decoded.name.as_bytes(), entries, ..written },
        (_, _) => written,
    };
    let mut files: Vec<File> = list
        .entries
        .iter()
        .zip(meant.portable(clean))
        .map(|(entry, (path, link))| File {
            path,
            native: None,
            aliases: Vec::new(),
            length: entry.length,
            offset: entry.offset,
            pad: entry.pad,
            executable: entry.executable,
            hidden: entry.hidden,
            link,
            pieces_root: entry.pieces_root,
        })
        .collect();
    if !meant.are_written(&files) {
        for (file, native) in files.iter_mut().zip(meant.native()) {
            file.native = native.filter(|native| native.as_bytes() != file.path.as_str().as_bytes());
        }
    }
    if own.is_some() {
        let unknown = written.portable(clean).into_iter().map(|(path, _)| NativePath::of(&path));
        for (file, (raw, unknown)) in files.iter_mut().zip(written.native().into_iter().zip(unknown)) {
            for alias in [raw, unknown].into_iter().flatten().filter(|_| !file.pad) {
                if !file.is_called(&alias) {
                    file.aliases.push(alias);
                }
            }
        }
    }
    files
}

/// The names of a torrent, in whatever encoding.
#[derive(Clone, Copy)]
struct Names<'n> {
    name: &'n [u8],
    single: bool,
    entries: &'n [Entry<'n>],
}

impl Names<'_> {
    /// The cleaned paths, and what those that are links lead to.
    fn portable(&self, clean: &dyn Fn(&[u8]) -> String) -> Vec<(SafePath, Option<Link>)> {
        let name = clean(self.name);
        if self.single {
            self.entries.iter().map(|_| (SafePath::from_clean(name.clone()), None)).collect()
        } else {
            names::place(&name, self.entries)
        }
    }

    fn native(&self) -> Vec<Option<NativePath>> {
        if self.single {
            self.entries.iter().map(|_| NativePath::new([self.name])).collect()
        } else {
            names::native(self.name, self.entries)
        }
    }

    /// Whether the cleaned paths of all files are these names.
    fn are_written(&self, files: &[File]) -> bool {
        let is_written = |(file, entry): (&File, &Entry<'_>)| {
            let names = core::iter::once(self.name).chain(entry.elements.iter().copied());
            let names = names.take(if self.single { 1 } else { usize::MAX });
            entry.pad || file.path.elements().map(str::as_bytes).eq(names)
        };
        files.iter().zip(self.entries).all(is_written)
    }
}

impl File {
    /// Whether this is one of the paths that it may have been written to.
    fn is_called(&self, path: &NativePath) -> bool {
        let path = path.as_bytes();
        let others = self.native.iter().chain(&self.aliases);
        path == self.path.as_str().as_bytes() || others.into_iter().any(|other| other.as_bytes() == path)
    }

    /// Whether other programs, or ours with another choice of names, may have written it to other paths.
    pub fn has_other_names(&self) -> bool {
        self.native.is_some() || !self.aliases.is_empty()
    }
}
