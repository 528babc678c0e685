//! Providers: services outside the database. A new one is a file, and a line in [`ALL`].
//!
//! Pure functions: a payload becomes a request, an answer becomes a value or a reason. Sending is
//! [`crate::call`]'s business.

pub mod resend;
pub mod simulated;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// Every provider; a stored request names the one it is for.
pub static ALL: &[&dyn Provider] = &[&resend::Resend, &simulated::Simulated];

pub trait Provider: Sync {
    /// As `queues.call.provider` has it.
    fn name(&self) -> &'static str;

    /// The request for what a `before_handler` built. It is stored and, after a crash, sent again,
    /// so it holds no credentials. `key` is the idempotency key.
    ///
    /// # Errors
    /// What is wrong with the payload or the settings.
    fn request(&self, payload: &Value, key: &str) -> Result<Request, String>;

    /// Headers that prove who we are, added when the request is sent.
    ///
    /// # Errors
    /// Which setting is missing.
    fn credentials(&self) -> Result<Vec<Credential>, String>;

    /// What the success handler is given, from the provider's reply.
    ///
    /// # Errors
    /// What the provider said instead.
    fn answer(&self, reply: &Reply) -> Result<Value, String>;

    /// True if the reply says that a request with the same key is just being processed.
    fn is_in_progress(&self, _reply: &Reply) -> bool {
        false
    }

    /// How long the provider recognizes an idempotency key.
    fn remembers_keys_for(&self) -> Duration;
}

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// What is sent, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Http(HttpRequest),
    /// Nobody is asked: the answer is known.
    Local {
        answer: Value,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A header with a secret in it.
#[derive(Clone)]
pub struct Credential {
    pub header: &'static str,
    pub value: String,
    /// The part of the value that must never be seen.
    pub secret: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A request that is ready to be stored.
pub struct Prepared {
    pub provider: &'static dyn Provider,
    /// Random, so that nobody can guess or repeat it by accident.
    pub key: Uuid,
    pub request: Request,
}

impl Prepared {
    /// # Errors
    /// As [`Provider::request`].
    pub fn new(provider: &'static dyn Provider, payload: &Value) -> Result<Self, String> {
        let key = Uuid::new_v4();
        let request = provider.request(payload, &key.to_string())?;
        Ok(Prepared { provider, key, request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_request_is_read_back_as_it_was() {
        let request = Request::Http(HttpRequest {
            method: "POST".into(),
            url: "https://api.example.com/x".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: "{\"a\":\"ü\"}".into(),
        });
        let stored = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&stored).unwrap(), request);
    }
}
