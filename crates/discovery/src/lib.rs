//! Whom we know: the peer list, back-off, canonical peer priority, bans.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
