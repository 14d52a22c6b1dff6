//! Where a torrent's bytes lie: which run of which file holds which run of the torrent (BEP 3, "files").
//!
//! Pure arithmetic; nothing here touches a disk.

use quelea_metainfo::geometry::{Geometry, PieceIndex, Span};
use std::fmt;
use std::ops::Range;

/// The number of a file that exists in its torrent, in the torrent's order, pad files included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(u32);

impl FileIndex {
    /// The number as an index into an array of files.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for FileIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of bytes inside one file; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpan {
    /// The file.
    pub file: FileIndex,
    /// Where the run begins, in bytes from the file's beginning.
    pub offset: u64,
    /// How long it is, in bytes; never 0.
    pub length: u64,
}

/// The lengths of a torrent's files, laid end to end and cut into pieces.
#[derive(Debug, Clone)]
pub struct Layout {
    geometry: Geometry,
    /// Where each file begins in the torrent, and at last the torrent's end. Ascending; an empty file begins
    /// where the next one does.
    starts: Vec<u64>,
}

impl Layout {
    /// Files of these lengths, in the torrent's order, pad files included.
    ///
    /// `None` when the lengths do not sum up to the geometry's total, or there are more than `u32::MAX` files.
    pub fn new(lengths: impl IntoIterator<Item = u64>, geometry: Geometry) -> Option<Self> {
        let mut starts = vec![0];
        let mut end = 0u64;
        for length in lengths {
            end = end.checked_add(length)?;
            starts.push(end);
        }
        let fits = end == geometry.total_length() && u32::try_from(starts.len()).is_ok();
        fits.then_some(Self { geometry, starts })
    }

    /// How the same bytes divide into pieces.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// All files in order.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = FileIndex> + ExactSizeIterator + use<> {
        // `new` has made sure that the count fits.
        (0..(self.starts.len() - 1) as u32).map(FileIndex)
    }

    /// The file with this number, if there is one.
    pub fn file(&self, number: usize) -> Option<FileIndex> {
        if number + 1 < self.starts.len() { u32::try_from(number).ok().map(FileIndex) } else { None }
    }

    /// Where a file begins, in bytes from the torrent's beginning.
    pub fn offset_of(&self, file: FileIndex) -> u64 {
        self.starts[file.at()]
    }

    /// Bytes in this file.
    pub fn length_of(&self, file: FileIndex) -> u64 {
        self.starts[file.at() + 1] - self.starts[file.at()]
    }

    /// The pieces that hold bytes of this file, as a half-open range of numbers; empty for an empty file.
    pub fn pieces_of(&self, file: FileIndex) -> Range<u32> {
        self.geometry.pieces_touching(self.offset_of(file), self.length_of(file))
    }

    /// The runs of files that hold the torrent's bytes `offset .. offset + length`, in order. What lies beyond
    /// the torrent's end is left out. Finding the first takes time in proportion to the logarithm of the
    /// number of files.
    pub fn spans(&self, offset: u64, length: u64) -> Spans<'_> {
        let total = self.geometry.total_length();
        let end = offset.saturating_add(length).min(total);
        // The last file that begins at or before `offset`: empty files at the same place come before it.
        let file = self.starts.partition_point(|&start| start <= offset).saturating_sub(1);
        Spans { layout: self, file, at: offset, end }
    }

    /// The runs of files that hold this span.
    pub fn spans_of(&self, span: Span) -> Spans<'_> {
        self.spans(self.geometry.offset_of(span.piece) + u64::from(span.begin), u64::from(span.length))
    }

    /// The runs of files that hold this piece.
    pub fn spans_of_piece(&self, piece: PieceIndex) -> Spans<'_> {
        self.spans(self.geometry.offset_of(piece), u64::from(self.geometry.length_of(piece)))
    }

    /// Which pieces are needed for the wanted files: `wanted` has one entry a file, the result one a piece.
    pub fn wanted_pieces(&self, wanted: &[bool]) -> Vec<bool> {
        let mut pieces = vec![false; self.geometry.pieces() as usize];
        for file in self.files().filter(|file| wanted.get(file.at()) == Some(&true)) {
            let touched = self.pieces_of(file);
            pieces[touched.start as usize..touched.end as usize].fill(true);
        }
        pieces
    }
}

