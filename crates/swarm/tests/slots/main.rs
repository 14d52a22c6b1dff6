//! A session's slots against a naive model, which looks at every torrent whenever anything changes: both come to the
//! same shares, whatever happens, and whose share changes is told.
#![allow(clippy::unwrap_used, missing_docs)]

mod model;

use core::time::Duration;
use model::Model;
use proptest::prelude::*;
use quelea_swarm::choker::slots::{Demand, Division, Report};
use quelea_time::Time;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy)]
enum Deed {
    /// A torrent comes, or tells how it stands; of what it was told it has heard or not, and it holds some too many.
    Note {
        interested: usize,
        most: usize,
        has_heard: bool,
        too_many: usize,
    },
    Remove,
    Slots(usize),
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (0usize..8, 0usize..6, prop::bool::weighted(0.8), 0usize..3).prop_map(
            |(interested, most, has_heard, too_many)| Deed::Note {
                // Most of many torrents have nobody who wants anything.
                interested: interested.saturating_sub(4),
                most,
                has_heard,
                too_many,
            }
        ),
        1 => Just(Deed::Remove),
        1 => (0usize..20).prop_map(Deed::Slots),
    ]
}

proptest! {
    #[test]
    fn the_shares_are_those_of_a_division_among_all(
        slots in 0usize..20,
        deeds in prop::collection::vec((0u32..24, 0u64..6, deeds()), 0..200),
    ) {
        let (mut division, mut model) = (Division::new(Time::ZERO, slots), Model::new(Time::ZERO, slots));
        let mut now = Time::ZERO;
        let mut told: BTreeMap<u32, usize> = BTreeMap::new();
        for (key, seconds, deed) in deeds {
            now += Duration::from_secs(seconds);
            match deed {
                Deed::Note { interested, most, has_heard, too_many } => {
                    let granted = told.get(&key).copied().unwrap_or_default();
                    let share = if has_heard { granted } else { granted + 1 };
                    let demand = Demand { interested, most };
                    let report = Report { demand, share, held: share.min(interested) + too_many };
                    division.note(now, key, report);
                    model.note(now, key, report);
                    told.entry(key).or_default();
                }
                Deed::Remove => {
                    division.remove(key);
                    model.remove(key);
                    told.remove(&key);
                }
                Deed::Slots(slots) => {
                    division.set_slots(slots);
                    model.set_slots(slots);
                }
            }
            told.extend(division.take_changed());
            let expected: BTreeMap<u32, usize> = model.shares().collect();
            prop_assert_eq!(&division.shares().collect::<BTreeMap<_, _>>(), &expected);
            prop_assert_eq!(&told, &expected, "who was not told");
        }
    }

    /// However many torrents there are that want nothing, a change is told to no more of them than there are slots to
    /// take and to give.
    #[test]
    fn few_hear_of_a_change(torrents in 1u32..400, slots in 0usize..12, key in 0u32..400, interested in 0usize..9) {
        let mut division = Division::new(Time::ZERO, slots);
        for torrent in 0..torrents {
            let demand = Demand { interested: 0, most: 4 };
            division.note(Time::ZERO, torrent, Report { demand, ..Report::default() });
        }
        let _ = division.take_changed().count();
        let demand = Demand { interested, most: 4 };
        division.note(Time::ZERO, key % torrents, Report { demand, ..Report::default() });
        prop_assert!(division.take_changed().count() <= 2 * slots);
    }
}
