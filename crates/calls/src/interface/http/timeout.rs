//! The time limit of a request.

use serde_json::Value;

/// Reads a number of seconds, or a text with a unit, as milliseconds.
pub fn millis(given: &Value) -> Result<u64, String> {
    let wrong =
        || "timeout has to be seconds as a number, or a text such as '500ms', '10s' or '2min'".to_owned();
    let millis = match given {
        Value::Number(seconds) => seconds.as_f64().map(|seconds| seconds * 1000.0),
        Value::String(text) => {
            let digits =
                text.trim().find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.trim().len());
            let (number, unit) = text.trim().split_at(digits);
            let unit = match unit.trim() {
                "ms" => 1.0,
                "" | "s" => 1000.0,
                "min" => 60_000.0,
                _ => return Err(wrong()),
            };
            number.parse::<f64>().ok().map(|number| number * unit)
        }
        _ => None,
    };
    millis.filter(|millis| *millis >= 1.0 && *millis < 1e9).map(|millis| millis as u64).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn timeouts() {
        for (given, expected) in
            [(json!(2), 2000), (json!(0.5), 500), (json!("250ms"), 250), (json!("2 min"), 120_000)]
        {
            assert_eq!(millis(&given), Ok(expected));
        }
    }
}
