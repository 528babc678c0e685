//! What DB functions return: `{success, error, validation_failure_message, payload}`, or the newer
//! `{status, payload}`.

use serde_json::Value;

/// What a returned value says.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Success,
    /// An outcome that is neither success nor failure; the text says which.
    Unsuccessful(String),
    Failure(String),
}

/// Judges the JSON text that a handler returned.
pub fn judge(text: &str) -> Verdict {
    match parse(text) {
        Ok(value) => judge_value(&value),
        Err(reason) => Verdict::Failure(reason),
    }
}

/// The `payload` of what a `before_handler` returned.
///
/// # Errors
/// The reason why the provider must not be called.
pub fn provider_payload(text: &str) -> Result<Value, String> {
    let value = parse(text)?;
    match judge_value(&value) {
        Verdict::Failure(reason) | Verdict::Unsuccessful(reason) => return Err(reason),
        Verdict::Success => {}
    }
    match value.get("payload") {
        None | Some(Value::Null) => Err("it returned no payload".into()),
        Some(payload) => Ok(payload.clone()),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("unreadable result: {e}"))?;
    match value {
        Value::Object(_) => Ok(value),
        other => Err(format!("it returned {}, not an object", kind(&other))),
    }
}

fn judge_value(value: &Value) -> Verdict {
    if let Some(error) = filled(value, "error") {
        return Verdict::Failure(text_of(error));
    }
    if let Some(message) = filled(value, "validation_failure_message") {
        return Verdict::Unsuccessful(text_of(message));
    }
    match value.get("status") {
        None | Some(Value::Null) => {}
        Some(Value::String(status)) if status == "succeeded" => {}
        Some(status) => return Verdict::Unsuccessful(format!("status {}", text_of(status))),
    }
    if value.get("success") == Some(&Value::Bool(false)) {
        return Verdict::Unsuccessful("success is false".into());
    }
    Verdict::Success
}

/// The value of `key`, unless it is null, false, `""` or `{}`.
fn filled<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|found| match found {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// A value as a person wants to read it.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => match fields.get("message") {
            Some(Value::String(message)) => message.clone(),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes() {
        for text in [
            "{}",
            r#"{"status":"succeeded","payload":{}}"#,
            r#"{"success":true,"error":null,"validation_failure_message":""}"#,
            r#"{"error":false}"#,
            r#"{"error":""}"#,
            r#"{"error":{}}"#,
            r#"{"status":null}"#,
            r#"{"anything":1e400}"#,
        ] {
            assert_eq!(judge(text), Verdict::Success, "{text}");
        }
    }

    #[test]
    fn failures() {
        for (text, reason) in [
            (r#"{"error":"boom"}"#, "boom"),
            (r#"{"error":{"message":"boom","code":7}}"#, "boom"),
            (r#"{"error":["a"]}"#, r#"["a"]"#),
            (r#"{"error":0}"#, "0"),
            (r#"{"error":true,"status":"succeeded"}"#, "true"),
            ("42", "it returned a number, not an object"),
            ("[1]", "it returned an array, not an object"),
            ("null", "it returned null, not an object"),
        ] {
            assert_eq!(judge(text), Verdict::Failure(reason.into()), "{text}");
        }
    }

    #[test]
    fn other_outcomes() {
        for (text, outcome) in [
            (r#"{"validation_failure_message":"no address"}"#, "no address"),
            (r#"{"success":false}"#, "success is false"),
            (r#"{"status":"max_attempts_reached"}"#, "status max_attempts_reached"),
        ] {
            assert_eq!(judge(text), Verdict::Unsuccessful(outcome.into()), "{text}");
        }
    }

    #[test]
    fn provider_payloads() {
        assert_eq!(
            provider_payload(r#"{"status":"succeeded","payload":{"a":1}}"#).unwrap()["a"].to_string(),
            "1"
        );
        assert!(provider_payload(r#"{"payload":{}}"#).is_ok());
        for text in [
            "{}",
            r#"{"payload":null}"#,
            r#"{"payload":{},"error":"x"}"#,
            r#"{"payload":{},"validation_failure_message":"x"}"#,
            r#"{"payload":{},"success":false}"#,
            r#"{"payload":{},"status":"not_found"}"#,
            "[]",
        ] {
            assert!(provider_payload(text).is_err(), "{text}");
        }
    }
}
