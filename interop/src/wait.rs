//! Waiting for conditions.
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// More than any of the transfers needs on a slow and busy machine.
pub const LIMIT: Duration = Duration::from_secs(240);

/// How often a condition is asked for.
const PAUSE: Duration = Duration::from_millis(30);

/// Asks `probe` until it gives a value; an error after `limit`, or at once when the probe gives one.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if began.elapsed() > limit {
            bail!("after {} s still waiting: {what}", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, until};

    #[test]
    fn the_first_value_ends_the_wait() {
        let mut asked = 0;
        let value = until("a third time", Duration::from_secs(60), || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_limit_that_has_passed_is_an_error_that_names_the_condition() {
        let never = until::<()>("the moon to fall", Duration::ZERO, || Ok(None));
        assert!(never.unwrap_err().to_string().contains("the moon to fall"));
    }
}
