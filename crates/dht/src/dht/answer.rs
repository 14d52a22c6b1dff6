//! Answering others.

use super::{Dht, side_of};
use crate::Id;
use crate::item::{Invalid, Item};
use crate::packet::{
    Compact, MAX_PACKET, Method, Query, Response, Unreadable, Want, code, compact_nodes, write_error,
    write_response,
};
use crate::store::Refused;
use crate::table::K;
use alloc::vec::Vec;
use core::net::SocketAddr;
use quelea_time::Time;

/// An answer to who may have forged its address has at most this many times the bytes of the query.
const AMPLIFICATION: usize = 3;
/// Peers in one answer.
const VALUES: usize = 60;
/// Bytes that a peer takes in an answer, with its length before it.
const VALUE: [usize; 2] = [8, 21];
/// Bytes that a node takes in an answer.
const NODE: [usize; 2] = [26, 38];
/// Bytes that the keys around nodes and peers take.
const KEYS: usize = 48;

/// Whom an answer is for, and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asker<'a> {
    address: SocketAddr,
    transaction: &'a [u8],
    room: usize,
    /// It has shown that it receives at its address.
    proven: bool,
}

impl Dht {
    /// Somebody asks something.
    pub(super) fn handle_query(
        &mut self,
        now: Time,
        from: SocketAddr,
        transaction: &[u8],
        query: &Query<'_>,
        datagram: &[u8],
        read_only: bool,
    ) {
        self.stats.queries_in += 1;
        // Who is read-only answers nobody (BEP 43).
        if self.read_only || self.sides[side_of(from)].is_none() {
            return;
        }
        if !self.gate.admit(now, from.ip()) {
            self.stats.refused += 1;
            return;
        }
        if !read_only {
            self.meet(now, query.id, from);
        }
        self.answer(now, from, transaction, query, datagram, read_only);
    }

