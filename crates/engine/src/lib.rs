//! The Quelea BitTorrent engine: a session, its torrents and their events.
//!
//! ```no_run
//! use quelea::{AddTorrent, Event, Session, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> quelea::Result<()> {
//! let session = Session::start(Settings::new("downloads"))?;
//! let mut events = session.events();
//! let torrent = session.add(AddTorrent::from_file("debian.torrent")?).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Progress(id, snapshot) if id == torrent.id() => println!("{snapshot}"),
//!         Event::Completed(id) if id == torrent.id() => break,
//!         other => eprintln!("{other}"),
//!     }
//! }
//! session.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Session`] and [`Torrent`] are cheap handles; dropping them does not stop the work, [`Session::close`] does.
//! Events are hints that something is worth looking at; a [`Snapshot`] is the truth at its moment.
//!
//! The session owns its threads (DESIGN.md lists them), so its methods work from any async
//! runtime, and the host's runtime is not starved by payload.
//!
//! The library leaves signals to its host. Under a limit on the length of files (`ulimit -f`) a write beyond it sends
//! SIGXFSZ, which ends the process by default; a host that ignores or catches it gets a torrent that pauses and says why,
//! as on a full disk. The program `quelea` catches it.
#![forbid(unsafe_code)]

mod add;
mod arranging;
mod clock;
pub mod create;
mod descriptors;
pub mod dht;
mod driver;
mod entry;
mod error;
mod events;
mod limits;
mod link;
mod magnet;
pub mod mapping;
mod naming;
mod opening;
mod outbox;
mod outside;
mod publisher;
pub mod remembered;
mod session;
mod settings;
mod snapshot;
mod torrent;
pub mod verify;
pub mod web;
mod wishes;
mod worker;

/// What decides which torrents run, and how long they seed.
pub mod queue {
    pub use quelea_swarm::queue::{Goal, Goals, Limits, Move, Slow, Then};
}

pub use add::AddTorrent;
pub use arranging::{Moving, Recheck, RecheckProgress};
pub use driver::torrent::changes::Placement;
pub use error::{Error, Result};
pub use events::{Event, Events, TorrentId};
pub use limits::{AlternativeLimits, Limits, Period, Schedule, ScheduleError};
pub use magnet::{AddMagnet, FetchProgress, Fetched, Fetching, MagnetRequest};
pub use mapping::{PortMapping, PortMappingSettings};
pub use naming::{NameStyle, content_path};
pub use publisher::Publisher;
pub use quelea_discovery::filter::{BlockList, Filter};
pub use quelea_storage::{Existing, Relocating};
pub use quelea_swarm::choker::SeedChoking;
pub use quelea_swarm::picker::Priority;
pub use session::Session;
pub use settings::Settings;
pub use snapshot::{Scrape, Snapshot, State, SwarmSize, TrackerState, TrackerStatus, Waiting};
pub use torrent::Torrent;
