//! Datagrams to packets.

use super::address::address_in;
use super::{Body, MAX_SALT, MAX_VALUE, Method, Nodes, Packet, Query, Response, Signed, Want, code};
use crate::Id;
use crate::bloom::Bloom;
use alloc::boxed::Box;
use alloc::vec::Vec;
use quelea_bencode::{Limits, Value, parse_prefix};

/// Peers in one answer at most: more do not fit into a datagram.
const MAX_VALUES: usize = 200;

/// A datagram that says nothing we understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable<'a> {
    /// What an error is answered with; `None` where there is nobody to answer.
    pub transaction: Option<&'a [u8]>,
    /// One of [`code`].
    pub code: i64,
    /// What is wrong.
    pub what: &'static str,
}

const fn no_packet(what: &'static str) -> Unreadable<'static> {
    Unreadable { transaction: None, code: code::PROTOCOL, what }
}

impl<'a> Packet<'a> {
    /// What a datagram says.
    ///
    /// # Errors
    /// [`Unreadable`] for what is no packet, and for a query that lacks an argument.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Unreadable<'a>> {
        let limits = Limits { depth: 8, items: 1_024 };
        // A few nodes send a line break or padding after the dictionary.
        let (root, _) = parse_prefix(datagram, limits).map_err(|_| no_packet("it is not bencoded"))?;
        if root.as_dict().is_none() {
            return Err(no_packet("it is no dictionary"));
        }
        let text = |key: &[u8]| root.get(key).and_then(Value::as_bytes);
        let transaction = text(b"t").ok_or(no_packet("it has no transaction"))?;
        if transaction.len() > 32 {
            return Err(no_packet("its transaction is too long"));
        }
        let body = match text(b"y") {
            Some(b"q") => {
                let query = query(&root);
                Body::Query(query.map_err(|(code, what)| Unreadable {
                    transaction: Some(transaction),
                    code,
                    what,
                })?)
            }
            Some(b"r") => Body::Response(Box::new(response(&root).map_err(no_packet)?)),
            Some(b"e") => error(&root).ok_or(no_packet("an error without a code"))?,
            _ => return Err(no_packet("it is neither query nor answer")),
        };
        Ok(Self {
            transaction,
            version: text(b"v"),
            read_only: root.get(b"ro").and_then(Value::as_int) == Some(1),
            seen_as: text(b"ip").and_then(address_in),
            body,
        })
    }
}

fn error<'a>(root: &Value<'a>) -> Option<Body<'a>> {
    let list = root.get(b"e")?.as_list()?;
    Some(Body::Error {
        code: list.first()?.as_int()?,
        text: list.get(1).and_then(Value::as_bytes).unwrap_or_default(),
    })
}

