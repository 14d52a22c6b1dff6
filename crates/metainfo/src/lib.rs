//! What a torrent is: v1, v2, hybrid, magnet links, names, geometry.
//!
//! Owns: reading torrent files and info dictionaries whole (BEP 3, 5 `nodes`, 12, 17, 19, 27, 47, 52), magnet
//! links (BEP 9, 53), info-hashes over the bytes as they stand, names that are safe to write, and the arithmetic
//! of pieces and blocks. Does not own: files on a disk, trackers, peers.
//!
//! What comes out of [`Metainfo::parse`], [`Info::parse`] and [`Magnet::parse`] can be trusted: sums do not
//! overflow, hashes and lengths agree, piece layers hash to their roots, the two halves of a hybrid name the same
//! files, and no path leaves the download directory or meets another. Whatever the input, reading it takes
//! memory and time in proportion to its length, which is limited ([`MAX_TORRENT_LENGTH`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod builder;
mod encoding;
mod error;
mod file_list;
mod file_tree;
pub mod geometry;
mod hashes;
mod info;
mod magnet;
mod metainfo;
mod names;
pub mod path;
mod piece_layers;
mod publisher;
mod selection;
mod urls;

pub use builder::{
    BuildError, Builder, Content, MAX_NEW_PIECE_LENGTH, MIN_NEW_PIECE_LENGTH, NewFile, usual_piece_length,
};
pub use error::Error;
pub use hashes::{InfoHashes, to_hex};
pub use info::{File, Info, Link, Version};
pub use magnet::{Address, Ignored, Magnet};
pub use metainfo::{Metainfo, PieceLayers};
pub use path::{NativePath, SafePath};
pub use publisher::PublisherLink;
pub use selection::{MAX_FILE_NUMBER, Selection};

/// The longest torrent file and the longest info dictionary that are read, in bytes: 128 MiB.
pub const MAX_TORRENT_LENGTH: usize = 128 << 20;

/// The most pieces a torrent may have: twice the limit of libtorrent, 84 MB of SHA-1 digests.
pub const MAX_PIECES: u32 = 0x40_0000;

/// The longest piece, in bytes: 512 MiB less one block, the limit of libtorrent.
pub const MAX_PIECE_LENGTH: u32 = 32_767 * geometry::BLOCK_LENGTH;

/// The most bytes that all names of a torrent may have together, in bytes: 64 MiB.
///
/// A file tree (BEP 52) writes a folder's name once and means it for every file below.
pub const MAX_NAMES_LENGTH: usize = 64 << 20;