/// The runs of files behind a run of a torrent; see [`Layout::spans`].
#[derive(Debug, Clone)]
pub struct Spans<'a> {
    layout: &'a Layout,
    file: usize,
    at: u64,
    end: u64,
}

impl Iterator for Spans<'_> {
    type Item = FileSpan;

    fn next(&mut self) -> Option<FileSpan> {
        while self.at < self.end {
            let file = self.layout.file(self.file)?;
            self.file += 1;
            let offset = self.at - self.layout.offset_of(file);
            let length = (self.layout.length_of(file) - offset).min(self.end - self.at);
            if length > 0 {
                self.at += length;
                return Some(FileSpan { file, offset, length });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(lengths: &[u64], piece_length: u32) -> Layout {
        let geometry = Geometry::new(lengths.iter().sum(), piece_length).unwrap();
        Layout::new(lengths.iter().copied(), geometry).unwrap()
    }

    #[test]
    fn a_piece_spans_the_files_it_covers_and_skips_empty_ones() {
        let layout = layout(&[0, 10, 0, 3, 7, 0], 16);
        let piece = layout.geometry().piece(0).unwrap();
        let spans: Vec<_> =
            layout.spans_of_piece(piece).map(|span| (span.file.at(), span.offset, span.length)).collect();
        assert_eq!(spans, [(1, 0, 10), (3, 0, 3), (4, 0, 3)]);
    }

    #[test]
    fn lengths_must_sum_up() {
        let geometry = Geometry::new(10, 4).unwrap();
        assert!(Layout::new([5, 5], geometry).is_some());
        assert!(Layout::new([5, 6], geometry).is_none());
        assert!(Layout::new([u64::MAX, 11], geometry).is_none());
        assert!(Layout::new([], Geometry::new(0, 4).unwrap()).is_some());
    }

    #[test]
    fn a_wanted_file_wants_every_piece_it_touches() {
        let layout = layout(&[5, 6, 0, 9], 4);
        assert_eq!(layout.wanted_pieces(&[true, false, false, false]), [true, true, false, false, false]);
        assert_eq!(layout.wanted_pieces(&[false, true, false, false]), [false, true, true, false, false]);
        assert_eq!(layout.wanted_pieces(&[false, false, true, false]), [false; 5]);
        assert_eq!(layout.wanted_pieces(&[false, false, false, true]), [false, false, true, true, true]);
    }

    proptest! {
        #[test]
        fn pieces_tile_the_files(
            lengths in prop::collection::vec(prop_oneof![Just(0u64), 1u64..50, 1u64..5_000], 0..30),
            piece_length in 1u32..2_000,
        ) {
            let layout = layout(&lengths, piece_length);
            let mut filled = vec![0; lengths.len()];
            for piece in layout.geometry().iter() {
                let mut bytes = 0;
                for span in layout.spans_of_piece(piece) {
                    prop_assert!(span.length > 0);
                    prop_assert_eq!(span.offset, filled[span.file.at()]);
                    prop_assert!(layout.pieces_of(span.file).contains(&piece.get()));
                    filled[span.file.at()] += span.length;
                    bytes += span.length;
                }
                prop_assert_eq!(bytes, u64::from(layout.geometry().length_of(piece)));
            }
            prop_assert_eq!(filled, lengths);
        }

        #[test]
        fn a_span_is_found_where_its_offset_says(
            lengths in prop::collection::vec(prop_oneof![Just(0u64), 1u64..300], 1..20),
            offset in 0u64..7_000, length in 0u64..7_000,
        ) {
            let layout = layout(&lengths, 64);
            let mut at = offset;
            for span in layout.spans(offset, length) {
                prop_assert_eq!(layout.offset_of(span.file) + span.offset, at);
                prop_assert!(span.offset + span.length <= layout.length_of(span.file));
                at += span.length;
            }
            let total: u64 = lengths.iter().sum();
            prop_assert_eq!(at, (offset + length).min(total).max(offset));
        }
    }
}
