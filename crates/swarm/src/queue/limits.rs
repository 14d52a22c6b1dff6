//! How many torrents run at a time.

use super::Stage;
use core::time::Duration;

/// When a torrent does not count against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// Slower than so many bytes a second.
    pub rate: u64,
    /// For so long.
    pub after: Duration,
    /// Torrents of one stage that run, those that do not count included.
    pub at_most: usize,
}

/// How many torrents run; `None` for as many as there are. Forced ones run beside these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Torrents that download.
    pub downloads: Option<usize>,
    /// Torrents that seed.
    pub seeds: Option<usize>,
    /// Torrents whose data are hashed at a time; one at least.
    pub checks: usize,
    /// Whether slow ones count, and what is slow.
    pub slow: Option<Slow>,
}

impl Limits {
    pub(super) fn of(&self, stage: Stage) -> Option<usize> {
        match stage {
            Stage::Downloading => self.downloads,
            Stage::Seeding => self.seeds,
        }
    }
}
