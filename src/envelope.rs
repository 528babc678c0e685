//! Envelopes in PostgreSQL's jsonb, see [`pg_errand_calls::envelope`].

use crate::config::HTTP_MAX_REQUEST_SIZE;
use crate::error::kept_text;
use crate::pg::jsonb_field::{self, View};
use crate::pg::jsonb_size::Count;
use pg_errand_calls::envelope::{self, Field, Returned, TooLong};
pub use pg_errand_calls::envelope::{FIELDS_OF_REQUEST, Reason, Refusal, Verdict};
use serde_json::Value;

impl Returned for View {
    type Field = jsonb_field::Field;

    fn get(&self, name: &str) -> Option<jsonb_field::Field> {
        View::get(self, name)
    }

    fn kind_if_no_object(&self) -> Option<&'static str> {
        View::kind_if_no_object(self)
    }

    fn keys(&self, limit: usize) -> (Vec<String>, usize) {
        let (mut keys, mut count) = (Vec::new(), 0);
        self.each_key(|key| {
            if keys.len() < limit {
                keys.push(String::from_utf8_lossy(key).into_owned());
            }
            count += 1;
        });
        (keys, count)
    }
}

impl Field for jsonb_field::Field {
    fn is_null(&self) -> bool {
        jsonb_field::Field::is_null(self)
    }

    fn is_false(&self) -> bool {
        jsonb_field::Field::is_false(self)
    }

    fn is_empty(&self) -> bool {
        jsonb_field::Field::is_empty(self)
    }

    fn get(&self, name: &str) -> Option<Self> {
        jsonb_field::Field::get(self, name)
    }

    fn string(&self, max_size: usize) -> Option<String> {
        jsonb_field::Field::string(self, max_size)
    }

    fn json(&self, max_size: usize) -> Result<String, TooLong> {
        jsonb_field::Field::json(self, Count::Text, max_size).map_err(|_| TooLong)
    }

    fn json_by_content(&self, max_size: usize) -> Result<String, TooLong> {
        jsonb_field::Field::json(self, Count::Content, max_size).map_err(|_| TooLong)
    }
}

/// Judges what a handler returned. Long texts are truncated.
pub fn judge(returned: &View) -> Verdict {
    match envelope::judge(returned) {
        Verdict::Success => Verdict::Success,
        Verdict::Unsuccessful(outcome) => Verdict::Unsuccessful(kept_text(outcome)),
        Verdict::Failure(reason) => Verdict::Failure(kept_reason(reason)),
    }
}

/// Returns the `payload` of what a `before_handler` returned.
///
/// # Errors
/// If the provider must not be called.
pub fn provider_payload(returned: &View) -> Result<Value, Refusal> {
    envelope::provider_payload(returned, max_size()).map_err(kept_refusal)
}

/// Reads what a request is built from.
///
/// # Errors
/// If it is too large, or cannot be read.
pub fn request_of(field: &jsonb_field::Field) -> Result<Value, Refusal> {
    envelope::request_of(field, max_size())
}

fn kept_refusal(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Said(reason) => Refusal::Said(kept_reason(reason)),
        Refusal::TooLarge(reason) => Refusal::TooLarge(reason),
    }
}

fn kept_reason(reason: Reason) -> Reason {
    Reason { text: kept_text(reason.text), ..reason }
}

fn max_size() -> usize {
    HTTP_MAX_REQUEST_SIZE.get() as usize
}
