//! Secrets that a provider echoes are masked before anything else sees them.

use crate::provider::{Credential, Reply};
use serde_json::Value;

const MASK: &str = "********";

/// A reply without secrets in its headers and raw body.
pub fn reply(mut reply: Reply, credentials: &[Credential]) -> Reply {
    for (_, value) in &mut reply.headers {
        *value = text(value, credentials);
    }
    let echoed = secrets(credentials)
        .any(|secret| reply.body.windows(secret.len()).any(|window| window == secret.as_bytes()));
    if !echoed {
        return reply;
    }
    let body = text(&String::from_utf8_lossy(&reply.body), credentials).into_bytes();
    Reply { body, ..reply }
}

/// A text without secrets.
pub fn text(text: &str, credentials: &[Credential]) -> String {
    secrets(credentials).fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
}

/// A parsed answer without secrets: JSON can write the same text in many ways.
pub fn value(value: Value, credentials: &[Credential]) -> Value {
    if secrets(credentials).next().is_none() {
        return value;
    }
    match value {
        Value::String(found) => Value::String(text(&found, credentials)),
        Value::Array(items) => items.into_iter().map(|item| self::value(item, credentials)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, field)| (text(&key, credentials), self::value(field, credentials)))
            .collect(),
        other => other,
    }
}

fn secrets(credentials: &[Credential]) -> impl Iterator<Item = &str> {
    let all = credentials.iter().flat_map(|credential| &credential.secrets).map(String::as_str);
    all.filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn credentials() -> [Credential; 1] {
        [Credential::header("Authorization", "Bearer s\"3".into(), vec!["s\"3".into()])]
    }

    #[test]
    fn raw_replies() {
        let echo = Reply { status: 401, body: b"bad key s\"3!".to_vec(), ..Reply::default() };
        assert_eq!(reply(echo, &credentials()).body, b"bad key ********!");
    }

    #[test]
    fn parsed_answers() {
        let echo = json!({ "s\"3": ["key s\"3", 1], "b": { "c": "s\"3s\"3" } });
        let masked = json!({ "********": ["key ********", 1], "b": { "c": "****************" } });
        assert_eq!(value(echo, &credentials()), masked);
    }
}
