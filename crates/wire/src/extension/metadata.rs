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
        /// Bytes of the whole info dictionary, 1 to [`limits::METADATA`].
        total_size: u32,
        /// The piece: at most 16 KiB. Whether it is as long as `total_size` asks is for the receiver to check.
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
    /// [`Fault::NotADictionary`]; [`Fault::Entry`] for an entry that is missing or out of its range, and for more
    /// data than a piece has.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Fault> {
        let entry = |entry| Fault::Entry { message: NAME, entry };
        let (said, data) = dictionary(payload, NAME)?;
        let kind: i64 = number(&said, "msg_type").ok_or(entry("msg_type"))?;
        let piece = || number(&said, "piece").ok_or(entry("piece"));
        match kind {
            0 => Ok(Self::Request { piece: piece()? }),
            1 => {
                let total_size = number(&said, "total_size")
                    .filter(|size| (1..=limits::METADATA as u32).contains(size))
                    .ok_or(entry("total_size"))?;
                if data.len() > PIECE {
                    return Err(entry("data"));
                }
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
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn entries_that_are_missing_or_cannot_be_are_faults() {
        for (payload, missing) in [
            (&b"de"[..], "msg_type"),
            (b"d8:msg_typei0ee", "piece"),
            (b"d8:msg_typei0e5:piecei-1ee", "piece"),
            (b"d8:msg_typei0e5:piecei4294967296ee", "piece"),
            (b"d8:msg_typei1e5:piecei0ee", "total_size"),
            (b"d8:msg_typei1e5:piecei0e10:total_sizei0ee", "total_size"),
            (b"d8:msg_typei1e5:piecei0e10:total_sizei33554433ee", "total_size"),
        ] {
            let fault = Fault::Entry { message: NAME, entry: missing };
            assert_eq!(MetadataMessage::parse(payload), Err(fault));
        }
        assert_eq!(MetadataMessage::parse(b"4:data"), Err(Fault::NotADictionary { message: NAME }));
    }

    #[test]
    fn more_data_than_a_piece_has_is_a_fault() {
        let data = vec![0; PIECE + 1];
        let whole = MetadataMessage::Data { piece: 0, total_size: 40_000, data: &data[1..] };
        assert_eq!(MetadataMessage::parse(&whole.encode()), Ok(whole));
        let long = MetadataMessage::Data { piece: 0, total_size: 40_000, data: &data };
        assert_eq!(
            MetadataMessage::parse(&long.encode()),
            Err(Fault::Entry { message: NAME, entry: "data" })
        );
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
