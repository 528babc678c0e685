//! Opens connections to mail servers.

use super::dialogue::Dialogue;
use super::peer::Peer;
use super::problem::{Problem, time_left};
use super::stream::Stream;
use crate::names::{ChosenBy, LookUp, MAX_ADDRESSES, Names};
use crate::request::SmtpTls;
use crate::spawn::Spawn;
use crate::timed::Timed;
use crate::tls;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The maximum time to connect, whatever time the call has.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);

pub struct Opener {
    names: Arc<Names>,
    /// The TLS configuration that was used last, since reading the certificates of the system takes time.
    trust: Mutex<Option<Trust>>,
}

/// A TLS configuration, and the file from which it was created.
struct Trust {
    ca_file: Option<(String, tls::Version)>,
    config: Arc<ClientConfig>,
}

impl Opener {
    pub fn new(look_up: LookUp, spawn: Spawn) -> Self {
        Opener { names: Names::new(look_up, spawn), trust: Mutex::default() }
    }

    /// Opens a connection, encrypts it and logs in as the settings specify.
    pub fn open(&self, peer: &Peer, end: Instant) -> Result<Dialogue, Problem> {
        let mut dialogue = self.reach(peer, end)?;
        dialogue.set_end(end);
        if peer.server.tls == SmtpTls::Starttls {
            dialogue = dialogue.encrypt(self.config(peer)?, name(peer)?)?;
        }
        if let Some((user, password)) = &peer.login {
            log_in(&mut dialogue, user, password)?;
        }
        Ok(dialogue)
    }

    /// Connects to the first of the server's addresses that responds. Each one receives its share of the remaining
    /// time. A connected server may delay its greeting, as some do to reduce spam.
    fn reach(&self, peer: &Peer, end: Instant) -> Result<Dialogue, Problem> {
        let mut problem = Problem::Late;
        let addresses = self.addresses(&peer.server.host, end)?;
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        for (n, address) in addresses.iter().enumerate() {
            let share = time_left(end)? / (addresses.len() - n) as u32;
            match self.greet(peer, SocketAddr::new(*address, peer.server.port), share, end) {
                Ok(dialogue) => return Ok(dialogue),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    fn greet(
        &self,
        peer: &Peer,
        address: SocketAddr,
        share: Duration,
        end: Instant,
    ) -> Result<Dialogue, Problem> {
        let limit = share.min(MAX_CONNECT_TIME);
        let socket = Timed::connect(address, limit, end).map_err(|error| not_connected(error, limit))?;
        let stream = match peer.server.tls {
            SmtpTls::Tls => {
                Stream::encrypted(socket, self.config(peer)?, name(peer)?).map_err(handshake_problem)?
            }
            SmtpTls::Starttls | SmtpTls::None => Stream::Plain(socket),
        };
        Dialogue::begin(stream, peer.ehlo_name.clone())
    }

    fn addresses(&self, host: &str, end: Instant) -> Result<Arc<[IpAddr]>, Problem> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([address].into());
        }
        match self.names.find(host, ChosenBy::Provider, time_left(end)?) {
            Some(found) => found.map_err(|reason| Problem::Failed(format!("no such host: {reason}"))),
            None => Err(Problem::Failed("it could not be looked up in time".into())),
        }
    }

    fn config(&self, peer: &Peer) -> Result<Arc<ClientConfig>, Problem> {
        let version = |file: &String| tls::version(file).map(|version| (file.clone(), version));
        let ca_file = peer.ca_file.as_ref().map(version).transpose().map_err(Problem::Failed)?;
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = trust.as_ref().filter(|known| known.ca_file == ca_file) {
            return Ok(known.config.clone());
        }
        let config = new_config(peer.ca_file.as_deref()).map_err(Problem::Failed)?;
        *trust = Some(Trust { ca_file, config: config.clone() });
        Ok(config)
    }
}

/// Trusts the certificates of the system and those in the file.
fn new_config(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(ca_file.map(tls::authorities).transpose()?.unwrap_or_default());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn name(peer: &Peer) -> Result<ServerName<'static>, Problem> {
    let host = peer.server.host.clone();
    ServerName::try_from(host).map_err(|error| Problem::Failed(error.to_string()))
}

/// A connection attempt has a limit of its own, which the reason names. The address is not named, since it may be
/// confidential.
fn not_connected(error: io::Error, limit: Duration) -> Problem {
    match error.into() {
        Problem::Late => Problem::Failed(format!("no connection within {} ms", limit.as_millis())),
        other => other,
    }
}

/// Recognizes a server that sends a plain-text greeting instead of TLS, which means that the setting is wrong.
fn handshake_problem(error: io::Error) -> Problem {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => {
            Problem::Failed("it does not encrypt from the start: see the setting pg_errand.smtp_tls".into())
        }
        _ => error.into(),
    }
}

/// Logs in by the first supported mechanism that the server offers (RFC 4954).
fn log_in(dialogue: &mut Dialogue, user: &str, password: &str) -> Result<(), Problem> {
    let offered = dialogue.parameters("AUTH").unwrap_or_default().to_owned();
    let has = |mechanism: &str| offered.split([' ', '=']).any(|one| one.eq_ignore_ascii_case(mechanism));
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    if has("PLAIN") {
        let both = encode(&format!("\0{user}\0{password}"));
        dialogue.command(&format!("AUTH PLAIN {both}")).map(drop)
    } else if has("LOGIN") {
        dialogue.command_with("AUTH LOGIN", &[&encode(user), &encode(password)])
    } else {
        Err(Problem::Failed("the server offers neither AUTH PLAIN nor AUTH LOGIN".into()))
    }
}
