//! When a torrent has seeded enough.

use core::time::Duration;

/// What a torrent seeds for; `None` for as long as it may. The first goal that is reached counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Goals {
    /// Payload sent, as a multiple of the wanted bytes.
    pub ratio: Option<f64>,
    /// Time spent seeding, in this and all earlier sessions.
    pub seed_time: Option<Duration>,
    /// Time in which nothing was sent.
    pub idle: Option<Duration>,
    /// What follows.
    pub then: Then,
}

/// What follows when a torrent has reached its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// It is paused.
    #[default]
    Pause,
    /// It leaves the session; its files stay.
    Remove,
    /// It leaves the session, and its files go.
    RemoveWithData,
}

/// A goal of seeding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It has given as much as it should.
    Ratio,
    /// It has seeded for as long as it should.
    SeedTime,
    /// Nobody has wanted anything for as long as it should wait.
    Idle,
}
