//! Error messages in a provider's JSON.

use crate::form::text_of;
use serde_json::Value;

/// Formats a value as readable text: strings as they are, the entries of an array one after the other.
pub fn error_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(error_text).collect::<Vec<_>>().join("; "),
        other => text_of(other).unwrap_or_else(|| other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_of_a_message_is_kept() {
        for (value, text) in [
            (json!("no"), "no"),
            (json!(["no `to`", "no `from`"]), "no `to`; no `from`"),
            (json!(422), "422"),
            (json!({ "to": ["bad"] }), r#"{"to":["bad"]}"#),
            (json!([{ "field": "to" }]), r#"{"field":"to"}"#),
            (Value::Null, ""),
        ] {
            assert_eq!(error_text(&value), text);
        }
    }
}
