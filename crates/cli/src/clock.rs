//! The program's one clock: how long things take, for its user.

use tokio::time::Instant;

/// This moment.
#[expect(clippy::disallowed_methods, reason = "the program is where time comes in")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
