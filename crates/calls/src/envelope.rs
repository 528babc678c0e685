//! What database functions return: `{success, error, validation_failure_message, payload}`, or the newer `{status,
//! payload}`. Only these fields are read; others are ignored.

use crate::json;
use serde_json::Value;

/// The maximum number of bytes that are read of a returned error, validation failure message or status.
const MAX_SAID: usize = 16 * 1024 * 1024;

/// The meaning of a returned value.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Success,
    /// An outcome that is neither success nor failure, as text.
    Unsuccessful(String),
    Failure(String),
}

/// Why a provider must not be called.
#[derive(Debug)]
pub enum Refusal {
    /// The handler has returned this reason, or no usable envelope.
    Said(String),
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
        return Verdict::Failure(format!("it returned {kind}, not an object"));
    }
    let filled = |name: &str| returned.get(name).filter(|field| !is_blank(field));
    if let Some(error) = filled("error") {
        return Verdict::Failure(message_of(&error));
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
        Verdict::Failure(reason) | Verdict::Unsuccessful(reason) => return Err(Refusal::Said(reason)),
        Verdict::Success => {}
    }
    match returned.get("payload").filter(|payload| !payload.is_null()) {
        Some(payload) => request_of(&payload, max_size),
        None => Err(Refusal::Said("it returned no payload".into())),
    }
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
    json::read(&text).map_err(|problem| Refusal::Said(format!("the request cannot be read: {problem}")))
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
