//! Requests to a provider, in the form in which `queues.call` stores them.

use crate::json;
use crate::key;
use crate::redirect::Redirects;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields by which a payload or a template describes an HTTP request.
pub const HTTP_FIELDS: &[&str] =
    &["method", "url", "path", "headers", "query", "body", "timeout", "expect", "redirects", key::FIELD];

/// The header that carries the trace context of a task.
pub const TRACEPARENT: &str = "traceparent";

/// A request without its credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Http(HttpRequest),
    Smtp(SmtpRequest),
    /// Nothing is sent: the response is known beforehand.
    Local {
        #[serde(skip_deserializing)]
        response: Value,
        /// The request that would have been sent. It is logged when the call starts, so it is not stored.
        #[serde(skip)]
        message: Option<Value>,
    },
}

impl Request {
    /// Reads a stored request.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(text: &str) -> Result<Request, String> {
        let mut stored = json::read(text)?;
        // These two fields contain any JSON, which serde_json must not interpret.
        let mut take = |kind: &str, field| {
            let fields = stored.get_mut(kind);
            fields.and_then(|fields| json::take(fields, [field]).into_iter().next().flatten())
        };
        let (stored_expect, stored_response) = (take("http", "expect"), take("local", "response"));
        let mut request = serde_json::from_value(stored).map_err(|error| error.to_string())?;
        match &mut request {
            Request::Http(HttpRequest { expect, .. }) => *expect = stored_expect,
            Request::Local { response, .. } => *response = stored_response.unwrap_or_default(),
            Request::Smtp(_) => {}
        }
        Ok(request)
    }

    /// True if both go to the same URL or mail server.
    pub fn has_destination_of(&self, other: &Request) -> bool {
        match (self, other) {
            (Request::Http(one), Request::Http(other)) => one.url == other.url,
            (Request::Smtp(one), Request::Smtp(other)) => one.server == other.server,
            (Request::Local { .. }, Request::Local { .. }) => true,
            _ => false,
        }
    }

    /// True if the request cannot be part of a batch, which has one key and one trace context.
    pub fn goes_alone(&self) -> bool {
        matches!(self, Request::Http(request) if request.has_own_key || request.has_header(TRACEPARENT))
    }

    /// True if the request changes nothing at the provider, so that only its response is of use (RFC 9110, section
    /// 9.2.1).
    pub fn only_reads(&self) -> bool {
        matches!(self, Request::Http(request) if matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS"))
    }

    /// The size of the request's body in bytes, as it is stored.
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
    /// The absolute URL, with its query.
    pub url: String,
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: Body,
    /// Time limit of the call in milliseconds. It can only shorten the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(default, skip_serializing_if = "Redirects::is_default")]
    pub redirects: Redirects,
    /// The user has chosen the idempotency key. Such a request cannot be part of a batch, which has a key of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_own_key: bool,
    /// The condition for success, if the payload specifies one.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

impl HttpRequest {
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

/// The body of an HTTP request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    Text(String),
    Binary { base64: String },
}

impl Body {
    /// Keeps UTF-8 as text, and encodes other bytes.
    pub fn of_bytes(bytes: Vec<u8>) -> Body {
        String::from_utf8(bytes)
            .map_or_else(|error| Body::Binary { base64: STANDARD.encode(error.as_bytes()) }, Body::Text)
    }

    /// # Errors
    /// If the stored base64 is invalid.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Body::Text(text) => Ok(text.clone().into_bytes()),
            Body::Binary { base64 } => {
                STANDARD.decode(base64).map_err(|_| "the body is not valid base64".into())
            }
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::Text(String::new())
    }
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmtpRequest {
    pub server: MailServer,
    /// The sender in the envelope, which need not be the one in the headers.
    pub from: String,
    /// The recipients in the envelope.
    pub to: Vec<String>,
    /// Headers and body, in base64.
    pub message: String,
    pub message_id: String,
}

/// Where a mail is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailServer {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// A plain-text greeting first, then encryption.
    Starttls,
    /// Encryption from the start.
    #[default]
    Tls,
    /// No encryption.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_request_is_read_back_as_it_was() {
        // A key that serde_json uses internally has no special meaning in users' JSON.
        let own = json::read(r#"{"body": {"$serde_json::private::Number": "1"}, "n": 1.10}"#).unwrap();
        let request = Request::Http(HttpRequest {
            method: "POST".into(),
            url: "https://api.example.com/x".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: Body::Text("{\"a\":\"ü\"}".into()),
            expect: Some(own.clone()),
            ..HttpRequest::default()
        });
        let local = |response| Request::Local { response, message: None };
        for request in [request, local(own), local(Value::Null)] {
            let stored = serde_json::to_value(&request).unwrap().to_string();
            assert_eq!(Request::read(&stored).unwrap(), request);
        }
        assert!(Request::read("{\"http\": {}}").unwrap_err().contains("method"));
        assert!(Request::read("").unwrap_err().contains("line 1"));
    }
}
