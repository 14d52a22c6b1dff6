//! What a torrent is: v1, v2, hybrid, magnet links, names, geometry.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod geometry;
