//! What DB functions return: `{success, error, validation_failure_message, payload}`, or the newer
//! `{status, payload}`. Only these fields are looked at, whatever else there is.

use crate::config::HTTP_MAX_REQUEST_SIZE;
use crate::error::kept_text;
use crate::json;
use crate::pg::jsonb_field::{Field, View};
use crate::pg::jsonb_size::Count;
use serde_json::Value;

/// Bytes that are read at most of a returned error, validation failure message or status.
const MAX_SAID: usize = 16 * 1024 * 1024;

/// What a returned value says.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Success,
    /// An outcome that is neither success nor failure; the text says which.
    Unsuccessful(String),
    Failure(String),
}

/// Why a provider must not be called.
#[derive(Debug)]
pub enum Refusal {
    /// The handler has returned that, or no usable envelope.
    Said(String),
    /// The request is too large.
    TooLarge(String),
}

/// Judges what a handler returned.
pub fn judge(returned: &View) -> Verdict {
    if let Some(kind) = returned.kind_if_no_object() {
        return Verdict::Failure(format!("it returned {kind}, not an object"));
    }
    let filled = |name: &str| returned.get(name).filter(|field| !is_blank(field));
    if let Some(error) = filled("error") {
        return Verdict::Failure(said(&error));
    }
    if let Some(message) = filled("validation_failure_message") {
        return Verdict::Unsuccessful(said(&message));
    }
    match returned.get("status").filter(|status| !status.is_null()).map(|status| said(&status)) {
        Some(status) if status != "succeeded" => return Verdict::Unsuccessful(format!("status {status}")),
        _ => {}
    }
    if returned.get("success").is_some_and(|success| success.is_false()) {
        return Verdict::Unsuccessful("success is false".into());
    }
    Verdict::Success
}

/// The `payload` of what a `before_handler` returned.
///
/// # Errors
/// The reason why the provider must not be called.
pub fn provider_payload(returned: &View) -> Result<Value, Refusal> {
    match judge(returned) {
        Verdict::Failure(reason) | Verdict::Unsuccessful(reason) => return Err(Refusal::Said(reason)),
        Verdict::Success => {}
    }
    match returned.get("payload").filter(|payload| !payload.is_null()) {
        Some(payload) => request_of(&payload),
        None => Err(Refusal::Said("it returned no payload".into())),
    }
}

/// What a request is made of. It is measured before text is made of it.
///
/// # Errors
/// That it is too large for a request, or cannot be read.
pub fn request_of(field: &Field) -> Result<Value, Refusal> {
    let limit = HTTP_MAX_REQUEST_SIZE.get() as usize;
    let text = field.json(Count::Content, limit).map_err(|_| {
        Refusal::TooLarge(format!(
            "the request would have more than {limit} bytes; pg_errand.http_max_request_size allows no more"
        ))
    })?;
    json::read(&text).map_err(|problem| Refusal::Said(format!("the request cannot be read: {problem}")))
}

/// True for null, false, `""` and `{}`.
fn is_blank(field: &Field) -> bool {
    field.is_null() || field.is_false() || field.is_empty()
}

/// A value as a person wants to read it: a string's content, an object's `message`.
fn said(field: &Field) -> String {
    let text = field.string(MAX_SAID).or_else(|| field.get("message")?.string(MAX_SAID));
    text.or_else(|| field.json(Count::Text, MAX_SAID).ok())
        .map_or_else(|| format!("(more than {MAX_SAID} bytes of JSON)"), kept_text)
}
