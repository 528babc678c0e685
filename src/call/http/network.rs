//! How the network may be used.

use super::problem::Reason;
use crate::hosts::{AllowList, Host, Target};

/// From the settings; read on the main thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub allowed: AllowList,
    /// URL of the proxy for all calls.
    pub proxy: Option<String>,
    /// Certificates of authorities that are trusted besides the system's (PEM).
    pub ca_file: Option<String>,
    /// As whom we introduce ourselves to mail servers; nothing: as this host.
    pub ehlo_name: Option<String>,
    /// Bytes of an answer's body.
    pub max_answer: u64,
    /// Bytes of a request, headers included.
    pub max_request: u64,
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
