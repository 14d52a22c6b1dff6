//! Torrent files to be written (v1: BEP 3, 12, 19, 27).
//!
//! A torrent is only built if it is read back as what was meant: whatever [`Metainfo::parse`] would drop or refuse is an
//! error here, told before a byte was hashed ([`Builder::check`]). Names that some systems can't have are no error:
//! where they can be had they are kept ([`File::native`](crate::File::native)), and elsewhere cleaned.
//!
//! The same builder gives the same bytes: keys are sorted by bencode itself, and nothing is added that was not
//! asked for, neither a date nor the name of a program.

use crate::geometry::{BLOCK_LENGTH, Geometry};
use crate::{MAX_PIECE_LENGTH, MAX_PIECES, Metainfo, urls};
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use quelea_bencode::Item;

/// The shortest piece length that is built, in bytes: one block.
pub const MIN_NEW_PIECE_LENGTH: u32 = BLOCK_LENGTH;

/// The longest piece length that is built, in bytes: 256 MiB, the largest power of two that is read.
pub const MAX_NEW_PIECE_LENGTH: u32 = 1 << MAX_PIECE_LENGTH.ilog2();

/// The longest piece length that [`usual_piece_length`] gives, in bytes: 16 MiB.
const MAX_USUAL_PIECE_LENGTH: u32 = 16 << 20;

/// The most pieces that [`usual_piece_length`] makes where a longer piece would do: 40 kB of digests.
const USUAL_PIECES: u64 = 2_000;

/// The piece length for so many bytes: the shortest power of two from 16 KiB to 16 MiB that makes at most 2,000
/// pieces. So there are 1,000 to 2,000 pieces for anything between 16 MiB and 31 GiB.
pub const fn usual_piece_length(total_length: u64) -> u32 {
    let mut length = MIN_NEW_PIECE_LENGTH;
    while length < MAX_USUAL_PIECE_LENGTH && total_length.div_ceil(length as u64) > USUAL_PIECES {
        length *= 2;
    }
    length
}

/// A torrent to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// The name of the file, or of the folder around all files.
    pub name: String,
    /// What it consists of.
    pub content: Content,
    /// Bytes in a piece: a power of two from [`MIN_NEW_PIECE_LENGTH`] to [`MAX_NEW_PIECE_LENGTH`].
    pub piece_length: u32,
    /// Whether peers may come from the trackers alone (BEP 27).
    pub private: bool,
    /// The trackers in tiers, http, https and udp (BEP 12). What is named twice counts once.
    pub trackers: Vec<Vec<String>>,
    /// The web seeds, http and https (BEP 19).
    pub web_seeds: Vec<String>,
    /// What the author has to say.
    pub comment: Option<String>,
    /// The program that made the torrent.
    pub created_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub creation_date: Option<i64>,
}

/// What a torrent consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One file without a folder, with so many bytes.
    File(u64),
    /// Files in a folder, in the order in which their bytes are laid end to end.
    Folder(Vec<NewFile>),
}

/// A file of a torrent to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// The names of the folders below the torrent's own, and of the file; at least one.
    pub path: Vec<String>,
    /// In bytes.
    pub length: u64,
}

/// Why a torrent is not built. Messages are one line; names in them are quoted and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name would be another one everywhere, or two files have the same.
    #[error("{path:?} has a name that no system takes: it would become {becomes:?}; rename it")]
    Name {
        /// The file's path with the torrent's name in front.
        path: String,
        /// What would be written.
        becomes: String,
    },
    /// A name says that a file is one of the pad files of another program, which nobody writes.
    #[error("{0:?} has a name that is taken for padding, so that nobody would get it; rename it")]
    PadName(String),
    /// There is no byte to share.
    #[error("there is nothing to share: no file has any bytes")]
    Empty,
    /// The piece length is no power of two, too short or too long.
    #[error("a piece length of {0} bytes is not possible: take a power of two from 16 KiB to 256 MiB")]
    PieceLength(u32),
    /// There would be more pieces than [`MAX_PIECES`].
    #[error("{pieces} pieces are too many, the limit is {MAX_PIECES}: take a greater piece length")]
    TooManyPieces {
        /// Pieces that there would be.
        pieces: u64,
    },
    /// The address is none of a tracker.
    #[error("{url:?} is not a tracker's address: {fault}")]
    Tracker {
        /// The address given.
        url: String,
        /// What is wrong with it, as a half sentence.
        fault: &'static str,
    },
    /// The address is none of a web seed.
    #[error("{0:?} is not a web seed's address: it begins with http:// or https://")]
    WebSeed(String),
    /// The digests are not one for each piece.
    #[error("{found} digests were given for {pieces} pieces")]
    Digests {
        /// Digests given.
        found: usize,
        /// Pieces there are.
        pieces: u32,
    },
    /// What would be built can't be read back.
    #[error("such a torrent could not be read: {0}")]
    Unreadable(#[from] crate::Error),
}

