//! Which limits hold for the session: the usual ones, or others by the week's schedule or by hand.

use super::{Inner, Session};
use crate::limits::{AlternativeLimits, Limits};
use quelea_swarm::limit::{Minute, Tree};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often the schedule is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The limits that a session was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    usual: Limits,
    alternative: Option<AlternativeLimits>,
    /// What somebody turned on or off, until the schedule next changes.
    by_hand: Option<bool>,
    scheduled: bool,
}

impl Told {
    pub(super) fn new(usual: Limits, alternative: Option<AlternativeLimits>) -> Mutex<Self> {
        Mutex::new(Self { usual, alternative, by_hand: None, scheduled: false })
    }

    fn is_alternative(&self) -> bool {
        self.alternative.is_some() && self.by_hand.unwrap_or(self.scheduled)
    }

    fn holding(&self) -> Limits {
        match &self.alternative {
            Some(alternative) if self.is_alternative() => alternative.limits,
            Some(_) | None => self.usual,
        }
    }

    /// The schedule says something else than a moment ago: what was turned on or off by hand is over.
    fn schedule(&mut self, minute: Minute) {
        let scheduled = self.alternative.as_ref().is_some_and(|other| other.schedule.contains(minute));
        if scheduled != self.scheduled {
            self.scheduled = scheduled;
            self.by_hand = None;
        }
    }
}

impl Session {
    /// The session's usual limits.
    pub fn limits(&self) -> Limits {
        self.told().usual
    }

    /// Sets the session's usual limits; they hold at once, unless other ones do.
    pub async fn set_limits(&self, limits: Limits) {
        self.told().usual = limits;
        self.inner.apply_limits();
        self.tell_limited().await;
    }

    /// Sets the other limits and when they hold; `None` for never.
    pub async fn set_alternative_limits(&self, alternative: Option<AlternativeLimits>) {
        {
            let mut told = self.told();
            told.alternative = alternative;
            told.schedule(this_minute());
        }
        self.inner.apply_limits();
        self.tell_limited().await;
    }

    /// Turns the other limits on or off, until the schedule next says something else.
    pub async fn use_alternative_limits(&self, on: bool) {
        self.told().by_hand = Some(on);
        self.inner.apply_limits();
        self.tell_limited().await;
    }

    /// Whether the other limits hold.
    pub fn uses_alternative_limits(&self) -> bool {
        self.told().is_alternative()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.inner.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every torrent whether its downloads are limited.
    pub(super) async fn tell_limited(&self) {
        for entry in self.entries() {
            entry.tell_limited(&self.inner.limiter).await;
        }
    }
}

impl Inner {
    fn apply_limits(&self) {
        let limits = self.told.lock().unwrap_or_else(PoisonError::into_inner).holding();
        self.limiter.set(Tree::ROOT, limits);
    }
}

/// Looks at the schedule as long as the session lives.
pub(super) async fn follow_schedule(session: Weak<Inner>) {
    while let Some(inner) = session.upgrade() {
        let before = inner.told.lock().unwrap_or_else(PoisonError::into_inner).holding();
        inner.told.lock().unwrap_or_else(PoisonError::into_inner).schedule(this_minute());
        let after = inner.told.lock().unwrap_or_else(PoisonError::into_inner).holding();
        if before != after {
            tracing::info!(download = ?after.download, upload = ?after.upload, "other limits hold from here on");
            inner.apply_limits();
            Session { inner: Arc::clone(&inner) }.tell_limited().await;
        }
        drop(inner);
        tokio::time::sleep(LOOK).await;
    }
}

/// The minute of the week in the system's time zone.
fn this_minute() -> Minute {
    let now = jiff::ZonedDateTime::now();
    let day = now.weekday().to_monday_zero_offset().unsigned_abs();
    Minute::new(day, now.hour().unsigned_abs(), now.minute().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn the_schedule_rules_and_a_hand_holds_until_it_next_changes() {
        let slow = Limits { download: NonZeroU64::new(1_000), upload: None };
        let alternative = AlternativeLimits::new(slow, "mon 08:00-18:00".parse().unwrap());
        let told = Told::new(Limits::NONE, Some(alternative));
        let mut told = told.into_inner().unwrap();
        told.schedule(Minute::new(0, 7, 59));
        assert_eq!(told.holding(), Limits::NONE);
        told.schedule(Minute::new(0, 8, 0));
        assert_eq!(told.holding(), slow);
        told.by_hand = Some(false);
        told.schedule(Minute::new(0, 12, 0));
        assert_eq!(told.holding(), Limits::NONE);
        told.schedule(Minute::new(0, 18, 0));
        told.schedule(Minute::new(0, 8, 0));
        assert_eq!(told.holding(), slow);
    }
}
