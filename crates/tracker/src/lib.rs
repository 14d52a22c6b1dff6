//! Trackers: announce and scrape over HTTP and UDP, tiers and schedules.
//!
//! Owns: what is asked of a tracker and when ([`Announcer`], one for each info hash of a torrent), how the
//! question is written and the answer read over HTTP ([`http`]) and UDP ([`udp`]), and which URLs are trackers
//! at all ([`TrackerUrl`]). Does not own: sockets, name resolution, TLS, redirects, and what becomes of the
//! peers. A driver carries each [`Request`] to its tracker and brings the answer back:
//!
//! ```text
//! Announcer --poll_request--> driver --http::announce_url--> HTTP client --body--> http::read_announce --+
//!     ^                         |                                                                       |
//!     |                         +--UdpClient::request--> datagrams <--> UdpClient::poll_event ----------+
//!     +------------------------------------ handle_answer <----------- AnnounceResponse or Failure -----+
//! ```
//!
//! BEPs: 3 (HTTP), 7 (IPv6), 12 (tiers), 15 (UDP), 21 (partial seeds), 23 (compact peers), 24 (external address),
//! 27 (private torrents), 31 (retry in), 41 (UDP URL data), 48 (scrape).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod announce_queue;
pub mod announcer;
mod failure;
pub mod http;
mod peers;
mod request;
mod response;
mod retry_after;
pub mod udp;
mod url;
mod wording;

pub use announce_queue::AnnounceQueue;
pub use announcer::{
    Announcer, Contact, FIRST_TRY, Notice, Request, RequestId, State, TrackerStatus, Urgency,
};
pub use failure::{Failure, Retry};
pub use peers::MAX_PEERS;
pub use request::{AnnounceRequest, Event, Identity, LEFT_UNKNOWN, Stats};
pub use response::{AnnounceResponse, MAX_INTERVAL, SwarmCounts};
pub use retry_after::{http_date, retry_after};
pub use udp::UdpClient;
pub use url::{Host, Scheme, TrackerUrl, UrlError};
