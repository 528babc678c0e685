//! The reasons why there is no response.

use crate::tls;
use std::fmt;
use std::time::Duration;
use ureq::Timeout;
use ureq::http::StatusCode;

/// The maximum time to connect, whatever time the call has.
pub const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);

/// Errors of this crate that are passed through `ureq`.
#[derive(Debug)]
pub enum Reason {
    /// The target is not allowed. The address of a name is not shown, since it may be known only in the network of the
    /// server.
    Refused,
    /// The name could not be looked up.
    Unknown(String),
    /// The peer reported success before it had read the whole request.
    CutShort(StatusCode),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Reason {}

impl From<Reason> for ureq::Error {
    fn from(reason: Reason) -> Self {
        ureq::Error::Other(Box::new(reason))
    }
}

/// The reason why there is no response.
#[derive(Debug)]
pub enum Problem {
    /// Nothing was sent, because the request or the settings are wrong.
    Request(String),
    /// The call failed.
    Call { host: String, error: ureq::Error },
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Problem::Request(reason)
    }
}

impl Problem {
    /// Explains the reason, without any part of the URL except its host. The text may contain credentials nevertheless.
    /// `timeout` is that of the whole call.
    pub fn explain(&self, timeout: Duration) -> String {
        let (host, error) = match self {
            Problem::Request(reason) => return reason.clone(),
            Problem::Call { host, error } => (host, error),
        };
        match error {
            ureq::Error::Timeout(Timeout::Connect) => {
                let limit = timeout.min(MAX_CONNECT_TIME).as_millis();
                format!("no response from {host} within {limit} ms: it could not be connected to")
            }
            ureq::Error::Timeout(Timeout::Resolve) => format!("{host} could not be looked up in time"),
            ureq::Error::Timeout(_) => format!("no response from {host} within {} ms", timeout.as_millis()),
            ureq::Error::HostNotFound => format!("no such host: {host}"),
            ureq::Error::ConnectionFailed => format!("could not connect to {host}"),
            ureq::Error::BodyExceedsLimit(limit) => {
                format!("the response of {host} is larger than {limit} bytes")
            }
            ureq::Error::LargeResponseHeader(_, limit) => {
                format!("the headers of {host}'s response are larger than {limit} bytes")
            }
            // These errors may contain the URL.
            ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
                format!("the call to {host} failed: the URL is not valid")
            }
            ureq::Error::Other(other) => match other.downcast_ref() {
                Some(Reason::Refused) => refusal(host),
                Some(Reason::Unknown(reason)) => format!("no such host: {host} ({reason})"),
                Some(Reason::CutShort(status)) => format!(
                    "{host} responded HTTP {} and closed the connection before it had read the whole request",
                    status.as_u16()
                ),
                None => format!("the call to {host} failed: {other}"),
            },
            ureq::Error::ConnectProxyFailed(reason) => proxy_refusal(host, reason),
            other => format!("the call to {host} failed: {}", tls::explained(other.to_string())),
        }
    }
}

/// `ureq` reports the status as a text that contains it twice.
fn proxy_refusal(host: &str, reason: &str) -> String {
    let status =
        reason.rsplit_once('/').and_then(|(_, status)| StatusCode::from_bytes(status.as_bytes()).ok());
    let said = status.map_or_else(|| reason.to_owned(), |status| format!("it responded {status}"));
    let cause = match status {
        Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => {
            "; pg_errand.http_proxy_user and pg_errand.http_proxy_password are missing or wrong"
        }
        _ => "",
    };
    format!("the proxy of pg_errand.http_proxy did not connect to {host}: {said}{cause}")
}

fn refusal(host: &str) -> String {
    format!(
        "calls to {host} are not allowed: it is, or leads to, an address that the setting \
         pg_errand.http_allowed_hosts does not list"
    )
}
