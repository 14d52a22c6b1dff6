//! A deterministic world for the machines: clock, links, disks, tracker, one seed.
//!
//! The nodes are made of the very machines that run in production: [`quelea_swarm::torrent::Torrent`] with its
//! peer list, [`quelea_tracker::Announcer`], and for each connection the handshake, encoder and decoder of
//! [`quelea_wire`]. What production does with sockets, threads and a clock, the [`World`] does with a list of
//! what is going to happen: time jumps from one happening to the next. As the machines decide purely, a seed
//! number gives the same world every time, and a failure found by a test can be replayed and read.
//!
//! ```text
//! Scenario --of_seed--> World --run--> Summary, or the first Violation
//!
//!   agenda    what happens next            node      machines, disk and uplink of one node
//!   link      bytes between two nodes      disk      hashing, writing, reading, faults
//!   limiter   what a node may send         memory    what its blocks take
//!   tracker   who is there                 trace     the story, and its digest
//!   scenario  what a world is made of      invariants  what must hold at every step and at the end
//!   dht       networks of [`quelea_dht::Dht`], a world of their own
//! ```
//!
//! For development only: no crate of ours depends on it.
#![forbid(unsafe_code)]

mod agenda;
mod content;
pub mod dht;
mod disk;
mod invariants;
mod limiter;
mod link;
mod memory;
mod node;
mod scenario;
mod summary;
mod trace;
mod tracker;
mod world;

pub use disk::DiskPlan;
pub use invariants::Violation;
pub use node::Figures;
pub use scenario::{Absence, Crowd, Kind, LEECHERS, LinkPlan, NodePlan, Payload, Role, Scenario};
pub use summary::{Faults, Messages, NodeSummary, Summary};
pub use tracker::TrackerPlan;
pub use world::World;

/// Runs a world to its end.
///
/// # Errors
/// The first thing that was not as it must be.
pub fn run(scenario: Scenario) -> Result<Summary, Violation> {
    World::new(scenario, None).run()
}
