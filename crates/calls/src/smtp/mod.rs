//! The SMTP client. It keeps connections for the next mail.

mod dialogue;
mod open;
mod outgoing;
mod peer;
mod problem;
mod stream;
#[cfg(test)]
mod tests;

use crate::job::Job;
use crate::names;
use crate::request::SmtpRequest;
use crate::response::Response;
use crate::spawn::Spawn;
use dialogue::Dialogue;
use open::Opener;
use outgoing::Outgoing;
use peer::Peer;
use problem::Problem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time after which an idle connection is closed.
const MAX_IDLE: Duration = Duration::from_secs(10);
/// A kept connection counts as dead if it does not respond within this time.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// Sends mail.
pub struct Client {
    opener: Opener,
    kept: Mutex<Vec<Kept>>,
}

/// A connection that waits for the next mail to the same peer.
struct Kept {
    peer: Peer,
    connection: Dialogue,
    since: Instant,
}

impl Client {
    pub fn new(spawn: Spawn) -> Self {
        Client { opener: Opener::new(names::system, spawn), kept: Mutex::default() }
    }

    /// Sends a mail to all of its recipients, or to none. The response is the last reply of the server.
    ///
    /// # Errors
    /// If there is no response; the error states the reason.
    pub fn send(&self, request: &SmtpRequest, job: &Job, limit: Duration) -> Result<Response, String> {
        let end = Instant::now() + limit;
        let mail = Outgoing::of(request, job.network.max_request_size)?;
        let peer = Peer::of(request, job);
        match self.deliver(&mail, peer, end) {
            Ok(response) | Err(Problem::Refused(response)) => Ok(response),
            Err(Problem::Late) => {
                Err(format!("no response from {} within {} ms", request.server.host, job.timeout.as_millis()))
            }
            Err(Problem::Failed(reason)) => Err(format!("{}: {reason}", request.server.host)),
            Err(Problem::Unknown(reason)) => Err(format!(
                "outcome unknown: {} had been given the mail when the connection was lost: {reason}",
                request.server.host
            )),
        }
    }

    fn deliver(&self, mail: &Outgoing, peer: Peer, end: Instant) -> Result<Response, Problem> {
        let mut connection = self.begin(mail, &peer, end)?;
        for recipient in &mail.to {
            let response = connection.command(&format!("RCPT TO:<{recipient}>"));
            response.map_err(|problem| problem.of_recipient(recipient))?;
        }
        let response = connection.send(&mail.message)?;
        self.keep(peer, connection);
        Ok(response)
    }

    /// Returns a connection on which the mail has been announced: a kept one if it is alive, otherwise a new one.
    fn begin(&self, mail: &Outgoing, peer: &Peer, end: Instant) -> Result<Dialogue, Problem> {
        // The peer may have closed the connection, or have sent something unexpected.
        if let Some(mut kept) = self.take(peer).filter(Dialogue::is_quiet) {
            // This leaves enough time for a new connection.
            kept.set_end(Instant::now() + MAX_SILENCE.min(problem::time_left(end)? / 3));
            if mail.announce(&mut kept).is_ok() {
                kept.set_end(end);
                return Ok(kept);
            }
        }
        let mut connection = self.opener.open(peer, end)?;
        mail.announce(&mut connection)?;
        Ok(connection)
    }

    fn take(&self, peer: &Peer) -> Option<Dialogue> {
        let mut kept = self.kept();
        let place = kept.iter().rposition(|kept| kept.peer == *peer && kept.since.elapsed() < MAX_IDLE)?;
        Some(kept.swap_remove(place).connection)
    }

    fn keep(&self, peer: Peer, connection: Dialogue) {
        self.close_idle();
        self.kept().push(Kept { peer, connection, since: Instant::now() });
    }

    /// Closes the connections that have been idle for too long.
    pub fn close_idle(&self) {
        self.kept().retain(|kept| kept.since.elapsed() < MAX_IDLE);
    }

    /// No code panics while it holds this lock.
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
