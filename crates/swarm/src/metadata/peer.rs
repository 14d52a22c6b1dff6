//! What a fetch knows of one connected peer.

use crate::event::Hello;
use crate::toll::Toll;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_time::Time;
use quelea_wire::PeerId;
use quelea_wire::extension::Ids;

/// Requests that a peer has to answer at first.
const FIRST_DEPTH: u32 = 2;
/// Requests that a peer has to answer at most: 256 KiB in flight.
const MAX_DEPTH: u32 = 16;
/// rTorrent (0.9.8 and 0.15) reads nothing any more of a connection on which a second request comes before the first is
/// answered.
const RTORRENT: &[u8] = b"-lt";
/// Requests given up that may yet be answered.
const LATE: usize = 64;
/// After a rejection or a silence a peer is asked nothing for this long, and as long again for each of them in a row.
const BACKOFF: Duration = Duration::from_secs(3);
/// What comes so soon after a request was under way before.
const STALE: Duration = Duration::from_secs(2);
/// Longest pause of that kind.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// What a fetch knows of one connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub incoming: bool,
    pub peer_id: PeerId,
    /// The numbers that it gave extensions.
    pub extensions: Ids,
    /// How long it says the dictionary is.
    pub size: Option<u32>,
    /// Pieces it is asked for, and since when.
    pub asked: Vec<(u32, Time)>,
    late: VecDeque<u32>,
    /// It is asked for one piece at a time.
    one_at_a_time: bool,
    /// Pieces it gave since it last refused one.
    given: u32,
    refused: u32,
    /// It is asked nothing until then.
    pub rests_until: Time,
    pub faults: u32,
    /// What it cost by messages that are of no use to us.
    pub toll: Toll,
    /// It may still say which pieces it has.
    pub may_send_bitfield: bool,
    pub heard: Time,
    pub spoke: Time,
    /// When it last did something that a fetch gains by.
    pub useful: Time,
    /// When it may tell of other peers again (BEP 11: once a minute).
    pub next_exchange: Time,
}

impl Peer {
    /// `one_at_a_time` says that it has fallen silent before when it was asked for more.
    pub(super) fn new(now: Time, hello: Hello, one_at_a_time: bool) -> Self {
        Self {
            one_at_a_time: one_at_a_time || hello.peer_id.0.starts_with(RTORRENT),
            address: hello.address,
            incoming: hello.incoming,
            peer_id: hello.peer_id,
            extensions: Ids::default(),
            size: None,
            asked: Vec::new(),
            late: VecDeque::new(),
            given: 0,
            refused: 0,
            rests_until: now,
            faults: 0,
            toll: Toll::NONE,
            may_send_bitfield: true,
            heard: now,
            spoke: now,
            useful: now,
            next_exchange: now,
        }
    }

    /// Whether it may be asked for one more piece.
    pub(super) fn has_room(&self, now: Time) -> bool {
        let depth = if self.one_at_a_time { 1 } else { (FIRST_DEPTH + self.given).min(MAX_DEPTH) };
        now >= self.rests_until && self.asked.len() < depth as usize
    }

    /// It answers with this piece. Whether it was asked for it.
    pub(super) fn answers(&mut self, piece: u32) -> bool {
        if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == piece) {
            self.asked.swap_remove(at);
            return true;
        }
        let late = self.late.iter().position(|late| *late == piece);
        late.and_then(|at| self.late.remove(at)).is_some()
    }

    /// Pieces it gave since it last refused one.
    pub(super) const fn given(&self) -> u32 {
        self.given
    }

    /// It gave a piece as it should be.
    pub(super) fn gave(&mut self, now: Time) {
        self.given = self.given.saturating_add(1);
        self.refused = 0;
        self.useful = now;
    }

    /// It gave nothing where it should have.
    pub(super) fn refuses(&mut self, now: Time) {
        self.given = 0;
        self.refused = self.refused.saturating_add(1);
        self.rests_until = now + (BACKOFF * self.refused).min(MAX_BACKOFF);
    }

    /// Whether it has said nothing at all since it was asked for several pieces, this long ago.
    pub(super) fn is_choked_by_requests(&self, now: Time, patience: Duration) -> bool {
        let since = self.asked.iter().map(|(_, since)| *since).min();
        self.asked.len() > 1
            && since.is_some_and(|since| now.since(since) >= patience && self.heard <= since + STALE)
    }

    /// What it was asked for is not waited for any longer.
    pub(super) fn give_up(&mut self, of: impl Fn(Time) -> bool) -> bool {
        let before = self.asked.len();
        for (piece, _) in self.asked.extract_if(.., |(_, since)| of(*since)) {
            if self.late.len() == LATE {
                self.late.pop_front();
            }
            self.late.push_back(piece);
        }
        self.asked.len() < before
    }
}
