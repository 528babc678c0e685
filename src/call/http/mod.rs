//! HTTP, by `ureq`.

use crate::provider::{Body, Credential, HttpRequest, Placed, Reply};
use std::cell::Cell;
use std::time::{Duration, Instant};
use ureq::http;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector};

/// Answers larger than this (in bytes) are refused.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Answer headers larger than this (in bytes) are refused.
const MAX_ANSWER_HEADERS: usize = 64 * 1024;
/// No connection takes longer, however much time the call has.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);
/// Connections kept for the next call, as many as calls can be in flight.
const MAX_IDLE_CONNECTIONS: usize = 1024;

thread_local! {
    /// Whether this thread has connected anew since it last looked.
    static CONNECTED: Cell<bool> = const { Cell::new(false) };
}

/// Notes in [`CONNECTED`] when no kept-alive connection could be used.
#[derive(Debug)]
struct NotingConnector(DefaultConnector);

impl Connector for NotingConnector {
    type Out = <DefaultConnector as Connector>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        CONNECTED.set(true);
        self.0.connect(details, chained)
    }
}

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
        let connector = NotingConnector(DefaultConnector::default());
        Agent(ureq::Agent::with_parts(config, connector, DefaultResolver::default()))
    }

    /// Sends `request` and reads the whole answer. A kept-alive connection that turns out to be dead
    /// is replaced; a new one is not.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn send(
        &self,
        request: &HttpRequest,
        credentials: &[Credential],
        timeout: Duration,
    ) -> Result<Reply, Problem> {
        let start = Instant::now();
        CONNECTED.set(false);
        let mut answer = self.open(request, credentials, timeout);
        // Each dead connection is out of the pool by that: in the end there is a new one.
        while matches!(&answer, Err(error) if is_broken(error)) && !CONNECTED.get() {
            answer = self.open(request, credentials, timeout.saturating_sub(start.elapsed()));
        }
        let problem = |error| Problem { error, host: host(&request.url) };
        let mut answer = answer.map_err(problem)?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().map_err(problem)?;
        Ok(Reply { status, headers, body })
    }

    /// Sends the request and reads the head of the answer.
    fn open(
        &self,
        request: &HttpRequest,
        credentials: &[Credential],
        timeout: Duration,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        for credential in credentials {
            if let Placed::Header { name, value } = &credential.placed {
                builder = builder.header(name, value);
            }
        }
        let body = match &request.body {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Binary { base64 } => base64.clone().into_bytes(),
        };
        let message = self
            .0
            .configure_request(builder.body(body)?)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(MAX_CONNECT_TIME)))
            .build();
        self.0.run(message)
    }
}

/// True if the connection ended before an answer began.
fn is_broken(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error, ureq::Error::Io(error)
        if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

fn host(url: &str) -> String {
    let host = url.parse::<http::Uri>().ok();
    host.as_ref().and_then(|uri| uri.authority()).map_or("the provider".into(), |name| name.to_string())
}

/// Why there is no answer.
pub struct Problem {
    error: ureq::Error,
    host: String,
}

impl Problem {
    /// The reason as a person wants to read it; credentials may occur in it. `timeout` is that of
    /// the whole call.
    pub fn explain(&self, timeout: Duration) -> String {
        let host = &self.host;
        match &self.error {
            ureq::Error::Timeout(_) => format!("no answer from {host} within {} ms", timeout.as_millis()),
            ureq::Error::HostNotFound => format!("no such host: {host}"),
            ureq::Error::ConnectionFailed => format!("could not connect to {host}"),
            ureq::Error::BodyExceedsLimit(limit) => {
                format!("the answer of {host} is larger than {limit} bytes")
            }
            other => format!("the call to {host} failed: {other}"),
        }
    }
}
