//! The torrent file: an info dictionary and how to find its swarm (BEP 3, 5, 12, 17, 19).

use crate::info::Info;
use crate::magnet::{Address, Magnet};
use crate::path::clean_text;
use crate::{Error, MAX_TORRENT_LENGTH, encoding, piece_layers, urls};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use quelea_bencode::{Item, Limits, Value};

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
    /// The label of the encoding that the file names (`encoding`, `codepage`), for names that are not UTF-8.
    pub encoding: Option<&'static str>,
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
        let info = torrent.get(b"info").ok_or(Error::field("info", "must be a dictionary"))?;
        let encoding = encoding::named(&torrent).or_else(|| encoding::named(info));
        let info = Info::read(info, encoding)?;
        Ok(Self {
            encoding: encoding.map(encoding::label),
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

    /// The torrent file. Its info dictionary is the one that was read, byte for byte; [`Metainfo::parse`] reads the rest
    /// as it stands here.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        let mut say = |key: &'static str, item: Item| _ = entries.insert(key, item.encode());
        if let Some(first) = self.trackers.iter().flatten().next() {
            say("announce", Item::from(&**first));
        }
        if self.trackers.iter().flatten().nth(1).is_some() {
            let tiers = self.trackers.iter().map(|tier| Item::list(tier.iter().map(|url| &**url)));
            say("announce-list", Item::list(tiers));
        }
        for (key, seeds) in [("httpseeds", &self.http_seeds), ("url-list", &self.web_seeds)] {
            if !seeds.is_empty() {
                say(key, Item::list(seeds.iter().map(|url| &**url)));
            }
        }
        let node = |node: &Address| {
            let (host, port) = match node {
                Address::Ip(address) => (address.ip().to_string(), address.port()),
                Address::Name(host, port) => (host.clone(), *port),
            };
            Item::list([Item::from(&*host), Item::from(i64::from(port))])
        };
        if !self.nodes.is_empty() {
            say("nodes", Item::list(self.nodes.iter().map(node)));
        }
        for (key, text) in [("comment", &self.comment), ("created by", &self.created_by)] {
            if let Some(text) = text {
                say(key, Item::from(&**text));
            }
        }
        if let Some(date) = self.creation_date {
            say("creation date", Item::from(date));
        }
        if let Some(encoding) = self.encoding {
            say("encoding", Item::from(encoding));
        }
        if !self.piece_layers.is_empty() {
            let layers = self.piece_layers.iter();
            let layers = layers.map(|(root, layer)| (*root, Item::from(layer.as_flattened())));
            say("piece layers", Item::dict(layers));
        }
        entries.insert("info", self.info.raw().to_vec());
        let mut torrent = Vec::with_capacity(self.info.raw().len() + 1_024);
        torrent.push(b'd');
        for (key, value) in entries {
            Item::from(key).encode_into(&mut torrent);
            torrent.extend_from_slice(&value);
        }
        torrent.push(b'e');
        torrent
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
