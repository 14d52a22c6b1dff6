//! The torrent file: an info dictionary and how to find its swarm (BEP 3, 5, 12, 17, 19).

use crate::info::Info;
use crate::magnet::{Address, Magnet};
use crate::path::clean_text;
use crate::{Error, MAX_TORRENT_LENGTH, piece_layers, urls};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use quelea_bencode::{Limits, Value};

/// The digests of each piece of a file, by the file's `pieces root` (BEP 52, "piece layers").
pub type PieceLayers = BTreeMap<[u8; 32], Vec<[u8; 32]>>;

/// A torrent file, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metainfo {
    /// What the torrent's bytes are.
    pub info: Info,
    /// The http, https and udp trackers in tiers, none twice and no tier empty (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// The web seeds under `url-list`, http and https (BEP 19).
    pub web_seeds: Vec<String>,
    /// The web seeds under `httpseeds` (BEP 17), which speak another protocol.
    pub http_seeds: Vec<String>,
    /// Nodes of the DHT to begin with (BEP 5, "torrent file extensions").
    pub nodes: Vec<Address>,
    /// What the author has to say, on one line.
    pub comment: Option<String>,
    /// The program that made the torrent.
    pub created_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub creation_date: Option<i64>,
    /// The digests of pieces of all files longer than a piece, each layer checked against its root. Empty where
    /// there is no v2 half, or where the file leaves them to be asked from peers.
    pub piece_layers: PieceLayers,
}

impl Metainfo {
    /// Reads a torrent file. Bytes after the torrent are ignored: line breaks at the end are common.
    ///
    /// # Errors
    /// What is not bencode, is missing, contradicts itself, or is beyond the crate's limits. What is merely odd
    /// and outside the info dictionary (an address that is none, a date that is text) is left out instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_TORRENT_LENGTH {
            return Err(Error::TooLong { length: bytes.len(), limit: MAX_TORRENT_LENGTH });
        }
        let (torrent, _) = quelea_bencode::parse_prefix(bytes, Limits::TORRENT)?;
        if torrent.as_dict().is_none() {
            return Err(Error::field("torrent", "must be a dictionary"));
        }
        let info = Info::read(torrent.get(b"info").ok_or(Error::field("info", "must be a dictionary"))?)?;
        Ok(Self {
            piece_layers: piece_layers::read(&torrent, &info)?,
            info,
            trackers: urls::tiers(&torrent),
            web_seeds: urls::web_seeds(&torrent, b"url-list"),
            http_seeds: urls::web_seeds(&torrent, b"httpseeds"),
            nodes: nodes(&torrent),
            comment: text(&torrent, &[b"comment.utf-8", b"comment"]),
            created_by: text(&torrent, &[b"created by.utf-8", b"created by"]),
            creation_date: torrent.get(b"creation date").and_then(Value::as_int),
        })
    }

    /// The link that leads to this torrent.
    pub fn magnet(&self) -> Magnet {
        Magnet {
            hashes: self.info.hashes,
            name: Some(self.info.name.clone()),
            trackers: self.trackers.concat(),
            web_seeds: self.web_seeds.clone(),
            peers: Vec::new(),
            nodes: Vec::new(),
            select_only: None,
        }
    }
}

/// The text under the first of these keys that has any.
fn text(torrent: &Value<'_>, keys: &[&[u8]]) -> Option<String> {
    let bytes = keys.iter().find_map(|key| torrent.get(key)?.as_bytes())?;
    Some(clean_text(&String::from_utf8_lossy(bytes)))
}

fn nodes(torrent: &Value<'_>) -> Vec<Address> {
    let nodes = torrent.get(b"nodes").and_then(Value::as_list).unwrap_or_default();
    let node = |node: &Value<'_>| match node.as_list()? {
        [host, port] => Address::new(host.as_str()?, port.as_int()?.try_into().ok()?),
        _ => None,
    };
    nodes.iter().filter_map(node).collect()
}
