//! Bytes to messages and blocks, with blocks read straight into their buffers.
//!
//! Inside a run of piece messages the next bytes are nearly always the same: a header of 13 bytes, then 16 KiB of
//! block. A decoder that may speculate therefore offers the reader several pairs of (header, block) after the
//! rest of the block that is arriving, and one vectored read puts everything where it belongs:
//!
//! ```text
//! [rest of block] [13][block] [13][block] … [scratch]
//! ```
//!
//! A header that turns out to be something else is a miss: what was read from there on is taken apart byte by
//! byte, as if it had come from a plain buffer, and the blocks in it are copied. The result is the same; the
//! tests hold that against every way of cutting the stream and every depth.
//!
//! Memory: [`limits::SCRATCH`] bytes always, the block that is arriving, at most
//! [`limits::SPECULATED_BLOCKS`] blocks of speculation that are given back when nothing is under way, and for a
//! long message no more than came of it, up to its limit.

mod assembler;
mod slot;
#[cfg(test)]
mod tests;

use crate::encoder::PIECE_HEADER;
use crate::message::Message;
use crate::{Fault, limits};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use assembler::Assembler;
use core::fmt;
use slot::Slot;

/// What comes out of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<B> {
    /// A piece message (BEP 3). The numbers are the peer's and have not been checked.
    Block {
        /// The piece's number.
        piece: u32,
        /// Where the block begins, in bytes from the piece's beginning.
        begin: u32,
        /// The block: exactly as long as it came, 1 byte to 16 KiB.
        block: B,
    },
    /// Any other message.
    Message(Message),
}

/// How much a decoder accepts. Everything else has a length of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a bitfield.
    pub bitfield: usize,
    /// Bytes of an extended message's payload.
    pub extended: usize,
    /// Whether extended messages under numbers that are none of ours (BEP 10) are skipped, as unknown messages are.
    pub own_extensions: bool,
}

impl Default for Limits {
    /// Those of a torrent whose number of pieces is unknown.
    fn default() -> Self {
        Self { bitfield: limits::BITFIELD, extended: limits::EXTENDED, own_extensions: false }
    }
}

