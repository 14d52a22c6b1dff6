//! Packets to datagrams: keys in the order that bencode wants, straight into a buffer.

use super::{Method, Query, Response, compact_address};
use crate::Id;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Our client's two letters and version, as `v` (BEP 5).
const VERSION: &[u8; 4] = b"QE\x00\x01";

/// A dictionary that is being written; its keys must come in order.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.decimal(bytes.len() as u64);
        self.out.push(b':');
        self.out.extend(bytes);
    }

    fn int(&mut self, number: i64) {
        self.out.push(b'i');
        if number < 0 {
            self.out.push(b'-');
        }
        self.decimal(number.unsigned_abs());
        self.out.push(b'e');
    }

    fn decimal(&mut self, mut number: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.out.extend(&digits[at..]);
    }

    fn text_at(&mut self, key: &[u8], value: &[u8]) {
        self.bytes(key);
        self.bytes(value);
    }

    fn int_at(&mut self, key: &[u8], value: i64) {
        self.bytes(key);
        self.int(value);
    }

    fn open_at(&mut self, key: &[u8]) {
        self.bytes(key);
        self.out.push(b'd');
    }

    fn open(&mut self) {
        self.out.push(b'd');
    }

    fn close(&mut self) {
        self.out.push(b'e');
    }
}

/// Appends a query. `read_only`: we answer none ourselves (BEP 43).
pub fn write_query(query: &Query<'_>, transaction: &[u8], read_only: bool, out: &mut Vec<u8>) {
    let mut writer = Writer { out };
    writer.open();
    writer.open_at(b"a");
    let name: &[u8] = match query.method {
        Method::Ping => {
            writer.text_at(b"id", &query.id.0);
            b"ping"
        }
        Method::FindNode(target) => {
            writer.text_at(b"id", &query.id.0);
            writer.text_at(b"target", &target.0);
            b"find_node"
        }
        Method::SampleInfohashes(target) => {
            writer.text_at(b"id", &query.id.0);
            writer.text_at(b"target", &target.0);
            b"sample_infohashes"
        }
        Method::Unknown(target) => {
            writer.text_at(b"id", &query.id.0);
            if let Some(target) = target {
                writer.text_at(b"target", &target.0);
            }
            b"unknown"
        }
        Method::GetPeers { info_hash, no_seeds, scrape } => {
            writer.text_at(b"id", &query.id.0);
            writer.text_at(b"info_hash", &info_hash.0);
            if no_seeds {
                writer.int_at(b"noseed", 1);
            }
            if scrape {
                writer.int_at(b"scrape", 1);
            }
            b"get_peers"
        }
        Method::AnnouncePeer { info_hash, port, token, seed } => {
            writer.text_at(b"id", &query.id.0);
            // It may be left out, but librqbit-dht understands no announcement without.
            writer.int_at(b"implied_port", i64::from(port.is_none()));
            writer.text_at(b"info_hash", &info_hash.0);
            // A port must be there whether it counts or not.
            writer.int_at(b"port", i64::from(port.unwrap_or(1)));
            if seed {
                writer.int_at(b"seed", 1);
            }
            writer.text_at(b"token", token);
            b"announce_peer"
        }
        Method::Get { target, newer_than } => {
            writer.text_at(b"id", &query.id.0);
            if let Some(sequence) = newer_than {
                writer.int_at(b"seq", sequence);
            }
            writer.text_at(b"target", &target.0);
            b"get"
        }
        Method::Put { token, value, signed, replaces } => {
            if let (Some(replaces), Some(_)) = (replaces, signed) {
                writer.int_at(b"cas", replaces);
            }
            writer.text_at(b"id", &query.id.0);
            if let Some(signed) = signed {
                writer.text_at(b"k", signed.key);
                if !signed.salt.is_empty() {
                    writer.text_at(b"salt", signed.salt);
                }
                writer.int_at(b"seq", signed.sequence);
                writer.text_at(b"sig", signed.signature);
            }
            // BEP 44 does not know it, but the crate mainline stores nothing without.
            let target = match signed {
                Some(signed) => crate::item::target_of(signed.key, signed.salt),
                None => Id(quelea_digest::sha1(value)),
            };
            writer.text_at(b"target", &target.0);
            writer.text_at(b"token", token);
            writer.bytes(b"v");
            writer.out.extend(value);
            b"put"
        }
    };
    if query.want.v4 || query.want.v6 {
        writer.bytes(b"want");
        writer.out.push(b'l');
        if query.want.v4 {
            writer.bytes(b"n4");
        }
        if query.want.v6 {
            writer.bytes(b"n6");
        }
        writer.close();
    }
    writer.close();
    writer.text_at(b"q", name);
    if read_only {
        writer.int_at(b"ro", 1);
    }
    writer.text_at(b"t", transaction);
    writer.text_at(b"v", VERSION);
    writer.text_at(b"y", b"q");
    writer.close();
}

