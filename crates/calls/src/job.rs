//! A call to make, and its outcome.

use crate::credential::{ClientCertificate, Credential};
use crate::network::Network;
use crate::provider::Provider;
use crate::request::Request;
use crate::response::Response;
use std::sync::Arc;
use std::time::Duration;

/// A call to make.
pub struct Job {
    /// Identifies the outcome of this call.
    pub id: i64,
    pub provider: Arc<Provider>,
    pub request: Arc<Request>,
    pub credentials: Vec<Credential>,
    /// Time limit for the whole call, from its start to the last byte.
    pub timeout: Duration,
    pub network: Arc<Network>,
    /// A URL whose host a superuser has chosen: requests to that host may go to a private network.
    pub trusted_base: Option<String>,
    pub client_certificate: Option<ClientCertificate>,
    /// The provider would recognize the request if it had received it before.
    pub repeatable: bool,
}

/// The outcome of a call.
pub struct Outcome {
    pub id: i64,
    /// The provider's response, or the reason why there is none. Secrets are redacted in both.
    pub response: Result<Response, String>,
    pub credentials: Vec<Credential>,
    pub took: Duration,
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// A call that sends nothing.
    pub fn job(id: i64) -> Job {
        Job {
            id,
            provider: Arc::new(Provider::plain("simulated")),
            request: Arc::new(Request::Local { response: json!({ "n": id }), message: None }),
            credentials: Vec::new(),
            timeout: Duration::from_secs(5),
            network: Arc::default(),
            trusted_base: None,
            client_certificate: None,
            repeatable: true,
        }
    }
}
