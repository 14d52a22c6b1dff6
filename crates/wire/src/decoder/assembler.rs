//! Puts messages together from chunks that are cut anywhere.

use super::{Event, Limits};
use crate::extension::{Extension, HANDSHAKE};
use crate::message::{BlockSpan, HashSpan, Message, id};
use crate::{Fault, limits};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The longest message that is decoded from its head alone: a request with its length.
const HEAD: usize = 17;

/// Bytes before a block in a piece message, without the length.
const PIECE_OVERHEAD: u32 = 9;

pub(super) struct Assembler<B> {
    limits: Limits,
    state: State<B>,
    copied: u64,
}

enum State<B> {
    /// Between messages, or in the first bytes of one.
    Head { bytes: [u8; HEAD], have: usize },
    /// In a block.
    Block { piece: u32, begin: u32, block: B, filled: usize },
    /// In a message that is kept until it is whole.
    Payload { kind: Kind, left: usize, bytes: Vec<u8> },
    /// In a message that is thrown away.
    Skip { id: u8, left: usize },
    /// Behind a fault.
    Failed,
}

impl<B> State<B> {
    const BETWEEN_MESSAGES: Self = Self::Head { bytes: [0; HEAD], have: 0 };
}

/// Messages without a fixed length.
#[derive(Clone, Copy)]
enum Kind {
    Bitfield,
    Extended(u8),
    HashRequest,
    Hashes,
    HashReject,
}

/// What the first bytes of a message turn out to be.
enum Head {
    /// Not enough of them yet.
    More,
    /// A whole message of so many bytes.
    Message(usize, Message),
    /// A block of `length` bytes begins behind 13 bytes.
    Block { piece: u32, begin: u32, length: usize },
    /// A payload of `length` bytes begins behind `used` bytes.
    Payload { used: usize, kind: Kind, length: usize },
    /// `length` bytes of an unknown message begin behind `used` bytes.
    Skip { used: usize, id: u8, length: usize },
}

type Outcome<B> = Option<Result<Event<B>, Fault>>;

