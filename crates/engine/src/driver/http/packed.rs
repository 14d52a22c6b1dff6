//! Bodies that a server packed without being asked to: gzip (RFC 1952), zlib and deflate (RFC 1950, RFC 1951).
//!
//! We ask for no encoding, and some servers pack all the same. What a body is shows in its first bytes, whatever its
//! headers say: no bencoded value begins with them.

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::Read;

/// What a body is once it is unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// The packed bytes end early or are damaged; `bytes` is what came before that.
    pub(super) is_cut: bool,
}

/// More came out than was allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Unpacks a body if it is packed, to at most `limit` bytes; `encoding` is its "Content-Encoding".
///
/// Takes no more memory than `limit`, however much would come out.
pub(super) fn unpack(body: Vec<u8>, encoding: &str, limit: usize) -> Result<Unpacked, TooLong> {
    match &body[..] {
        [0x1f, 0x8b, 8, ..] => read(MultiGzDecoder::new(&body[..]), limit),
        // A window of up to 32 KiB, and a check of both bytes.
        [first, second, ..]
            if first & 0x8f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31) =>
        {
            read(ZlibDecoder::new(&body[..]), limit)
        }
        // Some servers mean deflate without zlib's head, which cannot be recognised.
        [first, ..] if *first != b'd' && encoding.trim().eq_ignore_ascii_case("deflate") => {
            read(DeflateDecoder::new(&body[..]), limit)
        }
        _ => Ok(Unpacked { bytes: body, is_cut: false }),
    }
}

fn read(mut from: impl Read, limit: usize) -> Result<Unpacked, TooLong> {
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok(Unpacked { bytes, is_cut: false }),
            Ok(length) if bytes.len() + length > limit => return Err(TooLong),
            Ok(length) => bytes.extend_from_slice(part.get(..length).unwrap_or_default()),
            // Behind a whole gzip member there may be rubbish.
            Err(_) => return Ok(Unpacked { bytes, is_cut: true }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    const TEXT: &[u8] = b"d8:intervali1800e5:peers0:e";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_packed_body_is_recognised_whatever_its_headers_say() {
        for (packed, encoding) in [
            (gzip(TEXT), "gzip"),
            (gzip(TEXT), ""),
            (gzip(TEXT), "deflate"),
            (zlib(TEXT), "deflate"),
            (zlib(TEXT), ""),
            (deflate(TEXT), " Deflate"),
            (TEXT.to_vec(), ""),
            (TEXT.to_vec(), "gzip"),
            (TEXT.to_vec(), "deflate"),
        ] {
            let unpacked = unpack(packed, encoding, TEXT.len()).unwrap();
            assert_eq!(unpacked, Unpacked { bytes: TEXT.to_vec(), is_cut: false }, "{encoding:?}");
        }
        assert_eq!(unpack(Vec::new(), "gzip", 0).unwrap().bytes, b"");
    }

    #[test]
    fn of_a_body_that_ends_early_the_beginning_is_kept() {
        let long: Vec<u8> = TEXT.iter().copied().cycle().take(100_000).collect();
        for packed in [gzip(&long), zlib(&long)] {
            let cut = unpack(packed[..packed.len() - 1].to_vec(), "", long.len()).unwrap();
            assert!(cut.is_cut && long.starts_with(&cut.bytes));
            let cut = unpack(packed[..packed.len() / 2].to_vec(), "", long.len()).unwrap();
            assert!(cut.is_cut && long.starts_with(&cut.bytes));
        }
        assert!(unpack(vec![0x1f, 0x8b, 8, 255, 255], "", 100).unwrap().is_cut);
    }

    #[test]
    fn no_more_comes_out_than_is_allowed() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(unpack(bomb, "gzip", 1 << 20), Err(TooLong));
        assert_eq!(unpack(gzip(TEXT), "gzip", TEXT.len() - 1), Err(TooLong));
    }
}
