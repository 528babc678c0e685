//! Redacts the secrets that a provider echoes, in every form in which they can be returned. docs/security.md lists
//! these forms.

mod encoded;
mod escaped;
#[cfg(test)]
mod tests;
mod urls;

use crate::credential::Credential;
use crate::response::Response;
use encoded::Encoded;
use escaped::Characters;
use serde_json::Value;
use urls::MASK;
pub use urls::urls;

/// A shorter secret is part of many words, so it is redacted only where it stands alone.
const MIN_ANYWHERE: usize = 3;

/// Redacts the outcome of a call, before any other code reads it.
pub fn outcome(outcome: Result<Response, String>, credentials: &[Credential]) -> Result<Response, String> {
    match outcome {
        Ok(found) => Ok(response(found, credentials)),
        Err(reason) => Err(text(&reason, credentials)),
    }
}

/// Redacts the headers, the raw body and the flaw of a response.
fn response(mut response: Response, credentials: &[Credential]) -> Response {
    let secrets = Secrets::new(credentials);
    if secrets.0.is_empty() {
        return response;
    }
    for (name, value) in &mut response.headers {
        *name = secrets.mask_text(name);
        *value = secrets.mask_text(value);
    }
    if let Some(flaw) = &mut response.flaw {
        flaw.reason = secrets.mask_text(&flaw.reason);
    }
    let body = secrets.mask(response.body);
    Response { body, ..response }
}

/// Redacts a text.
pub fn text(text: &str, credentials: &[Credential]) -> String {
    Secrets::new(credentials).mask_text(text)
}

/// Redacts a decoded value: JSON can express the same text in many ways.
pub fn value(value: Value, credentials: &[Credential]) -> Value {
    let secrets = Secrets::new(credentials);
    if secrets.0.is_empty() { value } else { secrets.mask_value(value) }
}

/// The secrets in order of length, the longest first, since a shorter one may be part of it.
struct Secrets(Vec<Secret>);

struct Secret {
    is_short: bool,
    plain: Characters,
    encoded: Encoded,
}

impl Secret {
    fn new(plain: &str) -> Self {
        let is_short = plain.len() < MIN_ANYWHERE;
        Secret { is_short, plain: Characters::of(plain), encoded: Encoded::of(plain) }
    }

    /// Returns the length of the secret at the start of `rest`, and whether it is redacted next to other letters.
    fn find(&self, rest: &[u8]) -> Option<(usize, bool)> {
        let plain = self.plain.find(rest).map(|length| (length, !self.is_short));
        plain.max(self.encoded.find(rest))
    }

    fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        let found = |at: usize| {
            let (length, anywhere) = self.find(&bytes[at..])?;
            (anywhere || stands_alone(&bytes[..at], &bytes[at + length..])).then_some(length)
        };
        let Some(first) = (0..bytes.len()).find(|at| found(*at).is_some()) else { return bytes };
        let (mut clean, mut at) = (bytes[..first].to_vec(), first);
        while at < bytes.len() {
            if let Some(length) = found(at) {
                clean.extend_from_slice(MASK.as_bytes());
                at += length;
            } else {
                clean.push(bytes[at]);
                at += 1;
            }
        }
        clean
    }
}

impl Secrets {
    fn new(credentials: &[Credential]) -> Self {
        let all = credentials.iter().flat_map(|credential| &credential.secrets).map(String::as_str);
        let mut all: Vec<_> = all.filter(|secret| !secret.is_empty()).collect();
        all.sort_unstable_by_key(|secret| (std::cmp::Reverse(secret.len()), *secret));
        all.dedup();
        Secrets(all.into_iter().map(Secret::new).collect())
    }

    fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(bytes, |bytes, secret| secret.mask(bytes))
    }

    /// Redacts a text without breaking characters.
    fn mask_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask(text.into())).into_owned()
    }

    fn mask_value(&self, value: Value) -> Value {
        match value {
            Value::String(found) => Value::String(self.mask_text(&found)),
            Value::Array(items) => items.into_iter().map(|item| self.mask_value(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, field)| (self.mask_text(&key), self.mask_value(field)))
                .collect(),
            Value::Number(number) => {
                let plain = number.to_string();
                let masked = self.mask_text(&plain);
                if plain == masked { Value::Number(number) } else { Value::String(masked) }
            }
            other => other,
        }
    }
}

fn stands_alone(before: &[u8], after: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !is_part(before.last()) && !is_part(after.first())
}
