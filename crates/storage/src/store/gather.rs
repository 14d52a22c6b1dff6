//! The bytes of a piece, which come as blocks, cut where files are cut.

use std::io::IoSlice;

/// The bytes of blocks, taken off in runs of any length.
pub(super) struct Gather<'a, B> {
    blocks: &'a [B],
    /// How much of the first block is taken.
    taken: usize,
}

impl<'a, B: AsRef<[u8]>> Gather<'a, B> {
    pub(super) fn new(blocks: &'a [B]) -> Self {
        Self { blocks, taken: 0 }
    }

    pub(super) fn take(&mut self, length: u64) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::new();
        self.run(length, |slice| slices.push(IoSlice::new(slice)));
        slices
    }

    pub(super) fn skip(&mut self, length: u64) {
        self.run(length, |_| ());
    }

    fn run(&mut self, mut length: u64, mut each: impl FnMut(&'a [u8])) {
        while let Some((first, others)) = self.blocks.split_first() {
            let left = &first.as_ref()[self.taken..];
            if left.is_empty() {
                (self.blocks, self.taken) = (others, 0);
                continue;
            }
            if length == 0 {
                return;
            }
            let some = usize::try_from(length).unwrap_or(usize::MAX).min(left.len());
            each(&left[..some]);
            self.taken += some;
            length -= some as u64;
        }
    }
}