/// What an answer says; lists that a [`Response`] borrows in their compact form.
#[derive(Debug, Default, Clone, Copy)]
pub struct Compact<'a> {
    /// IPv4 nodes, 26 bytes each.
    pub nodes4: Option<&'a [u8]>,
    /// IPv6 nodes, 38 bytes each.
    pub nodes6: Option<&'a [u8]>,
}

/// Appends an answer to the asker at `asker`, whose address it tells (BEP 42).
pub fn write_response(
    response: &Response<'_>,
    nodes: Compact<'_>,
    transaction: &[u8],
    asker: SocketAddr,
    out: &mut Vec<u8>,
) {
    let mut seen = Vec::with_capacity(18);
    compact_address(asker, &mut seen);
    let mut writer = Writer { out };
    writer.open();
    writer.text_at(b"ip", &seen);
    writer.open_at(b"r");
    if let Some(peers) = &response.peers {
        writer.text_at(b"BFpe", &peers.0);
    }
    if let Some(seeds) = &response.seeds {
        writer.text_at(b"BFsd", &seeds.0);
    }
    writer.text_at(b"id", &response.id.0);
    if let Some(interval) = response.interval {
        writer.int_at(b"interval", interval);
    }
    if let Some(key) = response.key {
        writer.text_at(b"k", key);
    }
    if let Some(nodes) = nodes.nodes4 {
        writer.text_at(b"nodes", nodes);
    }
    if let Some(nodes) = nodes.nodes6 {
        writer.text_at(b"nodes6", nodes);
    }
    if let Some(known) = response.known {
        writer.int_at(b"num", known);
    }
    if let Some(samples) = response.samples {
        writer.text_at(b"samples", samples);
    }
    if let Some(sequence) = response.sequence {
        writer.int_at(b"seq", sequence);
    }
    if let Some(signature) = response.signature {
        writer.text_at(b"sig", signature);
    }
    if let Some(token) = response.token {
        writer.text_at(b"token", token);
    }
    if let Some(value) = response.value {
        writer.bytes(b"v");
        writer.out.extend(value);
    }
    if !response.values.is_empty() {
        writer.bytes(b"values");
        writer.out.push(b'l');
        let mut compact = Vec::with_capacity(18);
        for &value in &response.values {
            compact.clear();
            compact_address(value, &mut compact);
            writer.bytes(&compact);
        }
        writer.close();
    }
    writer.close();
    writer.text_at(b"t", transaction);
    writer.text_at(b"v", VERSION);
    writer.text_at(b"y", b"r");
    writer.close();
}

/// Appends an error.
pub fn write_error(code: i64, text: &str, transaction: &[u8], out: &mut Vec<u8>) {
    let mut writer = Writer { out };
    writer.open();
    writer.bytes(b"e");
    writer.out.push(b'l');
    writer.int(code);
    writer.bytes(text.as_bytes());
    writer.close();
    writer.text_at(b"t", transaction);
    writer.text_at(b"v", VERSION);
    writer.text_at(b"y", b"e");
    writer.close();
}
