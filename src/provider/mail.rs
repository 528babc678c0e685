//! What a payload says of an e-mail, whoever sends it.

use serde_json::{Map, Value};

/// Our field, what it is called outside, and what it may be.
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
];

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

/// What of the payload belongs to a mail, under the names that it has outside.
///
/// # Errors
/// What is missing or wrong.
pub fn fields(payload: &Value) -> Result<Map<String, Value>, String> {
    let given = |field: &str| payload.get(field).filter(|value| !value.is_null());
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
    Ok(fields)
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
            "something_else": true,
        });
        let fields = fields(&payload).unwrap();
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
                "attachments"
            ]
        );
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        let mut payload = json!({ "from_address": "a@x", "to_address": "b@x", "subject": "s", "html": "h" });
        assert!(fields(&payload).is_ok());
        payload["cc"] = json!(7);
        assert!(fields(&payload).unwrap_err().contains("cc"));
        payload["cc"] = Value::Null;
        payload["html"] = Value::Null;
        assert!(fields(&payload).unwrap_err().contains("html"));
        payload["to_address"] = Value::Null;
        assert!(fields(&payload).unwrap_err().contains("to_address"));
    }
}
