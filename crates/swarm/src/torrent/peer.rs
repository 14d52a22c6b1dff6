//! What a torrent knows of one connected peer.

use super::exchange::Exchanged;
use super::metadata::Taken;
use super::super_seeding::Shown;
use crate::choker::lending::{BUFFERED, SETTLE};
use crate::choker::pace::Pace;
use crate::event::Hello;
use crate::picker::Tally;
use crate::pipeline::Pipeline;
use crate::rate::Rate;
use crate::toll::Toll;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_time::Time;
use quelea_wire::extension::Ids;
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
    /// It has said where its node of the DHT is.
    pub node_told: bool,
    /// The numbers that it gave extensions.
    pub extensions: Ids,
    /// What it was given of the info dictionary.
    pub metadata: Taken,
    /// What was exchanged with it of others.
    pub exchanged: Exchanged,
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
    pub slot: Slot,
    /// When the interest of either side last began or ended.
    pub interest_changed: Time,

    pub pipeline: Pipeline,
    pub allowed_fast: BTreeSet<PieceIndex>,
    pub suggested: Vec<PieceIndex>,
    /// It is a seed that suggests pieces since it unchoked us.
    pub leads: bool,
    /// Blocks that were asked for and given up, which may yet come.
    pub given_up: VecDeque<Span>,
    /// Rejected or unasked-for blocks, which an honest peer has few of.
    pub misfits: u32,

    /// Requests of the peer that are not granted yet.
    pub asked: VecDeque<Span>,
    /// Granted blocks that are not sent yet.
    pub granted: usize,
    /// Nothing is read from it until some of what it asked for was sent.
    pub held: bool,
    /// Pieces that were suggested to it and that it has not asked for.
    pub promised: Vec<PieceIndex>,
    /// What it knows of us, if it does not know that we have everything (BEP 16).
    pub shown: Option<Shown>,
    /// Pieces that it alone was given and that have not been seen elsewhere since.
    pub kept: u32,
    /// Pieces that it alone was given and that were seen elsewhere since.
    pub given_on: u32,
    /// The piece it asked for last.
    pub taking: Option<PieceIndex>,
    /// Pieces it may ask for though we choke it.
    pub fast_given: BTreeSet<PieceIndex>,
    /// Whether it has said where it sees us.
    pub saw_us: bool,
    pub faults: u32,
    /// What it cost.
    pub toll: Toll,

    /// When it was let in.
    pub joined: Time,
    pub heard: Time,
    pub spoke: Time,
    pub downloaded: u64,
    /// It gave a block that it was asked for.
    pub delivered: bool,
    pub uploaded: u64,
    pub upload_rate: Rate,
    /// Set when requests may be sent; cleared when they were.
    pub wants_refill: bool,
}

/// Rounds in which a peer has something for us and gives nothing that count as a chance in vain.
const PATIENCE: u32 = 6;

/// Who has a slot for this long and asks for nothing leaves it to another for the time being.
const IDLE: Duration = Duration::from_secs(3);

/// Who gives back at least this part of what it took gives something.
const LEAST_PART: u64 = 16;

/// A peer's upload slot, or its waiting for one.
#[derive(Debug)]
pub(super) struct Slot {
    /// When it got or lost its slot last, or came.
    pub changed: Time,
    /// Rounds since it has it.
    pub rounds: u32,
    /// How often in a row it gave nothing while it had it.
    pub in_vain: u32,
    /// Rounds that it has something for us and gives nothing.
    pub waited_for: u32,
    /// Its slot is a chance, not earned.
    pub is_chance: bool,
    /// It loses its slot when it begins another piece, since this moment.
    pub ends: Option<Time>,
    /// Bytes it sent us by the time it got its slot.
    downloaded_before: u64,
    /// Bytes it took by the time it got its slot.
    pub uploaded_before: u64,
    /// Bytes it sent us and took from us in the last rounds: half of those of a round count in the next.
    pub received: u64,
    pub sent: u64,
    /// What the counts were at the last round.
    marks: (u64, u64),
    /// When it took something last, and how fast it takes.
    pub took: Time,
    pub pace: Pace,
    /// How often in a row it held a slot and took nothing.
    pub stalls: u32,
}

impl Slot {
    fn new(now: Time) -> Self {
        Self {
            changed: now,
            rounds: 0,
            in_vain: 0,
            waited_for: 0,
            is_chance: false,
            ends: None,
            downloaded_before: 0,
            uploaded_before: 0,
            received: 0,
            sent: 0,
            marks: (0, 0),
            took: now,
            pace: Pace::default(),
            stalls: 0,
        }
    }

