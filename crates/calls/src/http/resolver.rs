//! The resolver of `ureq`. It returns only addresses that may be connected to.

use super::problem::Reason;
use crate::hosts::{AllowList, Host};
use crate::names::{ChosenBy, MAX_ADDRESSES, Names};
use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

thread_local! {
    /// Who has chosen the host of the request that this thread sends.
    static CHOSEN_BY: Cell<ChosenBy> = const { Cell::new(ChosenBy::Payload) };
}

/// Must be called before a request is sent.
pub fn set_chosen_by(who: ChosenBy) {
    CHOSEN_BY.set(who);
}

/// A resolver that `ureq` invokes before each connection, which then goes to one of the returned addresses.
pub struct Guarded {
    pub names: Arc<Names>,
    /// `None` allows every address.
    pub allowed: Option<AllowList>,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, port) = host_and_port(uri).ok_or(ureq::Error::HostNotFound)?;
        let addresses = match &host {
            Host::Address(address) => [*address].into(),
            Host::Name(name) => match self.names.find(name, CHOSEN_BY.get(), *timeout.after) {
                None => return Err(ureq::Error::Timeout(ureq::Timeout::Resolve)),
                Some(Err(reason)) => return Err(Reason::Unknown(reason).into()),
                Some(Ok(addresses)) => addresses,
            },
        };
        let mut usable = self.empty();
        addresses
            .iter()
            .filter(|address| self.allows(&host, **address, port))
            .take(MAX_ADDRESSES)
            .for_each(|address| usable.push(SocketAddr::new(*address, port)));
        if usable.is_empty() {
            return Err(Reason::Refused.into());
        }
        Ok(usable)
    }
}

impl Guarded {
    fn allows(&self, host: &Host, address: IpAddr, port: u16) -> bool {
        self.allowed.as_ref().is_none_or(|list| {
            list.has_address(address, port) || matches!(host, Host::Name(name) if list.has_name(name, port))
        })
    }
}

fn host_and_port(uri: &Uri) -> Option<(Host, u16)> {
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some((Host::parse(uri.host()?)?, uri.port_u16().unwrap_or(usual)))
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}
