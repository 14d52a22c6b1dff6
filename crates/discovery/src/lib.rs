//! Whom we know: the peer list, back-off, bans, address filter, canonical peer priority (BEP 40); and how others
//! reach us: our address as they see it, and the ports that a gateway forwards.
//!
//! Owns: which addresses a torrent has heard of, from whom, and when to try which of them. Does not own: how
//! many connections there may be, which of them are worth keeping, and the connections themselves.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod allowance;
pub mod external;
pub mod filter;
pub mod local;
pub mod mapping;
pub mod network;
pub mod peers;
pub mod priority;
pub mod reach;
pub mod scope;

pub use allowance::Allowance;
pub use peers::{Parting, PeerList, Refusal, Source};
pub use scope::Scope;
