//! The one clock of a session. Everything below gets its moments from here, as arguments.

use quelea_time::Time;
use std::time::{Instant, SystemTime};

/// The seconds since 1970 by the machine's clock, which may be wrong: for what strangers date.
#[expect(clippy::disallowed_methods, reason = "dates of strangers are compared with the machine's")]
pub(crate) fn since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A clock that began with the session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// The moment it is.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The moment `time` as the runtime's timers want it.
    fn instant(&self, time: Time) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began + time.since(Time::ZERO))
    }

    /// Waits until `due`; for ever when nothing is.
    pub(crate) async fn sleep_until(&self, due: Option<Time>) {
        match due {
            Some(due) => tokio::time::sleep_until(self.instant(due)).await,
            None => std::future::pending().await,
        }
    }
}
