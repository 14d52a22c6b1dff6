//! One connection: bytes between its socket and its torrent.
//!
//! Owns: the socket, the decoder, what is being written. Decides nothing: what to send comes from the torrent's
//! outbox, what arrives goes to the torrent in reports. One report may be under way; until the torrent has taken
//! it the socket is not read, so that a slow torrent closes the TCP window.

use super::ledger::Account;
use super::limiter::{Valve, Way};
use super::{Report, Reported, ToTorrent, TorrentIo};
use crate::outbox::{Outbox, Work};
use quelea_block::BlockBuf;
use quelea_metainfo::geometry::Span;
use quelea_storage::StorageError;
use quelea_swarm::peers::PeerKey;
use quelea_swarm::torrent::READ_ALREADY;
use quelea_wire::decoder::{Decoder, Event, Limits};
use quelea_wire::encoder::{PIECE_HEADER, piece_header};
use quelea_wire::message::BlockSpan;
use quelea_wire::{Bitfield, Fault, Message, limits};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// Bytes read before the torrent hears of them and others have their turn; also the memory that one report takes.
const READ_BUDGET: usize = 1 << 20;
/// What a message takes of the budget beside its payload: a report of tiny ones must neither be long in memory nor
/// keep the torrent from other peers for long.
const MESSAGE_COST: usize = 4_096;
/// What the torrent takes from a peer after it has had it read no more.
const _: () = assert!(READ_BUDGET / MESSAGE_COST < READ_ALREADY);
/// Blocks read from disk ahead of the socket.
const BLOCKS_AHEAD: usize = 16;
/// While more than this waits to be written, nothing is read: a peer that does not read is not served either.
const MAX_UNWRITTEN: usize = 256 << 10;
/// Bytes of memory for messages that stay with a connection when all is written.
const USUAL_BYTES: usize = 4 << 10;
/// A connection on which bytes trickle tells the torrent that it lives this often.
const ALIVE: Duration = Duration::from_secs(30);
/// Slices in one vectored write.
const SLICES: usize = 1 + 2 * BLOCKS_AHEAD;

/// A block on its way out, with its header.
struct Outgoing {
    span: Span,
    header: [u8; PIECE_HEADER],
    block: BlockBuf,
}

pub(super) struct Connection {
    key: PeerKey,
    stream: TcpStream,
    outbox: Arc<Outbox>,
    torrent: mpsc::Sender<ToTorrent>,
    io: Arc<TorrentIo>,
    valve: Arc<Valve>,
    decoder: Decoder<BlockBuf>,
    work: Work,
    /// How much of `work.bytes` is written.
    bytes_written: usize,
    outgoing: VecDeque<Outgoing>,
    /// How much of the first outgoing block, header included, is written.
    block_written: usize,
    reading: Option<(Span, oneshot::Receiver<Option<BlockBuf>>)>,
    report: Vec<Reported>,
    report_under_way: bool,
    /// What is held for the peer beside the blocks that it was asked for.
    account: Account,
    /// Bytes of the messages in reports that the torrent has not taken.
    reported: usize,
    /// Whole blocks that the next read makes room for.
    depth: usize,
    heard: bool,
}

