//! The brain: peers, picking, choking, one torrent as a machine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
