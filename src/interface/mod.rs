//! Providers: how providers outside the database are spoken to. A new one is a file, and a line in [`ALL`];
//! which providers there are is a matter of the table `queues.provider`.
//!
//! Pure functions: a payload becomes a request, an answer becomes a value or a reason. Sending is
//! [`crate::call`]'s business.

mod auth;
mod charset;
mod contains;
mod encoded;
mod expect;
mod fields;
pub mod header;
mod http;
pub mod key;
mod mail;
mod mailbox;
mod message;
mod mime;
mod multipart;
pub mod outgoing;
mod path;
pub mod provider;
pub mod redirect;
pub mod reply;
pub mod resend;
pub mod retry_after;
mod said;
pub mod serves;
pub mod simulated;
mod sms;
mod smtp;
mod target;
mod template;
mod twilio;

use crate::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use key::Key;
pub use provider::Provider;
pub use redirect::{NotFollowed, Redirects};
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use smtp::{MailServer, SmtpRequest};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Every provider.
pub static ALL: &[&dyn Interface] =
    &[&http::Http, &resend::Resend, &simulated::Simulated, &smtp::Smtp, &twilio::Twilio];

/// How a provider is spoken to. `queues.provider.interface` names one of them.
pub trait Interface: Sync {
    /// As `queues.provider.interface` has it.
    fn name(&self) -> &'static str;

    /// Whether the settings say all that a request needs, whatever the payload is.
    ///
    /// # Errors
    /// What is missing or wrong.
    fn check_settings(&self, _provider: &Provider) -> Result<(), String> {
        Ok(())
    }

    /// The request for what a `before_handler` built. It is stored and, after a crash, sent again,
    /// so it holds no credentials. `key` is the idempotency key.
    ///
    /// # Errors
    /// What is wrong with the payload or the settings.
    fn request(&self, provider: &Provider, payload: &Value, key: &str) -> Result<Request, String>;

    /// What proves who we are, added when `request` is sent.
    ///
    /// # Errors
    /// Which setting or secret is missing.
    fn credentials(&self, provider: &Provider, request: &Request) -> Result<Vec<Credential>, String>;

    /// What the reply to `request` comes to, if it says that the request was carried out.
    ///
    /// # Errors
    /// What the provider said instead.
    fn answer(&self, provider: &Provider, request: &Request, reply: &Reply) -> Result<Answer, String>;

    /// True if the reply says that a request with the same key is just being processed.
    fn is_in_progress(&self, _reply: &Reply) -> bool {
        false
    }

    /// The idempotency key that the user has given, of what a `before_handler` built.
    ///
    /// # Errors
    /// That it cannot be filled in, or that there are no keys.
    fn own_key(&self, _provider: &Provider, payload: &Value) -> Result<Option<Value>, String> {
        Ok(payload.get(key::FIELD).cloned())
    }

    /// How long the provider recognizes an idempotency key; zero: not at all, and what was cut off is not
    /// sent again.
    fn remembers_keys_for(&self, provider: &Provider) -> Duration;

    /// Base URL from a setting that only a superuser can change: it may be in a private network.
    fn base_url_of_superuser(&self) -> Option<String> {
        None
    }

    /// Address and account that settings say, which may differ between databases.
    fn customer_of_settings(&self) -> String {
        self.base_url_of_superuser().unwrap_or_default()
    }

    /// How requests of several tasks go out as one, if there is such a request.
    fn batching(&self) -> Option<&'static dyn Batching> {
        None
    }

    /// True if the task's payload may hold the request itself (`request`), without a `before_handler`.
    fn takes_request_from_payload(&self) -> bool {
        false
    }
}

/// One request for several tasks.
pub trait Batching: Sync {
    /// Tasks in one request at most.
    fn most(&self) -> u32;

    /// True if this request can be part of one for several.
    fn takes(&self, request: &Request) -> bool;

    /// The request for all of `requests`, the same whenever they are. `key` is its idempotency key.
    fn request(&self, requests: &[&Request], key: &str) -> Request;

    /// The reply, told apart: one for each of the `requests`, in their order.
    fn parts(&self, reply: &Reply, requests: usize) -> Parts;
}

/// What the reply to a request for several tasks says.
#[derive(Debug)]
pub enum Parts {
    /// The reply to each.
    Replies(Vec<Reply>),
    /// Nothing was done: on its own, each request may fare better.
    Refused,
}

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static dyn Interface> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// What is sent, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Http(HttpRequest),
    Smtp(SmtpRequest),
    /// Nobody is asked: the answer is known.
    Local {
        #[serde(skip_deserializing)]
        answer: Value,
        /// What would have been sent; not stored, since it is only logged as the call starts.
        #[serde(skip)]
        message: Option<Value>,
    },
}

