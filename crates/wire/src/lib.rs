//! Peer bytes to messages and back: handshake, messages, extensions.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
