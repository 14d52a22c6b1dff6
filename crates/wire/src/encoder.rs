//! Messages to bytes (BEP 3, "peer messages": a length of four bytes, a number, what follows).

use crate::message::{BlockSpan, HashSpan, Message, id};
use alloc::vec::Vec;

/// Bytes before the block in a piece message: length, number, piece, begin.
pub const PIECE_HEADER: usize = 13;

/// Appends a message. [`Message::Unknown`] appends nothing.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::KeepAlive => out.extend_from_slice(&[0; 4]),
        Message::Choke => head(out, 0, id::CHOKE),
        Message::Unchoke => head(out, 0, id::UNCHOKE),
        Message::Interested => head(out, 0, id::INTERESTED),
        Message::NotInterested => head(out, 0, id::NOT_INTERESTED),
        Message::Have(piece) => number(out, id::HAVE, *piece),
        Message::Bitfield(bits) => {
            head(out, bits.len(), id::BITFIELD);
            out.extend_from_slice(bits);
        }
        Message::Request(span) => block_span(out, id::REQUEST, *span),
        Message::Cancel(span) => block_span(out, id::CANCEL, *span),
        Message::Port(port) => {
            head(out, 2, id::PORT);
            out.extend_from_slice(&port.to_be_bytes());
        }
        Message::Suggest(piece) => number(out, id::SUGGEST, *piece),
        Message::HaveAll => head(out, 0, id::HAVE_ALL),
        Message::HaveNone => head(out, 0, id::HAVE_NONE),
        Message::Reject(span) => block_span(out, id::REJECT, *span),
        Message::AllowedFast(piece) => number(out, id::ALLOWED_FAST, *piece),
        Message::Extended { id, payload } => {
            head(out, 1 + payload.len(), id::EXTENDED);
            out.push(*id);
            out.extend_from_slice(payload);
        }
        Message::HashRequest(span) => hash_span(out, id::HASH_REQUEST, span, &[]),
        Message::Hashes { span, hashes } => hash_span(out, id::HASHES, span, hashes),
        Message::HashReject(span) => hash_span(out, id::HASH_REJECT, span, &[]),
        Message::Unknown(_) => {}
    }
}

/// What stands before a block of `length` bytes, at most 16 KiB. The block itself follows from wherever it lies.
pub const fn piece_header(piece: u32, begin: u32, length: u32) -> [u8; PIECE_HEADER] {
    let [a, b, c, d] = length.saturating_add(9).to_be_bytes();
    let [e, f, g, h] = piece.to_be_bytes();
    let [i, j, k, l] = begin.to_be_bytes();
    [a, b, c, d, id::PIECE, e, f, g, h, i, j, k, l]
}

/// Appends a whole piece message, for where a copy of the block does not matter. The block is at most 16 KiB.
pub fn encode_piece(piece: u32, begin: u32, block: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&piece_header(piece, begin, wire_length(block.len())));
    out.extend_from_slice(block);
}

fn head(out: &mut Vec<u8>, payload: usize, id: u8) {
    out.extend_from_slice(&wire_length(payload.saturating_add(1)).to_be_bytes());
    out.push(id);
}

fn number(out: &mut Vec<u8>, id: u8, number: u32) {
    head(out, 4, id);
    out.extend_from_slice(&number.to_be_bytes());
}

fn block_span(out: &mut Vec<u8>, id: u8, span: BlockSpan) {
    head(out, 12, id);
    for word in [span.piece, span.begin, span.length] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

fn hash_span(out: &mut Vec<u8>, id: u8, span: &HashSpan, hashes: &[u8]) {
    head(out, HashSpan::LENGTH + hashes.len(), id);
    out.extend_from_slice(&span.pieces_root);
    for word in [span.base_layer, span.index, span.length, span.proof_layers] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(hashes);
}

/// No message of ours comes near 4 GiB: the largest is a bitfield.
fn wire_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_header_is_what_a_whole_piece_message_begins_with() {
        let mut whole = Vec::new();
        encode_piece(1, 16_384, b"block", &mut whole);
        assert_eq!(whole, b"\0\0\0\x0e\x07\0\0\0\x01\0\0\x40\0block");
        assert_eq!(whole[..PIECE_HEADER], piece_header(1, 16_384, 5));
    }

    #[test]
    fn an_unknown_message_is_not_sent() {
        let mut out = Vec::new();
        encode(&Message::Unknown(200), &mut out);
        assert!(out.is_empty());
    }
}
