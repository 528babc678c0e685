//! The fields of a mail: which there are, and what they may hold.

use serde_json::{Map, Value};

use super::address::{domain, is_mailbox};
use super::check::invalid;
use super::strings;
use crate::Answer;

type Check = fn(&str, &Value) -> Result<(), Answer>;

/// All fields of a mail.
const FIELDS: &[(&str, Check)] = &[
    ("from", from),
    ("to", to),
    ("subject", subject),
    ("cc", mailboxes),
    ("bcc", mailboxes),
    ("reply_to", mailboxes),
    ("html", string),
    ("text", string),
    ("headers", headers),
    ("attachments", attachments),
    ("tags", tags),
    ("template", template),
    ("scheduled_at", filled_string),
    ("topic_id", filled_string),
];

const ATTACHMENT: &[(&str, Check)] = &[
    ("content", base64),
    ("filename", filled_string),
    ("path", url),
    ("content_type", filled_string),
    ("content_id", filled_string),
];

const TAG: &[(&str, Check)] = &[("name", tag_text), ("value", tag_text)];

const TEMPLATE: &[(&str, Check)] = &[("id", filled_string), ("variables", variables)];

/// Most recipients in `to`.
const MAX_TO: usize = 50;
/// Longest name or value of a tag, in characters.
const MAX_TAG: usize = 256;

/// Checks a whole mail.
///
/// # Errors
/// The response that refuses it.
pub(crate) fn check(body: &Value) -> Result<(), Answer> {
    let mail = object("body", body)?;
    require(mail, &["from", "to", "subject"])?;
    known("", mail, FIELDS)?;
    let has = |field| mail.contains_key(field);
    match (has("template"), has("html") || has("text")) {
        (false, false) => Err(missing("`html` or `text`")),
        (true, true) => Err(wrong("template", "excludes `html` and `text`")),
        _ => Ok(()),
    }
}

/// Most mails in one request.
const MAX_BATCH: usize = 100;

/// The mails of a request for several.
///
/// # Errors
/// The response that refuses it.
pub(crate) fn mails(body: &Value) -> Result<&Vec<Value>, Answer> {
    let mails = array("body", body)?;
    match mails.len() {
        1..=MAX_BATCH => Ok(mails),
        _ => Err(wrong("body", "takes 1 to 100 mails")),
    }
}

/// Checks what a mail may only have on its own.
///
/// # Errors
/// The response that refuses it.
pub(crate) fn check_batched(body: &Value) -> Result<(), Answer> {
    match ["attachments", "scheduled_at"].into_iter().find(|field| body.get(field).is_some()) {
        Some(field) => Err(wrong(field, "is not supported in a batch")),
        None => Ok(()),
    }
}

/// Refuses recipients that no mail can reach.
///
/// # Errors
/// The response that refuses the mail.
pub(crate) fn check_domains(body: &Value) -> Result<(), Answer> {
    let recipients = ["to", "cc", "bcc"].into_iter().flat_map(|field| strings(&body[field]));
    let unreachable = |address: &&str| {
        matches!(domain(address), "example.com" | "example.org" | "example.net" | "test.com")
    };
    match recipients.into_iter().find(unreachable) {
        None => Ok(()),
        Some(address) => {
            Err(invalid(422, &format!("{address} is not a testing address; use delivered@resend.dev.")))
        }
    }
}

fn wrong(field: &str, problem: &str) -> Answer {
    invalid(422, &format!("The `{field}` field {problem}."))
}

fn missing(what: &str) -> Answer {
    Answer::error(422, "missing_required_field", &format!("Missing {what} field."))
}

fn require(object: &Map<String, Value>, fields: &[&str]) -> Result<(), Answer> {
    match fields.iter().find(|field| !object.contains_key(**field)) {
        None => Ok(()),
        Some(field) => Err(missing(&format!("`{field}`"))),
    }
}

/// Checks each field of an object, whose path (with a dot at the end) is `prefix`; there are no others.
fn known(prefix: &str, object: &Map<String, Value>, fields: &[(&str, Check)]) -> Result<(), Answer> {
    for (name, value) in object {
        let path = format!("{prefix}{name}");
        let Some((_, check)) = fields.iter().find(|(field, _)| field == name) else {
            return Err(wrong(&path, "is unknown"));
        };
        check(&path, value)?;
    }
    Ok(())
}

fn object<'a>(field: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Answer> {
    value.as_object().ok_or_else(|| wrong(field, "has to be an object"))
}

fn array<'a>(field: &str, value: &'a Value) -> Result<&'a Vec<Value>, Answer> {
    value.as_array().ok_or_else(|| wrong(field, "has to be an array"))
}

