//! The distributed hash table as a machine (BEP 5, 32, 33, 42, 43, 44, 45, 46, 51).
//!
//! Owns: packets, the routing tables of both families, walks through the network, what others had us store, whom we
//! answer and how much; when which torrent is searched for ([`schedule`]). Does not own: sockets, the clock, names of
//! routers, which torrents there are.
//! See [`Dht`] for the contract.
//!
//! # The walk of one search
//! 1. [`Dht::find_peers`] and its like begin a [`walk::Walk`] in each family from the nearest nodes of its table.
//! 2. Each answer names nearer nodes, and what the search is for; that is told at once as an [`Event`].
//! 3. When the nearest nodes have answered, those that gave a token are written to, where the search writes.
//!
//! # Strangers
//! Nothing that a stranger sends makes anything grow beyond a fixed size. An answer is never longer than three times
//! its query, unless the asker has shown that it receives at its address: who needs more is pinged first.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bloom;
mod dht;
pub mod gate;
mod id;
pub mod item;
pub mod packet;
pub mod schedule;
pub mod store;
pub mod table;
pub mod token;
pub mod walk;

pub use dht::{Announce, Blocks, Config, Dht, Event, Families, Found, Saved, SearchId, Stats, Transmit};
pub use id::{Distance, Id};
pub use item::Item;
