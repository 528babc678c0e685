//! A service that tasks are sent to: a row of `queues.provider`.

use super::{Provider, find};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A row of `queues.provider`, as `sql/runtime/kinds.sql` writes it: times in seconds.
#[derive(Clone, Deserialize)]
pub struct Service {
    pub name: String,
    #[serde(rename = "interface", deserialize_with = "provider")]
    pub provider: &'static dyn Provider,
    /// What a path of a request is appended to; nothing: the provider's own setting, or none.
    pub base_url: Option<String>,
    /// A superuser has set the base URL: it may be in a private network.
    #[serde(default)]
    pub trusted: bool,
    #[serde(default)]
    pub auth: Auth,
    /// Header, query parameter or user that the secret belongs to.
    pub auth_name: Option<String>,
    /// Name of the secret.
    pub secret: Option<String>,
    /// Name of the secret that holds the certificate and key with which we prove who we are (PEM).
    pub client_certificate: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// Template of the request.
    pub request: Option<Value>,
    /// What counts as success.
    pub expect: Option<Value>,
    /// Template of what the success handler is given.
    pub answer: Option<Value>,
    /// Template of the reason, if the reply is no success.
    pub failure: Option<Value>,
    /// Header for the idempotency key.
    pub idempotency_header: Option<String>,
    /// How long the key is recognized.
    #[serde(default, deserialize_with = "seconds")]
    pub keys_kept_for: Option<Duration>,
    #[serde(flatten)]
    pub limits: Limits,
}

/// What a service lets us do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub requests_per_second: Option<f64>,
    /// Requests that may go out at once after a pause.
    pub burst: Option<u32>,
    /// Calls in flight, of all workers.
    pub max_in_flight: Option<u32>,
    /// How long a request waits for what the service asks us to wait.
    #[serde(deserialize_with = "seconds")]
    pub max_wait: Option<Duration>,
    /// Calls that fail in a row, after which there is a pause …
    pub break_after: Option<u32>,
    /// … of this length.
    #[serde(deserialize_with = "seconds")]
    pub break_for: Option<Duration>,
}

/// How a request proves who we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    #[default]
    None,
    /// `Authorization: Bearer <secret>`
    Bearer,
    /// User `auth_name` and the secret as password.
    Basic,
    /// The secret in the header `auth_name`.
    Header,
    /// The secret in the query parameter `auth_name`.
    Query,
    /// A signature, made with the secret: <https://www.standardwebhooks.com>.
    Webhook,
}

impl Service {
    /// A service that speaks the interface of `provider` and has nothing set.
    pub fn plain(provider: &'static dyn Provider) -> Service {
        Service {
            name: provider.name().to_owned(),
            provider,
            base_url: None,
            trusted: false,
            auth: Auth::None,
            auth_name: None,
            secret: None,
            client_certificate: None,
            headers: BTreeMap::new(),
            timeout: None,
            request: None,
            expect: None,
            answer: None,
            failure: None,
            idempotency_header: None,
            keys_kept_for: None,
            limits: Limits::default(),
        }
    }
}

fn provider<'de, D: Deserializer<'de>>(source: D) -> Result<&'static dyn Provider, D::Error> {
    let name = String::deserialize(source)?;
    find(&name).ok_or_else(|| de::Error::custom(format!("there is no interface \"{name}\"")))
}

fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let seconds: Option<f64> = Deserialize::deserialize(source)?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}
