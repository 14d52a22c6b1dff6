//! Bencode: a borrowing reader with limits and a canonical writer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
