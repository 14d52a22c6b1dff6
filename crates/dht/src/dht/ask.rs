//! Asking others: queries under way, their answers, their silence.

use super::answer::Sender;
use super::search::WalkId;
use super::{Dht, Event, SearchId, side_of};
use crate::Id;
use crate::packet::{Body, Method, Packet, Query, Response, Want, write_query};
use crate::table::{Admission, K};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_digest::sha256;
use quelea_time::Time;

/// A node that has not answered after this time is slow: somebody else is asked meanwhile.
const SLOW: Duration = Duration::from_secs(1);
/// A node that has not answered after this time will not.
const LOST: Duration = Duration::from_secs(5);
/// Queries under way.
const MAX_PENDING: usize = 1_024;
/// Queries of the last seconds, answered or not.
const MAX_SENT: usize = 8 * MAX_PENDING;
/// Pings under way to strangers.
const MAX_PINGS: usize = 4 * K;
/// A table with fewer nodes is glad of those of its family that answers to the other one name.
const SMALL_TABLE: usize = 64;

/// Why a node was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// To see whether it is there.
    Ping,
    /// To see whether it is there, as it has just asked us.
    Meet,
    /// On the way of a walk.
    Walk(WalkId),
    /// To write there.
    Write(SearchId),
}

/// A query under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) to: SocketAddr,
    /// What it is called, where that is known.
    id: Option<Id>,
    why: Why,
}

/// Queries in the order in which they went out, with the moments at which they are looked at.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    slow: VecDeque<(Time, [u8; 4])>,
    lost: VecDeque<(Time, [u8; 4])>,
}

impl Deadlines {
    fn add(&mut self, now: Time, transaction: [u8; 4]) {
        self.slow.push_back((now + SLOW, transaction));
        self.lost.push_back((now + LOST, transaction));
    }

    /// When to look next.
    pub(super) fn next(&self) -> Option<Time> {
        let first = [self.slow.front(), self.lost.front()];
        first.into_iter().flatten().map(|(at, _)| *at).min()
    }
}

fn due(queue: &mut VecDeque<(Time, [u8; 4])>, now: Time) -> Option<[u8; 4]> {
    queue.pop_front_if(|(at, _)| *at <= now).map(|(_, transaction)| transaction)
}

