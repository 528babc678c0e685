//! Numbers as they are shown.

const MINUTE: f64 = 60_000.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// A number with its thousands separated.
pub fn integer(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut shown = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number with two or three significant digits.
pub fn short(number: f64) -> String {
    let size = number.abs();
    if size >= 1000.0 {
        return integer(number.round() as i64);
    }
    let decimals = if size >= 99.95 || size == 0.0 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.1 {
        2
    } else {
        4
    };
    let shown = format!("{number:.decimals$}");
    if decimals == 0 {
        return shown;
    }
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time in the unit that suits it.
pub fn duration(milliseconds: f64) -> String {
    let (unit, name) = match milliseconds {
        none if none <= 0.0 => (1.0, "ms"),
        small if small < 1.0 => (0.001, "µs"),
        small if small < 1000.0 => (1.0, "ms"),
        seconds if seconds < 2.0 * MINUTE => (1000.0, "s"),
        minutes if minutes < 2.0 * HOUR => (MINUTE, "min"),
        hours if hours < 2.0 * DAY => (HOUR, "h"),
        _ => (DAY, "d"),
    };
    format!("{} {name}", short(milliseconds / unit))
}

/// A part of a whole in percent; nothing if there is no whole.
pub fn percent(part: f64, whole: f64) -> Option<String> {
    (whole > 0.0).then(|| format!("{} %", short(part / whole * 100.0)))
}
