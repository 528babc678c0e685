//! The fields of a mail, which all interfaces have in common.

use crate::fields::{self, Alias};
use crate::key;
use serde_json::{Map, Value};

/// The fields of a mail, by the names that interfaces and headers use.
pub type Fields = Map<String, Value>;

/// A field's name in the payload, its name in headers and interfaces, and the type of its value.
const FIELDS: &[(&str, &str, Shape)] = &[
    ("from_address", "from", Shape::Text),
    ("to_address", "to", Shape::TextOrList),
    ("subject", "subject", Shape::Text),
    ("html", "html", Shape::Text),
    ("text", "text", Shape::Text),
    ("cc", "cc", Shape::TextOrList),
    ("bcc", "bcc", Shape::TextOrList),
    ("reply_to", "reply_to", Shape::TextOrList),
    ("headers", "headers", Shape::Object),
    ("tags", "tags", Shape::List),
    ("attachments", "attachments", Shape::List),
    ("scheduled_at", "scheduled_at", Shape::Text),
];

/// Fields that identify the mail for the task and for the provider, and are not part of it.
const OWN_FIELDS: [&str; 2] = ["message_id", key::FIELD];

/// Names that providers and headers use for these fields.
const ALIASES: &[Alias] =
    &[("from", "from_address"), ("to", "to_address"), ("send_at", "scheduled_at"), ("body", "text")];

/// The fields of an attachment. An interface may allow fewer.
const ATTACHMENT: &[&str] = &["filename", "content", "path", "content_type", "content_id"];
const ATTACHMENT_ALIASES: &[Alias] = &[
    ("name", "filename"),
    ("type", "content_type"),
    ("cid", "content_id"),
    ("inline_content_id", "content_id"),
];
const TAG: &[&str] = &["name", "value"];

const REQUIRED: &[&str] = &["from_address", "to_address", "subject"];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    TextOrList,
    List,
    Object,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Shape::Text => value.is_string(),
            Shape::TextOrList => {
                value.is_string() || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
            }
            Shape::List => value.is_array(),
            Shape::Object => value.is_object(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Shape::Text => "a string",
            Shape::TextOrList => "a string or an array of strings",
            Shape::List => "an array",
            Shape::Object => "an object",
        }
    }
}

/// Every field that a payload may have.
fn names() -> Vec<&'static str> {
    FIELDS.iter().map(|(ours, ..)| *ours).chain(OWN_FIELDS).collect()
}

/// Returns the fields of the mail, by their names in headers and interfaces.
///
/// # Errors
/// If a field is missing or invalid.
pub fn read(payload: &Value) -> Result<Fields, String> {
    let all = payload.as_object().ok_or("the payload has to be an object")?;
    fields::check("the payload", all, &names(), ALIASES)?;
    let given = |field: &str| all.get(field).filter(|value| !value.is_null());
    if let Some(missing) = REQUIRED.iter().find(|field| given(field).is_none()) {
        return Err(format!("the payload has no {missing}"));
    }
    if given("html").is_none() && given("text").is_none() {
        return Err("the payload has neither html nor text".into());
    }
    let mut fields = Map::new();
    for (ours, theirs, shape) in FIELDS {
        let Some(value) = given(ours) else { continue };
        if !shape.fits(value) {
            return Err(format!("the payload's {ours} has to be {}", shape.name()));
        }
        fields.insert((*theirs).to_owned(), value.clone());
    }
    // Most mail programs show only the HTML part, so a blank one is left out.
    let is_blank =
        |name: &str| fields.get(name).and_then(Value::as_str).is_none_or(|text| text.trim().is_empty());
    if is_blank("html") && !is_blank("text") {
        fields.shift_remove("html");
    }
    check_items(&fields, "attachments", "an attachment", ATTACHMENT, ATTACHMENT_ALIASES)?;
    check_items(&fields, "tags", "a tag", TAG, &[])?;
    Ok(fields)
}

/// Returns the entries of a list, or none if there is no such list.
pub fn list<'a>(fields: &'a Fields, name: &str) -> &'a [Value] {
    fields.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Checks the names of the fields in each object of a list.
fn check_items(
    mail: &Map<String, Value>,
    list: &str,
    what: &str,
    known: &[&str],
    aliases: &[Alias],
) -> Result<(), String> {
    let items = mail.get(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_object).try_for_each(|item| fields::check(what, item, known, aliases))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_fields_are_passed_on_under_their_names() {
        let payload = json!({
            "message_id": 1, "from_address": "a@x", "to_address": ["b@x"], "subject": "s", "html": "<p>",
            "text": "t", "cc": "c@x", "bcc": ["d@x"], "reply_to": "e@x", "headers": {"X-A": "1"},
            "tags": [{"name": "n", "value": "v"}], "attachments": [{"filename": "f", "content": "Zg=="}],
            "scheduled_at": "2030-01-01T00:00:00Z",
        });
        let fields = read(&payload).unwrap();
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "from",
                "to",
                "subject",
                "html",
                "text",
                "cc",
                "bcc",
                "reply_to",
                "headers",
                "tags",
                "attachments",
                "scheduled_at"
            ]
        );
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        let mut payload = json!({ "from_address": "a@x", "to_address": "b@x", "subject": "s", "html": "h" });
        assert!(read(&payload).is_ok());
        payload["cc"] = json!(7);
        assert!(read(&payload).unwrap_err().contains("cc"));
        payload["cc"] = Value::Null;
        payload["html"] = Value::Null;
        assert!(read(&payload).unwrap_err().contains("html"));
        payload["to_address"] = Value::Null;
        assert!(read(&payload).unwrap_err().contains("to_address"));
    }

    #[test]
    fn unknown_fields_are_refused_with_the_right_name() {
        let payload = json!({ "from_address": "a@x", "to_address": "b@x", "subject": "s", "html": "h" });
        for (field, value, named) in [
            ("replyTo", json!("c@x"), "no field replyTo; did you mean reply_to?"),
            ("from", json!("c@x"), "did you mean from_address?"),
            ("send_at", json!("now"), "did you mean scheduled_at?"),
            ("idempotencyKey", json!("k"), "did you mean idempotency_key?"),
            ("priority", json!(1), "no field priority; it may have"),
            ("attachments", json!([{ "filename": "f", "contentType": "a/b" }]), "did you mean content_type?"),
            ("attachments", json!([{ "filename": "f", "disposition": "inline" }]), "no field disposition"),
            ("tags", json!([{ "name": "n", "val": "v" }]), "no field val"),
        ] {
            let mut wrong = payload.clone();
            wrong[field] = value;
            let error = read(&wrong).unwrap_err();
            assert!(error.contains(named), "{wrong}: {error}");
            wrong[field] = Value::Null;
            assert!(read(&wrong).is_ok(), "{wrong}");
        }
    }
}
