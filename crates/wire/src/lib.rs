//! Peer bytes to messages and back: handshake, messages, extensions (BEP 3, 6, 9, 10, 11, 20, 52, 54).
//!
//! Owns: the layout of everything that goes over a connection between two peers, and how much of it may be
//! waited for. Does not own: what a message means. Indices are raw `u32` here, because peers lie; the torrent's
//! machine checks them against its geometry. A breach of the layout is a [`Fault`]: a value that ends its
//! connection and goes no further.
//!
//! The way of a block: [`decoder::Decoder::regions`] hands out the very buffers that blocks come to lie in, the
//! connection reads into them with one vectored read, and [`decoder::Decoder::poll`] gives them away filled.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bitfield;
pub mod decoder;
pub mod encoder;
pub mod extension;
pub mod fast;
mod fault;
pub mod handshake;
pub mod limits;
pub mod message;
pub mod peer_id;

pub use bitfield::Bitfield;
pub use decoder::{Decoder, Event};
pub use fault::Fault;
pub use handshake::Handshake;
pub use message::Message;
pub use peer_id::PeerId;
