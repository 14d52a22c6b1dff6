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
use quelea_wire::{Bitfield, Decoder, Fault, Handshake, Message};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Payload of a packet.
const PACKET: usize = 1_400;

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

/// What goes over a link at a time.
#[derive(Debug)]
pub(crate) enum Cargo {
    /// Bytes, cut anywhere.
    Bytes(Vec<u8>),
    /// A handshake as a value.
    Hello(Box<Handshake>),
    /// Messages as values.
    Messages(Vec<Message>),
    /// A block as a handle.
    Block { span: Span, is_good: bool },
}

impl Cargo {
    /// How many bytes it is on the wire.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Hello(_) => HANDSHAKE,
            Self::Messages(messages) => messages.iter().map(wire_length).sum(),
            Self::Block { span, .. } => span.length as usize + BLOCK_HEADER,
        }
    }

    /// Whether it is so little that no queue of blocks holds it up (as with fair queueing of packets).
    pub(crate) fn is_light(&self) -> bool {
        matches!(self, Self::Hello(_) | Self::Messages(_))
    }
}

/// Bytes of a handshake (BEP 3).
const HANDSHAKE: usize = 68;
/// Bytes before a block: length, number, piece, begin (BEP 3, "piece").
const BLOCK_HEADER: usize = 13;

/// Bytes of a message on the wire.
fn wire_length(message: &Message) -> usize {
    match message {
        Message::KeepAlive => 4,
        Message::Choke
        | Message::Unchoke
        | Message::Interested
        | Message::NotInterested
        | Message::HaveAll
        | Message::HaveNone
        | Message::Unknown(_) => 5,
        Message::Port(_) => 7,
        Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 9,
        Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 17,
        Message::Bitfield(bits) => 5 + bits.len(),
        Message::Extended { payload, .. } => 6 + payload.len(),
        Message::HashRequest(_) | Message::HashReject(_) => 53,
        Message::Hashes { hashes, .. } => 53 + hashes.len(),
    }
}

/// A connection between two nodes.
#[derive(Debug)]
pub(crate) struct Link {
    ends: [End; 2],
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    /// Packets of a thousand that are lost and sent again.
    pub(crate) loss: u32,
    /// Nothing arrives any more; the ends will find out.
    pub(crate) is_cut: bool,
    pub(crate) since: Time,
}

/// How far an end has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It waits for the other's handshake.
    Greeting(Box<HandshakeDecoder>),
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
    /// What came before, where bytes are sent.
    pub(crate) decoder: Option<Box<Decoder<Block>>>,
    pub(crate) out: Outgoing,
    /// When the last bytes that left here arrive at the other end.
    pub(crate) arrives: Time,
    /// When the last of what arrived here has come through the downlink.
    pub(crate) delivers: Time,
    /// Lost packets slow the sender: its next block does not leave before this.
    pub(crate) paced: Time,
    /// It stands in its node's queue for the uplink.
    pub(crate) is_queued: bool,
    /// Bytes of blocks that have left here and that the other end has not taken.
    pub(crate) under_way: usize,
}

impl Link {
    pub(crate) fn new(
        now: Time,
        caller: (usize, SocketAddr),
        callee: (usize, SocketAddr),
        delay: Delay,
        decoder: impl Fn() -> Option<Box<Decoder<Block>>>,
    ) -> Self {
        let end = |node, remote| End {
            node,
            remote,
            stage: Stage::Greeting(Box::default()),
            decoder: decoder(),
            out: Outgoing::default(),
            arrives: now,
            delivers: now,
            paced: now,
            is_queued: false,
            under_way: 0,
        };
        let ends = [end(caller.0, callee.1), end(callee.0, caller.1)];
        let Delay { latency, jitter, loss } = delay;
        Self { ends, latency, jitter, loss, is_cut: false, since: now }
    }

