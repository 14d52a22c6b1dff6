//! The info dictionary in pieces of 16 KiB (BEP 9, "extension message").

use super::{dictionary, number};
use crate::{Fault, limits};
use alloc::vec::Vec;
use quelea_bencode::Item;

/// Bytes of every piece but the last (BEP 9, "metadata").
pub const PIECE: usize = 16 * 1024;

const NAME: &str = "ut_metadata";

/// A message of `ut_metadata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// The sender wants this piece.
    Request {
        /// The piece's number.
        piece: u32,
    },
    /// A piece.
    Data {
        /// The piece's number.
        piece: u32,
        /// Bytes of the whole info dictionary, 1 to [`limits::METADATA`]; 0 when the sender does not say, or says what
        /// cannot be.
        total_size: u32,
        /// The piece, or the whole info dictionary: some senders do not cut it. Whether it is as long as it should be
        /// is for the receiver to check.
        data: &'a [u8],
    },
    /// The sender will not give this piece.
    Reject {
        /// The piece's number.
        piece: u32,
    },
    /// A message of a kind that does not exist yet: to be ignored (BEP 9).
    Unknown,
}

impl<'a> MetadataMessage<'a> {
    /// Reads the payload of an extended message.
    ///
    /// # Errors
    /// [`Fault::NotADictionary`]; [`Fault::Entry`] when the kind of the message or the number of its piece is missing
    /// or out of its range.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Fault> {
        let entry = |entry| Fault::Entry { message: NAME, entry };
        let (said, data) = dictionary(payload, NAME)?;
        let kind: i64 = number(&said, "msg_type").ok_or(entry("msg_type"))?;
        let piece = || number(&said, "piece").ok_or(entry("piece"));
        match kind {
            0 => Ok(Self::Request { piece: piece()? }),
            1 => {
                let total_size = number(&said, "total_size")
                    .filter(|size| *size <= limits::METADATA as u32)
                    .unwrap_or_default();
                Ok(Self::Data { piece: piece()?, total_size, data })
            }
            2 => Ok(Self::Reject { piece: piece()? }),
            _ => Ok(Self::Unknown),
        }
    }

    /// The payload of an extended message; empty for [`MetadataMessage::Unknown`], which is not sent.
    pub fn encode(&self) -> Vec<u8> {
        let head = |kind: i64, piece: u32, total_size: Option<u32>| {
            let entries = [("msg_type", kind), ("piece", i64::from(piece))];
            Item::dict(entries.into_iter().chain(total_size.map(|size| ("total_size", i64::from(size)))))
                .encode()
        };
        match *self {
            Self::Request { piece } => head(0, piece, None),
            Self::Data { piece, total_size, data } => {
                let mut payload = head(1, piece, Some(total_size));
                payload.extend_from_slice(data);
                payload
            }
            Self::Reject { piece } => head(2, piece, None),
            Self::Unknown => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec};
    use proptest::prelude::*;

    #[test]
    fn entries_that_are_missing_or_cannot_be_are_faults() {
        for (payload, missing) in [
            (&b"de"[..], "msg_type"),
            (b"d8:msg_typei0ee", "piece"),
            (b"d8:msg_typei0e5:piecei-1ee", "piece"),
            (b"d8:msg_typei0e5:piecei4294967296ee", "piece"),
            (b"d8:msg_typei1e10:total_sizei5ee", "piece"),
        ] {
            let fault = Fault::Entry { message: NAME, entry: missing };
            assert_eq!(MetadataMessage::parse(payload), Err(fault));
        }
        assert_eq!(MetadataMessage::parse(b"4:data"), Err(Fault::NotADictionary { message: NAME }));
    }

    #[test]
    fn totals_that_cannot_be_are_none_and_the_whole_may_come_in_one_message() {
        for odd in
            ["", "10:total_sizei0e", "10:total_sizei33554433e", "10:total_sizei-1e", "10:total_size1:x"]
        {
            let payload = format!("d8:msg_typei1e5:piecei0e{odd}edata").into_bytes();
            let read = MetadataMessage::Data { piece: 0, total_size: 0, data: b"data" };
            assert_eq!(MetadataMessage::parse(&payload), Ok(read), "{odd}");
        }
        let data = vec![0; 3 * PIECE + 1];
        let whole = MetadataMessage::Data { piece: 0, total_size: data.len() as u32, data: &data };
        assert_eq!(MetadataMessage::parse(&whole.encode()), Ok(whole));
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_again(piece: u32, total_size in 1..=limits::METADATA as u32, data: Vec<u8>) {
            for message in [
                MetadataMessage::Request { piece },
                MetadataMessage::Data { piece, total_size, data: &data },
                MetadataMessage::Reject { piece },
            ] {
                let payload = message.encode();
                prop_assert_eq!(MetadataMessage::parse(&payload), Ok(message));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>) {
            let _ = MetadataMessage::parse(&payload);
        }
    }
}