impl Dht {
    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        if self.is_blocked(from.ip()) {
            return;
        }
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(unreadable) => return self.handle_unreadable(now, from, &unreadable, datagram),
        };
        match &packet.body {
            Body::Query(query) => {
                self.handle_query(now, from, packet.transaction, query, datagram, packet.read_only);
                return;
            }
            Body::Response(response) => {
                let Some(pending) = self.take_pending(packet.transaction, from) else { return };
                self.handle_response(now, from, &pending, response, packet.seen_as);
            }
            Body::Error { .. } => {
                let Some(pending) = self.take_pending(packet.transaction, from) else { return };
                self.prove(now, from);
                self.not_answered(&pending);
            }
        }
        self.continue_walks(now);
    }

    /// The query that an answer belongs to: it must come from whom it was sent to.
    fn take_pending(&mut self, transaction: &[u8], from: SocketAddr) -> Option<Pending> {
        let transaction: [u8; 4] = transaction.try_into().ok()?;
        if self.pending.get(&transaction)?.to != from {
            return None;
        }
        self.pending.remove(&transaction)
    }

    fn handle_response(
        &mut self,
        now: Time,
        from: SocketAddr,
        pending: &Pending,
        response: &Response<'_>,
        seen_as: Option<SocketAddr>,
    ) {
        self.stats.answers_in += 1;
        self.prove(now, from);
        if let Some(seen) = seen_as {
            self.seen(now, from, seen);
        }
        self.admit(now, from, response.id, pending.why == Why::Meet);
        match pending.why {
            Why::Ping | Why::Meet => {}
            Why::Walk(walk) => self.walk_answered(walk, from, response),
            Why::Write(search) => self.written(search, true),
        }
    }

    /// A node answered: it comes into the table, where its id lets it.
    fn admit(&mut self, now: Time, from: SocketAddr, id: Id, met: bool) {
        let family = side_of(from);
        let fits = id.fits(from.ip());
        if !fits && self.enforces(family) {
            return;
        }
        let Some(side) = &mut self.sides[family] else { return };
        let admission = side.table.answered(now, id, from, met);
        if fits && admission == Admission::New && self.enforces(family) {
            // It may be the one with which enforcement begins.
            let Some(side) = &mut self.sides[family] else { return };
            side.table.retain(|entry| entry.fits);
        }
    }

    fn prove(&mut self, now: Time, address: SocketAddr) {
        for datagram in self.proven.note(now, address) {
            if let Ok(packet) = Packet::parse(&datagram)
                && let Body::Query(query) = &packet.body
            {
                let sender = Sender { read_only: packet.read_only, pinged: 0 };
                self.answer(now, address, packet.transaction, query, &datagram, sender);
            }
        }
    }

    /// A query will have no answer.
    pub(super) fn not_answered(&mut self, pending: &Pending) {
        match pending.why {
            Why::Ping | Why::Meet => {}
            Why::Walk(walk) => self.walk_failed(walk, pending.to),
            Why::Write(search) => self.written(search, false),
        }
    }

    /// Whether a query can go out.
    pub(super) fn may_ask(&self) -> bool {
        self.pending.len() < MAX_PENDING && self.deadlines.lost.len() < MAX_SENT
    }

    /// Asks a node. The bytes of the query; 0 when none went out.
    pub(super) fn ask(
        &mut self,
        now: Time,
        to: SocketAddr,
        id: Option<Id>,
        method: Method<'_>,
        why: Why,
    ) -> usize {
        let family = side_of(to);
        let Some(own) = self.sides[family].as_ref().map(|side| side.table.own()) else { return 0 };
        if !self.may_ask() || self.is_blocked(to.ip()) {
            return 0;
        }
        let other_is_small =
            self.sides[1 - family].as_ref().is_some_and(|other| other.table.len() < SMALL_TABLE);
        let names_nodes = !matches!(method, Method::Ping | Method::AnnouncePeer { .. } | Method::Put { .. });
        let both = names_nodes && other_is_small;
        let want = Want { v4: both, v6: both };
        let transaction = self.transaction();
        let mut out = Vec::with_capacity(128);
        write_query(&Query { id: own, method, want }, &transaction, self.read_only, &mut out);
        let length = out.len();
        self.transmit(to, out);
        self.stats.queries_out += 1;
        self.pending.insert(transaction, Pending { to, id, why });
        self.deadlines.add(now, transaction);
        self.next_tick = self.next_tick.min(now + SLOW);
        length
    }

    pub(super) fn ping(&mut self, now: Time, to: SocketAddr, why: Why) {
        self.ask(now, to, None, Method::Ping, why);
    }

    /// A name for a query that nobody can guess who does not see it.
    fn transaction(&mut self) -> [u8; 4] {
        loop {
            self.counter += 1;
            let mut bytes = [0; 40];
            bytes[..32].copy_from_slice(&self.secret);
            bytes[32..].copy_from_slice(&self.counter.to_be_bytes());
            let hash = sha256(&bytes);
            let transaction = [hash[0], hash[1], hash[2], hash[3]];
            if !self.pending.contains_key(&transaction) {
                return transaction;
            }
        }
    }

    /// Notes which queries are slow and which are lost.
    pub(super) fn expire_queries(&mut self, now: Time) {
        while let Some(transaction) = due(&mut self.deadlines.slow, now) {
            if let Some(&Pending { to, why: Why::Walk(walk), .. }) = self.pending.get(&transaction)
                && let Some(running) = self.walks.get_mut(&walk)
            {
                running.walk.slow(to);
            }
        }
        while let Some(transaction) = due(&mut self.deadlines.lost, now) {
            let Some(pending) = self.pending.remove(&transaction) else { continue };
            if let (Some(id), Some(side)) = (pending.id, &mut self.sides[side_of(pending.to)]) {
                side.table.failed(&id, pending.to);
            }
            self.not_answered(&pending);
        }
    }

    /// Somebody unknown asks us: where the table has a place for it, it is asked whether it is there. The bytes of that
    /// ping.
    pub(super) fn meet(&mut self, now: Time, id: Id, from: SocketAddr) -> usize {
        let family = side_of(from);
        let fits = id.fits(from.ip()) || !self.enforces(family);
        let Some(side) = &mut self.sides[family] else { return 0 };
        side.table.heard(now, &id, from);
        let wanted = fits && side.table.has_room_for(&id) && !side.table.knows(&id, from);
        if !wanted || !self.may_ping(from) {
            return 0;
        }
        self.ask(now, from, Some(id), Method::Ping, Why::Meet)
    }

    /// Whether somebody unknown may be pinged: strangers make us send few datagrams at a time.
    pub(super) fn may_ping(&self, address: SocketAddr) -> bool {
        let pings =
            self.pending.values().filter(|pending| matches!(pending.why, Why::Ping | Why::Meet)).count();
        pings < MAX_PINGS && !self.pending.values().any(|pending| pending.to == address)
    }

    /// `from` sees us at this address.
    fn seen(&mut self, now: Time, from: SocketAddr, seen: SocketAddr) {
        let family = side_of(from);
        if seen.is_ipv6() != from.is_ipv6() {
            return;
        }
        let Some(side) = &mut self.sides[family] else { return };
        if let Some(address) = side.votes.vote(from.ip(), seen.ip()) {
            self.events.push_back(Event::External(address));
            self.take_fitting_id(now, family, address);
        }
    }
}