    /// Lost packets of so many bytes: how much later they arrive, and how long the sender must take for them.
    ///
    /// A lost packet is sent again a round trip later. Over time TCP sends no more than a window of
    /// 1.22 / sqrt(loss) packets a round trip (Mathis, "The macroscopic behavior of the TCP congestion avoidance
    /// algorithm", 1997).
    pub(crate) fn suffer(&self, bytes: usize, rng: &mut Rng) -> (Duration, Duration) {
        if self.loss == 0 {
            return (Duration::ZERO, Duration::ZERO);
        }
        let packets = (bytes / PACKET + 1) as u32;
        let round = 2 * self.latency;
        let lost = (0..packets).any(|_| rng.u32(0..1_000) < self.loss);
        let window = 1.22 / (f64::from(self.loss) / 1_000.0).sqrt();
        let pace = round.mul_f64(f64::from(packets) / window);
        (if lost { round } else { Duration::ZERO }, pace)
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

    /// Whether all that either end said has been read at the other, and that for at least `time`. A slow downlink keeps
    /// even a handshake behind the blocks of other links.
    pub(crate) fn is_quiet_since(&self, now: Time, time: Duration) -> bool {
        let last = self.ends.iter().flat_map(|end| [end.arrives, end.delivers]).max().unwrap_or(self.since);
        self.ends.iter().all(|end| end.out.is_empty()) && now.since(last.max(self.since)) > time
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
        let Some(decoder) = &mut self.decoder else { return Ok(events) };
        if rng.bool() {
            while let Some(event) = decoder.feed(&mut bytes, &mut take) {
                events.push(event?);
            }
            return Ok(events);
        }
        while !bytes.is_empty() {
            decoder.prepare(rng.usize(0..4), &mut take);
            let mut read = 0;
            for region in decoder.regions() {
                let count = region.len().min(bytes.len());
                let (taken, rest) = bytes.split_at(count);
                region[..count].copy_from_slice(taken);
                bytes = rest;
                read += count;
            }
            decoder.commit(read);
            while let Some(event) = decoder.poll(&mut take) {
                events.push(event?);
            }
        }
        decoder.release();
        Ok(events)
    }
}

/// How long a link's bytes are under way, and how many packets of a thousand are lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delay {
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: u32,
}

/// A decoder for a torrent of so many pieces.
pub(crate) fn decoder(pieces: u32) -> Box<Decoder<Block>> {
    Box::new(Decoder::new(Limits { bitfield: Bitfield::wire_length(pieces), ..Limits::default() }))
}

/// What one end is to send: a block that is begun is finished, then messages go before blocks.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    messages: Vec<u8>,
    /// Messages that go as values.
    pub(crate) values: Vec<Message>,
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

    /// The next block, to be sent as a handle.
    pub(crate) fn take_handle(&mut self) -> Option<Span> {
        self.blocks.pop_front()
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
    /// Ends with messages that go as values.
    pub(crate) light: Vec<(LinkId, Side)>,
    /// Bytes of such messages since the last block: the next one leaves so much later.
    pub(crate) owed: usize,
    /// The time it has been busy.
    pub(crate) worked: Duration,
}

impl Uplink {
    /// A turn lasts about this long, so that a slow uplink does not hold up small messages for seconds.
    const TURN: Duration = Duration::from_millis(50);

    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            is_busy: false,
            waiting: VecDeque::new(),
            light: Vec::new(),
            owed: 0,
            worked: Duration::ZERO,
        }
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

/// A node's way in, which takes what arrives in order.
#[derive(Debug)]
pub(crate) struct Downlink {
    /// Bytes a second; `None`: as fast as it comes.
    rate: Option<u64>,
    free: Time,
}

impl Downlink {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate, free: Time::ZERO }
    }

    /// When this many bytes that arrive at `now` are through.
    pub(crate) fn through(&mut self, now: Time, bytes: usize) -> Time {
        let Some(rate) = self.rate else { return now };
        let time = (bytes as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64;
        self.free = self.free.max(now) + Duration::from_nanos(time);
        self.free
    }
}
