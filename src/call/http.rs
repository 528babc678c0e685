//! HTTP, by `ureq`.

use crate::provider::{Credential, HttpRequest, Reply};
use std::time::Duration;
use ureq::http;
use ureq::tls::{RootCerts, TlsConfig};

/// Answers larger than this (in bytes) are refused.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Answer headers larger than this (in bytes) are refused.
const MAX_ANSWER_HEADERS: usize = 64 * 1024;
/// No connection takes longer, however much time the call has.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);
/// Connections kept for the next call, as many as calls can be in flight.
const MAX_IDLE_CONNECTIONS: usize = 1024;

/// Sends requests; keeps connections alive between them.
#[derive(Clone)]
pub struct Agent(ureq::Agent);

impl Agent {
    pub fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Never silently from the environment of the server.
            .proxy(None)
            .user_agent(concat!("pg_errand/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .max_response_header_size(MAX_ANSWER_HEADERS)
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .build();
        Agent(config.new_agent())
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// Why there is no answer; credentials may occur in the text.
    pub fn send(
        &self,
        request: &HttpRequest,
        credentials: &[Credential],
        timeout: Duration,
    ) -> Result<Reply, String> {
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        for credential in credentials {
            builder = builder.header(credential.header, &credential.value);
        }
        let message = builder.body(request.body.clone()).map_err(|error| error.to_string())?;
        let message = self
            .0
            .configure_request(message)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(MAX_CONNECT_TIME)))
            .build();
        let mut answer = self.0.run(message).map_err(|error| explain(&error, &request.url, timeout))?;
        let status = answer.status().as_u16();
        let body = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()
            .map_err(|error| explain(&error, &request.url, timeout))?;
        Ok(Reply { status, body })
    }
}

/// An error as a person wants to read it, with the host it is about.
fn explain(error: &ureq::Error, url: &str, timeout: Duration) -> String {
    let host = url.parse::<http::Uri>().ok();
    let host = host.as_ref().and_then(|uri| uri.authority()).map_or("the provider", |a| a.as_str());
    match error {
        ureq::Error::Timeout(phase) => {
            format!("no answer from {host} within {} ms ({phase})", timeout.as_millis())
        }
        ureq::Error::HostNotFound => format!("no such host: {host}"),
        ureq::Error::ConnectionFailed => format!("could not connect to {host}"),
        ureq::Error::BodyExceedsLimit(limit) => {
            format!("the answer of {host} is larger than {limit} bytes")
        }
        other => format!("the call to {host} failed: {other}"),
    }
}
