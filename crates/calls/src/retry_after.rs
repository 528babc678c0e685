//! The pause that a provider requests: `Retry-After` (RFC 9110, section 10.2.3), including common misspellings of its
//! value.

use std::time::{Duration, SystemTime};

/// Units that some providers add, in seconds.
const UNITS: &[(&[&str], f64)] = &[
    (&["ms", "msec", "millisecond", "milliseconds"], 0.001),
    (&["", "s", "sec", "secs", "second", "seconds"], 1.0),
    (&["m", "min", "mins", "minute", "minutes"], 60.0),
    (&["h", "hour", "hours"], 3600.0),
];

/// Other names for the time zone, which RFC 9110 calls `GMT`.
const ZONES: &[&str] = &["UTC", "UT", "+0000", "-0000", "+00:00"];

/// Parses a number, with or without a fraction or a unit, or a date. `None` if the value is ambiguous.
pub fn parse(value: &str) -> Option<Duration> {
    let text = value.trim().trim_matches(['"', '\'']).trim();
    number(text).or_else(|| date(text))
}

fn number(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, seconds) = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str()))?;
    let number: f64 = number.parse().ok()?;
    Some(Duration::try_from_secs_f64(number * seconds).unwrap_or(Duration::MAX))
}

fn date(text: &str) -> Option<Duration> {
    let in_zone = || {
        let zone = ZONES.iter().find(|zone| text.ends_with(**zone))?;
        httpdate::parse_http_date(&format!("{}GMT", text.strip_suffix(zone)?)).ok()
    };
    let until = httpdate::parse_http_date(text).ok().or_else(in_zone)?;
    Some(until.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, seconds) in [
            ("30", 30.0),
            (" 1 ", 1.0),
            ("0.5", 0.5),
            ("1.", 1.0),
            ("+2", 2.0),
            ("\"3\"", 3.0),
            ("4s", 4.0),
            ("5 seconds", 5.0),
            ("1500 ms", 1.5),
            ("2 Minutes", 120.0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!(parse(&"9".repeat(400)), Some(Duration::MAX));
    }

    #[test]
    fn dates() {
        let in_100_s = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        for text in [in_100_s.clone(), in_100_s.replace("GMT", "UTC"), in_100_s.replace("GMT", "+0000")] {
            let wait = parse(&text).unwrap();
            assert!(wait > Duration::from_secs(90) && wait <= Duration::from_secs(100), "{text}");
        }
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_not_clear() {
        for text in ["", "soon", "-1", "1e3", "inf", "nan", ".", "1.2.3", "5 fortnights", "1, 2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
