//! The proxy of `pg_errand.http_proxy`.

use super::problem::Reason;
use crate::hosts::{Host, Target};
use crate::network::{Network, ProxyServer};
use ureq::{Proxy, ProxyProtocol};

/// # Errors
/// If the proxy's URL is invalid.
pub fn build(server: &ProxyServer) -> Result<Proxy, String> {
    let wrong = |reason: String| format!("pg_errand.http_proxy: {reason}");
    let target = Target::parse(&server.url).map_err(wrong)?;
    let protocol = if target.is_https() { ProxyProtocol::Https } else { ProxyProtocol::Http };
    let mut builder = Proxy::builder(protocol).host(target.host_text()).port(target.port);
    if let Some((user, password)) = &server.login {
        builder = builder.username(user).password(password);
    }
    builder.build().map_err(|error| wrong(error.to_string()))
}

/// Decides whether a proxy may be requested to connect to `target`. The proxy resolves names, so only the name is
/// checked. Without a proxy, the addresses are checked when they are known.
pub fn refusal(network: &Network, target: &Target) -> Option<Reason> {
    network.proxy.as_ref()?;
    let is_allowed = match &target.host {
        Host::Address(address) => network.allowed.has_address(*address, target.port),
        Host::Name(name) => network.allowed.trusts_name(name, target.port),
    };
    (!is_allowed).then_some(Reason::Refused)
}