    /// A round has passed.
    pub(super) fn pass_round(
        &mut self,
        downloaded: u64,
        uploaded: u64,
        has_slot: bool,
        keeps_us_waiting: bool,
    ) {
        if downloaded > self.marks.0 {
            (self.in_vain, self.waited_for) = (0, 0);
        } else if keeps_us_waiting && !gives_its_part(downloaded, uploaded) {
            self.waited_for += 1;
            if self.waited_for.is_multiple_of(PATIENCE) {
                self.in_vain += 1;
            }
        }
        self.received = self.received / 2 + (downloaded - self.marks.0);
        self.sent = self.sent / 2 + (uploaded - self.marks.1);
        self.marks = (downloaded, uploaded);
        self.rounds += u32::from(has_slot);
    }

    pub(super) fn begin(&mut self, now: Time, downloaded: u64, uploaded: u64) {
        self.changed = now;
        self.took = now;
        self.pace.begin(now, uploaded);
        self.rounds = 0;
        self.ends = None;
        self.downloaded_before = downloaded;
        self.uploaded_before = uploaded;
    }

    /// The slot is taken away. Whether it was given in vain counts while there is something to give for it.
    pub(super) fn end(&mut self, now: Time, downloaded: u64, uploaded: u64, counts: bool) {
        if downloaded > self.downloaded_before {
            self.in_vain = 0;
        } else if counts && !gives_its_part(downloaded, uploaded) {
            self.in_vain += 1;
        }
        self.changed = now;
        self.ends = None;
    }
}

/// Whether a peer gives for what it takes, though it gives nothing at the moment: one with a slow uplink serves its
/// peers one after the other, and is no free-rider.
fn gives_its_part(downloaded: u64, uploaded: u64) -> bool {
    downloaded > 0 && downloaded.saturating_mul(LEAST_PART) >= uploaded
}

impl Peer {
    pub(super) fn new(now: Time, hello: Hello, pieces: u32) -> Self {
        Self {
            address: hello.address,
            incoming: hello.incoming,
            peer_id: hello.peer_id,
            reserved: hello.reserved,
            client: None,
            node_told: false,
            extensions: Ids::default(),
            metadata: Taken::default(),
            exchanged: Exchanged::new(now),
            has: Bitfield::none(pieces),
            tally: Tally::default(),
            is_seed: false,
            may_send_bitfield: true,
            useful: 0,
            we_are_interested: false,
            it_chokes_us: true,
            it_is_interested: false,
            we_choke_it: true,
            slot: Slot::new(now),
            interest_changed: now,
            pipeline: Pipeline::new(now),
            allowed_fast: BTreeSet::new(),
            suggested: Vec::new(),
            leads: false,
            given_up: VecDeque::new(),
            misfits: 0,
            asked: VecDeque::new(),
            granted: 0,
            held: false,
            promised: Vec::new(),
            shown: None,
            kept: 0,
            given_on: 0,
            taking: None,
            fast_given: BTreeSet::new(),
            saw_us: false,
            faults: 0,
            toll: Toll::NONE,
            joined: now,
            heard: now,
            spoke: now,
            downloaded: 0,
            delivered: false,
            uploaded: 0,
            upload_rate: Rate::default(),
            wants_refill: false,
        }
    }

    /// Whether it has given for what it took, and not had its last chance in vain.
    pub(super) fn is_known_to_give(&self) -> bool {
        self.slot.in_vain == 0 && gives_its_part(self.downloaded, self.uploaded)
    }

    /// Whether it gave us so much that it may soon take us for one that gives nothing, by the measure that we have
    /// for it. Somebody with a slow uplink serves few peers at a time: those first that would else forget it.
    pub(super) fn is_owed(&self) -> bool {
        self.uploaded.saturating_mul(LEAST_PART * 3 / 4) < self.downloaded
    }

    /// Whether neither side has wanted anything of the other for this long.
    pub(super) fn is_of_no_use(&self, now: Time, patience: Duration) -> bool {
        !self.we_are_interested && !self.it_is_interested && now.since(self.interest_changed) >= patience
    }

    /// Whether it has a slot and asks for nothing.
    pub(super) fn leaves_slot_idle(&self, now: Time) -> bool {
        let asks_nothing = self.asked.is_empty() && self.granted == 0;
        !self.we_choke_it && asks_nothing && now.since(self.slot.changed) >= IDLE
    }

    /// Whether it has a slot and asked for something, of which it has taken nothing for this long.
    pub(super) fn is_stalled(&self, now: Time, patience: Duration) -> bool {
        !self.we_choke_it && self.granted > 0 && now.since(self.slot.took) >= patience
    }

    /// Whether it has a slot and takes something.
    pub(super) fn uses_slot(&self, now: Time, patience: Duration) -> bool {
        !self.we_choke_it && !self.leaves_slot_idle(now) && !self.is_stalled(now, patience)
    }

    /// Whether what it takes leaves, and does not only fill sockets.
    pub(super) fn is_settled(&self, now: Time) -> bool {
        now.since(self.slot.changed) >= SETTLE || self.uploaded - self.slot.uploaded_before >= BUFFERED
    }

    /// Whether both sides support the fast extension (BEP 6).
    pub(super) fn is_fast(&self) -> bool {
        self.reserved.has(Feature::Fast)
    }
}