type Wrong = (i64, &'static str);

fn query<'a>(root: &Value<'a>) -> Result<Query<'a>, Wrong> {
    const PROTOCOL: i64 = code::PROTOCOL;
    let method = root.get(b"q").and_then(Value::as_bytes).ok_or((PROTOCOL, "a query without a method"))?;
    let arguments = root.get(b"a").filter(|value| value.as_dict().is_some());
    let arguments = arguments.ok_or((PROTOCOL, "a query without arguments"))?;
    let text = |key: &[u8]| arguments.get(key).and_then(Value::as_bytes);
    let number = |key: &[u8]| arguments.get(key).and_then(Value::as_int);
    let flag = |key: &[u8]| number(key) == Some(1);
    let id_at = |key: &[u8]| text(key).and_then(Id::from_slice);
    let id = id_at(b"id").ok_or((PROTOCOL, "an id is 20 bytes"))?;
    let target = id_at(b"target").ok_or((PROTOCOL, "a target is 20 bytes"));
    let info_hash = id_at(b"info_hash").ok_or((PROTOCOL, "an info-hash is 20 bytes"));
    let token = text(b"token").ok_or((PROTOCOL, "a token is missing"));
    let method = match method {
        b"ping" => Method::Ping,
        b"find_node" => Method::FindNode(target?),
        b"get_peers" => {
            Method::GetPeers { info_hash: info_hash?, no_seeds: flag(b"noseed"), scrape: flag(b"scrape") }
        }
        b"announce_peer" => {
            let named = number(b"port").and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
            let port = if number(b"implied_port").is_some_and(|implied| implied != 0) {
                None
            } else {
                Some(named.ok_or((PROTOCOL, "a port is 1 to 65535"))?)
            };
            Method::AnnouncePeer { info_hash: info_hash?, port, token: token?, seed: flag(b"seed") }
        }
        b"get" => Method::Get { target: target?, newer_than: number(b"seq") },
        b"put" => {
            let value = arguments.get(b"v").ok_or((PROTOCOL, "a value is missing"))?.raw();
            if value.len() > MAX_VALUE {
                return Err((code::VALUE_TOO_BIG, "a value has at most 1000 bytes"));
            }
            Method::Put { token: token?, value, signed: signed(arguments)?, replaces: number(b"cas") }
        }
        b"sample_infohashes" => Method::SampleInfohashes(target?),
        _ => Method::Unknown(target.or(info_hash).ok()),
    };
    let mut want = Want::default();
    for family in arguments.get(b"want").and_then(Value::as_list).unwrap_or_default() {
        want.v4 |= family.as_bytes() == Some(b"n4");
        want.v6 |= family.as_bytes() == Some(b"n6");
    }
    Ok(Query { id, method, want })
}

/// Who signed a value that is to be stored; `None` for one that nobody did.
fn signed<'a>(arguments: &Value<'a>) -> Result<Option<Signed<'a>>, Wrong> {
    let text = |key: &[u8]| arguments.get(key).and_then(Value::as_bytes);
    let Some(key) = text(b"k") else { return Ok(None) };
    let key = key.try_into().map_err(|_| (code::PROTOCOL, "a key is 32 bytes"))?;
    let signature = text(b"sig").and_then(|signature| signature.try_into().ok());
    let sequence = arguments.get(b"seq").and_then(Value::as_int);
    let salt = text(b"salt").unwrap_or_default();
    if salt.len() > MAX_SALT {
        return Err((code::SALT_TOO_BIG, "a salt has at most 64 bytes"));
    }
    let signature = signature.ok_or((code::PROTOCOL, "a signature is 64 bytes"))?;
    let sequence = sequence.filter(|&number| number >= 0);
    let sequence = sequence.ok_or((code::PROTOCOL, "a sequence number is not below 0"))?;
    Ok(Some(Signed { key, salt, sequence, signature }))
}

fn response<'a>(root: &Value<'a>) -> Result<Response<'a>, &'static str> {
    let fields =
        root.get(b"r").filter(|value| value.as_dict().is_some()).ok_or("an answer without fields")?;
    let text = |key: &[u8]| fields.get(key).and_then(Value::as_bytes);
    let number = |key: &[u8]| fields.get(key).and_then(Value::as_int);
    let id = text(b"id").and_then(Id::from_slice).ok_or("an id is 20 bytes")?;
    let values = fields.get(b"values").and_then(Value::as_list).unwrap_or_default();
    let values: Vec<_> =
        values.iter().filter_map(Value::as_bytes).filter_map(address_in).take(MAX_VALUES).collect();
    Ok(Response {
        id,
        nodes4: Nodes::new(text(b"nodes").unwrap_or_default(), false),
        nodes6: Nodes::new(text(b"nodes6").unwrap_or_default(), true),
        values,
        token: text(b"token"),
        seeds: text(b"BFsd").and_then(Bloom::from_slice),
        peers: text(b"BFpe").and_then(Bloom::from_slice),
        value: fields.get(b"v").map(Value::raw).filter(|value| value.len() <= MAX_VALUE),
        key: text(b"k").and_then(|key| key.try_into().ok()),
        signature: text(b"sig").and_then(|signature| signature.try_into().ok()),
        sequence: number(b"seq"),
        samples: text(b"samples").filter(|samples| samples.len() % 20 == 0),
        interval: number(b"interval"),
        known: number(b"num"),
    })
}
