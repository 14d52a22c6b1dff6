//! Limits of bandwidth, as a session and its torrents are told them.

use std::num::NonZeroU64;

/// Bytes a second each way; `None` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// What may be received.
    pub download: Option<NonZeroU64>,
    /// What may be sent.
    pub upload: Option<NonZeroU64>,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { download: None, upload: None };
}

/// Other limits at some times of the week, or when somebody turns them on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AlternativeLimits {
    /// What holds instead of the session's usual limits.
    pub limits: Limits,
    /// When it holds, in the system's time zone.
    pub schedule: Schedule,
}

impl AlternativeLimits {
    /// These limits at these times.
    pub fn new(limits: Limits, schedule: Schedule) -> Self {
        Self { limits, schedule }
    }
}

pub use quelea_swarm::limit::{Period, Schedule, ScheduleError};
