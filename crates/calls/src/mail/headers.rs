//! The headers of a mail.

use super::fields::{Fields, list};
use super::header_text as encoded;
use super::parties::Parties;
use crate::header::problem;
use lettre::message::header::{self, HeaderName, Headers};
use serde_json::Value;
use std::time::SystemTime;

/// Headers that are made of other fields, or added by servers on the way. All `Content-…` headers are reserved as well.
const OWN_HEADERS: &[&str] = &[
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "return-path",
    "received",
    "x-tag",
];

/// The longest name and value of a tag, in bytes.
const MAX_TAG: usize = 256;

/// Builds the headers, except for tags and those of the parts.
///
/// # Errors
/// If a header cannot be written.
pub fn write(fields: &Fields, parties: &Parties, message_id: &str) -> Result<Headers, String> {
    let mut headers = Headers::new();
    let lists = [("From", std::slice::from_ref(&parties.from)), ("To", &parties.to)];
    let others = [("Cc", parties.cc.as_slice()), ("Reply-To", &parties.reply_to)];
    for (name, mailboxes) in lists.into_iter().chain(others).filter(|(_, mailboxes)| !mailboxes.is_empty()) {
        headers.insert_raw(encoded::mailboxes(name, mailboxes)?);
    }
    headers.insert_raw(encoded::text(HeaderName::new_from_ascii_str("Subject"), subject(fields)?)?);
    headers.set(header::MessageId::from(message_id.to_owned()));
    headers.set(header::Date::from(SystemTime::now()));
    add_own(&mut headers, fields)?;
    headers.set(header::MIME_VERSION_1_0);
    Ok(headers)
}

fn subject(fields: &Fields) -> Result<&str, String> {
    let subject = text(&fields["subject"]);
    match subject.chars().any(char::is_control) {
        true => Err("the payload's subject contains a control character".into()),
        false => Ok(subject),
    }
}

/// Adds the headers that the payload contains as such.
fn add_own(headers: &mut Headers, fields: &Fields) -> Result<(), String> {
    for (name, value) in fields.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().ok_or_else(|| format!("the header {name} has to be a string"))?;
        if let Some(problem) = problem(name, value) {
            return Err(problem);
        }
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("content-") {
            return Err(format!("the header {name} cannot be set: the mail has its own"));
        }
        let name = HeaderName::new_from_ascii(name.clone())
            .map_err(|error| format!("the payload's headers is wrong: {error}"))?;
        headers.insert_raw(encoded::text(name, value)?);
    }
    Ok(())
}

/// Builds a header line for each tag.
///
/// # Errors
/// If a tag contains characters that are not allowed.
pub fn tags(fields: &Fields) -> Result<String, String> {
    let is_plain = |text: &str| {
        (1..=MAX_TAG).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let mut lines = String::new();
    for tag in list(fields, "tags") {
        match (tag["name"].as_str(), tag["value"].as_str()) {
            (Some(name), Some(value)) if is_plain(name) && is_plain(value) => {
                lines.push_str(&format!("X-Tag: {name}={value}\r\n"));
            }
            _ => return Err("a tag has to be {name, value} of ASCII letters, digits, \"_\" and \"-\"".into()),
        }
    }
    Ok(lines)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
