//! Mail, by connections that are kept for the next one.

mod dialogue;
mod open;
mod problem;
mod stream;
#[cfg(test)]
mod tests;

use super::http::resolve::{self, Spawn};
use super::{Job, MAX_IDLE};
use crate::interface::{MailServer, Placed, Reply, SmtpRequest, outgoing};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dialogue::Dialogue;
use open::Opener;
use problem::Problem;
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
    connection: Dialogue,
    since: Instant,
}

/// Whom a connection leads to, and who we are there.
#[derive(Clone, PartialEq, Eq)]
struct Peer {
    server: MailServer,
    login: Option<(String, String)>,
    /// Certificates of authorities that are trusted besides the system's (PEM).
    ca_file: Option<String>,
    /// As whom we introduce ourselves, if not as this host.
    ehlo_name: Option<String>,
}

impl Peer {
    fn of(request: &SmtpRequest, job: &Job) -> Self {
        let login = job.credentials.iter().find_map(|credential| match &credential.placed {
            Placed::Login { user, password } => Some((user.clone(), password.clone())),
            Placed::Header { .. } | Placed::Query { .. } => None,
        });
        let (ca_file, ehlo_name) = (job.network.ca_file.clone(), job.network.ehlo_name.clone());
        Peer { server: request.server.clone(), login, ca_file, ehlo_name }
    }
}

impl Client {
    /// `spawn` starts a thread in the way this process allows.
    pub fn new(spawn: Spawn) -> Self {
        Client { opener: Opener::new(resolve::system, spawn), kept: Mutex::default() }
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
            let reply = connection.command(&format!("RCPT TO:<{recipient}>"));
            reply.map_err(|problem| problem.of_recipient(recipient))?;
        }
        let reply = connection.send(&parcel.message)?;
        self.keep(peer, connection);
        Ok(reply)
    }

    /// A connection on which the mail has been announced: a kept one if it is still alive.
    fn begin(&self, parcel: &Parcel, peer: &Peer, end: Instant) -> Result<Dialogue, Problem> {
        // The peer may have closed it, or have sent something that was not asked for.
        if let Some(mut kept) = self.take(peer).filter(Dialogue::is_quiet) {
            // Enough time is left for a new connection.
            kept.set_end(Instant::now() + MAX_SILENCE.min(left(end)? / 3));
            if parcel.announce(&mut kept).is_ok() {
                kept.set_end(end);
                return Ok(kept);
            }
        }
        let mut connection = self.opener.open(peer, end)?;
        parcel.announce(&mut connection)?;
        Ok(connection)
    }

    fn take(&self, peer: &Peer) -> Option<Dialogue> {
        let mut kept = self.kept();
        let place = kept.iter().rposition(|kept| kept.peer == *peer && kept.since.elapsed() < MAX_IDLE)?;
        Some(kept.swap_remove(place).connection)
    }

    fn keep(&self, peer: Peer, connection: Dialogue) {
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
    from: String,
    to: Vec<String>,
    message: Vec<u8>,
}

impl Parcel {
    /// A stored mail may have been built by an older version, so it is checked again.
    fn of(request: &SmtpRequest, max_size: u64) -> Result<Self, String> {
        let message = BASE64_STANDARD.decode(&request.message).map_err(|_| "the message is no base64")?;
        let size = message.len() as u64;
        if size > max_size {
            return Err(format!(
                "the mail has {size} bytes; pg_errand.http_max_request_size allows {max_size}"
            ));
        }
        outgoing::check_lines(&message)?;
        request.to.iter().chain([&request.from]).try_for_each(|address| outgoing::check_address(address))?;
        Ok(Parcel { from: request.from.clone(), to: request.to.clone(), message })
    }

    fn announce(&self, connection: &mut Dialogue) -> Result<(), Problem> {
        let parameters = self.parameters(connection)?;
        connection.command(&format!("MAIL FROM:<{}>{parameters}", self.from)).map(drop)
    }

    /// What the server has to know of it (RFC 6152, RFC 6531).
    fn parameters(&self, connection: &Dialogue) -> Result<String, Problem> {
        let mut parameters = String::new();
        // Texts and attachments are encoded as ASCII; only addresses, also in headers, may hold other characters.
        let international = self.to.iter().chain([&self.from]).find(|address| !address.is_ascii());
        let needed = [
            (international.is_none() && self.message.is_ascii(), "SMTPUTF8", " SMTPUTF8"),
            (self.message.is_ascii(), "8BITMIME", " BODY=8BITMIME"),
        ];
        for (is_ascii, extension, parameter) in needed {
            if is_ascii {
                continue;
            }
            if connection.parameters(extension).is_none() {
                let what =
                    international.map_or("the mail".into(), |address| format!("the address {address}"));
                return Err(Problem::Failed(format!(
                    "{what} needs {extension}, which the server does not offer"
                )));
            }
            parameters.push_str(parameter);
        }
        Ok(parameters)
    }
}

fn left(end: Instant) -> Result<Duration, Problem> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Problem::Late)
}
