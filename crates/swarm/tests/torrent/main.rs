//! One torrent's machine, told what its peers say: what it answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod bench;
mod changes;
mod crowds;
mod exchange;
mod face;
mod holdings;
mod metadata;
mod network;
mod nodes;
mod requests;
mod room;
mod slots;
mod super_seeding;
mod verdicts;
mod wishes;
