//! A piece that is being downloaded: which of its blocks are free, asked for, or here.

use crate::peers::PeerKey;
use alloc::vec::Vec;
use core::net::IpAddr;

/// How many peers are asked for one block in the endgame: as many requests are wasted as there are more.
pub const REQUESTERS: usize = 2;
/// How many are asked for one block whose sender is silent.
pub const REQUESTERS_WHEN_LATE: usize = 3;

/// Who sent a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The peer's key; it may have left since.
    pub peer: PeerKey,
    /// Its address, by which it can be banned though it left.
    pub ip: IpAddr,
}

#[derive(Debug)]
enum Slot<B> {
    Free,
    Requested(Vec<PeerKey>),
    Received { block: B, source: Source },
}

/// A piece that is being downloaded.
#[derive(Debug)]
pub(super) struct OpenPiece<B> {
    slots: Vec<Slot<B>>,
    /// No block before this one is free.
    first_free: usize,
    free: usize,
    received: usize,
    /// The peer that opened it and goes on with it first.
    pub owner: Option<PeerKey>,
    /// A slow peer opened it: others like it are to share it.
    pub shared: bool,
    /// Set on a piece that failed before: its blocks come from one peer at a time, so that the liar is found.
    pub on_parole: bool,
    /// Its blocks are long in coming.
    pub is_late: bool,
    /// Some of its blocks were asked for twice, in an endgame or because they were late.
    pub has_twins: bool,
}

impl<B> OpenPiece<B> {
    /// A piece of `blocks` blocks of which nothing is here.
    pub(super) fn new(blocks: u32, owner: Option<PeerKey>, on_parole: bool) -> Self {
        let slots = (0..blocks).map(|_| Slot::Free).collect();
        Self {
            slots,
            first_free: 0,
            free: blocks as usize,
            received: 0,
            owner,
            shared: false,
            on_parole,
            is_late: false,
            has_twins: false,
        }
    }

    /// Whether a block is neither here nor asked for.
    pub(super) fn has_free(&self) -> bool {
        self.free > 0
    }

    /// Blocks that are here.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Whether blocks are asked for and not here.
    pub(super) fn is_awaited(&self) -> bool {
        self.free + self.received < self.slots.len()
    }

    /// Whether every block is here.
    pub(super) fn is_complete(&self) -> bool {
        self.received == self.slots.len()
    }

    /// Whether `peer` is asked for this block.
    pub(super) fn is_leased(&self, number: u32, peer: PeerKey) -> bool {
        matches!(self.slots.get(number as usize), Some(Slot::Requested(by)) if by.contains(&peer))
    }

    /// Gives the first free block to `peer`.
    pub(super) fn lease(&mut self, peer: PeerKey) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        let ahead = self.slots.iter().skip(self.first_free).position(|slot| matches!(slot, Slot::Free))?;
        let number = self.first_free + ahead;
        self.slots[number] = Slot::Requested(alloc::vec![peer]);
        self.first_free = number + 1;
        self.free -= 1;
        Some(number as u32)
    }

    /// Gives a block that fewer than `places` others were asked for to `peer` as well, the least doubled first.
    pub(super) fn lease_twin(&mut self, peer: PeerKey, places: usize) -> Option<u32> {
        let (_, number) = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(number, slot)| match slot {
                Slot::Requested(by) if by.len() < places && !by.contains(&peer) => Some((by.len(), number)),
                Slot::Requested(_) | Slot::Free | Slot::Received { .. } => None,
            })
            .min()?;
        if let Slot::Requested(by) = &mut self.slots[number] {
            by.push(peer);
            self.has_twins = true;
        }
        Some(number as u32)
    }

    /// `peer` is no longer asked for this block. Whether the block became free by it.
    pub(super) fn release(&mut self, number: u32, peer: PeerKey) -> bool {
        let Some(slot) = self.slots.get_mut(number as usize) else { return false };
        let Slot::Requested(by) = slot else { return false };
        by.retain(|&other| other != peer);
        if by.is_empty() {
            *slot = Slot::Free;
            self.first_free = self.first_free.min(number as usize);
            self.free += 1;
            return true;
        }
        false
    }

    /// A block came. The peers that were asked for it as well, or the block back when it is here already.
    pub(super) fn receive(&mut self, number: u32, source: Source, block: B) -> Result<Vec<PeerKey>, B> {
        let Some(slot) = self.slots.get_mut(number as usize) else { return Err(block) };
        if matches!(slot, Slot::Received { .. }) {
            return Err(block);
        }
        let before = core::mem::replace(slot, Slot::Received { block, source });
        self.received += 1;
        match before {
            Slot::Requested(mut by) => {
                by.retain(|&other| other != source.peer);
                Ok(by)
            }
            Slot::Free | Slot::Received { .. } => {
                self.free -= 1;
                Ok(Vec::new())
            }
        }
    }

    /// The blocks in order and who sent each, once the piece is complete.
    pub(super) fn into_blocks(self) -> (Vec<B>, Vec<Source>) {
        self.slots
            .into_iter()
            .filter_map(|slot| match slot {
                Slot::Received { block, source } => Some((block, source)),
                Slot::Free | Slot::Requested(_) => None,
            })
            .unzip()
    }

    /// The blocks that are asked for and not here, and of whom.
    pub(super) fn requests(&self) -> impl Iterator<Item = (u32, PeerKey)> + '_ {
        (0..).zip(&self.slots).flat_map(|(number, slot)| {
            let by = match slot {
                Slot::Requested(by) => by.as_slice(),
                Slot::Free | Slot::Received { .. } => &[],
            };
            by.iter().map(move |&peer| (number, peer))
        })
    }

    /// The blocks that are here, with their numbers.
    pub(super) fn into_received(self) -> impl Iterator<Item = (u32, B)> {
        (0..).zip(self.slots).filter_map(|(number, slot)| match slot {
            Slot::Received { block, .. } => Some((number, block)),
            Slot::Free | Slot::Requested(_) => None,
        })
    }
}
