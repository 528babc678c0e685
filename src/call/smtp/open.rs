//! New connections to mail servers.

use super::{Peer, Problem, left};
use crate::call::http::resolve::{self, Names, Spawn};
use crate::call::http::tls;
use crate::config::SmtpTls;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];
/// No step of a new connection takes longer, however much time the call has.
const MAX_STEP_TIME: Duration = Duration::from_secs(10);
/// `lettre` waits so often, one after the other, where it is given one limit.
const WAITS: u32 = 4;

pub struct Opener {
    names: Arc<Names>,
    /// What was made last: to read the system's certificates takes time.
    trust: Mutex<Option<Trust>>,
}

#[derive(Clone)]
struct Trust {
    host: String,
    ca_file: Option<(String, tls::Version)>,
    parameters: TlsParameters,
}

impl Opener {
    pub fn new(spawn: Spawn) -> Self {
        Opener { names: Names::new(resolve::system, spawn), trust: Mutex::default() }
    }

    /// A connection that is encrypted and logged in as it should be.
    pub fn open(&self, peer: &Peer, end: Instant) -> Result<SmtpConnection, Problem> {
        let hello = ClientId::default();
        let mut connection = match peer.server.tls {
            SmtpTls::None => self.connect(peer, None, &hello, end)?,
            SmtpTls::Tls => self.connect(peer, Some(&self.parameters(peer)?), &hello, end)?,
            SmtpTls::Starttls => {
                let parameters = self.parameters(peer)?;
                let mut connection = self.connect(peer, None, &hello, end)?;
                set_step_time(&mut connection, end)?;
                connection.starttls(&parameters, &hello)?;
                connection
            }
        };
        if let Some((user, password)) = &peer.login {
            set_step_time(&mut connection, end)?;
            connection.auth(MECHANISMS, &Credentials::new(user.clone(), password.clone()))?;
        }
        Ok(connection)
    }

    /// To the first of the server's addresses that answers.
    fn connect(
        &self,
        peer: &Peer,
        parameters: Option<&TlsParameters>,
        hello: &ClientId,
        end: Instant,
    ) -> Result<SmtpConnection, Problem> {
        let mut problem = Problem::Late;
        for address in self.addresses(&peer.server.host, end)?.iter() {
            let address = SocketAddr::new(*address, peer.server.port);
            match SmtpConnection::connect(address, Some(step_time(end)?), hello, parameters, None) {
                Ok(connection) => return Ok(connection),
                Err(error) => problem = error.into(),
            }
        }
        Err(problem)
    }

    fn addresses(&self, host: &str, end: Instant) -> Result<Arc<[IpAddr]>, Problem> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([address].into());
        }
        match self.names.find(host, left(end)?) {
            Some(found) => found.map_err(|reason| Problem::Failed(format!("no such host: {reason}"))),
            None => Err(Problem::Failed("it could not be looked up in time".into())),
        }
    }

    fn parameters(&self, peer: &Peer) -> Result<TlsParameters, Problem> {
        let host = peer.server.host.clone();
        let version = |file: &String| tls::version(file).map(|version| (file.clone(), version));
        let ca_file = peer.ca_file.as_ref().map(version).transpose().map_err(Problem::Failed)?;
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = trust.as_ref().filter(|known| known.host == host && known.ca_file == ca_file) {
            return Ok(known.parameters.clone());
        }
        let parameters = new_parameters(&host, peer.ca_file.as_deref())?;
        *trust = Some(Trust { host, ca_file, parameters: parameters.clone() });
        Ok(parameters)
    }
}

/// The system's certificates and those in the file are trusted.
fn new_parameters(host: &str, ca_file: Option<&str>) -> Result<TlsParameters, Problem> {
    let mut builder = TlsParameters::builder(host.to_owned());
    let own = ca_file.map(tls::authorities).transpose().map_err(Problem::Failed)?;
    for authority in own.into_iter().flatten() {
        builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec())?);
    }
    Ok(builder.build()?)
}

fn set_step_time(connection: &mut SmtpConnection, end: Instant) -> Result<(), Problem> {
    let set = connection.set_timeout(Some(step_time(end)?));
    set.map_err(|error| Problem::Failed(error.to_string()))
}

fn step_time(end: Instant) -> Result<Duration, Problem> {
    Ok((left(end)? / WAITS).min(MAX_STEP_TIME).max(Duration::from_millis(1)))
}