impl Builder {
    /// A torrent of this content with a piece length that suits it, and nothing else.
    pub fn new(name: impl Into<String>, content: Content) -> Self {
        Self {
            name: name.into(),
            piece_length: usual_piece_length(content.length().unwrap_or(u64::MAX)),
            content,
            private: false,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            comment: None,
            created_by: None,
            creation_date: None,
        }
    }

    /// How the bytes divide into pieces.
    ///
    /// # Errors
    /// [`BuildError::Empty`], [`BuildError::PieceLength`], [`BuildError::TooManyPieces`], or a total length that
    /// no disk holds.
    pub fn geometry(&self) -> Result<Geometry, BuildError> {
        let length = self.content.length().ok_or(crate::Error::TotalLength)?;
        if length == 0 {
            return Err(BuildError::Empty);
        }
        let allowed = MIN_NEW_PIECE_LENGTH..=MAX_NEW_PIECE_LENGTH;
        if !self.piece_length.is_power_of_two() || !allowed.contains(&self.piece_length) {
            return Err(BuildError::PieceLength(self.piece_length));
        }
        let pieces = length.div_ceil(u64::from(self.piece_length));
        Geometry::new(length, self.piece_length)
            .filter(|_| pieces <= u64::from(MAX_PIECES))
            .ok_or(BuildError::TooManyPieces { pieces })
    }

    /// Whether this torrent can be built, once its pieces are hashed.
    ///
    /// # Errors
    /// Any but [`BuildError::Digests`].
    pub fn check(&self) -> Result<(), BuildError> {
        let pieces = self.geometry()?.pieces();
        self.build(&vec![[0; 20]; pieces as usize]).map(|_| ())
    }

    /// The torrent file, with the SHA-1 of each piece; and what a reader makes of it.
    ///
    /// # Errors
    /// As [`BuildError`] has them.
    pub fn build(&self, digests: &[[u8; 20]]) -> Result<(Vec<u8>, Metainfo), BuildError> {
        let geometry = self.geometry()?;
        if digests.len() != geometry.pieces() as usize {
            return Err(BuildError::Digests { found: digests.len(), pieces: geometry.pieces() });
        }
        let bytes = self.encode(digests)?;
        let metainfo = Metainfo::parse(&bytes)?;
        self.compare(&metainfo)?;
        Ok((bytes, metainfo))
    }

    fn encode(&self, digests: &[[u8; 20]]) -> Result<Vec<u8>, BuildError> {
        let mut info = vec![
            ("name", Item::from(&*self.name)),
            ("piece length", Item::from(i64::from(self.piece_length))),
            ("pieces", Item::from(digests.as_flattened())),
            match &self.content {
                Content::File(length) => ("length", integer(*length)),
                Content::Folder(files) => ("files", files.iter().map(file).collect::<Vec<_>>().into()),
            },
        ];
        if self.private {
            info.push(("private", Item::from(1)));
        }
        let mut torrent = vec![("info", Item::dict(info))];
        let tiers = self.tiers()?;
        if let Some(first) = tiers.first().and_then(|tier| tier.first()) {
            torrent.push(("announce", Item::from(*first)));
        }
        if tiers.iter().map(Vec::len).sum::<usize>() > 1 {
            let tiers = tiers.iter().map(|tier| Item::list(tier.iter().copied()));
            torrent.push(("announce-list", Item::list(tiers)));
        }
        match &*self.seeds()? {
            [] => {}
            [only] => torrent.push(("url-list", Item::from(&**only))),
            many => torrent.push(("url-list", Item::list(many.iter().map(|url| &**url)))),
        }
        torrent.extend(self.comment.as_deref().map(|text| ("comment", Item::from(text))));
        torrent.extend(self.created_by.as_deref().map(|text| ("created by", Item::from(text))));
        torrent.extend(self.creation_date.map(|date| ("creation date", Item::from(date))));
        Ok(Item::dict(torrent).encode())
    }

