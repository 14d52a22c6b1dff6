//! One SHA-1 stream as a plain value that can be laid aside and taken up again.

use sha1::block_api::compress;

/// The state of a stream before its first byte (FIPS 180-4, section 5.3.1).
pub(crate) const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// The chaining value of a SHA-1 stream after a whole number of 64-byte blocks, and how many bytes those were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha1State {
    words: [u32; 5],
    length: u64,
}

impl Sha1State {
    /// A stream that has seen nothing.
    pub const fn new() -> Self {
        Self { words: INITIAL, length: 0 }
    }

    /// Bytes seen; a multiple of 64.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Takes the whole 64-byte blocks at the front of `bytes` and gives back what is left, less than 64 bytes.
    pub fn update<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks();
        self.update_blocks(blocks);
        rest
    }

    /// Takes whole blocks.
    pub fn update_blocks(&mut self, blocks: &[[u8; 64]]) {
        compress(&mut self.words, blocks);
        self.length += blocks.len() as u64 * 64;
    }

    /// The digest of everything seen and `tail` after it, which may have any length.
    pub fn finish(mut self, tail: &[u8]) -> [u8; 20] {
        let rest = self.update(tail);
        let padding = Padding::new(rest, self.length + rest.len() as u64);
        self.update_blocks(padding.blocks());
        digest_of(self.words)
    }

    pub(crate) fn words(&self) -> [u32; 5] {
        self.words
    }

    /// Takes over what a kernel made of the next `blocks` blocks.
    pub(crate) fn jump(&mut self, words: [u32; 5], blocks: usize) {
        self.words = words;
        self.length += blocks as u64 * 64;
    }
}

impl Default for Sha1State {
    fn default() -> Self {
        Self::new()
    }
}

/// The digest that a final chaining value is.
pub(crate) fn digest_of(words: [u32; 5]) -> [u8; 20] {
    let mut digest = [0; 20];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// The last one or two blocks of a stream: what did not fill a block, a one bit, zeros, and the length in
/// bits (FIPS 180-4, section 5.1.1).
#[derive(Clone, Copy)]
pub(crate) struct Padding {
    blocks: [[u8; 64]; 2],
    count: usize,
}

impl Padding {
    /// `rest` is shorter than a block; `length` counts the whole stream in bytes.
    pub(crate) fn new(rest: &[u8], length: u64) -> Self {
        debug_assert!(rest.len() < 64, "a whole block belongs to the stream, not to its padding");
        let count = if rest.len() < 56 { 1 } else { 2 };
        let mut blocks = [[0; 64]; 2];
        let bytes = blocks.as_flattened_mut();
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()] = 0x80;
        bytes[count * 64 - 8..count * 64].copy_from_slice(&length.wrapping_mul(8).to_be_bytes());
        Self { blocks, count }
    }

    pub(crate) fn blocks(&self) -> &[[u8; 64]] {
        &self.blocks[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::sha1::{Digest, Sha1};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn every_tail_length_agrees_with_the_library() {
        let bytes: Vec<u8> = (0..200u8).collect();
        for length in 0..bytes.len() {
            let expected: [u8; 20] = Sha1::digest(&bytes[..length]).into();
            assert_eq!(Sha1State::new().finish(&bytes[..length]), expected, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_stream_can_be_laid_aside_after_any_block(
            bytes in prop::collection::vec(any::<u8>(), 0..2_000), blocks in 0usize..32
        ) {
            let cut = (blocks * 64).min(bytes.len() / 64 * 64);
            let mut state = Sha1State::new();
            prop_assert!(state.update(&bytes[..cut]).is_empty());
            prop_assert_eq!(state.length(), cut as u64);
            let expected: [u8; 20] = Sha1::digest(&bytes).into();
            prop_assert_eq!(state.finish(&bytes[cut..]), expected);
        }
    }
}
