//! What a torrent knows of one connected peer.

use crate::event::Hello;
use crate::picker::Tally;
use crate::pipeline::Pipeline;
use crate::rate::Rate;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_time::Time;
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, PeerId};

/// What a torrent knows of one connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub incoming: bool,
    pub peer_id: PeerId,
    pub reserved: Reserved,
    pub client: Option<String>,
    pub has: Bitfield,
    /// How the picker counted what it has.
    pub tally: Tally,
    /// It has every piece.
    pub is_seed: bool,
    /// It may still send a bitfield.
    pub may_send_bitfield: bool,
    /// Wanted missing pieces that it has.
    pub useful: u32,

    pub we_are_interested: bool,
    pub it_chokes_us: bool,
    pub it_is_interested: bool,
    pub we_choke_it: bool,
    pub optimistic: bool,
    /// When the interest of either side last began or ended.
    pub interest_changed: Time,

    pub pipeline: Pipeline,
    pub allowed_fast: BTreeSet<PieceIndex>,
    pub suggested: Vec<PieceIndex>,
    /// Blocks that were asked for and given up, which may yet come.
    pub given_up: VecDeque<Span>,
    /// Rejected or unasked-for blocks, which an honest peer has few of.
    pub misfits: u32,

    /// Requests of the peer that are not granted yet.
    pub asked: VecDeque<Span>,
    /// Granted blocks that are not sent yet.
    pub granted: usize,
    /// Pieces it may ask for though we choke it.
    pub fast_given: BTreeSet<PieceIndex>,
    pub faults: u32,

    /// When it was let in.
    pub joined: Time,
    pub heard: Time,
    pub spoke: Time,
    pub downloaded: u64,
    pub uploaded: u64,
    pub upload_rate: Rate,
    /// Set when requests may be sent; cleared when they were.
    pub wants_refill: bool,
}

impl Peer {
    pub(super) fn new(now: Time, hello: Hello, pieces: u32) -> Self {
        Self {
            address: hello.address,
            incoming: hello.incoming,
            peer_id: hello.peer_id,
            reserved: hello.reserved,
            client: None,
            has: Bitfield::none(pieces),
            tally: Tally::default(),
            is_seed: false,
            may_send_bitfield: true,
            useful: 0,
            we_are_interested: false,
            it_chokes_us: true,
            it_is_interested: false,
            we_choke_it: true,
            optimistic: false,
            interest_changed: now,
            pipeline: Pipeline::new(now),
            allowed_fast: BTreeSet::new(),
            suggested: Vec::new(),
            given_up: VecDeque::new(),
            misfits: 0,
            asked: VecDeque::new(),
            granted: 0,
            fast_given: BTreeSet::new(),
            faults: 0,
            joined: now,
            heard: now,
            spoke: now,
            downloaded: 0,
            uploaded: 0,
            upload_rate: Rate::default(),
            wants_refill: false,
        }
    }

    /// Whether neither side has wanted anything of the other for this long.
    pub(super) fn is_of_no_use(&self, now: Time, patience: Duration) -> bool {
        !self.we_are_interested && !self.it_is_interested && now.since(self.interest_changed) >= patience
    }

    /// Whether both sides support the fast extension (BEP 6).
    pub(super) fn is_fast(&self) -> bool {
        self.reserved.has(Feature::Fast)
    }
}
