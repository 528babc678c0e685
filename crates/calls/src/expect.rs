//! Conditions for success: `{"status": …, "body": …}`.

use crate::contains::contains;
use crate::fields;
use crate::json;
use serde_json::Value;

/// The deepest nesting. A stored request contains the condition two levels deep, and must remain readable.
const MAX_DEPTH: usize = json::MAX_DEPTH - 3;

const FIELDS: &[&str] = &["status", "body"];

/// Checks a condition.
///
/// # Errors
/// If it is invalid; the message states what is wrong.
pub fn check(expect: &Value) -> Result<(), String> {
    if json::is_deeper(expect, MAX_DEPTH) {
        return Err(format!("expect is nested too deeply: {MAX_DEPTH} levels are allowed"));
    }
    let Value::Object(fields) = expect else { return check_status(expect) };
    fields::check("expect", fields, FIELDS, &[])?;
    fields.get("status").map_or(Ok(()), check_status)
}

fn check_status(status: &Value) -> Result<(), String> {
    let all = status.as_array().map_or(std::slice::from_ref(status), Vec::as_slice);
    if !all.is_empty() && all.iter().all(|one| range(one).is_some()) {
        return Ok(());
    }
    Err("expect has to be a status such as 200, \"2xx\" or \"200-204\", an array of them, or an object of status and body".into())
}

/// True if a response meets the condition. Without a condition, its status has to be 2xx.
pub fn is_met(expect: Option<&Value>, status: u16, body: &Value) -> bool {
    let expected_body = expect.and_then(|expect| expect.get("body"));
    let expected_status = match expect {
        Some(Value::Object(fields)) => fields.get("status"),
        other => other,
    };
    let status_fits = match expected_status {
        None => (200..300).contains(&status),
        Some(Value::Array(all)) => all.iter().filter_map(range).any(|range| range.contains(&status)),
        Some(one) => range(one).is_some_and(|range| range.contains(&status)),
    };
    status_fits && expected_body.is_none_or(|expected| contains(body, expected))
}

fn range(status: &Value) -> Option<std::ops::RangeInclusive<u16>> {
    if let Some(number) = status.as_u64() {
        let number = u16::try_from(number).ok().filter(|number| (100..600).contains(number))?;
        return Some(number..=number);
    }
    let text = status.as_str()?;
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (100 <= from && from <= to && to < 600).then_some(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions() {
        for (expect, status, met) in [
            (json!(204), 204, true),
            (json!(204), 200, false),
            (json!("2xx"), 299, true),
            (json!("200-204"), 205, false),
            (json!([404, "2xx"]), 404, true),
            (json!({ "status": ["5xx"] }), 503, true),
            (json!({ "body": { "ok": true } }), 200, true),
            (json!({ "body": { "ok": true } }), 500, false),
            (json!({ "body": { "ok": false } }), 200, false),
        ] {
            assert_eq!(check(&expect), Ok(()), "{expect}");
            assert_eq!(
                is_met(Some(&expect), status, &json!({ "ok": true, "x": 1 })),
                met,
                "{expect} {status}"
            );
        }
        assert!(is_met(None, 201, &Value::Null) && !is_met(None, 301, &Value::Null));
        for bad in [
            json!(99),
            json!("6xx"),
            json!("300-200"),
            json!([]),
            json!({ "stat": 1 }),
            json!(true),
            json!({ "status": "x" }),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }
}
