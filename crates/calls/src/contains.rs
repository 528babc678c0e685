//! Containment in JSON, by the rules of jsonb's operator `@>` (PostgreSQL documentation, "jsonb Containment and
//! Existence"). Responses are judged before they are stored, and may contain what jsonb cannot hold.

use serde_json::{Number, Value};
use std::collections::HashSet;

/// True if `value` contains `part`. Objects are compared by their fields, arrays regardless of order, and numbers by
/// value.
pub fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        // An array contains a scalar only at the top level.
        (Value::Array(items), scalar) if is_scalar(scalar) => has_scalar(items, scalar),
        _ => contains_deep(value, part),
    }
}

fn contains_deep(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(all), Value::Object(some)) => {
            some.iter().all(|(name, part)| all.get(name).is_some_and(|value| contains_deep(value, part)))
        }
        (Value::Array(all), Value::Array(some)) => {
            let (scalars, others): (Vec<_>, Vec<_>) = some.iter().partition(|part| is_scalar(part));
            let is_found = |part| all.iter().any(|value| contains_deep(value, part));
            has_scalars(all, &scalars) && others.into_iter().all(is_found)
        }
        (value, part) => is_scalar(part) && is_same(value, part),
    }
}

/// Visits each item and each scalar once, so that large arrays take linear time.
fn has_scalars(items: &[Value], scalars: &[&Value]) -> bool {
    match scalars {
        [] => true,
        [one] => has_scalar(items, one),
        many => {
            let mut missing: HashSet<_> = many.iter().copied().filter_map(Scalar::of).collect();
            for found in items.iter().filter_map(Scalar::of) {
                missing.remove(&found);
                if missing.is_empty() {
                    return true;
                }
            }
            false
        }
    }
}

fn has_scalar(items: &[Value], scalar: &Value) -> bool {
    let wanted = Scalar::of(scalar);
    wanted.is_some() && items.iter().any(|item| Scalar::of(item) == wanted)
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

fn is_same(one: &Value, other: &Value) -> bool {
    Scalar::of(one).is_some_and(|one| Some(one) == Scalar::of(other))
}

/// A value without elements. Two scalars are equal if they stand for the same value.
#[derive(PartialEq, Eq, Hash)]
enum Scalar<'a> {
    Null,
    Bool(bool),
    String(&'a str),
    /// Most numbers are integers, which need no [`Decimal`].
    Integer(i64),
    Decimal(Decimal),
    /// A number whose exponent is too large for computations.
    Unbounded(&'a Number),
}

impl Scalar<'_> {
    fn of(value: &Value) -> Option<Scalar<'_>> {
        Some(match value {
            Value::Null => Scalar::Null,
            Value::Bool(value) => Scalar::Bool(*value),
            Value::String(text) => Scalar::String(text),
            Value::Number(number) => Scalar::of_number(number),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    fn of_number(number: &Number) -> Scalar<'_> {
        if let Some(integer) = number.as_i64() {
            return Scalar::Integer(integer);
        }
        match Decimal::of(number) {
            Some(decimal) => decimal.integer().map_or(Scalar::Decimal(decimal), Scalar::Integer),
            None => Scalar::Unbounded(number),
        }
    }
}

/// A number of any precision, without leading and trailing zeros.
#[derive(PartialEq, Eq, Hash)]
struct Decimal {
    negative: bool,
    digits: String,
    /// The digits are multiplied by ten to this power.
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent is too large.
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

    /// The value as an integer, if it is one.
    fn integer(&self) -> Option<i64> {
        let factor = 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let size =
            if self.digits.is_empty() { 0 } else { self.digits.parse::<i128>().ok()?.checked_mul(factor)? };
        i64::try_from(if self.negative { -size } else { size }).ok()
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
            ("-9223372036854775808", "-9223372036854775808.0"),
            ("9223372036854775807", "922337203685477580.7e1"),
            ("9223372036854775808", "9223372036854775808.0"),
            ("[1.0, -2, 3e0]", "[1, -2.0, 3]"),
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

    #[test]
    fn each_number_of_a_long_response_is_read_once() {
        let list = |numbers: &mut dyn Iterator<Item = u32>, zeros: &str| {
            format!("[{}]", numbers.map(|n| format!("{n}.{zeros}")).collect::<Vec<_>>().join(","))
        };
        let response = list(&mut (0..200_000), "50");
        // A comparison pair by pair would take hours.
        assert!(is_contained(&response, &list(&mut (100_000..200_000), "5")));
        assert!(!is_contained(&response, &list(&mut (100_000..200_001), "5")));
    }
}
