//! Containment in JSON, by the rules of jsonb's operator `@>` (PostgreSQL documentation, "jsonb Containment and
//! Existence"). Responses are judged before they are stored, and may hold what no jsonb can.

use serde_json::{Number, Value};

/// True if `value` contains `part`: objects by their fields, arrays whatever the order, numbers by their value.
pub fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        // Only at the top an array contains what is no array.
        (Value::Array(items), scalar) if is_scalar(scalar) => has_scalar(items, scalar),
        _ => contains_deep(value, part),
    }
}

fn contains_deep(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(all), Value::Object(some)) => {
            some.iter().all(|(name, part)| all.get(name).is_some_and(|value| contains_deep(value, part)))
        }
        (Value::Array(all), Value::Array(some)) => some.iter().all(|part| match is_scalar(part) {
            true => has_scalar(all, part),
            false => all.iter().any(|value| contains_deep(value, part)),
        }),
        (value, part) => is_scalar(part) && is_same(value, part),
    }
}

fn has_scalar(items: &[Value], scalar: &Value) -> bool {
    items.iter().any(|item| is_same(item, scalar))
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || Decimal::of(one).is_some_and(|one| Some(one) == Decimal::of(other))
        }
        (one, other) => one == other,
    }
}

/// A number of any precision, without zeros at its ends.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    /// Of ten, that the digits are multiplied by.
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent has no bounds.
    fn of(number: &Number) -> Option<Decimal> {
        let text = number.to_string();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let zeros = all.len() - digits.len();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Decimal { negative: false, digits: String::new(), exponent: 0 });
        }
        let shift = i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        Some(Decimal { negative, digits: digits.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_contained(value: &str, part: &str) -> bool {
        contains(&serde_json::from_str(value).unwrap(), &serde_json::from_str(part).unwrap())
    }

    #[test]
    fn containment_is_that_of_jsonb() {
        for (value, part) in [
            (r#"{"a":[1,{"b":2,"c":3}]}"#, r#"{"a":[{"b":2}]}"#),
            ("[1,2]", "2"),
            ("[[1,2]]", "[[2]]"),
            ("[1,2,2]", "[2,1,1]"),
            ("[]", "[]"),
            ("null", "null"),
        ] {
            assert!(is_contained(value, part), "{value} @> {part}");
        }
        for (value, part) in [
            ("[1,2]", "[3]"),
            (r#""ab""#, r#""a""#),
            (r#"{"a":[1]}"#, r#"{"a":1}"#),
            ("[[1]]", "1"),
            ("1", "[1]"),
            ("[1,2]", "[[1]]"),
            ("{}", "[]"),
            ("1", r#""1""#),
        ] {
            assert!(!is_contained(value, part), "{value} @> {part}");
        }
    }

    #[test]
    fn numbers_are_compared_by_their_value() {
        for (one, other) in [
            ("0", "0.0"),
            ("0", "-0e5"),
            ("1e2", "100"),
            ("1.50", "15E-1"),
            ("-0.001", "-1e-3"),
            ("123456789012345678901234567890.10", "123456789012345678901234567890.1"),
            ("1e999999", "10E+999998"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert!(is_contained(one, other) && is_contained(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("0.1", "0.10000000000000000000000000000001"),
            ("9007199254740993", "9007199254740992"),
            ("1e999999", "1e999998"),
        ] {
            assert!(!is_contained(one, other), "{one} {other}");
        }
    }
}
