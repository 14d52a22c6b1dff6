//! Options that say how many torrents are downloaded at a time, and how fast at which time of the week.

use crate::quantity::{self, Rate};
use clap::Args;
use quelea::{AlternativeLimits, Limits, Schedule};

/// How many at a time, and how fast when.
#[derive(Debug, Args)]
pub(crate) struct Turns {
    /// Download at most this many torrents at a time; 0 for all
    ///
    /// The others wait for their turn, in the order in which they are given. One that moves next to nothing for a minute
    /// does not hold up the next.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    #[arg(env = "QUELEA_MAX_ACTIVE", hide_env = true, help_heading = "Limits")]
    pub(crate) max_active: u16,

    /// At these times of the week, other limits: 'mon-fri 08:00-18:00 = 500K/50K'
    ///
    /// The first rate is for receiving, the second for sending, 0 for no limit; one alone is for both. Several times
    /// stand between semicolons: '22:00-06:00; sat,sun 00:00-24:00 = 0'. Without days it is every day; times are those of
    /// this machine's time zone. At other times --max-download and --max-upload hold.
    #[arg(long, value_name = "TIMES=RATES", env = "QUELEA_SCHEDULE", hide_env = true, value_parser = scheduled)]
    #[arg(help_heading = "Limits")]
    pub(crate) schedule: Option<Scheduled>,
}

/// Limits for some times of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheduled {
    times: Schedule,
    download: Rate,
    upload: Rate,
}

impl From<&Scheduled> for AlternativeLimits {
    fn from(scheduled: &Scheduled) -> Self {
        let limits = Limits { download: scheduled.download, upload: scheduled.upload };
        Self::new(limits, scheduled.times.clone())
    }
}

fn scheduled(text: &str) -> Result<Scheduled, String> {
    let (times, rates) = text
        .rsplit_once('=')
        .ok_or("not times and rates: write 'mon-fri 08:00-18:00 = 500K/50K' or '22:00-06:00 = 0'")?;
    let times = times.parse().map_err(|error: quelea::ScheduleError| error.to_string())?;
    let (download, upload) = rates.split_once('/').unwrap_or((rates, rates));
    Ok(Scheduled { times, download: quantity::rate(download)?, upload: quantity::rate(upload)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn a_schedule_has_times_and_one_rate_or_two() {
        let both = scheduled("22:00-06:00 = 1M").unwrap();
        assert_eq!((both.download, both.upload), (NonZeroU64::new(1 << 20), NonZeroU64::new(1 << 20)));
        let each = scheduled("mon-fri 08:00-18:00; sat 10:00-12:00=500K/0").unwrap();
        assert_eq!((each.download, each.upload), (NonZeroU64::new(500 << 10), None));
        assert_eq!(each.times.periods.len(), 2);
        for text in ["", "500K", "22:00-06:00", "22:00-06:00=", "=500K", "soon=500K", "22:00-06:00=1/2/3"] {
            assert!(scheduled(text).is_err(), "{text}");
        }
    }
}