    /// The trackers, none twice and no tier empty.
    fn tiers(&self) -> Result<Vec<Vec<&str>>, BuildError> {
        let mut seen = BTreeSet::new();
        let mut tiers = Vec::new();
        for tier in &self.trackers {
            let mut kept = Vec::new();
            for given in tier {
                if let Some(fault) = urls::tracker_fault(given) {
                    return Err(BuildError::Tracker { url: given.clone(), fault });
                }
                let url = given.trim();
                kept.extend(seen.insert(url).then_some(url));
            }
            tiers.extend((!kept.is_empty()).then_some(kept));
        }
        Ok(tiers)
    }

    fn seeds(&self) -> Result<Vec<String>, BuildError> {
        let mut seen = BTreeSet::new();
        let mut seeds = Vec::new();
        for given in &self.web_seeds {
            let url = urls::web_seed(given).ok_or_else(|| BuildError::WebSeed(given.clone()))?;
            seeds.extend(seen.insert(url.clone()).then_some(url));
        }
        Ok(seeds)
    }

    /// Whether a reader finds the files that were meant, where they were meant.
    fn compare(&self, read: &Metainfo) -> Result<(), BuildError> {
        let info = &read.info;
        let single: [&[String]; 1] = [&[]];
        let paths: Vec<&[String]> = match &self.content {
            Content::File(_) => single.into(),
            Content::Folder(files) => files.iter().map(|file| &*file.path).collect(),
        };
        for (path, found) in paths.into_iter().zip(&info.files) {
            let mut elements = vec![&*self.name];
            elements.extend(path.iter().map(String::as_str));
            let path = elements.join("/");
            if found.pad {
                return Err(BuildError::PadName(path));
            }
            let is_native = found.native.as_ref().is_some_and(|native| native.as_bytes() == path.as_bytes());
            if !is_native && !found.path.elements().eq(elements) {
                return Err(BuildError::Name { path, becomes: found.path.to_string() });
            }
        }
        Ok(())
    }
}

impl Content {
    /// Bytes in all; `None` if they are more than 63 bits hold.
    pub fn length(&self) -> Option<u64> {
        let length = match self {
            Self::File(length) => Some(*length),
            Self::Folder(files) => files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.length)),
        };
        length.filter(|length| i64::try_from(*length).is_ok())
    }
}

fn file(file: &NewFile) -> Item {
    let path = Item::list(file.path.iter().map(String::as_str));
    Item::dict([("length", integer(file.length)), ("path", path)])
}

