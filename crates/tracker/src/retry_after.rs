//! "Retry-After" (RFC 9110, section 10.2.3): how long a server wants to be left alone, in seconds or until a date.

use core::time::Duration;

use crate::response::MAX_INTERVAL;

/// The wait that the value of a "Retry-After" header asks for, at most [`MAX_INTERVAL`]. `now` is the moment at which
/// the answer was sent, in seconds since 1970: that of its "Date" header, if it has one.
pub fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    let seconds = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        value.parse().unwrap_or(u64::MAX)
    } else {
        http_date(value)?.saturating_sub(now)
    };
    Some(Duration::from_secs(seconds).min(MAX_INTERVAL))
}

/// A date of HTTP in seconds since 1970, in any of its three forms (RFC 9110, section 5.6.7).
///
/// "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT" and "Sun Nov  6 08:49:37 1994" have the day before
/// the year, and nothing else but the time has digits.
pub fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (mut day, mut year, mut month, mut time) = (None, None, None, None);
    for word in text.split([' ', ',', '-']).filter(|word| !word.is_empty()) {
        if let Some(at) = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            month = Some(u64::try_from(at).ok()? + 1);
        } else if word.contains(':') {
            time = Some(seconds_of_day(word)?);
        } else if word.starts_with(|first: char| first.is_ascii_digit()) {
            let number: u64 = word.parse().ok()?;
            if day.is_none() { day = Some(number) } else { year = Some(number) }
        }
    }
    let year = match year? {
        // Years of two digits are from a time before 2000, or from long after.
        year @ 0..70 => year + 2000,
        year @ 70..100 => year + 1900,
        year @ 1970..10_000 => year,
        _ => return None,
    };
    let (month, day) = (month?, day.filter(|day| (1..=31).contains(day))?);
    Some(days_since_1970(year, month, day) * 86_400 + time?)
}

fn seconds_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let is_time = parts.next().is_none() && hours < 24 && minutes < 60 && seconds <= 60;
    is_time.then_some(hours * 3600 + minutes * 60 + seconds)
}

/// By the Gregorian calendar, for a `year` of 1970 or later, with `month` and `day` counted from 1.
const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have the leap day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days_before_month = (153 * month + 2) / 5;
    let days_before_year = year * 365 + year / 4 - year / 100 + year / 400;
    // 719,468 days lie between the first of March of year 0 and 1970.
    (days_before_year + days_before_month + day - 1).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_all_three_forms() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(http_date(text), Some(784_111_777), "{text}");
        }
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Mon, 30 Nov 2026 20:10:14 GMT", 1_796_069_414),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(http_date(text), Some(seconds), "{text}");
        }
        for text in ["", "tomorrow", "06 Nov 1994", "Sun, 32 Nov 1994 08:49:37 GMT", "1 Jan 1969 0:0:0"] {
            assert_eq!(http_date(text), None, "{text}");
        }
        assert_eq!(http_date("06 Nov 1994 24:00:00"), None);
        assert_eq!(http_date("06 Nov 99999999999999999999 08:49:37"), None);
    }

    #[test]
    fn waits_are_seconds_or_dates_and_bounded() {
        for (value, wait) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 2094 08:49:37 GMT", Some(86_400)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, 784_111_740), wait.map(Duration::from_secs), "{value}");
        }
    }
}
