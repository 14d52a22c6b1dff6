//! A choice of files by their numbers: `so` in magnet links (BEP 53).

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// The highest file number that can be chosen. No torrent that is read has more files.
pub const MAX_FILE_NUMBER: u32 = 999_999;

/// File numbers, from 0, kept as ranges: `0-999999` is one range, not a million numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    /// In order, without overlap and with gaps between.
    ranges: Vec<(u32, u32)>,
}

impl Selection {
    /// Reads numbers and ranges parted by commas: `0,2,4-8`. What is neither, or begins beyond
    /// [`MAX_FILE_NUMBER`], is left out; a range that only ends beyond it is cut there.
    pub fn parse(text: &str) -> Self {
        Self::from_ranges(text.split(',').filter_map(|item| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            Some(number(first)?..=number(last)?)
        }))
    }

    /// The numbers in these ranges.
    pub fn from_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u32>>) -> Self {
        let mut sorted: Vec<(u32, u32)> = ranges
            .into_iter()
            .filter(|range| !range.is_empty() && *range.start() <= MAX_FILE_NUMBER)
            .map(|range| (*range.start(), (*range.end()).min(MAX_FILE_NUMBER)))
            .collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                Some(_) | None => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }

    /// All numbers in this selection or the other.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.ranges().chain(other.ranges()))
    }

    /// Whether this number is chosen.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|(_, last)| number <= *last)
    }

    /// Whether no number is chosen.
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges in order, without overlap and with gaps between.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u32>> {
        self.ranges.iter().map(|(first, last)| *first..=*last)
    }

    /// All chosen numbers in order; at most a million.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.ranges().flatten()
    }
}

/// A number of decimal digits, cut to what fits; `None` for anything else.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_joined_and_kept_as_ranges() {
        assert_eq!(Selection::parse("0,2-4,3-5,6").to_string(), "0,2-6");
        assert_eq!(
            Selection::parse("0-18446744073709551615").ranges().collect::<Vec<_>>(),
            [0..=MAX_FILE_NUMBER]
        );
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        for text in ["", ",,", "a", "3-", "-3", "4-2", "+1", "1000000", "18446744073709551616", "1-2-3", " 1"]
        {
            assert!(Selection::parse(text).is_empty(), "{text}");
        }
        assert_eq!(Selection::parse("x,7,").to_string(), "7");
    }

    proptest! {
        #[test]
        fn holds_what_its_ranges_hold(ranges in proptest::collection::vec((0u32..60, 0u32..60), 0..6)) {
            let selection = Selection::from_ranges(ranges.iter().map(|(first, last)| *first..=*last));
            for number in 0..62 {
                let expected = ranges.iter().any(|(first, last)| (first..=last).contains(&&number));
                prop_assert_eq!(selection.contains(number), expected);
            }
            prop_assert!(selection.iter().all(|number| selection.contains(number)));
            prop_assert_eq!(Selection::parse(&selection.to_string()), selection);
        }
    }
}
