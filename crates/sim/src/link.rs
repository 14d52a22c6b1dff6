//! A connection between two nodes: bytes that take their time, and that are cut anywhere.
//!
//! What goes over it are the very bytes that production sends: a handshake, then encoded messages and blocks.
//! The order of a stream is kept; how its bytes are grouped is random.

use crate::content::{Block, Content};
use crate::disk::Disk;
use core::time::Duration;
use fastrand::Rng;
use quelea_metainfo::geometry::Span;
use quelea_swarm::peers::PeerKey;
use quelea_time::Time;
use quelea_wire::decoder::{Event, Limits};
use quelea_wire::encoder::{encode, piece_header};
use quelea_wire::handshake::HandshakeDecoder;
use quelea_wire::{Bitfield, Decoder, Fault, Message};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Names a link of a world; never used again.
pub(crate) type LinkId = usize;

/// Which end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Who dialled.
    Caller,
    /// Who was dialled.
    Callee,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// A connection between two nodes.
#[derive(Debug)]
pub(crate) struct Link {
    ends: [End; 2],
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    /// Nothing arrives any more; the ends will find out.
    pub(crate) is_cut: bool,
    pub(crate) since: Time,
}

/// How far an end has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It waits for the other's handshake.
    Greeting(HandshakeDecoder),
    /// Its machine knows the other by this key.
    Open(PeerKey),
    /// Nothing happens here any more.
    Closed,
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    /// Where the other is, as this end sees it.
    pub(crate) remote: SocketAddr,
    pub(crate) stage: Stage,
    pub(crate) decoder: Decoder<Block>,
    pub(crate) out: Outgoing,
    /// When the last bytes that left here arrive at the other end.
    pub(crate) arrives: Time,
    /// It stands in its node's queue for the uplink.
    pub(crate) is_queued: bool,
}

impl Link {
    pub(crate) fn new(
        now: Time,
        caller: (usize, SocketAddr),
        callee: (usize, SocketAddr),
        latency: Duration,
        jitter: Duration,
        pieces: u32,
    ) -> Self {
        let end = |node, remote| End {
            node,
            remote,
            stage: Stage::Greeting(HandshakeDecoder::new()),
            decoder: Decoder::new(Limits { bitfield: Bitfield::wire_length(pieces), ..Limits::default() }),
            out: Outgoing::default(),
            arrives: now,
            is_queued: false,
        };
        let ends = [end(caller.0, callee.1), end(callee.0, caller.1)];
        Self { ends, latency, jitter, is_cut: false, since: now }
    }

    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Whether nobody is at either end any more.
    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().all(End::is_closed)
    }

    /// Whether one end is closed already.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.ends.iter().any(End::is_closed)
    }

    /// When bytes arrive that have left `side` at `left`: never before earlier ones.
    pub(crate) fn arrival(&mut self, side: Side, left: Time, rng: &mut Rng) -> Time {
        let jitter = Duration::from_nanos(rng.u64(0..=self.jitter.as_nanos() as u64));
        let at = (left + self.latency + jitter).max(self.end(side).arrives);
        self.end_mut(side).arrives = at;
        at
    }
}

impl End {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    pub(crate) fn key(&self) -> Option<PeerKey> {
        match self.stage {
            Stage::Open(key) => Some(key),
            Stage::Greeting(_) | Stage::Closed => None,
        }
    }

    /// Closes this end and forgets what was to be sent.
    pub(crate) fn close(&mut self) {
        self.stage = Stage::Closed;
        self.out = Outgoing::default();
    }

    /// What these bytes complete, by the way that the driver's reads go or fed at once, at random.
    pub(crate) fn decode(&mut self, mut bytes: &[u8], rng: &mut Rng) -> Result<Vec<Event<Block>>, Fault> {
        let mut events = Vec::new();
        let mut take = Block::empty;
        if rng.bool() {
            while let Some(event) = self.decoder.feed(&mut bytes, &mut take) {
                events.push(event?);
            }
            return Ok(events);
        }
        while !bytes.is_empty() {
            self.decoder.prepare(rng.usize(0..4), &mut take);
            let mut read = 0;
            for region in self.decoder.regions() {
                let count = region.len().min(bytes.len());
                let (taken, rest) = bytes.split_at(count);
                region[..count].copy_from_slice(taken);
                bytes = rest;
                read += count;
            }
            self.decoder.commit(read);
            while let Some(event) = self.decoder.poll(&mut take) {
                events.push(event?);
            }
        }
        self.decoder.release();
        Ok(events)
    }
}

/// What one end is to send: a block that is begun is finished, then messages go before blocks.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    messages: Vec<u8>,
    blocks: VecDeque<Span>,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    span: Span,
    frame: Vec<u8>,
    taken: usize,
}

impl Outgoing {
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.messages.extend_from_slice(bytes);
    }

    pub(crate) fn push_message(&mut self, message: &Message) {
        encode(message, &mut self.messages);
    }

    pub(crate) fn push_block(&mut self, span: Span) {
        self.blocks.push_back(span);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.blocks.is_empty() && self.begun.is_none()
    }

    /// Up to `limit` bytes to send, and the blocks that are finished by them.
    pub(crate) fn take(&mut self, limit: usize, disk: &mut Disk, content: &Content) -> (Vec<u8>, Vec<Span>) {
        let mut chunk = Vec::new();
        let mut finished = Vec::new();
        while chunk.len() < limit {
            let room = limit - chunk.len();
            if let Some(begun) = &mut self.begun {
                let rest = begun.frame.get(begun.taken..).unwrap_or_default();
                let count = rest.len().min(room);
                chunk.extend_from_slice(&rest[..count]);
                begun.taken += count;
                if begun.taken == begun.frame.len() {
                    finished.extend(self.begun.take().map(|begun| begun.span));
                }
            } else if !self.messages.is_empty() {
                let count = self.messages.len().min(room);
                chunk.extend(self.messages.drain(..count));
            } else if let Some(span) = self.blocks.pop_front() {
                let mut frame = piece_header(span.piece.get(), span.begin, span.length).to_vec();
                disk.read(content, span, &mut frame);
                self.begun = Some(Begun { span, frame, taken: 0 });
            } else {
                break;
            }
        }
        (chunk, finished)
    }
}

/// A node's way out, which its connections share in turns.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Bytes a second.
    rate: u64,
    pub(crate) is_busy: bool,
    pub(crate) waiting: VecDeque<(LinkId, Side)>,
}

impl Uplink {
    /// A turn lasts about this long, so that a slow uplink does not hold up small messages for seconds.
    const TURN: Duration = Duration::from_millis(50);

    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), is_busy: false, waiting: VecDeque::new() }
    }

    /// How many bytes the next turn takes at most: now and then very few.
    pub(crate) fn turn(&self, rng: &mut Rng) -> usize {
        if rng.u8(0..16) == 0 {
            return rng.usize(1..=20);
        }
        let most = (self.rate as u128 * Self::TURN.as_millis() / 1_000).clamp(1_500, 40_000) as usize;
        rng.usize(most / 2..=most)
    }

    /// How long this many bytes take.
    pub(crate) fn time_for(&self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u128 * 1_000_000_000 / u128::from(self.rate)) as u64)
    }
}
