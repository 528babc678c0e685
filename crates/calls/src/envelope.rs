//! What database functions return: `{success, error, validation_failure_message, payload}`, or the newer `{status,
//! payload}`. Only these fields are read; others are ignored.

use crate::json;
use serde_json::Value;

/// The maximum number of bytes that are read of a returned error, validation failure message or status.
const MAX_SAID: usize = 16 * 1024 * 1024;

/// How many keys of a returned object a message shows, and how many characters of each.
const MAX_KEYS: usize = 5;
const MAX_KEY: usize = 40;

const RETURNS_OBJECT: &str = r#"A handler returns a JSON object such as {"status": "succeeded"}; if it has nothing to say, it returns {}."#;
const RETURNS_REQUEST: &str =
    r#"A before_handler returns {"status": "succeeded", "payload": {…}}, where payload is the request."#;
/// The hint for a request that cannot be made.
pub const FIELDS_OF_REQUEST: &str = r#"The request is the "payload" that the before_handler returns, or "request" in the payload of the task. docs/providers.md lists its fields."#;
const KEEPS_FROM_CALLING: &str = r#"The before_handler has returned it, so the provider is not called. If it is to be called, return {"status": "succeeded", "payload": {…}}."#;

/// Why a step fails, and what to do.
#[derive(Debug, PartialEq)]
pub struct Reason {
    pub text: String,
    /// None if the handler itself has worded the reason.
    pub hint: Option<&'static str>,
}

impl Reason {
    pub fn new(text: impl Into<String>, hint: &'static str) -> Reason {
        Reason { text: text.into(), hint: Some(hint) }
    }
}

/// The meaning of a returned value.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Success,
    /// An outcome that is neither success nor failure, as text.
    Unsuccessful(String),
    Failure(Reason),
}

/// Why a provider must not be called.
#[derive(Debug)]
pub enum Refusal {
    /// The handler has returned this reason, or no usable envelope.
    Said(Reason),
    /// The request is too large.
    TooLarge(String),
}

/// A returned value, in the form that the caller uses.
pub trait Returned {
    type Field: Field;

    /// A field of the object; `None` if there is no such field.
    fn get(&self, name: &str) -> Option<Self::Field>;

    /// The type of the value, with its article, if it is not an object.
    fn kind_if_no_object(&self) -> Option<&'static str>;

    /// Up to `limit` keys of the object, and how many it has.
    fn keys(&self, limit: usize) -> (Vec<String>, usize);
}

/// A field of a returned value.
pub trait Field: Sized {
    fn is_null(&self) -> bool;

    fn is_false(&self) -> bool;

    /// True for `""` and `{}`.
    fn is_empty(&self) -> bool;

    fn get(&self, name: &str) -> Option<Self>;

    /// The beginning of a string, up to `max_size` bytes.
    fn string(&self, max_size: usize) -> Option<String>;

    /// The value as JSON.
    ///
    /// # Errors
    /// If it would have more than `max_size` bytes.
    fn json(&self, max_size: usize) -> Result<String, TooLong>;

    /// The same as [`Field::json`], except that escapes do not count towards `max_size`.
    ///
    /// # Errors
    /// The errors of [`Field::json`].
    fn json_by_content(&self, max_size: usize) -> Result<String, TooLong>;
}

/// A value is longer than its limit.
#[derive(Debug)]
pub struct TooLong;

/// Judges what a handler returned.
pub fn judge(returned: &impl Returned) -> Verdict {
    if let Some(kind) = returned.kind_if_no_object() {
        return Verdict::Failure(Reason::new(format!("it returned {kind}, not an object"), RETURNS_OBJECT));
    }
    let filled = |name: &str| returned.get(name).filter(|field| !is_blank(field));
    if let Some(error) = filled("error") {
        return Verdict::Failure(Reason { text: message_of(&error), hint: None });
    }
    if let Some(message) = filled("validation_failure_message") {
        return Verdict::Unsuccessful(message_of(&message));
    }
    match returned.get("status").filter(|status| !status.is_null()).map(|status| message_of(&status)) {
        Some(status) if status != "succeeded" => return Verdict::Unsuccessful(format!("status {status}")),
        _ => {}
    }
    if returned.get("success").is_some_and(|success| success.is_false()) {
        return Verdict::Unsuccessful("success is false".into());
    }
    Verdict::Success
}

/// Returns the `payload` of what a `before_handler` returned.
///
/// # Errors
/// If the provider must not be called.
pub fn provider_payload(returned: &impl Returned, max_size: usize) -> Result<Value, Refusal> {
    match judge(returned) {
        Verdict::Failure(Reason { text, hint }) => {
            return Err(Refusal::Said(Reason { text, hint: hint.map(|_| RETURNS_REQUEST) }));
        }
        Verdict::Unsuccessful(reason) => return Err(Refusal::Said(Reason::new(reason, KEEPS_FROM_CALLING))),
        Verdict::Success => {}
    }
    match returned.get("payload") {
        Some(payload) if payload.is_null() => {
            Err(Refusal::Said(Reason::new("it returned null as \"payload\"", RETURNS_REQUEST)))
        }
        Some(payload) => request_of(&payload, max_size),
        None => Err(Refusal::Said(Reason::new(without_payload(returned), RETURNS_REQUEST))),
    }
}

/// Says what an object without a payload has instead. Values may be secret and are not shown.
fn without_payload(returned: &impl Returned) -> String {
    let (mut keys, count) = returned.keys(MAX_KEYS);
    if keys.is_empty() {
        return "it returned null or an empty object, without \"payload\"".into();
    }
    keys.sort();
    let mut shown: Vec<String> = keys.iter().map(|key| shown_key(key)).collect();
    if count > keys.len() {
        shown.push(format!("and {} more", count - keys.len()));
    }
    format!("it returned an object without \"payload\" (its keys: {})", shown.join(", "))
}

fn shown_key(key: &str) -> String {
    let cut: String = key.chars().take(MAX_KEY).map(|c| if c.is_control() { '?' } else { c }).collect();
    if key.chars().count() > MAX_KEY { cut + "…" } else { cut }
}

/// Reads what a request is built from. Its size is measured before it is converted to text.
///
/// # Errors
/// If it is larger than `max_size` bytes, or cannot be read.
pub fn request_of(field: &impl Field, max_size: usize) -> Result<Value, Refusal> {
    let text = field.json_by_content(max_size).map_err(|TooLong| {
        Refusal::TooLarge(format!(
            "the request would have more than {max_size} bytes; pg_errand.http_max_request_size allows no more"
        ))
    })?;
    json::read(&text).map_err(|problem| {
        Refusal::Said(Reason::new(format!("the request cannot be read: {problem}"), FIELDS_OF_REQUEST))
    })
}

/// True for null, false, `""` and `{}`.
fn is_blank(field: &impl Field) -> bool {
    field.is_null() || field.is_false() || field.is_empty()
}

/// A value as readable text: the content of a string, the `message` of an object, other values as JSON.
fn message_of<F: Field>(field: &F) -> String {
    let text = field.string(MAX_SAID).or_else(|| field.get("message")?.string(MAX_SAID));
    text.or_else(|| field.json(MAX_SAID).ok())
        .unwrap_or_else(|| format!("(more than {MAX_SAID} bytes of JSON)"))
}
