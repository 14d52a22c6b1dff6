//! Room for one foreseen piece message: its header and its block, filled and looked at in this order.

use super::PIECE_HEADER;
use crate::encoder::piece_header;

pub(super) struct Slot<B> {
    header: [u8; PIECE_HEADER],
    block: B,
    /// Bytes that came, over header and block.
    filled: usize,
    /// Bytes of them that were given to the assembler.
    parsed: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Slot<B> {
    pub(super) const fn new(block: B) -> Self {
        Self { header: [0; PIECE_HEADER], block, filled: 0, parsed: 0 }
    }

    pub(super) const fn clear(&mut self) {
        self.filled = 0;
        self.parsed = 0;
    }

    /// Begins with these bytes, which the assembler has seen: the part of a header that came with the last read.
    /// Only for a slot that is clear, and for fewer bytes than a header has.
    pub(super) fn continue_header(&mut self, head: &[u8]) {
        for (to, from) in self.header.iter_mut().zip(head) {
            *to = *from;
        }
        self.filled = head.len().min(PIECE_HEADER);
        self.parsed = self.filled;
    }

    /// What can be read into.
    pub(super) fn room(&mut self) -> [&mut [u8]; 2] {
        let in_block = self.filled.saturating_sub(PIECE_HEADER);
        [
            self.header.get_mut(self.filled..).unwrap_or_default(),
            self.block.as_mut().get_mut(in_block..).unwrap_or_default(),
        ]
    }

    fn length(&self) -> usize {
        PIECE_HEADER + self.block.as_ref().len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.length()
    }

    /// Says that up to `n` bytes came; gives how many of them this slot has room for.
    pub(super) fn fill(&mut self, n: usize) -> usize {
        let taken = n.min(self.length() - self.filled);
        self.filled += taken;
        taken
    }

    /// The piece and the begin of the foreseen message, when it is what came.
    ///
    /// `head` is what the assembler has of a message's head, if that is what it is at. It must be all that was
    /// parsed of this slot; otherwise the slot does not begin where a message begins.
    pub(super) fn prediction(&self, head: Option<&[u8]>) -> Option<(u32, u32)> {
        if self.filled < PIECE_HEADER || head?.len() != self.parsed {
            return None;
        }
        let [_, _, _, _, _, p0, p1, p2, p3, b0, b1, b2, b3] = self.header;
        let (piece, begin) = (u32::from_be_bytes([p0, p1, p2, p3]), u32::from_be_bytes([b0, b1, b2, b3]));
        let length = u32::try_from(self.block.as_ref().len()).ok()?;
        (self.header == piece_header(piece, begin, length)).then_some((piece, begin))
    }

    /// The block and how much of it came.
    pub(super) fn into_block(self) -> (B, usize) {
        (self.block, self.filled.saturating_sub(PIECE_HEADER))
    }

    /// The next bytes that were not parsed: first those of the header, then those of the block.
    pub(super) fn unparsed(&self) -> &[u8] {
        let header = self.header.get(self.parsed..self.filled.min(PIECE_HEADER)).unwrap_or_default();
        if !header.is_empty() {
            return header;
        }
        let from = self.parsed.saturating_sub(PIECE_HEADER);
        let to = self.filled.saturating_sub(PIECE_HEADER);
        self.block.as_ref().get(from..to).unwrap_or_default()
    }

    pub(super) const fn unparsed_length(&self) -> usize {
        self.filled - self.parsed
    }

    pub(super) const fn parsed(&mut self, n: usize) {
        self.parsed += n;
    }
}