/// A length as bencode has it. One that is too long has been refused with the total.
fn integer(length: u64) -> Item {
    Item::from(i64::try_from(length).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Magnet;
    use alloc::format;
    use proptest::prelude::*;

    fn folder(files: &[(&str, u64)]) -> Builder {
        let file = |(path, length): &(&str, u64)| NewFile {
            path: path.split('/').map(ToString::to_string).collect(),
            length: *length,
        };
        Builder::new("root", Content::Folder(files.iter().map(file).collect()))
    }

    fn refused(files: &[(&str, u64)]) -> BuildError {
        folder(files).check().unwrap_err()
    }

    #[test]
    fn a_single_file_is_built_byte_for_byte() {
        let builder = Builder::new("a", Content::File(10));
        let (bytes, metainfo) = builder.build(&[*b"xxxxxxxxxxxxxxxxxxxx"]).unwrap();
        assert_eq!(
            bytes,
            b"d4:infod6:lengthi10e4:name1:a12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxee"
        );
        assert_eq!(metainfo.info.files[0].path.as_str(), "a");
    }

    #[test]
    fn everything_asked_for_is_read_back() {
        let mut builder = folder(&[("a", 1), ("b/c", 2)]);
        builder.private = true;
        builder.trackers = vec![
            vec!["http://a/announce".into(), "udp://b:1".into()],
            vec!["udp://b:1".into()],
            vec!["https://c".into()],
        ];
        builder.web_seeds = vec!["http://w/x y/".into(), "https://v/".into()];
        builder.comment = Some("böse".into());
        builder.created_by = Some("me".into());
        builder.creation_date = Some(7);
        let (_, metainfo) = builder.build(&[[1; 20]]).unwrap();
        assert!(metainfo.info.private);
        assert_eq!(metainfo.trackers, [vec!["http://a/announce", "udp://b:1"], vec!["https://c"]]);
        assert_eq!(metainfo.web_seeds, ["http://w/x%20y/", "https://v/"]);
        assert_eq!(metainfo.comment.as_deref(), Some("böse"));
        assert_eq!(metainfo.created_by.as_deref(), Some("me"));
        assert_eq!(metainfo.creation_date, Some(7));
        let link = metainfo.magnet();
        assert_eq!(Magnet::parse(&link.to_string()), Ok(link));
    }

    #[test]
    fn one_tracker_makes_no_list_and_one_web_seed_is_a_string() {
        let mut builder = Builder::new("a", Content::File(1));
        builder.trackers = vec![vec!["udp://t:1".into()]];
        builder.web_seeds = vec!["http://w/".into()];
        let (bytes, _) = builder.build(&[[b'x'; 20]]).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("d8:announce9:udp://t:14:infod"), "{text}");
        assert!(text.ends_with("e8:url-list9:http://w/e"), "{text}");
    }

    #[test]
    fn names_that_no_system_takes_are_refused_with_what_they_would_become() {
        for (path, becomes) in [("../x", "root/x"), ("a//b", "root/a/b"), ("./a", "root/a")] {
            let path_in_torrent = format!("root/{path}");
            assert_eq!(
                refused(&[(path, 1)]),
                BuildError::Name { path: path_in_torrent, becomes: becomes.into() }
            );
        }
        let long = "n".repeat(256);
        assert!(matches!(refused(&[(&long, 1)]), BuildError::Name { .. }));
        let slash = NewFile { path: vec!["a/b".into()], length: 1 };
        let slash = Builder::new("root", Content::Folder(vec![slash])).check();
        assert!(matches!(slash, Err(BuildError::Name { .. })));
        for files in [["same", "same"], ["f", "f/g"]] {
            let error = refused(&files.map(|path| (path, 1)));
            assert!(matches!(error, BuildError::Name { .. }), "{files:?}: {error}");
        }
    }

    #[test]
    fn names_that_some_systems_do_not_take_are_kept_beside_those_that_all_do() {
        for (path, becomes) in [
            ("a:b", "root/a_b"),
            ("con", "root/_con"),
            ("dot./x", "root/dot/x"),
            ("x ", "root/x"),
            ("tab\tx", "root/tab_x"),
        ] {
            let (_, metainfo) = folder(&[(path, 1)]).build(&[[0; 20]]).unwrap();
            let file = &metainfo.info.files[0];
            assert_eq!(file.path.as_str(), becomes);
            assert_eq!(file.native.as_ref().unwrap().as_bytes(), format!("root/{path}").as_bytes());
        }
        for files in [["a", "A"], ["\u{e9}", "e\u{301}"], ["x/a", "X/b"]] {
            assert_eq!(folder(&files.map(|path| (path, 1))).check(), Ok(()), "{files:?}");
        }
        let (_, metainfo) = Builder::new("a?", Content::File(1)).build(&[[0; 20]]).unwrap();
        assert_eq!((&*metainfo.info.name, metainfo.info.files[0].path.as_str()), ("a_", "a_"));
        assert_eq!(metainfo.info.files[0].native.as_ref().unwrap().as_bytes(), b"a?");
    }

    #[test]
    fn names_of_pad_files_are_refused() {
        let name = "_____padding_file_0_if you see this";
        assert!(matches!(refused(&[(name, 1)]), BuildError::PadName(_)));
    }

    #[test]
    fn what_has_no_bytes_is_refused() {
        assert_eq!(refused(&[("a", 0)]), BuildError::Empty);
        assert_eq!(refused(&[]), BuildError::Empty);
        assert_eq!(Builder::new("a", Content::File(0)).check(), Err(BuildError::Empty));
        assert_eq!(folder(&[("a", 0), ("b", 1)]).check(), Ok(()));
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for length in [0, 1, 8_192, 16_385, 48 << 10, 512 << 20] {
            let builder = Builder { piece_length: length, ..Builder::new("a", Content::File(1)) };
            assert_eq!(builder.check(), Err(BuildError::PieceLength(length)));
        }
        let many = Builder { piece_length: 16_384, ..Builder::new("a", Content::File(1 << 40)) };
        assert_eq!(many.check(), Err(BuildError::TooManyPieces { pieces: 1 << 26 }));
        let endless = folder(&[("a", u64::MAX), ("b", 2)]).check();
        assert_eq!(endless, Err(BuildError::Unreadable(crate::Error::TotalLength)));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        let mut builder = Builder::new("a", Content::File(1));
        builder.trackers = vec![vec!["t.example".into()]];
        assert_eq!(
            builder.check(),
            Err(BuildError::Tracker {
                url: "t.example".into(),
                fault: "it begins with http://, https:// or udp://, and has no spaces"
            })
        );
        builder.trackers.clear();
        builder.web_seeds = vec!["udp://a".into()];
        assert_eq!(builder.check(), Err(BuildError::WebSeed("udp://a".into())));
    }

    #[test]
    fn digests_must_be_one_a_piece() {
        let builder = Builder::new("a", Content::File(16_385));
        assert_eq!(builder.build(&[[0; 20]]), Err(BuildError::Digests { found: 1, pieces: 2 }));
    }

    #[test]
    fn usual_piece_lengths_keep_the_pieces_between_bounds() {
        assert_eq!(usual_piece_length(0), 16 << 10);
        assert_eq!(usual_piece_length(2_000 << 14), 16 << 10);
        assert_eq!(usual_piece_length((2_000 << 14) + 1), 32 << 10);
        assert_eq!(usual_piece_length(4 << 30), 4 << 20);
        assert_eq!(usual_piece_length(u64::MAX), 16 << 20);
    }

    proptest! {
        #[test]
        fn any_size_up_to_31_gib_has_at_most_2000_pieces_and_at_least_1000_from_16_mib_on(
            total in 0u64..=31 << 30
        ) {
            let length = usual_piece_length(total);
            prop_assert!(length.is_power_of_two() && (16 << 10..=16 << 20).contains(&length));
            let pieces = total.div_ceil(u64::from(length));
            prop_assert!(pieces <= 2_000);
            prop_assert!(total < 16 << 20 || pieces >= 1_000, "{pieces}");
        }

        #[test]
        fn a_torrent_built_reads_as_it_was_meant_or_is_refused(
            name in "[a-zA-Zé:. ]{1,6}",
            files in prop::collection::vec((prop::collection::vec("[a-cA-C.:/]{0,3}", 0..4), 0u64..100_000), 0..6),
        ) {
            let files: Vec<NewFile> =
                files.into_iter().map(|(path, length)| NewFile { path, length }).collect();
            let builder = Builder::new(name.clone(), Content::Folder(files.clone()));
            let checked = builder.check();
            let Ok(geometry) = builder.geometry() else { return Ok(()) };
            let digests: Vec<[u8; 20]> = geometry.iter().map(|piece| [piece.get() as u8; 20]).collect();
            let built = builder.build(&digests);
            prop_assert_eq!(checked.is_ok(), built.is_ok());
            let Ok((bytes, metainfo)) = built else { return Ok(()) };
            prop_assert_eq!(&builder.build(&digests).unwrap().0, &bytes);
            prop_assert_eq!(metainfo.info.geometry, geometry);
            prop_assert_eq!(metainfo.info.files.len(), files.len());
            for (found, meant) in metainfo.info.files.iter().zip(&files) {
                let path = format!("{name}/{}", meant.path.join("/"));
                let native = found.native.as_ref().map(crate::NativePath::as_bytes);
                prop_assert_eq!(native.unwrap_or(found.path.as_str().as_bytes()), path.as_bytes());
                prop_assert_eq!(found.length, meant.length);
            }
            for piece in geometry.iter() {
                prop_assert_eq!(metainfo.info.piece_hash(piece), Some(&digests[piece.at()]));
            }
        }
    }
}
