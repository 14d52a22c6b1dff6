//! What the queue knows of one torrent.

use super::lines::Spot;
use super::order::Rank;
use super::{Figures, Goal, Goals, Limits, Newcomer, Slow, Stage, Then};
use core::time::Duration;
use quelea_time::Time;

/// How one stands that would run if there were room, and is not forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    Waiting,
    Counted,
    Beside,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) rank: Rank,
    pub(super) stage: Stage,
    pub(super) paused: bool,
    pub(super) failed: bool,
    pub(super) forced: bool,
    /// Whether it runs.
    pub(super) active: bool,
    /// Whether the driver was told that it does.
    pub(super) told: bool,
    /// Whether it takes a place of the limit.
    pub(super) counted: bool,
    /// Whether it waits until its data may be hashed.
    pub(super) wants_check: bool,
    pub(super) goals: Option<Goals>,
    /// Whether a person let it go on although it has met its goal.
    pub(super) waived: bool,
    /// Since when it has been slow.
    pub(super) slow_since: Time,
    /// When it last sent anything, or began to seed.
    sent: Time,
    /// How long it seeded before `seeding`.
    seeded: Duration,
    /// Since when it has been seeding.
    seeding: Option<Time>,
    uploaded: u64,
    size: u64,
}

impl Row {
    pub(super) fn new(now: Time, newcomer: Newcomer, rank: Rank) -> Self {
        let Newcomer { to: _, paused, forced, stage, goals, waived, uploaded, size, seeded } = newcomer;
        Self {
            rank,
            stage,
            paused,
            failed: false,
            forced,
            active: false,
            told: false,
            counted: false,
            wants_check: false,
            goals,
            waived,
            slow_since: now,
            sent: now,
            seeded,
            seeding: None,
            uploaded,
            size,
        }
    }

    /// Whether it would run if there were room.
    pub(super) fn wishes(&self) -> bool {
        !self.paused && !self.failed
    }

    /// Where it stands in the lines.
    pub(super) fn spot(&self, limits: &Limits, usual: &Goals) -> Spot {
        let stands = match (self.active, self.counted) {
            (false, _) => Stands::Waiting,
            (true, true) => Stands::Counted,
            (true, false) => Stands::Beside,
        };
        Spot {
            rank: self.rank,
            stands: (self.wishes() && !self.forced).then_some((self.stage, stands)),
            check: (self.wants_check && self.active).then_some(self.forced),
            unheeded: (self.forced || !self.wishes()) && (self.active != self.wishes() || self.counted),
            untold: self.told != self.active,
            due: self.due(limits, usual),
        }
    }

    /// When it is to be looked at, unless something happens before.
    fn due(&self, limits: &Limits, usual: &Goals) -> Option<Time> {
        if !self.active {
            return None;
        }
        let limited = limits.of(self.stage).is_some();
        let slow = limits.slow.filter(|_| limited && self.counted);
        let slow = slow.map(|slow| self.slow_since + slow.after);
        [slow, self.goal_due(usual)].into_iter().flatten().min()
    }

    /// It takes a place.
    pub(super) fn run(&mut self, now: Time) {
        self.active = true;
        self.counted = true;
        self.slow_since = now;
    }

    /// It gives its place up.
    pub(super) fn stop(&mut self) {
        self.active = false;
        self.counted = false;
    }

    /// Its time begins to count.
    pub(super) fn begin(&mut self, now: Time) {
        self.slow_since = now;
        if self.active && self.stage == Stage::Seeding && self.seeding.is_none() {
            self.seeding = Some(now);
            self.sent = now;
        }
    }

    /// Its time counts no more.
    pub(super) fn settle(&mut self, now: Time) {
        self.seeded = self.seeded(now);
        self.seeding = None;
    }

    pub(super) fn seeded(&self, now: Time) -> Duration {
        self.seeded + self.seeding.map_or(Duration::ZERO, |since| now.since(since))
    }

    pub(super) fn take_figures(&mut self, now: Time, figures: Figures, slow: Option<Slow>) {
        let rate = match self.stage {
            Stage::Downloading => figures.download_rate,
            Stage::Seeding => figures.upload_rate,
        };
        if slow.is_none_or(|slow| rate >= slow.rate) {
            self.slow_since = now;
        }
        if figures.uploaded > self.uploaded {
            self.sent = now;
        }
        self.uploaded = figures.uploaded;
        self.size = figures.size;
    }

    pub(super) fn is_slow(&self, now: Time, slow: Option<Slow>) -> bool {
        slow.is_some_and(|slow| self.slow_since + slow.after <= now)
    }

    fn goals<'a>(&'a self, usual: &'a Goals) -> Option<(&'a Goals, Time)> {
        let since = self.seeding.filter(|_| !self.waived)?;
        Some((self.goals.as_ref().unwrap_or(usual), since))
    }

    /// When it will have reached a goal, unless something happens before.
    fn goal_due(&self, usual: &Goals) -> Option<Time> {
        let (goals, since) = self.goals(usual)?;
        let time = goals.seed_time.map(|goal| since + goal.saturating_sub(self.seeded));
        let idle = goals.idle.map(|goal| self.sent + goal);
        let ratio = self.has_ratio(goals).then_some(since);
        [ratio, time, idle].into_iter().flatten().min()
    }

    /// The goal that it has reached, and what follows.
    pub(super) fn goal_reached(&self, now: Time, usual: &Goals) -> Option<(Goal, Then)> {
        let (goals, _) = self.goals(usual)?;
        let goal = if self.has_ratio(goals) {
            Goal::Ratio
        } else if goals.seed_time.is_some_and(|goal| self.seeded(now) >= goal) {
            Goal::SeedTime
        } else if goals.idle.is_some_and(|goal| now.since(self.sent) >= goal) {
            Goal::Idle
        } else {
            return None;
        };
        Some((goal, goals.then))
    }

    /// Whether it has met a goal that does not go by what happens next.
    pub(super) fn has_met(&self, usual: &Goals) -> bool {
        let goals = self.goals.as_ref().unwrap_or(usual);
        self.has_ratio(goals) || goals.seed_time.is_some_and(|goal| self.seeded >= goal)
    }

    fn has_ratio(&self, goals: &Goals) -> bool {
        goals.ratio.is_some_and(|ratio| self.uploaded as f64 >= ratio * self.size as f64)
    }
}
