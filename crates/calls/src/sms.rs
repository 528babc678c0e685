//! The fields of a text message, which all providers have in common.

use crate::fields::{self, Alias};
use crate::key;
use serde_json::{Map, Value};

const FIELDS: &[&str] = &[
    "message_id",
    "to_number",
    "body",
    "from_number",
    "media_url",
    "status_callback",
    "content_sid",
    "content_variables",
    key::FIELD,
];

/// Fields that have to be strings.
const TEXTS: &[&str] = &["to_number", "body", "from_number", "status_callback", "content_sid"];

/// Twilio's names for these fields.
const ALIASES: &[Alias] = &[
    ("to", "to_number"),
    ("from", "from_number"),
    ("messaging_service_sid", "from_number"),
    ("text", "body"),
];

/// True for an identifier in Twilio's form: a prefix of two letters and 32 hexadecimal digits.
pub fn is_sid(prefix: &str, value: &str) -> bool {
    value
        .strip_prefix(prefix)
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Reads the fields of a text message. Null fields are left out.
///
/// # Errors
/// If a field is missing, invalid or unknown.
pub fn fields(payload: &Value) -> Result<Map<String, Value>, String> {
    let given = payload.as_object().ok_or("the payload has to be an object")?;
    fields::check("the payload", given, FIELDS, ALIASES)?;
    let given: Map<String, Value> = given
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(wrong) = TEXTS.iter().find(|name| given.get(**name).is_some_and(|value| !value.is_string())) {
        return Err(format!("the payload's {wrong} has to be a string"));
    }
    if !given.contains_key("to_number") {
        return Err("the payload has no to_number".into());
    }
    if !["body", "media_url", "content_sid"].iter().any(|content| given.contains_key(*content)) {
        return Err("the payload has neither body nor media_url nor content_sid".into());
    }
    given.get("media_url").map_or(Ok(()), media)?;
    content(&given).map(|()| given)
}

fn media(urls: &Value) -> Result<(), String> {
    let are_texts = urls.as_array().is_some_and(|urls| urls.iter().all(Value::is_string));
    match urls.is_string() || are_texts {
        true => Ok(()),
        false => Err("the payload's media_url has to be a string or an array of strings".into()),
    }
}

/// Checks the provider's template and the values for it.
fn content(given: &Map<String, Value>) -> Result<(), String> {
    let sid = given.get("content_sid").and_then(Value::as_str);
    if sid.is_some_and(|sid| !is_sid("HX", sid)) {
        return Err("the payload's content_sid has to be HX and 32 hexadecimal digits".into());
    }
    match given.get("content_variables") {
        Some(_) if sid.is_none() => Err("the payload has content_variables, but no content_sid".into()),
        Some(variables) if !variables.is_object() => {
            Err("the payload's content_variables has to be an object".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_wrong_or_unknown_is_named() {
        let sid = format!("HX{}", "0".repeat(32));
        for (payload, named) in [
            (json!({ "body": "x" }), "to_number"),
            (json!({ "to_number": 7, "body": "x" }), "to_number"),
            (json!({ "to_number": "+1" }), "body"),
            (json!({ "to_number": "+1", "body": null }), "body"),
            (json!({ "to_number": "+1", "media_url": [1] }), "media_url"),
            (json!({ "to_number": "+1", "content_sid": "HX1" }), "content_sid"),
            (json!({ "to_number": "+1", "body": "x", "content_variables": {} }), "content_sid"),
            (json!({ "to_number": "+1", "content_sid": sid, "content_variables": "1" }), "content_variables"),
            (json!({ "to_number": "+1", "body": "x", "send_at": "now" }), "no field send_at"),
            (json!({ "to_number": "+1", "body": "x", "mediaUrl": "now" }), "did you mean media_url?"),
            (
                json!({ "to_number": "+1", "body": "x", "idempotencyKey": "k" }),
                "did you mean idempotency_key?",
            ),
            (
                json!({ "to_number": "+1", "body": "x", "MessagingServiceSid": "MG" }),
                "did you mean from_number?",
            ),
            (json!([1]), "object"),
        ] {
            let error = fields(&payload).unwrap_err();
            assert!(error.contains(named), "{payload}: {error}");
        }
        assert!(fields(&json!({ "to_number": "+1", "content_sid": sid, "send_at": null })).is_ok());
    }
}