/// Decodes the stream of one connection, after the handshake.
///
/// `B` is a buffer for a block. The functions called `take` must give one of exactly the length they are asked
/// for, which is at most 16 KiB.
///
/// The calls, in this order, for as long as the connection lives:
///
/// 1. [`prepare`](Self::prepare) makes room for a read;
/// 2. [`regions`](Self::regions) are read into, in order;
/// 3. [`commit`](Self::commit) says how much came; or, when nothing did, [`release`](Self::release) gives back
///    the buffers before the connection waits;
/// 4. [`poll`](Self::poll) gives what is whole, until it gives `None`.
///
/// [`feed`](Self::feed) stands for all of it where the bytes are at hand already. After a fault a decoder gives
/// nothing any more and has no room.
pub struct Decoder<B> {
    assembler: Assembler<B>,
    slots: VecDeque<Slot<B>>,
    scratch: Box<[u8]>,
    /// How much of the scratch is offered to the reader.
    scratch_room: usize,
    scratch_filled: usize,
    scratch_parsed: usize,
    /// Bytes that lie in slots and scratch and have not been looked at.
    unparsed: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Decoder<B> {
    /// A decoder at the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            assembler: Assembler::new(limits),
            slots: VecDeque::new(),
            scratch: vec![0; limits::SCRATCH].into_boxed_slice(),
            scratch_room: 0,
            scratch_filled: 0,
            scratch_parsed: 0,
            unparsed: 0,
        }
    }

    /// Accepts as much as `limits` from the next message on: when the number of pieces becomes known.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.assembler.set_limits(limits);
    }

    /// Makes room for the next read, with up to `depth` whole blocks behind the one that is arriving.
    ///
    /// Good depths are the number of requests that the peer has yet to answer, less the one that is arriving, and
    /// no more than the socket can hold. More than [`limits::SPECULATED_BLOCKS`] are that many. In the middle of
    /// any other message no block is speculated.
    ///
    /// Does nothing while bytes wait for [`poll`](Self::poll): what room there was stays.
    pub fn prepare(&mut self, depth: usize, take: &mut dyn FnMut(usize) -> B) {
        if self.unparsed > 0 {
            return;
        }
        let depth = if self.assembler.expects_blocks() { depth.min(limits::SPECULATED_BLOCKS) } else { 0 };
        self.slots.truncate(depth);
        for slot in &mut self.slots {
            slot.clear();
        }
        while self.slots.len() < depth {
            let block = take(limits::BLOCK);
            if block.as_ref().len() != limits::BLOCK {
                break;
            }
            self.slots.push_back(Slot::new(block));
        }
        if let (Some(next), Some(head)) = (self.slots.front_mut(), self.assembler.head()) {
            next.continue_header(head);
        }
        self.scratch_filled = 0;
        self.scratch_parsed = 0;
        self.scratch_room = if self.assembler.has_failed() {
            0
        } else if depth > 0 || self.assembler.in_block() {
            limits::SCRATCH_BEHIND_BLOCKS
        } else {
            limits::SCRATCH
        };
    }

    /// Where to read to, in this order: at most [`limits::REGIONS`], none of them empty.
    ///
    /// There is at least one after [`prepare`](Self::prepare), unless events or bytes wait for
    /// [`poll`](Self::poll) or a fault was found.
    pub fn regions(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let current = self.assembler.block_room();
        let scratch = self.scratch.get_mut(self.scratch_filled..self.scratch_room).unwrap_or_default();
        core::iter::once(current)
            .chain(self.slots.iter_mut().flat_map(Slot::room))
            .chain(core::iter::once(scratch))
            .filter(|region| !region.is_empty())
    }

    /// Says that `n` bytes were read into the regions. No call may stand between them and this one.
    pub fn commit(&mut self, n: usize) {
        // A block is amid its bytes only when everything before was looked at, so it always comes first.
        let mut left = n - self.assembler.fill_block(n);
        self.unparsed += left;
        for slot in &mut self.slots {
            left -= slot.fill(left);
        }
        let room = self.scratch_room.saturating_sub(self.scratch_filled);
        let filled = left.min(room);
        self.scratch_filled += filled;
        left -= filled;
        debug_assert_eq!(left, 0, "more was committed than there was room for");
        self.unparsed -= left;
    }

    /// The next block or message that is whole, or the fault that ends the stream; `None` when more must be read.
    ///
    /// `take` is asked for the blocks that no slot was foreseen for.
    pub fn poll(&mut self, take: &mut dyn FnMut(usize) -> B) -> Option<Result<Event<B>, Fault>> {
        loop {
            if let Some(event) = self.assembler.finished_block() {
                return Some(Ok(event));
            }
            if let Some(slot) = self.slots.front_mut() {
                if let Some((piece, begin)) = slot.prediction(self.assembler.head()) {
                    if let Some(slot) = self.slots.pop_front() {
                        self.unparsed -= slot.unparsed_length();
                        let (block, filled) = slot.into_block();
                        self.assembler.adopt(piece, begin, block, filled);
                    }
                    continue;
                }
                let chunk = slot.unparsed();
                if !chunk.is_empty() {
                    let (used, event) = self.assembler.step(chunk, take);
                    slot.parsed(used);
                    self.unparsed -= used;
                    if event.is_some() {
                        return event;
                    }
                    continue;
                }
                if slot.is_full() {
                    self.slots.pop_front();
                    continue;
                }
            } else if let Some(chunk) = self.scratch.get(self.scratch_parsed..self.scratch_filled)
                && !chunk.is_empty()
            {
                let (used, event) = self.assembler.step(chunk, take);
                self.scratch_parsed += used;
                self.unparsed -= used;
                if event.is_some() {
                    return event;
                }
                continue;
            }
            if self.assembler.is_between_messages() {
                self.release();
            }
            return None;
        }
    }

    /// Gives back the buffers of speculated blocks that nothing was read into: for a connection that begins to
    /// wait. Does nothing while bytes wait for [`poll`](Self::poll).
    pub fn release(&mut self) {
        if self.unparsed == 0 {
            self.slots.clear();
        }
    }

    /// Takes bytes from the front of `bytes` and gives the next event of them; `None` when all are taken.
    ///
    /// What was committed comes first.
    pub fn feed(
        &mut self,
        bytes: &mut &[u8],
        take: &mut dyn FnMut(usize) -> B,
    ) -> Option<Result<Event<B>, Fault>> {
        if let Some(event) = self.poll(take) {
            return Some(event);
        }
        while !bytes.is_empty() {
            let (used, event) = self.assembler.step(bytes, take);
            *bytes = bytes.get(used..).unwrap_or_default();
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Whether a message has begun and is not whole: where a stream that ends was cut off.
    pub fn is_amid_message(&self) -> bool {
        self.unparsed > 0 || !self.assembler.is_between_messages()
    }

    /// Bytes that are held of a message that is not whole, other than a block.
    pub const fn kept(&self) -> usize {
        self.assembler.kept()
    }

    /// Block buffers that are held: the one that is arriving and the speculated ones.
    pub fn held_blocks(&self) -> usize {
        self.slots.len() + usize::from(self.assembler.in_block())
    }

    /// Bytes of blocks that had to be copied because they did not come where they were foreseen.
    pub const fn copied(&self) -> u64 {
        self.assembler.copied()
    }
}

impl<B> fmt::Debug for Decoder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("slots", &self.slots.len())
            .field("unparsed", &self.unparsed)
            .finish_non_exhaustive()
    }
}
