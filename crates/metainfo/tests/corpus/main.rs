//! The torrents and magnet links of the shared corpus, judged in-process by the rules of its checker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod magnets;
mod manifest;
mod shown;
mod torrents;
mod urls;
mod vectors;