/// Why a connection ended.
enum End {
    Closed,
    Fault(Fault),
    /// More was held for the peer than there is room for.
    Hoards,
    /// The torrent wanted it, or is gone.
    Told,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl Connection {
    pub(super) fn new(
        (key, ip): (PeerKey, IpAddr),
        stream: TcpStream,
        outbox: Arc<Outbox>,
        torrent: mpsc::Sender<ToTorrent>,
        io: Arc<TorrentIo>,
    ) -> Self {
        let limits = Limits {
            bitfield: Bitfield::longest(io.pieces),
            extended: limits::EXTENDED_WITH_METADATA,
            own_extensions: true,
        };
        let account = io.ledger.account();
        let valve = io.limit.valve(ip, Arc::clone(&outbox));
        Self {
            key,
            stream,
            outbox,
            torrent,
            io,
            valve,
            decoder: Decoder::new(limits),
            work: Work::default(),
            bytes_written: 0,
            outgoing: VecDeque::new(),
            block_written: 0,
            reading: None,
            report: Vec::new(),
            report_under_way: false,
            account,
            reported: 0,
            depth: 0,
            heard: false,
        }
    }

    /// Runs until either side ends it, and tells the torrent.
    pub(super) async fn run(mut self) {
        let end = match self.drive().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let last = match end {
            End::Told => return,
            End::Closed => Reported::Closed,
            End::Hoards => Reported::Fault("it made us hold memory that others need"),
            End::Fault(fault) => {
                tracing::debug!(peer = %self.key, %fault, "the peer broke the protocol");
                Reported::Fault("it broke the protocol")
            }
        };
        self.report.push(last);
        let report = Report { peer: self.key, events: std::mem::take(&mut self.report) };
        let _ = self.torrent.send(ToTorrent::Report(report)).await;
    }

    async fn drive(&mut self) -> Result<std::convert::Infallible, End> {
        let mut alive = tokio::time::interval(ALIVE);
        alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.take_work()?;
            self.read_blocks();
            let blocked = self.write()?;
            if !blocked && self.may_read_blocks() {
                continue;
            }
            self.read()?;
            self.send_report().await?;
            self.account.holds(self.held());
            let outbox = Arc::clone(&self.outbox);
            let may_read = self.may_read_socket() && self.valve.allowance(Way::Down) > 0;
            let interest = match (may_read, blocked) {
                (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
                (true, false) => Some(Interest::READABLE),
                (false, true) => Some(Interest::WRITABLE),
                (false, false) => None,
            };
            tokio::select! {
                biased;
                () = outbox.ready() => {}
                () = self.account.ended() => return Err(End::Hoards),
                block = read_done(&mut self.reading) => self.block_read(block),
                ready = ready(&self.stream, interest) => { ready?; }
                _ = alive.tick() => {
                    if std::mem::take(&mut self.heard) {
                        self.report.push(Reported::Alive);
                    }
                }
            }
        }
    }

    fn take_work(&mut self) -> Result<(), End> {
        self.outbox.take(&mut self.work);
        if std::mem::take(&mut self.work.report_taken) {
            self.report_under_way = false;
            self.reported = 0;
        }
        if self.work.delivers {
            self.account.delivers();
        }
        if self.work.close {
            return Err(End::Told);
        }
        if self.work.overflows { Err(End::Hoards) } else { Ok(()) }
    }

    /// Bytes that are held for the peer beside the blocks that it was asked for: messages in both directions, and
    /// blocks from somebody who has given nothing yet.
    fn held(&self) -> usize {
        let blocks =
            if self.account.has_delivered() { 0 } else { self.decoder.held_blocks() * limits::BLOCK };
        let waiting = self.work.bytes.capacity().saturating_sub(USUAL_BYTES);
        self.decoder.kept() + self.reported + waiting + blocks
    }

    fn may_read_blocks(&self) -> bool {
        self.reading.is_none() && self.outgoing.len() < BLOCKS_AHEAD && !self.work.uploads.is_empty()
    }

    /// Fetches granted blocks: from the page cache at once, else by a disk thread, one at a time.
    fn read_blocks(&mut self) {
        while self.may_read_blocks() {
            let Some(span) = self.work.uploads.pop_front() else { break };
            let mut block = self.io.pool.take(span.length as usize);
            if self.io.store.try_give_cached(span, &mut block) {
                self.push_outgoing(span, block);
                continue;
            }
            let (done, reading) = oneshot::channel();
            let (store, torrent) = (Arc::clone(&self.io.store), self.torrent.clone());
            let tell = move |read: Result<BlockBuf, StorageError>| {
                let block = read.map_err(|error| {
                    if matches!(error, StorageError::Disturbed(_) | StorageError::Vanished(_)) {
                        // It hears of it again, as long as it lasts.
                        let _ = torrent.try_send(ToTorrent::DiskTrouble(error));
                    }
                });
                let _ = done.send(block.ok());
            };
            self.io.pipeline.read(store, span, block, Box::new(tell));
            self.reading = Some((span, reading));
        }
    }

    fn push_outgoing(&mut self, span: Span, block: BlockBuf) {
        let header = piece_header(span.piece.get(), span.begin, span.length);
        self.outgoing.push_back(Outgoing { span, header, block });
    }

    fn block_read(&mut self, block: Option<BlockBuf>) {
        if let Some((span, _)) = self.reading.take() {
            match block {
                Some(block) => self.push_outgoing(span, block),
                None => self.report.push(Reported::UploadFailed(span)),
            }
        }
    }

    /// Writes what there is. Whether the socket took less than that.
    fn write(&mut self) -> Result<bool, End> {
        loop {
            let allowed = self.valve.allowance(Way::Up);
            let (slices, count) = self.slices(allowed);
            if count == 0 {
                if self.has_outgoing() {
                    self.valve.ask(Way::Up);
                }
                return Ok(false);
            }
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(End::Closed),
                Ok(written) => {
                    self.valve.used(Way::Up, written);
                    self.written(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether anything waits to be written.
    fn has_outgoing(&self) -> bool {
        self.bytes_written < self.work.bytes.len() || !self.outgoing.is_empty()
    }

    /// The first `allowed` bytes of what waits to be written.
    fn slices<'a>(&'a self, mut allowed: usize) -> ([IoSlice<'a>; SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let mut push = |bytes: &'a [u8]| {
            let (bytes, _) = bytes.split_at(bytes.len().min(allowed));
            if let Some(slot) = slices.get_mut(count).filter(|_| !bytes.is_empty()) {
                *slot = IoSlice::new(bytes);
                allowed -= bytes.len();
                count += 1;
            }
        };
        // A block that is begun must be finished before any message.
        let mut skip = self.block_written;
        let messages = &self.work.bytes[self.bytes_written..];
        if skip == 0 && !messages.is_empty() {
            push(messages);
        }
        for (number, outgoing) in self.outgoing.iter().enumerate() {
            let header = outgoing.header.get(skip..).unwrap_or_default();
            if !header.is_empty() {
                push(header);
            }
            push(outgoing.block.get(skip.saturating_sub(outgoing.header.len())..).unwrap_or_default());
            if number == 0 && skip > 0 && !messages.is_empty() {
                push(messages);
            }
            skip = 0;
        }
        (slices, count)
    }

    fn written(&mut self, mut written: usize) {
        if self.block_written > 0 {
            written = self.block_bytes_written(written);
        }
        let messages = written.min(self.work.bytes.len() - self.bytes_written);
        if self.block_written == 0 {
            self.bytes_written += messages;
            written -= messages;
            if self.bytes_written == self.work.bytes.len() {
                self.work.bytes.clear();
                self.work.bytes.shrink_to(USUAL_BYTES);
                self.bytes_written = 0;
            }
        }
        while written > 0 && !self.outgoing.is_empty() {
            written = self.block_bytes_written(written);
        }
    }

    /// Counts bytes of the first outgoing block as written; what is left over.
    fn block_bytes_written(&mut self, written: usize) -> usize {
        let Some(first) = self.outgoing.front() else { return written };
        let whole = first.header.len() + first.block.len();
        let left = whole - self.block_written;
        if written < left {
            self.block_written += written;
            return 0;
        }
        self.block_written = 0;
        if let Some(sent) = self.outgoing.pop_front() {
            self.report.push(Reported::Uploaded(sent.span));
        }
        written - left
    }

    fn may_read_socket(&self) -> bool {
        !self.report_under_way
            && !self.work.hold
            && self.work.bytes.len() - self.bytes_written < MAX_UNWRITTEN
    }

    /// Reads what has arrived, up to the budget, into the report. What the budget does not cover stays where it is
    /// until the report is taken.
    fn read(&mut self) -> Result<(), End> {
        if !self.may_read_socket() {
            return Ok(());
        }
        let mut budget = READ_BUDGET;
        // The decoder may hold what the last report had no room for.
        self.decode(&mut budget)?;
        while budget > 0 {
            let allowed = self.valve.allowance(Way::Down);
            if allowed == 0 {
                self.decoder.release();
                self.depth = 0;
                self.valve.ask(Way::Down);
                return Ok(());
            }
            let pool = &self.io.pool;
            self.decoder.prepare(self.depth, &mut |length| pool.take(length));
            let mut wanted = 0;
            let read = {
                let mut slices: [IoSliceMut<'_>; limits::REGIONS] =
                    std::array::from_fn(|_| IoSliceMut::new(&mut []));
                let mut count = 0;
                for (slot, region) in slices.iter_mut().zip(self.decoder.regions()) {
                    let (region, _) = region.split_at_mut(region.len().min(allowed - wanted));
                    if region.is_empty() {
                        break;
                    }
                    wanted += region.len();
                    *slot = IoSliceMut::new(region);
                    count += 1;
                }
                self.stream.try_read_vectored(&mut slices[..count])
            };
            let read = match read {
                Ok(0) => return Err(End::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.decoder.release();
                    self.depth = 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.heard = true;
            self.valve.used(Way::Down, read);
            // What is skipped costs as well.
            let least = budget.saturating_sub(read);
            self.decoder.commit(read);
            let blocks = self.decode(&mut budget)?;
            budget = budget.min(least);
            // Room is made for what the last read brought and more, so that a fast peer's blocks come in bunches
            // and a slow one's hold no memory.
            self.depth =
                if read == wanted { (self.depth * 2 + 1).min(limits::SPECULATED_BLOCKS) } else { blocks };
        }
        Ok(())
    }

    /// Moves what is whole into the report while the budget lasts; how many blocks that were.
    fn decode(&mut self, budget: &mut usize) -> Result<usize, End> {
        let pool = &self.io.pool;
        let mut blocks = 0;
        while *budget > 0 {
            let Some(event) = self.decoder.poll(&mut |length| pool.take(length)) else { break };
            let cost = match event.map_err(End::Fault)? {
                Event::Block { piece, begin, block } => {
                    blocks += 1;
                    let span = BlockSpan { piece, begin, length: block.len() as u32 };
                    self.report.push(Reported::Block(span, block));
                    // A buffer is as large for a block of one byte.
                    limits::BLOCK
                }
                Event::Message(message) => {
                    let payload = payload_length(&message);
                    self.reported += payload;
                    self.report.push(Reported::Message(message));
                    payload + MESSAGE_COST
                }
            };
            *budget = budget.saturating_sub(cost);
        }
        Ok(blocks)
    }

    async fn send_report(&mut self) -> Result<(), End> {
        if self.report.is_empty() || self.report_under_way {
            return Ok(());
        }
        let report = Report { peer: self.key, events: std::mem::take(&mut self.report) };
        self.report_under_way = true;
        self.torrent.send(ToTorrent::Report(report)).await.map_err(|_| End::Told)
    }
}

/// Bytes of memory that a message holds beside itself.
fn payload_length(message: &Message) -> usize {
    match message {
        Message::Bitfield(bits) => bits.len(),
        Message::Extended { payload, .. } => payload.len(),
        Message::Hashes { hashes, .. } => hashes.len(),
        Message::KeepAlive
        | Message::Choke
        | Message::Unchoke
        | Message::Interested
        | Message::NotInterested
        | Message::Have(_)
        | Message::Request(_)
        | Message::Cancel(_)
        | Message::Port(_)
        | Message::Suggest(_)
        | Message::HaveAll
        | Message::HaveNone
        | Message::Reject(_)
        | Message::AllowedFast(_)
        | Message::HashRequest(_)
        | Message::HashReject(_)
        | Message::Unknown(_) => 0,
    }
}

async fn ready(stream: &TcpStream, interest: Option<Interest>) -> io::Result<()> {
    match interest {
        Some(interest) => stream.ready(interest).await.map(|_| ()),
        None => std::future::pending().await,
    }
}

async fn read_done(reading: &mut Option<(Span, oneshot::Receiver<Option<BlockBuf>>)>) -> Option<BlockBuf> {
    match reading {
        Some((_, block)) => block.await.ok().flatten(),
        None => std::future::pending().await,
    }
}
