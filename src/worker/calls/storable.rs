//! Converts values from outside to what a jsonb column can hold.

use crate::config::MAX_PAYLOAD_SIZE;
use crate::pg::{jsonb, jsonb_size};
use pgrx::pg_sys;
use serde_json::{Value, json};

/// Converts a response to jsonb like [`to_jsonb`]. If its text would be too long, since jsonb writes numbers with all
/// digits, its body is kept as text, see [`keep_as_text`].
pub fn to_stored_jsonb(value: &Value) -> pg_sys::Datum {
    let limit = MAX_PAYLOAD_SIZE.get() as usize;
    let jsonb = to_jsonb(value);
    if !jsonb_size::is_longer(jsonb, limit) {
        return jsonb;
    }
    let mut with_text = value.clone();
    keep_as_text(&mut with_text, &format!("it would have more than {limit} bytes as jsonb"));
    let jsonb = to_jsonb(&with_text);
    if jsonb_size::is_longer(jsonb, limit) { to_jsonb(&value.to_string().into()) } else { jsonb }
}

/// Replaces the body of a response by a JSON string, with a warning that states the reason. A response without headers
/// is a body as a whole, even if it has a field of that name.
pub fn keep_as_text(response: &mut Value, warning: &str) {
    let is_whole = ["headers", "body"].iter().all(|name| response.get(name).is_some());
    if !is_whole {
        *response = json!({ "body": response.take() });
    }
    response["body"] = response["body"].to_string().into();
    response["warning"] = warning.into();
}

/// Converts a value to jsonb, with U+FFFD in place of U+0000, which jsonb cannot hold.
pub fn to_jsonb(value: &Value) -> pg_sys::Datum {
    let text = value.to_string();
    if text.contains("\\u0000") {
        return jsonb::from_text(&without_nul(value.clone()).to_string());
    }
    jsonb::from_text(&text)
}

fn without_nul(value: Value) -> Value {
    let clean = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nul).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (clean(key), without_nul(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_kept_as_a_text_with_a_warning() {
        for (response, kept) in [
            (
                json!({ "status": 200, "headers": { "x": "1" }, "body": { "n": 1 } }),
                json!({ "status": 200, "headers": { "x": "1" }, "body": r#"{"n":1}"#, "warning": "too large" }),
            ),
            // Responses like those of Twilio and of Resend.
            (
                json!({ "sid": "SM1", "body": "hello" }),
                json!({ "body": r#"{"sid":"SM1","body":"hello"}"#, "warning": "too large" }),
            ),
            (json!({ "id": "x" }), json!({ "body": r#"{"id":"x"}"#, "warning": "too large" })),
            (json!([1]), json!({ "body": "[1]", "warning": "too large" })),
        ] {
            let mut response = response;
            keep_as_text(&mut response, "too large");
            assert_eq!(response, kept);
        }
    }

    #[test]
    fn nul_is_replaced_everywhere() {
        let value = json!({ "a\u{0}": ["x\u{0}y", { "b": "\u{0}" }], "n": 1 });
        let expected = json!({ "a\u{fffd}": ["x\u{fffd}y", { "b": "\u{fffd}" }], "n": 1 });
        assert_eq!(without_nul(value), expected);
    }
}
