//! How calls may use the network. The settings are read on the main thread and passed to the threads that send.

use crate::hosts::AllowList;
use std::fmt;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The `User-Agent` of HTTP requests.
    pub user_agent: &'static str,
    pub allowed: AllowList,
    /// The proxy for all HTTP calls.
    pub proxy: Option<ProxyServer>,
    /// PEM file with certificates of authorities that are trusted besides those of the system.
    pub ca_file: Option<String>,
    /// The name for EHLO; without one, this host's name is sent.
    pub ehlo_name: Option<String>,
    /// Limit for the body of a response, in bytes.
    pub max_response_size: u64,
    /// Limit for a request with its headers, in bytes.
    pub max_request_size: u64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct ProxyServer {
    pub url: String,
    /// User and password.
    pub login: Option<(String, String)>,
}

/// Omits the password.
impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer").field("url", &self.url).finish_non_exhaustive()
    }
}