impl<B: AsRef<[u8]> + AsMut<[u8]>> Assembler<B> {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, state: State::BETWEEN_MESSAGES, copied: 0 }
    }

    /// Takes bytes from the front of `chunk`: how many, and what became whole with them. Takes at least one of a
    /// chunk that is not empty. A block that is full must have been fetched before.
    pub(super) fn step(&mut self, chunk: &[u8], take: &mut dyn FnMut(usize) -> B) -> (usize, Outcome<B>) {
        match &mut self.state {
            State::Head { have: 0, .. } => self.begin(chunk, 0, chunk, take),
            State::Head { bytes, have } => {
                let seen = *have;
                let end = HEAD.min(seen + chunk.len());
                bytes[seen..end].copy_from_slice(&chunk[..end - seen]);
                let bytes = *bytes;
                self.begin(&bytes[..end], seen, chunk, take)
            }
            State::Block { block, filled, .. } => {
                let room = block.as_mut().get_mut(*filled..).unwrap_or_default();
                let n = room.len().min(chunk.len());
                room[..n].copy_from_slice(&chunk[..n]);
                *filled += n;
                self.copied += n as u64;
                (n, self.finished_block().map(Ok))
            }
            State::Payload { kind, left, bytes } => {
                let n = chunk.len().min(*left);
                bytes.extend_from_slice(&chunk[..n]);
                *left -= n;
                if *left > 0 {
                    return (n, None);
                }
                let event = whole(*kind, core::mem::take(bytes)).map(Event::Message);
                (n, Some(self.conclude(event)))
            }
            State::Skip { id, left } => {
                let n = chunk.len().min(*left);
                *left -= n;
                if *left > 0 {
                    return (n, None);
                }
                let event = Event::Message(Message::Unknown(*id));
                (n, Some(self.conclude(Ok(event))))
            }
            State::Failed => (chunk.len(), None),
        }
    }

    /// Looks at the beginning of a message in `head`, whose first `seen` bytes were counted as taken before; the
    /// others are the front of `chunk`.
    fn begin(
        &mut self,
        head: &[u8],
        seen: usize,
        chunk: &[u8],
        take: &mut dyn FnMut(usize) -> B,
    ) -> (usize, Outcome<B>) {
        let found = match look(head, self.limits) {
            Ok(found) => found,
            Err(fault) => return (chunk.len(), Some(self.conclude(Err(fault)))),
        };
        match found {
            Head::More => {
                let mut bytes = [0; HEAD];
                bytes[..head.len()].copy_from_slice(head);
                self.state = State::Head { bytes, have: head.len() };
                (head.len() - seen, None)
            }
            Head::Message(used, message) => (used - seen, Some(self.conclude(Ok(Event::Message(message))))),
            Head::Block { piece, begin, length } => {
                let block = take(length);
                let given = block.as_ref().len();
                if given != length {
                    return (chunk.len(), Some(self.conclude(Err(Fault::Buffer { wanted: length, given }))));
                }
                self.state = State::Block { piece, begin, block, filled: 0 };
                (super::PIECE_HEADER - seen, None)
            }
            Head::Payload { used, kind, length: 0 } => {
                let event = whole(kind, Vec::new()).map(Event::Message);
                (used - seen, Some(self.conclude(event)))
            }
            Head::Payload { used, kind, length } => {
                self.state = State::Payload { kind, left: length, bytes: Vec::new() };
                (used - seen, None)
            }
            Head::Skip { used, id, length: 0 } => {
                (used - seen, Some(self.conclude(Ok(Event::Message(Message::Unknown(id))))))
            }
            Head::Skip { used, id, length } => {
                self.state = State::Skip { id, left: length };
                (used - seen, None)
            }
        }
    }

    /// Ends a message: the stream goes on behind it, or ends with a fault.
    fn conclude(&mut self, event: Result<Event<B>, Fault>) -> Result<Event<B>, Fault> {
        self.state = if event.is_ok() { State::BETWEEN_MESSAGES } else { State::Failed };
        event
    }

    /// Goes on in a block whose header and first `filled` bytes have come to lie in their place.
    pub(super) fn adopt(&mut self, piece: u32, begin: u32, block: B, filled: usize) {
        self.state = State::Block { piece, begin, block, filled };
    }

    /// The block that is arriving, when it is whole.
    pub(super) fn finished_block(&mut self) -> Option<Event<B>> {
        match &self.state {
            State::Block { block, filled, .. } if *filled >= block.as_ref().len() => {}
            State::Block { .. }
            | State::Head { .. }
            | State::Payload { .. }
            | State::Skip { .. }
            | State::Failed => {
                return None;
            }
        }
        match core::mem::replace(&mut self.state, State::BETWEEN_MESSAGES) {
            State::Block { piece, begin, block, .. } => Some(Event::Block { piece, begin, block }),
            State::Head { .. } | State::Payload { .. } | State::Skip { .. } | State::Failed => None,
        }
    }

    /// What is still to come of the block that is arriving.
    pub(super) fn block_room(&mut self) -> &mut [u8] {
        match &mut self.state {
            State::Block { block, filled, .. } => block.as_mut().get_mut(*filled..).unwrap_or_default(),
            State::Head { .. } | State::Payload { .. } | State::Skip { .. } | State::Failed => &mut [],
        }
    }

    /// Says that up to `n` bytes came into [`Assembler::block_room`]; gives how many of them there is room for.
    pub(super) fn fill_block(&mut self, n: usize) -> usize {
        let taken = n.min(self.block_room().len());
        if let State::Block { filled, .. } = &mut self.state {
            *filled += taken;
        }
        taken
    }

    /// What has come of the head of a message; `None` behind the head.
    pub(super) fn head(&self) -> Option<&[u8]> {
        match &self.state {
            State::Head { bytes, have } => bytes.get(..*have),
            State::Block { .. } | State::Payload { .. } | State::Skip { .. } | State::Failed => None,
        }
    }

    /// Whether a whole block is likely to come next, or behind the block that is arriving.
    pub(super) fn expects_blocks(&self) -> bool {
        const WHOLE_BLOCK: [u8; 13] = crate::encoder::piece_header(0, 0, limits::BLOCK as u32);
        match &self.state {
            State::Head { bytes, have } => {
                let told = (*have).min(5);
                bytes[..told] == WHOLE_BLOCK[..told]
            }
            State::Block { .. } => true,
            State::Payload { .. } | State::Skip { .. } | State::Failed => false,
        }
    }

    pub(super) const fn in_block(&self) -> bool {
        matches!(self.state, State::Block { .. })
    }

    pub(super) const fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head { have: 0, .. })
    }

    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }
}

impl<B> Assembler<B> {
    pub(super) const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) const fn copied(&self) -> u64 {
        self.copied
    }

    /// Bytes of memory that a message under way takes.
    pub(super) const fn kept(&self) -> usize {
        match &self.state {
            State::Payload { bytes, .. } => bytes.capacity(),
            State::Head { .. } | State::Block { .. } | State::Skip { .. } | State::Failed => 0,
        }
    }
}

