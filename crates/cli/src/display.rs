//! Figures and foreign text for a person: bytes, rates, lengths of time, dates, and names made harmless.

use console::measure_text_width;
use std::time::Duration;

/// Bytes with a binary unit and three or four significant digits: `999 B`, `45.1 MiB`, `16 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        // What would round to 1024 of this unit is one of the next.
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    // One decimal below 100, as the value will be printed; none above, nor where the value is whole.
    if value < 99.95 && value.fract() != 0.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// Bytes a second: `45.1 MiB/s`.
pub(crate) fn rate(per_second: u64) -> String {
    format!("{}/s", bytes(per_second))
}

/// A length of time in its two largest units: `42s`, `3m 12s`, `5h 08m`, `12d 3h`; at most 7 characters.
pub(crate) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days >= 1000 {
        ">999d".to_owned()
    } else if days >= 100 {
        format!("{days}d")
    } else if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// A share from 0 to 1 as a percentage that says 100 only when all is there: `43.2%`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if part >= whole {
        return "100%".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// A moment, in seconds since 1970, as its date in UTC: `2017-06-14`.
pub(crate) fn date(unix: i64) -> String {
    // Days are counted from 1 March of year 0, so that a leap day is the last of its year.
    let days = unix.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `one` of them, or the number and the plural.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// Foreign text that cannot steer a terminal or deceive its reader, on one line.
pub(crate) use quelea_metainfo::path::clean_text as clean;

/// `text` without the numbers that the operating system's errors carry: ` (os error 111)`.
pub(crate) fn plain(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => out.push_str(rest),
            Some(_) | None => {
                out.push_str(" (os error ");
                out.push_str(part);
            }
        }
    }
    out
}

/// The columns that plain text takes. Terminals differ about sequences that fonts draw as one sign, and most count each
/// character; [`steady`] takes such sequences away.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(char: char) -> usize {
    if char.is_ascii() {
        return usize::from(!char.is_ascii_control());
    }
    measure_text_width(char.encode_utf8(&mut [0; 4]))
}

/// `text` without what has another width from terminal to terminal: of an emoji that is joined from several (👩‍🚀) the
/// first is left, without its variant and its skin tone.
pub(crate) fn steady(text: &str) -> String {
    const JOINER: char = '\u{200d}';
    let is_modifier = |char: char| matches!(char, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == JOINER {
            // In scripts that join letters it is nothing to see; between emoji it takes the next one in.
            let wide = chars.peek().is_some_and(|next| columns_of(*next) == 2 || is_pictograph(*next));
            if wide {
                chars.next();
            }
        } else if !is_modifier(char) {
            out.push(char);
        }
    }
    out
}

/// Narrow signs that joined emoji end with: ♀, ♂, ⚕, ❤ and their like.
fn is_pictograph(char: char) -> bool {
    matches!(char, '\u{2190}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}')
}

/// Plain `text` cut to `width` columns, the last of which is then an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut taken = 0;
    let fits = |char: &char| {
        taken += columns_of(*char);
        taken <= room
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Plain `text` cut or padded to exactly `width` columns.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let mut text = cut(text, width);
    let missing = width.saturating_sub(columns(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_have_the_unit_that_keeps_them_short() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (102_348, "99.9 KiB"),
            (102_349, "100 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (47_290_777, "45.1 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(47_290_777), "45.1 MiB/s");
    }

    #[test]
    fn time_is_told_in_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 00s"),
            (192, "3m 12s"),
            (3_600, "1h 00m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (u64::MAX, ">999d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_percentage_says_hundred_only_when_all_is_there() {
        assert_eq!(percent(999_999, 1_000_000), "99.9%");
        assert_eq!(percent(1_000_000, 1_000_000), "100%");
        assert_eq!(percent(0, 0), "100%");
        assert_eq!(percent(0, 1), "0.0%");
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99.9%");
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_497_468_757, "2017-06-14"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(unix), text);
        }
    }

    #[test]
    fn harmful_characters_are_replaced_and_others_kept() {
        assert_eq!(clean("a\x1b[31m\nb\u{9b}c\u{202e}d"), "a_[31m_b_c_d");
        assert_eq!(clean("日本 – Ünïcödé 👩‍🚀"), "日本 – Ünïcödé 👩‍🚀");
    }

    #[test]
    fn error_numbers_are_left_out_wherever_they_stand() {
        assert_eq!(plain("refused (os error 111)"), "refused");
        assert_eq!(plain("a (os error 2); b (os error 13)!"), "a; b!");
        assert_eq!(plain("a (os error x) b (os error "), "a (os error x) b (os error ");
    }

    #[test]
    fn wide_characters_are_cut_by_their_width() {
        assert_eq!(cut("日本語の名前", 7), "日本語…");
        assert_eq!(fit("日本語の名前", 6), "日本… ");
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn joined_emoji_have_the_width_of_their_first() {
        for (text, shown, width) in [
            ("a 👩\u{200d}🚀 b", "a 👩 b", 6),
            ("👨\u{200d}👩\u{200d}👧\u{200d}👦", "👨", 2),
            ("🤷🏽\u{200d}♀\u{fe0f}", "🤷", 2),
            ("❤\u{fe0f}x", "❤x", 2),
            ("日本", "日本", 4),
            ("می\u{200c}خواهم", "می\u{200c}خواهم", 7),
            ("e\u{301}", "e\u{301}", 1),
        ] {
            assert_eq!(steady(text), shown);
            assert_eq!(columns(&steady(text)), width, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_steady_text_is_as_wide_as_its_characters(text in "[a👩🚀❤♀é日🏽\u{200d}\u{fe0f}]{0,12}") {
            let steady = steady(&text);
            let left = ['\u{200d}', '\u{fe0f}', '🏽'].into_iter().find(|char| steady.contains(*char));
            prop_assert_eq!(left, None);
            prop_assert_eq!(columns(&steady), measure_text_width(&steady));
        }

        #[test]
        fn bytes_are_never_longer_than_eight_characters(count: u64) {
            prop_assert!(bytes(count).len() <= 8, "{}", bytes(count));
        }

        #[test]
        fn fit_is_exact_for_clean_text(text in "\\PC{0,40}", width in 0usize..60) {
            prop_assert_eq!(columns(&fit(&clean(&text), width)), width);
        }
    }
}