fn text<'a>(field: &str, value: &'a Value) -> Result<&'a str, Answer> {
    value.as_str().ok_or_else(|| wrong(field, "has to be a string"))
}

fn string(field: &str, value: &Value) -> Result<(), Answer> {
    text(field, value).map(drop)
}

fn filled_string(field: &str, value: &Value) -> Result<(), Answer> {
    match text(field, value)? {
        "" => Err(wrong(field, "is empty")),
        _ => Ok(()),
    }
}

fn subject(field: &str, value: &Value) -> Result<(), Answer> {
    match text(field, value)?.contains(['\r', '\n']) {
        true => Err(wrong(field, "must not hold line breaks")),
        false => Ok(()),
    }
}

fn from(field: &str, value: &Value) -> Result<(), Answer> {
    match is_mailbox(text(field, value)?) {
        true => Ok(()),
        false => Err(Answer::error(422, "invalid_from_address", &address_form(field))),
    }
}

fn to(field: &str, value: &Value) -> Result<(), Answer> {
    mailboxes(field, value)?;
    match strings(value).len() {
        1..=MAX_TO => Ok(()),
        _ => Err(wrong(field, "takes 1 to 50 addresses")),
    }
}

/// An address, or an array of them.
fn mailboxes(field: &str, value: &Value) -> Result<(), Answer> {
    match value {
        Value::String(_) => mailbox(field, value),
        Value::Array(many) => many.iter().try_for_each(|one| mailbox(field, one)),
        _ => Err(wrong(field, "has to be a string or an array of strings")),
    }
}

fn mailbox(field: &str, value: &Value) -> Result<(), Answer> {
    match is_mailbox(text(field, value)?) {
        true => Ok(()),
        false => Err(invalid(422, &address_form(field))),
    }
}

fn address_form(field: &str) -> String {
    format!("The `{field}` field takes addresses like `mail@domain.tld` or `Name <mail@domain.tld>`.")
}

/// An object of strings that can be headers of a mail.
fn headers(field: &str, value: &Value) -> Result<(), Answer> {
    for (name, value) in object(field, value)? {
        let path = format!("{field}.{name}");
        let printable = |c: char| c.is_ascii_graphic() && c != ':';
        if name.is_empty() || !name.chars().all(printable) {
            return Err(wrong(&path, "is no name of a header"));
        }
        subject(&path, value)?;
    }
    Ok(())
}

fn attachments(field: &str, value: &Value) -> Result<(), Answer> {
    for (index, attachment) in array(field, value)?.iter().enumerate() {
        let path = format!("{field}[{index}]");
        let attachment = object(&path, attachment)?;
        known(&format!("{path}."), attachment, ATTACHMENT)?;
        if !attachment.contains_key("content") && !attachment.contains_key("path") {
            let message = format!("The attachment `{path}` has neither `content` nor `path`.");
            return Err(Answer::error(422, "invalid_attachment", &message));
        }
    }
    Ok(())
}

fn base64(field: &str, value: &Value) -> Result<(), Answer> {
    let content = text(field, value)?;
    let digits = content.trim_end_matches('=');
    let padding = content.len() - digits.len();
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    match content.len() % 4 == 0 && padding <= 2 && digits.bytes().all(digit) {
        true => Ok(()),
        false => Err(wrong(field, "has to be Base64")),
    }
}

fn url(field: &str, value: &Value) -> Result<(), Answer> {
    let url = text(field, value)?;
    match url.starts_with("https://") || url.starts_with("http://") {
        true => Ok(()),
        false => Err(wrong(field, "has to be a URL")),
    }
}

fn tags(field: &str, value: &Value) -> Result<(), Answer> {
    for (index, tag) in array(field, value)?.iter().enumerate() {
        let path = format!("{field}[{index}]");
        let tag = object(&path, tag)?;
        known(&format!("{path}."), tag, TAG)?;
        require(tag, &["name", "value"])?;
    }
    Ok(())
}

fn tag_text(field: &str, value: &Value) -> Result<(), Answer> {
    filled_string(field, value)?;
    let text = text(field, value)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match text.chars().count() <= MAX_TAG && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(wrong(field, "takes up to 256 ASCII letters, numbers, underscores and dashes")),
    }
}

fn template(field: &str, value: &Value) -> Result<(), Answer> {
    let template = object(field, value)?;
    require(template, &["id"])?;
    known(&format!("{field}."), template, TEMPLATE)
}

fn variables(field: &str, value: &Value) -> Result<(), Answer> {
    let plain = |value: &Value| value.is_string() || value.is_number();
    match object(field, value)?.values().all(plain) {
        true => Ok(()),
        false => Err(wrong(field, "takes strings and numbers")),
    }
}
