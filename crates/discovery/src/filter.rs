//! Ranges of addresses that we have nothing to do with.

mod list;

pub use list::BlockList;

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

/// Ranges that a filter holds at most, after those that overlap or touch were joined: several times what the
/// largest published lists have, and 32 MiB of IPv6.
pub const MOST_RANGES: usize = 1_000_000;

/// A set of blocked addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// There are more ranges than a filter may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address filter of {found} ranges; at most {MOST_RANGES} are accepted: use a shorter list")]
pub struct TooManyRanges {
    /// How many there are after joining.
    pub found: usize,
}

impl Filter {
    /// A filter that blocks nothing.
    pub const EMPTY: Self = Self { v4: Vec::new(), v6: Vec::new() };

    /// A filter that blocks these ranges. They may overlap and come in any order; an empty one (whose end lies
    /// before its start) blocks nothing.
    ///
    /// # Errors
    /// [`TooManyRanges`].
    pub fn new(
        v4: impl IntoIterator<Item = RangeInclusive<Ipv4Addr>>,
        v6: impl IntoIterator<Item = RangeInclusive<Ipv6Addr>>,
    ) -> Result<Self, TooManyRanges> {
        let v4 = v4.into_iter().map(|range| (range.start().to_bits(), range.end().to_bits()));
        let v6 = v6.into_iter().map(|range| (range.start().to_bits(), range.end().to_bits()));
        let filter = Self {
            v4: joined(v4.collect(), |end| end.saturating_add(1)),
            v6: joined(v6.collect(), |end| end.saturating_add(1)),
        };
        let found = filter.v4.len() + filter.v6.len();
        if found > MOST_RANGES { Err(TooManyRanges { found }) } else { Ok(filter) }
    }

    /// Whether this address is blocked. An IPv6 address that maps an IPv4 address is that address.
    pub fn blocks(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => contains(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => contains(&self.v6, ip.to_bits()),
        }
    }

    /// Whether nothing is blocked.
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// The ranges in order, none of them empty, none touching the next.
fn joined<N: Copy + Ord>(mut ranges: Vec<(N, N)>, after: impl Fn(N) -> N) -> Vec<(N, N)> {
    ranges.retain(|(start, end)| start <= end);
    ranges.sort_unstable();
    let mut joined: Vec<(N, N)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some((_, last)) if start <= after(*last) => *last = end.max(*last),
            Some(_) | None => joined.push((start, end)),
        }
    }
    joined
}

fn contains<N: Copy + Ord>(ranges: &[(N, N)], number: N) -> bool {
    let behind = ranges.partition_point(|(start, _)| *start <= number);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, end)| number <= *end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_the_address_space_can_be_blocked() {
        let all = Filter::new([Ipv4Addr::UNSPECIFIED..=Ipv4Addr::BROADCAST], []).unwrap();
        assert!(all.blocks(IpAddr::from([0, 0, 0, 0])) && all.blocks(IpAddr::from([255; 4])));
        assert!(all.blocks("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!all.blocks("::1".parse().unwrap()));
        let last = Ipv6Addr::from([0xff; 16]);
        assert!(Filter::new([], [last..=last]).unwrap().blocks(last.into()));
        assert!(Filter::default().is_empty() && !all.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_through_the_ranges(
            ranges in prop::collection::vec((0u8..60, 0u8..60), 0..20), shift in 0u32..=u32::MAX - 60
        ) {
            let at = |offset: u8| Ipv4Addr::from_bits(shift + u32::from(offset));
            let v6 = |offset: u8| at(offset).to_ipv6_compatible();
            let filter = Filter::new(
                ranges.iter().map(|(start, end)| at(*start)..=at(*end)),
                ranges.iter().map(|(start, end)| v6(*start)..=v6(*end)),
            ).unwrap();
            for offset in 0..60 {
                let expected = ranges.iter().any(|(start, end)| (start..=end).contains(&&offset));
                prop_assert_eq!(filter.blocks(at(offset).into()), expected);
                prop_assert_eq!(filter.blocks(v6(offset).into()), expected);
            }
            prop_assert!(filter.v4.is_sorted_by(|a, b| a.1 + 1 < b.0));
        }
    }
}
