//! What DB functions return: `{success, error, validation_failure_message, payload}`, or the newer
//! `{status, payload}`.

use crate::error::{kept, kept_text};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The fields that mean something; whatever else there is, however deep, is passed over.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    success: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    validation_failure_message: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

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
        Ok(envelope) => envelope.judge(),
        Err(reason) => Verdict::Failure(reason),
    }
}

/// The `payload` of what a `before_handler` returned.
///
/// # Errors
/// The reason why the provider must not be called.
pub fn provider_payload(text: &str) -> Result<Value, String> {
    let envelope = parse(text)?;
    match envelope.judge() {
        Verdict::Failure(reason) | Verdict::Unsuccessful(reason) => return Err(reason),
        Verdict::Success => {}
    }
    match envelope.payload.map(RawValue::get) {
        None | Some("null") => Err("it returned no payload".into()),
        Some(payload) => serde_json::from_str(payload).map_err(|e| format!("unreadable payload: {e}")),
    }
}

fn parse(text: &str) -> Result<Envelope<'_>, String> {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => serde_json::from_str(text).map_err(|error| format!("unreadable result: {error}")),
        first => Err(format!("it returned {}, not an object", kind(first))),
    }
}

impl Envelope<'_> {
    fn judge(&self) -> Verdict {
        if let Some(error) = filled(self.error) {
            return Verdict::Failure(text_of(error));
        }
        if let Some(message) = filled(self.validation_failure_message) {
            return Verdict::Unsuccessful(text_of(message));
        }
        match self.status.map(RawValue::get) {
            None | Some("null" | "\"succeeded\"") => {}
            Some(status) => return Verdict::Unsuccessful(format!("status {}", text_of(status))),
        }
        if self.success.map(RawValue::get) == Some("false") {
            return Verdict::Unsuccessful("success is false".into());
        }
        Verdict::Success
    }
}

/// A field's JSON text, unless it is null, false, `""` or `{}`.
fn filled(field: Option<&RawValue>) -> Option<&str> {
    field.map(RawValue::get).filter(|text| !matches!(*text, "null" | "false" | "\"\"" | "{}"))
}

/// JSON text as a person wants to read it: a string's content, an object's `message`.
fn text_of(json: &str) -> String {
    #[derive(Deserialize)]
    struct WithMessage {
        message: String,
    }
    let found = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).ok(),
        Some(b'{') => serde_json::from_str(json).ok().map(|found: WithMessage| found.message),
        _ => None,
    };
    found.map_or_else(|| kept(json.as_bytes()), kept_text)
}

/// What kind of value JSON text with this first character is.
fn kind(first: Option<&u8>) -> &'static str {
    match first {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
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
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(judge(&deep), Verdict::Success);
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