impl Request {
    /// A request as it was stored.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(text: &str) -> Result<Request, String> {
        let mut stored = json::read(text)?;
        let mut own = |kind: &str, field| {
            let fields = stored.get_mut(kind);
            fields.and_then(|fields| json::take(fields, [field]).into_iter().next().flatten())
        };
        let (given_expect, given_answer) = (own("http", "expect"), own("local", "answer"));
        let mut request = serde_json::from_value(stored).map_err(|error| error.to_string())?;
        match &mut request {
            Request::Http(HttpRequest { expect, .. }) => *expect = given_expect,
            Request::Local { answer, .. } => *answer = given_answer.unwrap_or_default(),
            Request::Smtp(_) => {}
        }
        Ok(request)
    }

    /// True if both go to the same URL or server.
    pub fn has_destination_of(&self, other: &Request) -> bool {
        match (self, other) {
            (Request::Http(one), Request::Http(other)) => one.url == other.url,
            (Request::Smtp(one), Request::Smtp(other)) => one.server == other.server,
            (Request::Local { .. }, Request::Local { .. }) => true,
            _ => false,
        }
    }

    /// True if no request for several tasks can hold it.
    pub fn goes_alone(&self) -> bool {
        matches!(self, Request::Http(HttpRequest { has_own_key: true, .. }))
    }

    /// True if it changes nothing at the other end: only its response is of use (RFC 9110, section 9.2.1).
    pub fn only_reads(&self) -> bool {
        matches!(self, Request::Http(request) if matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS"))
    }

    /// Bytes of its body, as it is stored.
    pub fn size(&self) -> usize {
        match self {
            Request::Http(HttpRequest { body: Body::Text(text) | Body::Binary { base64: text }, .. }) => {
                text.len()
            }
            Request::Smtp(_) | Request::Local { .. } => 0,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: String,
    /// Absolute, query included.
    pub url: String,
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: Body,
    /// Limit for the call in milliseconds, if it is shorter than the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Which redirects are followed.
    #[serde(default, skip_serializing_if = "Redirects::is_default")]
    pub redirects: Redirects,
    /// Its key is the user's own: it goes out alone, since a request for several tasks has another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_own_key: bool,
    /// What counts as success, if the payload says so.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    Text(String),
    Binary { base64: String },
}

impl Body {
    /// Text if it is text, so that it is stored as such.
    pub fn of_bytes(bytes: Vec<u8>) -> Body {
        String::from_utf8(bytes)
            .map_or_else(|error| Body::Binary { base64: STANDARD.encode(error.as_bytes()) }, Body::Text)
    }

    /// # Errors
    /// That it cannot be decoded.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Body::Text(text) => Ok(text.clone().into_bytes()),
            Body::Binary { base64 } => STANDARD.decode(base64).map_err(|_| "the body is no base64".into()),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::Text(String::new())
    }
}

/// Something secret that goes out with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub placed: Placed,
    /// What must never be seen: the secret itself, and forms of it that go out.
    pub secrets: Vec<String>,
}

/// Where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    Header {
        name: String,
        value: String,
    },
    /// A parameter of the query; `value` is not encoded yet.
    Query {
        name: String,
        value: String,
    },
    /// For a mail server.
    Login {
        user: String,
        password: String,
    },
}

impl Credential {
    pub fn header(name: &str, value: String, secrets: Vec<String>) -> Self {
        Credential { placed: Placed::Header { name: name.into(), value }, secrets }
    }
}

/// The name under which [`Reply::headers`] has the recipient that a mail server refused.
pub const RECIPIENT: &str = "recipient";

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Why it does not tell all that its status promises: its body was cut off, for instance.
    pub flaw: Option<Flaw>,
    /// If it is a redirect: why that was not followed.
    pub not_followed: Option<NotFollowed>,
}

/// What is wrong with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub reason: String,
    /// It came as it should, but is larger than our limit.
    pub is_limit: bool,
}

/// What the reply to a request that was carried out comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// What the success handler is given.
    Value(Value),
    /// The reply is not as it should be, for this reason: the success handler is given what there is of it.
    Flawed(String),
}

impl Reply {
    /// True if the peer has done its part: it has sent all of the reply, or as much as we take.
    pub fn is_complete(&self) -> bool {
        self.flaw.as_ref().is_none_or(|flaw| flaw.is_limit)
    }

    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A request that is ready to be stored.
pub struct Prepared {
    pub provider: Arc<Provider>,
    pub key: Key,
    pub request: Request,
}

impl Prepared {
    /// # Errors
    /// As [`Interface::request`].
    pub fn new(provider: Arc<Provider>, payload: &Value) -> Result<Self, String> {
        let given = provider.interface.own_key(&provider, payload)?;
        let key = Key::of(given.as_ref())?;
        // Other interfaces have fields of their own only.
        let payload = match given.is_some() && !provider.interface.takes_request_from_payload() {
            true => Cow::Owned(without(payload, key::FIELD)),
            false => Cow::Borrowed(payload),
        };
        let mut request = provider.interface.request(&provider, &payload, &key.text)?;
        if let Request::Http(request) = &mut request {
            request.has_own_key = key.is_own;
        }
        Ok(Prepared { provider, key, request })
    }
}

fn without(payload: &Value, field: &str) -> Value {
    let mut rest = payload.clone();
    rest.as_object_mut().and_then(|fields| fields.shift_remove(field));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_request_is_read_back_as_it_was() {
        // No key of the user's own means anything to us.
        let own = json::read(r#"{"body": {"$serde_json::private::Number": "1"}, "n": 1.10}"#).unwrap();
        let request = Request::Http(HttpRequest {
            method: "POST".into(),
            url: "https://api.example.com/x".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: Body::Text("{\"a\":\"ü\"}".into()),
            expect: Some(own.clone()),
            ..HttpRequest::default()
        });
        let local = |answer| Request::Local { answer, message: None };
        for request in [request, local(own), local(Value::Null)] {
            let stored = serde_json::to_value(&request).unwrap().to_string();
            assert_eq!(Request::read(&stored).unwrap(), request);
        }
        assert!(Request::read("{\"http\": {}}").unwrap_err().contains("method"));
        assert!(Request::read("").unwrap_err().contains("line 1"));
    }
}
