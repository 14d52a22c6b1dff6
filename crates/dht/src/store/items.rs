//! Items that others had us store (BEP 44).

use crate::Id;
use crate::item::Item;
use alloc::collections::BTreeMap;
use core::net::IpAddr;
use core::time::Duration;
use quelea_time::Time;

/// An item that nobody has stored again for this long is dropped (BEP 44: two hours).
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
/// Items of one host.
const PER_HOST: usize = 64;

#[derive(Debug)]
struct Stored {
    item: Item,
    host: [u8; 8],
    at: Time,
}

/// Why an item is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// What is stored is newer, or as new and another.
    SequenceTooLow,
    /// What is stored is not what was to be replaced.
    Mismatch,
    /// The address has stored enough.
    Full,
}

/// Items by where they are stored.
#[derive(Debug)]
pub struct Items {
    capacity: usize,
    items: BTreeMap<Id, Stored>,
}

impl Items {
    /// None yet.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, items: BTreeMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item at this place.
    pub fn at(&self, target: &Id) -> Option<&Item> {
        self.items.get(target).map(|stored| &stored.item)
    }

    /// Stores an item whose signature was checked. `replaces` is the sequence number that must be there, if any is.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn put(
        &mut self,
        now: Time,
        own: &Id,
        from: IpAddr,
        item: Item,
        replaces: Option<i64>,
    ) -> Result<(), Refused> {
        let (target, host) = (item.target(), crate::id::host(from));
        if let Some(stored) = self.items.get_mut(&target) {
            if item.owner.is_some() {
                if replaces.is_some_and(|sequence| sequence != stored.item.sequence()) {
                    return Err(Refused::Mismatch);
                }
                let newer = item.sequence() > stored.item.sequence();
                let same = item.sequence() == stored.item.sequence() && item.value == stored.item.value;
                if !newer && !same {
                    return Err(Refused::SequenceTooLow);
                }
            }
            *stored = Stored { item, host, at: now };
            return Ok(());
        }
        if self.items.values().filter(|stored| stored.host == host).count() >= PER_HOST {
            return Err(Refused::Full);
        }
        self.items.insert(target, Stored { item, host, at: now });
        if self.items.len() > self.capacity {
            // Those far from us are kept by nodes that are nearer.
            let farthest = self.items.keys().max_by_key(|target| target.distance(own)).copied();
            farthest.and_then(|target| self.items.remove(&target));
        }
        Ok(())
    }

    /// Forgets what was not stored again for long.
    pub fn expire(&mut self, now: Time) {
        self.items.retain(|_, stored| now.since(stored.at) < LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const OWN: Id = Id([0; 20]);

    fn ip() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn signed(sequence: i64, value: &str) -> Item {
        Item::sign([1; 32], b"".to_vec(), sequence, format!("{}:{value}", value.len()).into_bytes()).unwrap()
    }

    #[test]
    fn an_older_state_never_replaces_a_newer_one() {
        let mut items = Items::new(10);
        assert_eq!(items.put(Time::ZERO, &OWN, ip(), signed(2, "two"), None), Ok(()));
        assert_eq!(items.put(Time::ZERO, &OWN, ip(), signed(1, "one"), None), Err(Refused::SequenceTooLow));
        assert_eq!(items.put(Time::ZERO, &OWN, ip(), signed(2, "other"), None), Err(Refused::SequenceTooLow));
        assert_eq!(items.put(Time::ZERO, &OWN, ip(), signed(2, "two"), None), Ok(()));
        assert_eq!(items.put(Time::ZERO, &OWN, ip(), signed(3, "three"), Some(1)), Err(Refused::Mismatch));
        assert_eq!(items.put(Time::ZERO, &OWN, ip(), signed(3, "three"), Some(2)), Ok(()));
        assert_eq!(items.at(&signed(3, "three").target()).map(Item::sequence), Some(3));
    }

    #[test]
    fn the_store_is_bounded_and_keeps_what_is_near() {
        let mut items = Items::new(50);
        for number in 0..500_u32 {
            let from = IpAddr::V4(number.into());
            let item = Item::fixed(format!("i{number}e").into_bytes()).unwrap();
            items.put(Time::ZERO, &OWN, from, item, None).unwrap();
        }
        assert_eq!(items.len(), 50);
        assert!(items.items.keys().all(|target| target.0[0] < 0x40));
    }

    #[test]
    fn an_address_cannot_fill_the_store() {
        let mut items = Items::new(1_000);
        let put = |items: &mut Items, number: usize| {
            let item = Item::fixed(format!("i{number}e").into_bytes()).unwrap();
            items.put(Time::ZERO, &OWN, ip(), item, None)
        };
        for number in 0..PER_HOST {
            assert_eq!(put(&mut items, number), Ok(()));
        }
        // Whoever renews what is another's takes nobody's place.
        assert_eq!(put(&mut items, 0), Ok(()));
        assert_eq!(put(&mut items, PER_HOST), Err(Refused::Full));
        items.expire(Time::ZERO + LIFE);
        assert!(items.is_empty());
    }
}