    /// Answers a query that was let in.
    pub(super) fn answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        transaction: &[u8],
        query: &Query<'_>,
        datagram: &[u8],
        read_only: bool,
    ) {
        let proven = self.proven.has(now, from);
        let bytes = if proven { MAX_PACKET } else { (datagram.len() * AMPLIFICATION).min(MAX_PACKET) };
        let asker = Asker { address: from, transaction, room: bytes, proven };
        match self.answer_within(now, asker, query) {
            Some(answer) => {
                if self.gate.answer(now, answer.len()) {
                    self.stats.answered += 1;
                    self.transmit(from, answer);
                } else {
                    self.stats.refused += 1;
                }
            }
            // Who answers nobody cannot show anything: it goes without the long answer.
            None if read_only => {}
            None => {
                if self.proven.wait(now, from, datagram) {
                    self.ping(now, from);
                }
            }
        }
    }

    /// The answer; `None` when what was asked for does not fit into the room of somebody unproven.
    fn answer_within(&mut self, now: Time, asker: Asker<'_>, query: &Query<'_>) -> Option<Vec<u8>> {
        let Asker { address: from, transaction, .. } = asker;
        let own = self.sides[side_of(from)].as_ref().map(|side| side.table.own())?;
        let mut response = Response::new(own);
        let mut out = Vec::new();
        match query.method {
            Method::Ping => write_response(&response, Compact::default(), transaction, from, &mut out),
            Method::FindNode(target) | Method::Unknown(Some(target)) => {
                self.with_nodes(&response, &target, query.want, asker, &mut out);
            }
            Method::Unknown(None) => {
                write_error(code::METHOD, "there is no such method", transaction, &mut out);
            }
            Method::GetPeers { info_hash, no_seeds, scrape } => {
                let token = self.tokens.token(now, from.ip(), &info_hash);
                // A torrent that is full takes nobody else, and says so by giving no token (BEP 33).
                response.token = self.peers.takes(&info_hash).then_some(&token[..]);
                if scrape && let Some((seeds, peers)) = self.peers.filters(now, &info_hash) {
                    response.seeds = Some(seeds);
                    response.peers = Some(peers);
                }
                let v6 = from.is_ipv6();
                response.values = self.peers.some(&info_hash, v6, no_seeds, VALUES, &mut self.rng);
                if !asker.proven && (response.values.len() > K || response.seeds.is_some()) {
                    return None;
                }
                self.with_nodes(&response, &info_hash, query.want, asker, &mut out);
            }
            Method::AnnouncePeer { info_hash, port, token, seed } => {
                if self.tokens.is_ours(now, from.ip(), &info_hash, token) {
                    let address = SocketAddr::new(from.ip(), port.unwrap_or(from.port()));
                    self.peers.announce(now, info_hash, address, seed);
                    write_response(&response, Compact::default(), transaction, from, &mut out);
                } else {
                    write_error(code::PROTOCOL, "that token is not ours", transaction, &mut out);
                }
            }
            Method::Get { target, newer_than } => {
                let token = self.tokens.token(now, from.ip(), &target);
                response.token = Some(&token);
                let item = self.items.at(&target).cloned();
                if let Some(item) = &item {
                    response.sequence = item.owner.as_ref().map(|owner| owner.sequence);
                    if newer_than.is_none_or(|sequence| item.sequence() > sequence) {
                        response.value = Some(&item.value);
                        response.key = item.owner.as_ref().map(|owner| &owner.key);
                        response.signature = item.owner.as_ref().map(|owner| &owner.signature);
                    }
                }
                if !asker.proven && response.value.is_some() {
                    return None;
                }
                self.with_nodes(&response, &target, query.want, asker, &mut out);
            }
            Method::Put { token, value, signed, replaces } => {
                match self.put(now, from, token, value, signed, replaces) {
                    Ok(()) => write_response(&response, Compact::default(), transaction, from, &mut out),
                    Err((code, text)) => write_error(code, text, transaction, &mut out),
                }
            }
            Method::SampleInfohashes(target) => {
                let (sample, interval) = self.peers.sample(now, &mut self.rng);
                response.samples = Some(&sample);
                response.interval = Some(interval);
                response.known = Some(self.peers.torrents() as i64);
                if !asker.proven && !sample.is_empty() {
                    return None;
                }
                self.with_nodes(&response, &target, query.want, asker, &mut out);
            }
        }
        Some(out)
    }

    /// Writes an answer with as many nodes near the target as there is room for: of the asker's family, or of those
    /// that it wants (BEP 32).
    fn with_nodes(
        &self,
        response: &Response<'_>,
        target: &Id,
        want: Want,
        asker: Asker<'_>,
        out: &mut Vec<u8>,
    ) {
        let Asker { address: to, transaction, room, .. } = asker;
        let asked = if want.v4 || want.v6 { [want.v4, want.v6] } else { [!to.is_ipv6(), to.is_ipv6()] };
        let mut plain = Vec::new();
        write_response(response, Compact::default(), transaction, to, &mut plain);
        let mut left = room.saturating_sub(plain.len() + KEYS);
        let mut nodes = [None, None];
        // The asker's own family comes first.
        let order = if to.is_ipv6() { [1, 0] } else { [0, 1] };
        for family in order.into_iter().filter(|&family| asked[family]) {
            let count = (left / NODE[family]).min(K);
            let nearest = self.sides[family].as_ref().map(|side| side.table.nearest(target, count));
            let compact = compact_nodes(nearest.into_iter().flatten().map(|entry| (entry.id, entry.address)));
            left -= compact.len();
            nodes[family] = Some(compact);
        }
        let [nodes4, nodes6] = &nodes;
        let compact = Compact { nodes4: nodes4.as_deref(), nodes6: nodes6.as_deref() };
        write_response(response, compact, transaction, to, out);
        if out.len() > room && !response.values.is_empty() {
            // Peers beyond the room go.
            let excess = (out.len() - room).div_ceil(VALUE[usize::from(to.is_ipv6())]);
            let mut shorter = response.clone();
            shorter.values.truncate(response.values.len().saturating_sub(excess));
            out.clear();
            write_response(&shorter, compact, transaction, to, out);
        }
    }

    fn put(
        &mut self,
        now: Time,
        from: SocketAddr,
        token: &[u8],
        value: &[u8],
        signed: Option<crate::packet::Signed<'_>>,
        replaces: Option<i64>,
    ) -> Result<(), (i64, &'static str)> {
        let target = match &signed {
            None => Id(quelea_digest::sha1(value)),
            Some(signed) => crate::item::target_of(signed.key, signed.salt),
        };
        if !self.tokens.is_ours(now, from.ip(), &target, token) {
            return Err((code::PROTOCOL, "that token is not ours"));
        }
        let item = Item::received(&target, value, signed).map_err(|invalid| match invalid {
            Invalid::ValueTooBig => (code::VALUE_TOO_BIG, "a value has at most 1000 bytes"),
            Invalid::SaltTooBig => (code::SALT_TOO_BIG, "a salt has at most 64 bytes"),
            Invalid::Signature => (code::BAD_SIGNATURE, "the signature does not verify"),
            Invalid::NotBencoded => (code::PROTOCOL, "the value is not bencoded"),
            Invalid::Sequence => (code::PROTOCOL, "a sequence number is not below 0"),
        })?;
        let own = self.sides[side_of(from)].as_ref().map_or(target, |side| side.table.own());
        self.items.put(now, &own, from.ip(), item, replaces).map_err(|refused| match refused {
            Refused::Mismatch => (code::CAS_MISMATCH, "another state is stored than the one to be replaced"),
            Refused::SequenceTooLow => (code::SEQUENCE_TOO_LOW, "what is stored is not older"),
            Refused::Full => (code::SERVER, "that address has stored enough"),
        })
    }

    /// A datagram that says nothing we understand: whoever meant it as a query is told.
    pub(super) fn handle_unreadable(&mut self, now: Time, from: SocketAddr, unreadable: &Unreadable<'_>) {
        let Some(transaction) = unreadable.transaction else { return };
        if self.read_only || !self.gate.admit(now, from.ip()) {
            return;
        }
        let mut out = Vec::new();
        write_error(unreadable.code, unreadable.what, transaction, &mut out);
        if self.gate.answer(now, out.len()) {
            self.transmit(from, out);
        }
    }
}
