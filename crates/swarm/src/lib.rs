//! The brain: one torrent as a machine.
//!
//! Owns: which peers to connect to, what to ask them for, whom to upload to, whom to ban. Does not own: bytes,
//! sockets, files, the clock. See [`torrent::Torrent`] for the contract.
//!
//! # The walk of one block
//! 1. A peer unchokes us: [`torrent::Torrent::handle_message`] marks it as one that requests may be sent to.
//! 2. While the driver drains [`torrent::Torrent::poll_output`], [`pipeline::Pipeline::room`] says how many
//!    requests there is room for, and [`picker::Picker::pick`] which blocks: they leave as `Send(Request)`.
//! 3. The block arrives: [`torrent::Torrent::handle_block`] matches it with its request and puts its handle into
//!    the open piece. In the endgame, twins of the request are cancelled.
//! 4. The piece's last block makes `Verify`, which carries the handles away to be hashed and written.
//! 5. [`torrent::Torrent::handle_verdict`]: the piece is had and `Have` goes out, or it is fetched again and its
//!    senders are suspected.
//!
//! # The walk of one block out
//! A request is checked, queued, and granted while the connection holds few granted blocks:
//! `Upload`. When it has left, [`torrent::Torrent::handle_uploaded`] makes room for the next.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod choker;
pub mod dialling;
mod door;
pub mod event;
pub mod handshakes;
pub mod holdings;
pub mod limit;
pub mod metadata;
pub mod peers;
pub mod picker;
pub mod pipeline;
pub mod queue;
pub mod rate;
mod toll;
pub mod torrent;
