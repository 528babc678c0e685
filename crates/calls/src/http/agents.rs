//! The agents of `ureq`. An agent keeps connections alive, so all calls of one agent agree on what may be connected to,
//! and how.

use super::resolver::Guarded;
use super::{proxy, socket, tls};
use crate::credential::ClientCertificate;
use crate::names::Names;
use crate::network::Network;
use crate::tls::{Version, version};
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use ureq::unversioned::transport::{ConnectionDetails, Connector};

/// Limit for the headers of a response, in bytes.
const MAX_RESPONSE_HEADERS: usize = 64 * 1024;
/// The number of connections that are kept alive, as many as there can be calls in flight.
const MAX_IDLE_CONNECTIONS: usize = 1024;
/// The number of agents. More are only needed for many client certificates; those that were used last are kept.
const MAX_AGENTS: usize = 64;

thread_local! {
    /// Whether this thread has opened a connection since [`forget_connecting`].
    static CONNECTED: Cell<bool> = const { Cell::new(false) };
}

/// Must be called before a request is sent.
pub fn forget_connecting() {
    CONNECTED.set(false);
}

/// True if no kept-alive connection was used.
pub fn has_connected() -> bool {
    CONNECTED.get()
}

/// A connector that sets [`CONNECTED`] when a connection is requested.
#[derive(Debug)]
struct NotingConnector<C>(C);

impl<C: Connector> Connector for NotingConnector<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        CONNECTED.set(true);
        // Requests differ in their time limits only, so the agent's TLS settings apply, which need not be set up for
        // each request.
        let details = ConnectionDetails {
            request_level: false,
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.0.connect(&details, chained)
    }
}

/// What the calls of one agent have in common.
#[derive(PartialEq)]
struct Key {
    network: Arc<Network>,
    ca: Option<Version>,
    exempt: bool,
    client: Option<ClientCertificate>,
}

/// All agents, with the most recently used one at the end.
pub struct Agents {
    names: Arc<Names>,
    known: Mutex<Vec<(Key, ureq::Agent)>>,
}

impl Agents {
    pub fn new(names: Arc<Names>) -> Self {
        Agents { names, known: Mutex::default() }
    }

    /// Returns the agent for a call. `exempt` means that every address may be connected to.
    ///
    /// # Errors
    /// If a certificate cannot be used.
    pub fn get(
        &self,
        network: &Arc<Network>,
        exempt: bool,
        client: Option<&ClientCertificate>,
    ) -> Result<ureq::Agent, String> {
        let ca = network.ca_file.as_deref().map(version).transpose()?;
        let key = Key { network: network.clone(), ca, exempt, client: client.cloned() };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match known.iter().position(|(other, _)| *other == key) {
            Some(at) => known.remove(at),
            None => {
                // The settings of these agents have changed.
                known.retain(|(other, _)| other.network == key.network && other.ca == key.ca);
                let surplus = (known.len() + 1).saturating_sub(MAX_AGENTS);
                known.drain(..surplus);
                let agent = self.build(&key)?;
                (key, agent)
            }
        };
        let agent = entry.1.clone();
        known.push(entry);
        Ok(agent)
    }

    fn build(&self, key: &Key) -> Result<ureq::Agent, String> {
        let network = &key.network;
        let proxy = network.proxy.as_ref().map(proxy::build).transpose()?;
        // Behind a proxy, only the address of the proxy is looked up.
        let guarded = !key.exempt && proxy.is_none();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            // The server's environment is never used.
            .proxy(proxy)
            .user_agent(network.user_agent)
            .tls_config(tls::config(network.ca_file.as_deref(), key.client.as_ref())?)
            .max_response_header_size(MAX_RESPONSE_HEADERS)
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .build();
        let resolver =
            Guarded { names: self.names.clone(), allowed: guarded.then(|| network.allowed.clone()) };
        Ok(ureq::Agent::with_parts(config, NotingConnector(socket::connector()), resolver))
    }
}
