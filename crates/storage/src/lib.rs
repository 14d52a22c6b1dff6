//! Pieces to files: layout, hash lanes, disk threads, checking.
//!
//! Owns: where the bytes of a torrent lie ([`Layout`]), its files on the disk ([`Store`]), the bound on open
//! files ([`FilePool`]), the threads that hash, write, read and check ([`Pipeline`]), and what a torrent is made
//! of ([`create`]).
//! Does not own: which pieces are wanted first, whom to blame for a bad one, what a torrent file says, and how
//! many blocks are in memory. Whoever submits work decides that.
#![forbid(unsafe_code)]

mod claims;
pub mod create;
mod error;
pub mod file_layer;
mod file_pool;
mod layout;
mod links;
mod part_file;
mod pipeline;
mod remove;
pub mod save;
mod store;
pub mod threads;
mod torrent_links;
mod tree;

pub use claims::Claims;
pub use error::{Action, StorageError};
pub use file_pool::{DEFAULT_OPEN_FILES, FilePool};
pub use layout::{FileIndex, FileSpan, Layout, Spans};
pub use links::LinkFault;
pub use part_file::{part_file_name, staging_name};
pub use pipeline::{
    CheckHandle, CheckJob, CheckOutcome, CheckProgress, Config, LANE_BYTES, PieceJob, PieceOutcome,
    PieceVerdict, Pipeline,
};
pub use remove::remove_files;
pub use store::{
    Existing, FileSpec, Goal, Held, Holder, Interrupted, Journal, Moved, Options, Relocated, Relocating,
    Step, Store, recover,
};
pub use torrent_links::{LinkLeftOut, LinkState, TorrentLink, remove_links};
pub use tree::Standing;
