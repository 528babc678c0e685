//! Mail, by `lettre`'s connections, which are kept for the next mail.

mod open;
mod problem;
#[cfg(test)]
mod tests;

use super::http::resolve::Spawn;
use super::{Job, MAX_IDLE};
use crate::provider::{MailServer, Placed, Reply, SmtpRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lettre::Address;
use lettre::transport::smtp::client::SmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use open::Opener;
use problem::Problem;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A kept connection that does not answer in this time counts as dead.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// Sends mail.
pub struct Client {
    opener: Opener,
    kept: Mutex<Vec<Kept>>,
}

/// A connection without work.
struct Kept {
    peer: Peer,
    connection: SmtpConnection,
    since: Instant,
}

/// Whom a connection leads to, and who we are there.
#[derive(Clone, PartialEq, Eq)]
struct Peer {
    server: MailServer,
    login: Option<(String, String)>,
    /// Certificates of authorities that are trusted besides the system's (PEM).
    ca_file: Option<String>,
}

impl Peer {
    fn of(request: &SmtpRequest, job: &Job) -> Self {
        let login = job.credentials.iter().find_map(|credential| match &credential.placed {
            Placed::Login { user, password } => Some((user.clone(), password.clone())),
            Placed::Header { .. } | Placed::Query { .. } => None,
        });
        Peer { server: request.server.clone(), login, ca_file: job.network.ca_file.clone() }
    }
}

impl Client {
    /// `spawn` starts a thread in the way this process allows.
    pub fn new(spawn: Spawn) -> Self {
        Client { opener: Opener::new(spawn), kept: Mutex::default() }
    }

    /// Sends a mail to all of its recipients, or to none. The reply is the server's last word.
    ///
    /// # Errors
    /// Why there is none.
    pub fn send(&self, request: &SmtpRequest, job: &Job, limit: Duration) -> Result<Reply, String> {
        let end = Instant::now() + limit;
        let parcel = Parcel::of(request, job.network.max_request)?;
        let peer = Peer::of(request, job);
        match self.deliver(&parcel, peer, end) {
            Ok(reply) | Err(Problem::Refused(reply)) => Ok(reply),
            Err(Problem::Late) => {
                Err(format!("no answer from {} within {} ms", request.server.host, job.timeout.as_millis()))
            }
            Err(Problem::Failed(reason)) => Err(format!("{}: {reason}", request.server.host)),
            Err(Problem::Unknown(reason)) => Err(format!(
                "outcome unknown: {} had been given the mail when the connection was lost: {reason}",
                request.server.host
            )),
        }
    }

    fn deliver(&self, parcel: &Parcel, peer: Peer, end: Instant) -> Result<Reply, Problem> {
        let mut connection = self.begin(parcel, &peer, end)?;
        for recipient in &parcel.to {
            command(&mut connection, Rcpt::new(recipient.clone(), Vec::new()), end)?;
        }
        command(&mut connection, Data, end)?;
        set_time(&mut connection, end)?;
        let response = connection.message(&parcel.message).map_err(|error| Problem::of_last_step(&error))?;
        self.keep(peer, connection);
        Ok(reply(&response))
    }

    /// A connection on which the mail has been announced: a kept one if it is still alive.
    fn begin(&self, parcel: &Parcel, peer: &Peer, end: Instant) -> Result<SmtpConnection, Problem> {
        if let Some(mut kept) = self.take(peer)
            && parcel.announce(&mut kept, end.min(Instant::now() + MAX_SILENCE)).is_ok()
        {
            return Ok(kept);
        }
        let mut connection = self.opener.open(peer, end)?;
        parcel.announce(&mut connection, end)?;
        Ok(connection)
    }

    fn take(&self, peer: &Peer) -> Option<SmtpConnection> {
        let mut kept = self.kept();
        let place = kept.iter().rposition(|kept| kept.peer == *peer && kept.since.elapsed() < MAX_IDLE)?;
        Some(kept.swap_remove(place).connection)
    }

    fn keep(&self, peer: Peer, connection: SmtpConnection) {
        self.tidy();
        self.kept().push(Kept { peer, connection, since: Instant::now() });
    }

    /// Closes what has been without work for long.
    pub fn tidy(&self) {
        self.kept().retain(|kept| kept.since.elapsed() < MAX_IDLE);
    }

    /// Nothing panics while it holds the lock.
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mail that is ready to be sent.
struct Parcel {
    from: Address,
    to: Vec<Address>,
    message: Vec<u8>,
}

impl Parcel {
    fn of(request: &SmtpRequest, max_size: u64) -> Result<Self, String> {
        let address =
            |text: &String| text.parse().map_err(|error| format!("{text:?} is no address: {error}"));
        let message = BASE64_STANDARD.decode(&request.message).map_err(|_| "the message is no base64")?;
        let size = message.len() as u64;
        if size > max_size {
            return Err(format!(
                "the mail has {size} bytes; pg_errand.http_max_request_size allows {max_size}"
            ));
        }
        let to = request.to.iter().map(address).collect::<Result<_, _>>()?;
        Ok(Parcel { from: address(&request.from)?, to, message })
    }

    fn announce(&self, connection: &mut SmtpConnection, end: Instant) -> Result<(), Problem> {
        let parameters = self.parameters(connection)?;
        command(connection, Mail::new(Some(self.from.clone()), parameters), end).map(|_| ())
    }

    /// What the server has to know of it (RFC 6152, RFC 6531).
    fn parameters(&self, connection: &SmtpConnection) -> Result<Vec<MailParameter>, Problem> {
        let mut parameters = Vec::new();
        let mut addresses = self.to.iter().chain([&self.from]);
        let needed = [
            (
                addresses.all(|address| address.to_string().is_ascii()),
                Extension::SmtpUtfEight,
                MailParameter::SmtpUtfEight,
            ),
            (
                self.message.is_ascii(),
                Extension::EightBitMime,
                MailParameter::Body(MailBodyParameter::EightBitMime),
            ),
        ];
        for (is_ascii, extension, parameter) in needed {
            if is_ascii {
                continue;
            }
            if !connection.server_info().supports_feature(extension) {
                return Err(Problem::Failed(format!(
                    "the mail needs {extension}, which the server does not know"
                )));
            }
            parameters.push(parameter);
        }
        Ok(parameters)
    }
}

fn command(
    connection: &mut SmtpConnection,
    command: impl Display,
    end: Instant,
) -> Result<Response, Problem> {
    set_time(connection, end)?;
    Ok(connection.command(command)?)
}

/// Nothing that the connection does next takes longer than until `end`.
fn set_time(connection: &mut SmtpConnection, end: Instant) -> Result<(), Problem> {
    let set = connection.set_timeout(Some(left(end)?));
    set.map_err(|error| Problem::Failed(error.to_string()))
}

fn left(end: Instant) -> Result<Duration, Problem> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Problem::Late)
}

fn reply(response: &Response) -> Reply {
    let text: Vec<&str> = response.message().collect();
    problem::reply(response.code(), text.join("\n"))
}
