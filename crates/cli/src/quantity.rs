//! Quantities as people write them: sizes, lengths of time, ratios.

use std::num::NonZeroU64;
use std::time::Duration;

/// The least memory that a download is given.
const LEAST_MEMORY: u64 = 1 << 20;
/// The least rate that is a limit: below it a connection would seem dead to its peer.
const LEAST_RATE: u64 = 1 << 10;

/// Bytes with a binary suffix or none: `65536`, `64M`, `1.5G`, `512 KiB`.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("not a size: write 64M, 512K or 1G".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "not a size: write 64M, 512K or 1G".to_owned())?;
    let bytes = number * (1u64 << shift) as f64;
    if bytes < LEAST_MEMORY as f64 {
        return Err("too little: at least 1M".to_owned());
    }
    // Casting saturates, far above any machine's memory.
    Ok(bytes as u64)
}

/// Bytes a second; `None` for no limit.
pub(crate) type Rate = Option<NonZeroU64>;

/// Bytes a second with a binary suffix or none: `500K`, `2.5M`; 0 for no limit.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let text = text.trim();
    let unreadable = || "not a rate: write 500K or 2.5M, in bytes a second".to_owned();
    let number = text.strip_suffix("/s").unwrap_or(text);
    let digits = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, unit) = number.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(unreadable()),
    };
    let number: f64 = number.parse().map_err(|_| unreadable())?;
    // Casting saturates, far above any network.
    let bytes = (number * (1u64 << shift) as f64) as u64;
    if number > 0.0 && bytes < LEAST_RATE {
        return Err("too little: at least 1K, or 0 for no limit".to_owned());
    }
    Ok(NonZeroU64::new(bytes))
}

/// A length of time in units from seconds to weeks: `90s`, `45m`, `1h30m`, `1d 12h`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let unreadable = || "not a length of time: write 90s, 45m, 12h or 1d 6h".to_owned();
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(total);
    }
    if rest.is_empty() {
        return Err(unreadable());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(unreadable)?;
        let (number, more) = rest.split_at(digits);
        let mut letters = more.chars();
        let unit = match letters.next().map(|unit| unit.to_ascii_lowercase()) {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) | None => return Err(unreadable()),
        };
        let number: u64 = number.parse().map_err(|_| unreadable())?;
        total = total.saturating_add(Duration::from_secs(number.saturating_mul(unit)));
        rest = letters.as_str().trim_start();
    }
    Ok(total)
}

/// A length of time that is not none: see [`span`].
pub(crate) fn positive_span(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err("must be longer than nothing: write 90s, 45m, 12h or 1d 6h".to_owned()),
        span => Ok(span),
    }
}

/// A finite number that is not negative: `1`, `1.5`, `0.25`.
pub(crate) fn ratio(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(ratio) if ratio.is_finite() && ratio >= 0.0 => Ok(ratio),
        Ok(_) | Err(_) => Err("not a ratio: write 1 or 1.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_binary_and_may_have_a_unit() {
        for (text, bytes) in [
            ("1048576", 1 << 20),
            ("64M", 64 << 20),
            ("2048k", 2 << 20),
            ("1.5G", 3 << 29),
            ("16 MiB", 16 << 20),
            ("1gb", 1 << 30),
        ] {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "64X", "-1M", "1023K", "0", "nan", "1.2.3M", "64M 1", "inf"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_add_up() {
        for (text, seconds) in
            [("90s", 90), ("45m", 2_700), ("1h30m", 5_400), ("1d 6H", 108_000), ("2w", 1_209_600), ("0", 0)]
        {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "h", "1.5h", "-1h", "1y", "1h 30", "é"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ratios_are_numbers_from_zero() {
        assert_eq!(ratio("1.5"), Ok(1.5));
        assert_eq!(ratio("0"), Ok(0.0));
        for text in ["", "-1", "nan", "inf", "1,5", "x"] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_binary_and_zero_is_no_limit() {
        for (text, bytes) in [("500K", 500 << 10), ("2.5M", 5 << 19), ("8 MiB/s", 8 << 20), ("65536", 65_536)]
        {
            assert_eq!(rate(text), Ok(NonZeroU64::new(bytes)), "{text}");
        }
        assert_eq!(rate("0"), Ok(None));
        for text in ["", "fast", "-1", "10", "1X"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            let _ = (memory(&text), span(&text), ratio(&text));
        }
    }
}
