//! Single packets of BEP 15. All integers are big-endian; packets may be longer than they need be.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::peers;
use crate::request::{AnnounceRequest, Event};
use crate::response::{AnnounceResponse, SwarmCounts, interval};
use crate::wording::clean;

/// What every connect request begins with.
const PROTOCOL: u64 = 0x0000_0417_2710_1980;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// The option that carries path and query of the tracker's URL (BEP 41).
const URL_DATA: u8 = 2;
/// Path and query beyond this many bytes are not sent: the packet would be fragmented.
const MAX_URL_DATA: usize = 1000;

/// How many torrents fit into one scrape (BEP 15, "Scrape").
pub const MAX_SCRAPE: usize = 74;

/// Asks for a connection id.
pub fn connect_request(transaction: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(16);
    packet.extend_from_slice(&PROTOCOL.to_be_bytes());
    packet.extend_from_slice(&CONNECT.to_be_bytes());
    packet.extend_from_slice(&transaction.to_be_bytes());
    packet
}

/// Announces. `url_data` is path and query of the tracker's URL; `over_v6` says which family carries the packet:
/// an IPv4 address to announce can only be told over IPv4.
pub fn announce_request(
    connection: u64,
    transaction: u32,
    request: &AnnounceRequest,
    url_data: &str,
    over_v6: bool,
) -> Vec<u8> {
    let event: u32 = match request.event {
        None | Some(Event::Paused) => 0,
        Some(Event::Completed) => 1,
        Some(Event::Started) => 2,
        Some(Event::Stopped) => 3,
    };
    let ip = request.ipv4.filter(|_| !over_v6).map_or(0, u32::from);
    // -1 leaves the number to the tracker.
    let num_want = request.num_want.map_or(-1, |wanted| i32::try_from(wanted).unwrap_or(i32::MAX));

    let mut packet = header(connection, ANNOUNCE, transaction);
    packet.extend_from_slice(&request.info_hash);
    packet.extend_from_slice(&request.peer_id);
    packet.extend_from_slice(&request.downloaded.to_be_bytes());
    packet.extend_from_slice(&request.left.to_be_bytes());
    packet.extend_from_slice(&request.uploaded.to_be_bytes());
    packet.extend_from_slice(&event.to_be_bytes());
    packet.extend_from_slice(&ip.to_be_bytes());
    packet.extend_from_slice(&request.key.to_be_bytes());
    packet.extend_from_slice(&num_want.to_be_bytes());
    packet.extend_from_slice(&request.port.to_be_bytes());
    if url_data.len() <= MAX_URL_DATA {
        for chunk in url_data.as_bytes().chunks(usize::from(u8::MAX)) {
            packet.push(URL_DATA);
            packet.extend(u8::try_from(chunk.len()));
            packet.extend_from_slice(chunk);
        }
    }
    packet
}

/// Asks for the counts of these torrents, [`MAX_SCRAPE`] of them at most.
pub fn scrape_request(connection: u64, transaction: u32, info_hashes: &[[u8; 20]]) -> Vec<u8> {
    let mut packet = header(connection, SCRAPE, transaction);
    for info_hash in info_hashes.iter().take(MAX_SCRAPE) {
        packet.extend_from_slice(info_hash);
    }
    packet
}

fn header(connection: u64, action: u32, transaction: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(128);
    packet.extend_from_slice(&connection.to_be_bytes());
    packet.extend_from_slice(&action.to_be_bytes());
    packet.extend_from_slice(&transaction.to_be_bytes());
    packet
}

/// What a tracker sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The connection id to ask with.
    Connect(u64),
    /// The answer to an announce.
    Announce(AnnounceResponse),
    /// Counts, in the order in which the torrents were named.
    Scrape(Vec<SwarmCounts>),
    /// Why there is no answer, cleaned.
    Error(String),
}

/// The transaction that a packet answers and what it says. `from` tells whether the peers in it have IPv4 or
/// IPv6 addresses (BEP 15, "IPv6"). `None` for what is no reply, or is cut off.
pub fn read_reply(from: SocketAddr, packet: &[u8]) -> Option<(u32, Reply)> {
    let mut fields = Fields { rest: packet };
    let action = fields.u32()?;
    let transaction = fields.u32()?;
    let reply = match action {
        CONNECT => Reply::Connect(u64::from(fields.u32()?) << 32 | u64::from(fields.u32()?)),
        ANNOUNCE => {
            let mut response =
                AnnounceResponse { interval: Some(interval(fields.u32()?.into())), ..Default::default() };
            response.leechers = Some(fields.u32()?);
            response.seeds = Some(fields.u32()?);
            if from.ip().to_canonical().is_ipv6() {
                peers::push_compact_v6(&mut response.peers, fields.rest);
            } else {
                peers::push_compact_v4(&mut response.peers, fields.rest);
            }
            Reply::Announce(response)
        }
        SCRAPE => {
            let mut torrents = Vec::new();
            while let (Some(seeds), Some(downloaded), Some(leechers)) =
                (fields.u32(), fields.u32(), fields.u32())
            {
                if torrents.len() == MAX_SCRAPE {
                    break;
                }
                torrents.push(SwarmCounts { seeds, leechers, downloaded, downloaders: None });
            }
            Reply::Scrape(torrents)
        }
        ERROR => Reply::Error(clean(fields.rest)),
        _ => return None,
    };
    Some((transaction, reply))
}

/// What has not been read of a packet.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Identity, Stats};

    fn announce(url_data: &str, over_v6: bool) -> Vec<u8> {
        let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 6881, key: 3 };
        let mut request = AnnounceRequest::new(&identity, Stats::default());
        request.ipv4 = Some([192, 0, 2, 1].into());
        announce_request(4, 5, &request, url_data, over_v6)
    }

    #[test]
    fn path_and_query_follow_in_options() {
        assert_eq!(announce("", false).len(), 98);
        assert_eq!(&announce("/dir?a=b&c=d", false)[98..], b"\x02\x0c/dir?a=b&c=d");
        let long = "x".repeat(300);
        let packet = announce(&long, false);
        assert_eq!(packet.len(), 98 + 2 + 255 + 2 + 45);
        assert_eq!((packet[98], packet[99]), (2, 255));
        assert_eq!((packet[98 + 257], packet[98 + 258]), (2, 45));
    }

    #[test]
    fn path_and_query_that_would_fragment_the_packet_are_left_out() {
        assert_eq!(announce(&"x".repeat(MAX_URL_DATA + 1), false).len(), 98);
    }

    #[test]
    fn an_address_to_announce_is_told_over_ipv4_only() {
        assert_eq!(announce("", false)[84..88], [192, 0, 2, 1]);
        assert_eq!(announce("", true)[84..88], [0; 4]);
    }
}