/// Reads the beginning of a message. A length that its layout does not allow is a fault as soon as the number of
/// the message is known, whatever else has come.
fn look(bytes: &[u8], limits: Limits) -> Result<Head, Fault> {
    let Some(length) = word(bytes, 0) else { return Ok(Head::More) };
    if length == 0 {
        return Ok(Head::Message(4, Message::KeepAlive));
    }
    let Some(&number) = bytes.get(4) else { return Ok(Head::More) };
    // 4 GiB are addressable wherever this runs, and what does not fit is refused by every limit.
    let payload = usize::try_from(length - 1).unwrap_or(usize::MAX);
    let fixed = |expected: u32| {
        if length == expected { Ok(()) } else { Err(Fault::Length { id: number, length }) }
    };
    let within = |limit: usize| {
        if payload <= limit { Ok(()) } else { Err(Fault::TooLong { id: number, length, limit: limit + 1 }) }
    };
    let bare = |message: Message| fixed(1).map(|()| Head::Message(5, message));
    let one = |message: fn(u32) -> Message| {
        fixed(5).map(|()| word(bytes, 5).map_or(Head::More, |piece| Head::Message(9, message(piece))))
    };
    let span = |message: fn(BlockSpan) -> Message| {
        fixed(13).map(|()| block_span(bytes).map_or(Head::More, |span| Head::Message(HEAD, message(span))))
    };
    match number {
        id::CHOKE => bare(Message::Choke),
        id::UNCHOKE => bare(Message::Unchoke),
        id::INTERESTED => bare(Message::Interested),
        id::NOT_INTERESTED => bare(Message::NotInterested),
        id::HAVE => one(Message::Have),
        id::BITFIELD => {
            within(limits.bitfield)?;
            Ok(Head::Payload { used: 5, kind: Kind::Bitfield, length: payload })
        }
        id::REQUEST => span(Message::Request),
        id::PIECE => {
            if length <= PIECE_OVERHEAD {
                return Err(Fault::Length { id: number, length });
            }
            within(limits::BLOCK + PIECE_OVERHEAD as usize - 1)?;
            let (Some(piece), Some(begin)) = (word(bytes, 5), word(bytes, 9)) else { return Ok(Head::More) };
            Ok(Head::Block { piece, begin, length: payload - (PIECE_OVERHEAD as usize - 1) })
        }
        id::CANCEL => span(Message::Cancel),
        id::PORT => {
            fixed(3)?;
            let port = bytes.get(5..).and_then(|bytes| bytes.first_chunk());
            Ok(port.map_or(Head::More, |port| Head::Message(7, Message::Port(u16::from_be_bytes(*port)))))
        }
        id::SUGGEST => one(Message::Suggest),
        id::HAVE_ALL => bare(Message::HaveAll),
        id::HAVE_NONE => bare(Message::HaveNone),
        id::REJECT => span(Message::Reject),
        id::ALLOWED_FAST => one(Message::AllowedFast),
        id::EXTENDED => {
            if payload == 0 {
                return Err(Fault::Length { id: number, length });
            }
            let longest = if limits.own_extensions { limits::UNKNOWN } else { limits.extended };
            within(longest.saturating_add(1))?;
            let Some(&extension) = bytes.get(5) else { return Ok(Head::More) };
            let is_ours = extension == HANDSHAKE || Extension::of_own_id(extension).is_some();
            if limits.own_extensions && !is_ours {
                return Ok(Head::Skip { used: 6, id: number, length: payload - 1 });
            }
            within(limits.extended.saturating_add(1))?;
            Ok(Head::Payload { used: 6, kind: Kind::Extended(extension), length: payload - 1 })
        }
        id::HASH_REQUEST | id::HASH_REJECT => {
            fixed(HashSpan::LENGTH as u32 + 1)?;
            let kind = if number == id::HASH_REQUEST { Kind::HashRequest } else { Kind::HashReject };
            Ok(Head::Payload { used: 5, kind, length: payload })
        }
        id::HASHES => {
            within(HashSpan::LENGTH + 32 * limits::HASHES)?;
            if payload < HashSpan::LENGTH || !(payload - HashSpan::LENGTH).is_multiple_of(32) {
                return Err(Fault::Length { id: number, length });
            }
            Ok(Head::Payload { used: 5, kind: Kind::Hashes, length: payload })
        }
        unknown => {
            within(limits::UNKNOWN)?;
            Ok(Head::Skip { used: 5, id: unknown, length: payload })
        }
    }
}

/// The message of a payload that is whole.
fn whole(kind: Kind, bytes: Vec<u8>) -> Result<Message, Fault> {
    let number = match kind {
        Kind::Bitfield => return Ok(Message::Bitfield(bytes)),
        Kind::Extended(id) => return Ok(Message::Extended { id, payload: bytes }),
        Kind::HashRequest => id::HASH_REQUEST,
        Kind::Hashes => id::HASHES,
        Kind::HashReject => id::HASH_REJECT,
    };
    let Some(span) = HashSpan::from_wire(&bytes).map(Box::new) else {
        return Err(Fault::Length { id: number, length: bytes.len() as u32 + 1 });
    };
    Ok(match kind {
        Kind::HashRequest => Message::HashRequest(span),
        Kind::HashReject => Message::HashReject(span),
        Kind::Hashes | Kind::Bitfield | Kind::Extended(_) => {
            Message::Hashes { span, hashes: bytes.get(HashSpan::LENGTH..).unwrap_or_default().to_vec() }
        }
    })
}

fn block_span(bytes: &[u8]) -> Option<BlockSpan> {
    Some(BlockSpan { piece: word(bytes, 5)?, begin: word(bytes, 9)?, length: word(bytes, 13)? })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}
