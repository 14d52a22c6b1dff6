//! Quelea against real clients: the hosts they run on, the clients, and the comparison of every byte.
//!
//! A test opens a [`Scenario`], makes a [`payload`] and its [`torrent`], starts a [`tracker`], lets one
//! [`Client`] seed and another download, and compares what arrived:
//!
//! ```text
//! scenario ── network ── hosts (network namespaces, or loopback addresses where those cannot be made)
//!    │                     └─ processes: opentracker, quelea, and the clients of the field
//!    └────── scratch ───── payloads, torrents, downloads, logs
//! ```
//!
//! Nothing sleeps to be in step with something else: [`wait`] asks for a condition until it holds or its
//! limit has passed. Nothing outlives its test: a process dies with its guard and with the thread that
//! started it, and a namespace goes with the last process in it.
//!
//! What is proven of finding each other without a tracker, in `tests/dht.rs` and `tests/discovery.rs`; the leech has a
//! link that names nobody:
//!
//! | | DHT | peer exchange | local discovery |
//! |---|---|---|---|
//! | libtorrent 2.0.8 | both ways | both ways | both ways |
//! | Transmission 3.00 | both ways | both ways | both ways |
//! | aria2 1.36.0 | both ways | both ways | both ways |
//! | qBittorrent 4.5.2 | both ways | both ways | both ways |
//! | rTorrent 0.9.8 | is found and finds nobody | both ways | does not know it |
//!
//! Both ways: Quelea downloads from one that it found by the client, and the client from one that it found by Quelea. By the
//! DHT and local discovery, who is found is the other of the two; by peer exchange, it is a third.
//!
//! A test whose programs are not installed prints a notice and passes, but fails where `CI=true`.
#![forbid(unsafe_code)]

pub mod aria2;
pub mod client;
pub mod figures;
pub mod gateway;
pub mod http;
pub mod libtorrent;
pub mod neighbourhood;
pub mod network;
pub mod payload;
pub mod peers;
pub mod process;
pub mod programs;
pub mod qbittorrent;
pub mod quelea;
pub mod rtorrent;
pub mod scenario;
pub mod scratch;
pub mod tls;
pub mod told;
pub mod torrent;
pub mod tracker;
pub mod transmission;
pub mod wait;

pub use client::{Client, Discovery, Job};
pub use payload::{Layout, Payload, Wanted};
pub use scenario::Scenario;
pub use torrent::Torrent;
pub use tracker::{Protocol, Tracker};
