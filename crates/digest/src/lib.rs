//! SHA-1, SHA-256 and merkle trees, one stream or many side by side; CRC32-C.
//!
//! Owns: the digests of BitTorrent (SHA-1 for version 1 pieces and info-hashes, BEP 3; SHA-256 for version 2
//! leaves and trees, BEP 52), and the kernels that advance many SHA-1 streams in lockstep.
//! Does not own: which bytes belong to which piece, and when to hash them (`storage`).
//!
//! One stream goes to the `sha1` and `sha2` crates, which use the processor's own instructions where it has
//! them. Many streams go to [`sha1_batch`] or [`sha1_advance`], which put each stream into one lane of wide
//! registers.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod advance;
mod batch;
mod crc32c;
mod kernel;
pub mod merkle;
mod sha1_stream;

pub use advance::{sha1_advance, sha1_advance_with};
pub use batch::{sha1_batch, sha1_batch_with};
pub use crc32c::crc32c;
pub use kernel::Kernel;
pub use sha1_stream::Sha1State;

use sha2::Digest;

/// The SHA-1 of `bytes`.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    Sha1State::new().finish(bytes)
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String, vec};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn published_sha1_vectors_hold() {
        assert_eq!(hex(&sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(&vec![b'a'; 1_000_000])), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    #[test]
    fn published_sha256_vectors_hold() {
        assert_eq!(hex(&sha256(b"")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(
            hex(&sha256(&million)),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
    }
}
