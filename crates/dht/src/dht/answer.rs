//! Answering others.

use super::ask::Why;
use super::proven::Wait;
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
/// Bytes of an answer that holds no item (BEP 32, "Maximum packet size").
const MAX_ANSWER: usize = 1_024;
/// Bytes of a usual answer.
const ANSWER: usize = 384;
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
    /// It is told what there is room for, rather than that it must show that.
    brief: bool,
}

/// What else is known of who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    /// It answers nobody (BEP 43).
    pub(super) read_only: bool,
    /// Bytes of the ping that its query made us send.
    pub(super) pinged: usize,
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
        let pinged = if read_only { 0 } else { self.meet(now, query.id, from) };
        self.answer(now, from, transaction, query, datagram, Sender { read_only, pinged });
    }

    /// Answers a query that was let in.
    pub(super) fn answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        transaction: &[u8],
        query: &Query<'_>,
        datagram: &[u8],
        sender: Sender,
    ) {
        let proven = self.proven.has(now, from);
        let unproven_room = (datagram.len() * AMPLIFICATION).saturating_sub(sender.pinged);
        let room = if proven { MAX_PACKET } else { unproven_room.min(MAX_PACKET) };
        // Who answers nobody cannot show anything: it is told what fits.
        let asker = Asker { address: from, transaction, room, proven, brief: sender.read_only };
        let answer = self.answer_within(now, asker, query);
        let answer = answer.or_else(|| match self.proven.wait(now, from, datagram) {
            Wait::First if sender.pinged == 0 => {
                self.ping(now, from, Why::Meet);
                None
            }
            Wait::First | Wait::Another => None,
            Wait::Full => self.answer_within(now, Asker { brief: true, ..asker }, query),
        });
        let Some(answer) = answer.filter(|answer| answer.len() <= room) else { return };
        if self.gate.answer(now, answer.len()) {
            self.stats.answered += 1;
            self.transmit(from, answer);
        } else {
            self.stats.refused += 1;
        }
    }

    /// The answer; `None` when what was asked for does not fit into the room of somebody unproven who could show more.
    fn answer_within(&mut self, now: Time, asker: Asker<'_>, query: &Query<'_>) -> Option<Vec<u8>> {
        let Asker { address: from, transaction, .. } = asker;
        let must_show = !asker.proven && !asker.brief;
        let own = self.sides[side_of(from)].as_ref().map(|side| side.table.own())?;
        let mut response = Response::new(own);
        let mut out = Vec::with_capacity(ANSWER);
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
                if scrape
                    && (asker.proven || !asker.brief)
                    && let Some((seeds, peers)) = self.peers.filters(now, &info_hash)
                {
                    response.seeds = Some(seeds);
                    response.peers = Some(peers);
                }
                response.values = self.peers.some(&info_hash, from.ip(), no_seeds, VALUES, &mut self.rng);
                if must_show && (response.values.len() > K || response.seeds.is_some()) {
                    return None;
                }
                self.with_nodes(&response, &info_hash, query.want, asker, &mut out);
            }
            Method::AnnouncePeer { info_hash, port, token, seed } => {
                if self.tokens.is_ours(now, from.ip(), &info_hash, token) {
                    let address = SocketAddr::new(from.ip(), port.unwrap_or(from.port()));
                    if self.peers.announce(now, info_hash, address, seed) {
                        write_response(&response, Compact::default(), transaction, from, &mut out);
                    } else {
                        write_error(code::SERVER, "there is no room for more", transaction, &mut out);
                    }
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
                if must_show && response.value.is_some() {
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
                if must_show && !sample.is_empty() {
                    return None;
                }
                self.with_nodes(&response, &target, query.want, asker, &mut out);
            }
        }
        Some(out)
    }

    /// Writes an answer with as many nodes near the target as there is room for: of the asker's family, or of those
    /// that it wants (BEP 32). An item, samples and peers that there is no room for are left out.
    fn with_nodes(
        &self,
        response: &Response<'_>,
        target: &Id,
        want: Want,
        asker: Asker<'_>,
        out: &mut Vec<u8>,
    ) {
        let Asker { address: to, transaction, .. } = asker;
        let room = if response.value.is_some() { asker.room } else { asker.room.min(MAX_ANSWER) };
        let mut response = response.clone();
        let mut values = core::mem::take(&mut response.values);
        write_response(&response, Compact::default(), transaction, to, out);
        if out.len() + KEYS > room {
            (response.value, response.key, response.signature) = (None, None, None);
            let excess = (out.len() + KEYS - room).div_ceil(20) * 20;
            let fits = |samples: &'_ [u8]| samples.len().saturating_sub(excess);
            response.samples = response.samples.map(|samples| &samples[..fits(samples)]);
            out.clear();
            write_response(&response, Compact::default(), transaction, to, out);
        }
        let mut left = room.saturating_sub(out.len() + KEYS);
        // Peers are what is asked for, but nodes lead to those who know more of them.
        let value = VALUE[usize::from(to.is_ipv6())];
        let kept = if asker.proven { 0 } else { (left / 3).min(values.len() * value) };
        left -= kept;
        let asked = if want.v4 || want.v6 { [want.v4, want.v6] } else { [!to.is_ipv6(), to.is_ipv6()] };
        let mut nodes = [None, None];
        // The asker's own family comes first.
        let order = if to.is_ipv6() { [1, 0] } else { [0, 1] };
        for family in order.into_iter().filter(|&family| asked[family]) {
            let count = (left / NODE[family]).min(K);
            let named = self.sides[family].as_ref().map(|side| side.table.named(target, count, to.ip()));
            let compact = compact_nodes(named.into_iter().flatten().map(|entry| (entry.id, entry.address)));
            left -= compact.len();
            nodes[family] = Some(compact);
        }
        values.truncate((left + kept) / value);
        response.values = values;
        let [nodes4, nodes6] = &nodes;
        let compact = Compact { nodes4: nodes4.as_deref(), nodes6: nodes6.as_deref() };
        out.clear();
        write_response(&response, compact, transaction, to, out);
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
            Invalid::NotBencoded => (code::PROTOCOL, "the value is not bencoded in order"),
            Invalid::Sequence => (code::PROTOCOL, "a sequence number is not below 0"),
        })?;
        let own = self.sides[side_of(from)].as_ref().map_or(target, |side| side.table.own());
        self.items.put(now, &own, from.ip(), item, replaces).map_err(|refused| match refused {
            Refused::Mismatch => (code::CAS_MISMATCH, "another state is stored than the one to be replaced"),
            Refused::SequenceTooLow => (code::SEQUENCE_TOO_LOW, "what is stored is not older"),
            Refused::Full => (code::SERVER, "that host has stored enough"),
        })
    }

    /// A datagram that says nothing we understand: whoever meant it as a query is told.
    pub(super) fn handle_unreadable(
        &mut self,
        now: Time,
        from: SocketAddr,
        unreadable: &Unreadable<'_>,
        datagram: &[u8],
    ) {
        let Some(transaction) = unreadable.transaction else { return };
        if self.read_only || !self.gate.admit(now, from.ip()) {
            return;
        }
        let mut out = Vec::new();
        write_error(unreadable.code, unreadable.what, transaction, &mut out);
        if out.len() <= AMPLIFICATION * datagram.len() && self.gate.answer(now, out.len()) {
            self.transmit(from, out);
        }
    }
}
