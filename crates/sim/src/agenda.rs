//! The clock and what is going to happen: time jumps from one happening to the next.

use core::cmp::Ordering;
use quelea_time::Time;
use std::collections::BinaryHeap;

/// What is going to happen, in order of time, and in the order of planning where the times are equal.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    now: Time,
    planned: u64,
    heap: BinaryHeap<Planned<E>>,
}

#[derive(Debug)]
struct Planned<E> {
    at: Time,
    number: u64,
    what: E,
}

impl<E> Agenda<E> {
    /// Nothing is planned, at the beginning of time.
    pub(crate) fn new() -> Self {
        Self { now: Time::ZERO, planned: 0, heap: BinaryHeap::new() }
    }

    /// The moment of what happened last.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Plans something; what would lie in the past happens next.
    pub(crate) fn plan(&mut self, at: Time, what: E) {
        self.heap.push(Planned { at: at.max(self.now), number: self.planned, what });
        self.planned += 1;
    }

    /// Jumps to the next happening.
    pub(crate) fn next(&mut self) -> Option<E> {
        let next = self.heap.pop()?;
        self.now = next.at;
        Some(next.what)
    }
}

impl<E> Planned<E> {
    const fn key(&self) -> (Time, u64) {
        (self.at, self.number)
    }
}

impl<E> Ord for Planned<E> {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Planned<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn happenings_come_by_time_and_then_as_planned() {
        let mut agenda = Agenda::new();
        for (at, what) in [(5, 'd'), (1, 'a'), (3, 'b'), (3, 'c')] {
            agenda.plan(Time::from_secs(at), what);
        }
        let mut seen = String::new();
        while let Some(what) = agenda.next() {
            seen.push(what);
        }
        assert_eq!(seen, "abcd");
        assert_eq!(agenda.now(), Time::from_secs(5));
    }

    #[test]
    fn time_does_not_go_back() {
        let mut agenda = Agenda::new();
        agenda.plan(Time::from_secs(2), 'a');
        agenda.next();
        agenda.plan(Time::from_secs(1), 'b');
        agenda.next();
        assert_eq!(agenda.now(), Time::from_secs(2));
    }
}
