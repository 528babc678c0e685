//! How the network may be used.

use super::problem::Reason;
use crate::hosts::{AllowList, Host, Target};
use std::fmt;
use ureq::{Proxy, ProxyProtocol};

/// From the settings; read on the main thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub allowed: AllowList,
    /// For all calls.
    pub proxy: Option<ProxyServer>,
    /// Certificates of authorities that are trusted besides the system's (PEM).
    pub ca_file: Option<String>,
    /// As whom we introduce ourselves to mail servers; nothing: as this host.
    pub ehlo_name: Option<String>,
    /// Bytes of an answer's body.
    pub max_answer: u64,
    /// Bytes of a request, headers included.
    pub max_request: u64,
}

/// Where the proxy is, and as whom to log in there.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyServer {
    pub url: String,
    /// User and password.
    pub login: Option<(String, String)>,
}

/// Without the password.
impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer").field("url", &self.url).finish_non_exhaustive()
    }
}

impl ProxyServer {
    /// # Errors
    /// What is wrong with its URL.
    pub(super) fn build(&self) -> Result<Proxy, String> {
        let wrong = |reason: String| format!("pg_errand.http_proxy: {reason}");
        let target = Target::parse(&self.url).map_err(wrong)?;
        let protocol = if target.is_https() { ProxyProtocol::Https } else { ProxyProtocol::Http };
        let mut builder = Proxy::builder(protocol).host(target.host_text()).port(target.port);
        if let Some((user, password)) = &self.login {
            builder = builder.username(user).password(password);
        }
        builder.build().map_err(|error| wrong(error.to_string()))
    }
}

impl Network {
    /// Judges what a proxy is to connect to: names are not resolved here then. Without a proxy the addresses
    /// are judged when they are known.
    pub(super) fn refusal(&self, target: &Target) -> Option<Reason> {
        self.proxy.as_ref()?;
        let is_allowed = match &target.host {
            Host::Address(address) => self.allowed.has_address(*address, target.port),
            Host::Name(name) => self.allowed.trusts_name(name, target.port),
        };
        (!is_allowed).then_some(Reason::Refused)
    }
}
