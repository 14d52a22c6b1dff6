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
//! A test whose programs are not installed prints a notice and passes, but fails where `CI=true`.
#![forbid(unsafe_code)]

pub mod aria2;
pub mod client;
pub mod figures;
pub mod gateway;
pub mod http;
pub mod libtorrent;
pub mod network;
pub mod payload;
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
