//! The addresses at which connected peers listen, and who was told of which of them.
//!
//! Each has a number while it is of interest, so that what a peer was told is a bit for each: a hundred bytes where a
//! torrent has hundreds of peers. A number is free again when everybody who was told of its address was told that it
//! is gone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Contacts that a torrent holds at most; of more nobody is told.
const MOST: usize = 1_024;

/// Names a contact while somebody is connected there, or was told so and not yet of the end.
pub(in crate::torrent) type Number = usize;

/// The contacts of a torrent.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    rows: Vec<Row>,
    free: Vec<Number>,
    numbers: BTreeMap<SocketAddr, Number>,
}

#[derive(Debug)]
struct Row {
    address: SocketAddr,
    /// Connected peers that listen there. More than one is a lie, but whose?
    holders: u32,
    /// Peers that were told of it.
    told: u32,
}

/// The contacts that a peer was told of and not yet that they are gone.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<u64>);

impl Told {
    pub(super) fn has(&self, number: Number) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    fn iter(&self) -> impl Iterator<Item = Number> + '_ {
        let bits = |(at, &word): (usize, &u64)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

impl Contacts {
    /// A peer that listens at this address is connected; `None` where there are too many.
    pub(super) fn enter(&mut self, address: SocketAddr) -> Option<Number> {
        if let Some(&number) = self.numbers.get(&address) {
            self.rows.get_mut(number)?.holders += 1;
            return Some(number);
        }
        let row = Row { address, holders: 1, told: 0 };
        let number = if let Some(number) = self.free.pop() {
            *self.rows.get_mut(number)? = row;
            number
        } else if self.rows.len() < MOST {
            self.rows.push(row);
            self.rows.len() - 1
        } else {
            return None;
        };
        self.numbers.insert(address, number);
        Some(number)
    }

    /// A peer that listens there is connected no longer.
    pub(super) fn leave(&mut self, number: Number) {
        if let Some(row) = self.rows.get_mut(number) {
            row.holders = row.holders.saturating_sub(1);
        }
        self.free_if_done(number);
    }

    /// The address of one where a peer is connected.
    pub(super) fn address(&self, number: Number) -> Option<SocketAddr> {
        self.rows.get(number).filter(|row| row.holders > 0).map(|row| row.address)
    }

    /// Those that this peer was told of, and that are gone.
    pub(super) fn gone_for<'a>(&'a self, told: &'a Told) -> impl Iterator<Item = (Number, SocketAddr)> + 'a {
        told.iter().filter_map(|number| {
            let row = self.rows.get(number).filter(|row| row.holders == 0)?;
            Some((number, row.address))
        })
    }

    /// A peer is told of a contact.
    pub(super) fn tell(&mut self, told: &mut Told, number: Number) {
        if told.0.len() <= number / 64 {
            told.0.resize(number / 64 + 1, 0);
        }
        if let (false, Some(row), Some(word)) =
            (told.has(number), self.rows.get_mut(number), told.0.get_mut(number / 64))
        {
            *word |= 1 << (number % 64);
            row.told += 1;
        }
    }

    /// A peer is told that a contact is gone.
    pub(super) fn take_back(&mut self, told: &mut Told, number: Number) {
        if let (true, Some(row), Some(word)) =
            (told.has(number), self.rows.get_mut(number), told.0.get_mut(number / 64))
        {
            *word &= !(1 << (number % 64));
            row.told = row.told.saturating_sub(1);
        }
        self.free_if_done(number);
    }

    /// A peer that was told this has left.
    pub(super) fn forget(&mut self, told: &mut Told) {
        for number in told.iter().collect::<Vec<_>>() {
            self.take_back(told, number);
        }
    }

    fn free_if_done(&mut self, number: Number) {
        if let Some(row) = self.rows.get(number).filter(|row| row.holders == 0 && row.told == 0)
            && self.numbers.remove(&row.address).is_some()
        {
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u16) -> SocketAddr {
        ([192, 0, 2, 1], number).into()
    }

    #[test]
    fn a_number_is_free_when_nobody_has_to_hear_of_its_end() {
        let mut contacts = Contacts::default();
        let (mut one, mut other) = (Told::default(), Told::default());
        let first = contacts.enter(at(1)).unwrap();
        contacts.tell(&mut one, first);
        contacts.tell(&mut other, first);
        contacts.tell(&mut other, first);
        contacts.leave(first);
        assert_eq!(contacts.address(first), None);
        assert_eq!(contacts.gone_for(&one).collect::<Vec<_>>(), [(first, at(1))]);
        assert_ne!(contacts.enter(at(2)), Some(first));
        contacts.take_back(&mut one, first);
        assert_ne!(contacts.enter(at(3)), Some(first));
        contacts.forget(&mut other);
        assert_eq!(contacts.enter(at(4)), Some(first));
    }

    #[test]
    fn who_comes_back_before_anybody_heard_keeps_its_number() {
        let mut contacts = Contacts::default();
        let mut told = Told::default();
        let first = contacts.enter(at(1)).unwrap();
        contacts.tell(&mut told, first);
        contacts.leave(first);
        assert_eq!(contacts.enter(at(1)), Some(first));
        assert_eq!((contacts.gone_for(&told).count(), told.has(first)), (0, true));
    }

    #[test]
    fn an_address_that_two_claim_stays_until_both_have_left() {
        let mut contacts = Contacts::default();
        let first = contacts.enter(at(1)).unwrap();
        assert_eq!(contacts.enter(at(1)), Some(first));
        contacts.leave(first);
        assert_eq!(contacts.address(first), Some(at(1)));
        contacts.leave(first);
        assert_eq!(contacts.address(first), None);
    }

    #[test]
    fn there_are_never_more_than_can_be_held() {
        let mut contacts = Contacts::default();
        let entered = (1..3_000).filter_map(|port| contacts.enter(at(port))).count();
        assert_eq!(entered, MOST);
        (0..MOST).for_each(|number| contacts.leave(number));
        assert!(contacts.enter(at(5_000)).is_some() && contacts.rows.len() == MOST);
    }
}
