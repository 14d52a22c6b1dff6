//! When in the week other limits hold. The moment of the week is an argument, in whatever zone its owner lives.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A minute of the week, counted from Monday 0:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

impl Minute {
    /// A day (0 is Monday), an hour and a minute; each wraps round.
    pub const fn new(day: u8, hour: u8, minute: u8) -> Self {
        let minutes = (day as u32 * DAY as u32 + hour as u32 * 60 + minute as u32) % WEEK as u32;
        Self(minutes as u16)
    }
}

/// A time of day on some days of the week. One that ends before it begins ends on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The days on which it begins; the first is Monday.
    pub days: [bool; 7],
    /// The minute of the day at which it begins, below 1440.
    pub from: u16,
    /// The minute of the day at which it ends, 1440 at most.
    pub to: u16,
}

impl Period {
    fn contains(&self, minute: Minute) -> bool {
        let begins = (0..7_u16).filter(|&day| self.days[usize::from(day)]);
        let length = if self.to > self.from { self.to - self.from } else { self.to + DAY - self.from };
        begins.map(|day| day * DAY + self.from).any(|begin| (minute.0 + WEEK - begin) % WEEK < length)
    }
}

/// Periods of the week; none for never.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// They may overlap.
    pub periods: Vec<Period>,
}

impl Schedule {
    /// Whether this minute is in one of the periods.
    pub fn contains(&self, minute: Minute) -> bool {
        self.periods.iter().any(|period| period.contains(minute))
    }
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleError;

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a schedule: write 22:00-06:00, mon-fri 08:00-18:00 or sat,sun 00:00-24:00")
    }
}

impl core::error::Error for ScheduleError {}

impl FromStr for Schedule {
    type Err = ScheduleError;

    /// Periods between semicolons: days, which may be left out for all of them, and a time of day:
    /// `mon-fri 08:00-18:00; sat,sun 00:00-24:00`.
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let periods = parts.map(period).collect::<Option<Vec<_>>>().ok_or(ScheduleError)?;
        if periods.is_empty() { Err(ScheduleError) } else { Ok(Self { periods }) }
    }
}

fn period(text: &str) -> Option<Period> {
    let (days, times) = text.rsplit_once(char::is_whitespace).unwrap_or(("", text));
    let (from, to) = times.split_once('-')?;
    let (from, to) = (time(from)?, time(to)?);
    if from >= DAY || from == to {
        return None;
    }
    Some(Period { days: days_in(days)?, from, to })
}

fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !two(hour) || !two(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

fn days_in(text: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    if text.trim().is_empty() {
        return Some([true; 7]);
    }
    for part in text.split(',') {
        let day = |name: &str| DAYS.iter().position(|day| name.trim().eq_ignore_ascii_case(day));
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        let mut at = first;
        loop {
            days[at] = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(schedule: &str, day: u8, hour: u8, minute: u8) -> bool {
        schedule.parse::<Schedule>().unwrap().contains(Minute::new(day, hour, minute))
    }

    #[test]
    fn a_period_holds_from_its_first_minute_to_before_its_last() {
        let work = "mon-fri 08:00-18:00";
        assert!(holds(work, 0, 8, 0) && holds(work, 4, 17, 59));
        assert!(!holds(work, 0, 7, 59) && !holds(work, 0, 18, 0) && !holds(work, 5, 12, 0));
    }

    #[test]
    fn a_night_ends_on_the_next_day_and_a_sunday_night_on_monday() {
        let night = "22:00-06:00";
        assert!(holds(night, 2, 23, 0) && holds(night, 3, 5, 59) && !holds(night, 3, 6, 0));
        let sunday = "sun 22:00-06:00";
        assert!(holds(sunday, 6, 22, 0) && holds(sunday, 0, 5, 59));
        assert!(!holds(sunday, 6, 5, 0) && !holds(sunday, 1, 5, 0));
    }

    #[test]
    fn days_may_be_listed_and_go_round_the_week() {
        let free = "sat,sun 00:00-24:00; fri 18:00-24:00";
        assert!(holds(free, 5, 0, 0) && holds(free, 6, 23, 59) && holds(free, 4, 18, 0));
        assert!(!holds(free, 4, 17, 0) && !holds(free, 0, 0, 0));
        assert!(holds("fri-mon 12:00-13:00", 0, 12, 30) && !holds("fri-mon 12:00-13:00", 2, 12, 30));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", ";", "08:00", "8:00-9:00", "24:00-25:00", "08:00-08:00", "day 08:00-09:00", "08:61-09:00"]
        {
            assert_eq!(text.parse::<Schedule>(), Err(ScheduleError), "{text}");
        }
    }
}
