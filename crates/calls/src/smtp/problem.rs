//! The reasons why a mail was not accepted.

use crate::response::{RECIPIENT, Response};
use crate::tls;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub enum Problem {
    /// The server has refused the mail.
    Refused(Response),
    /// The server did not respond in time, and has not received the mail.
    Late,
    /// The server has not received the mail.
    Failed(String),
    /// The server may have received the mail.
    Unknown(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match is_late(&error) {
            true => Problem::Late,
            false => Problem::Failed(tls::explained(error.to_string())),
        }
    }
}

impl Problem {
    /// An error after the content of the mail had begun to be sent.
    pub fn of_last_step(error: &io::Error) -> Self {
        match is_late(error) {
            true => Problem::Unknown("no response in time".into()),
            false => Problem::Unknown(error.to_string()),
        }
    }

    /// Names the recipient that a refused command concerned.
    pub fn of_recipient(self, recipient: &str) -> Self {
        match self {
            Problem::Refused(mut response) => {
                response.headers.push((RECIPIENT.into(), recipient.into()));
                Problem::Refused(response)
            }
            other => other,
        }
    }

    /// Turns a failure into an unknown outcome, because the content of the mail had begun to be sent.
    pub fn in_last_step(self) -> Self {
        match self {
            Problem::Failed(reason) => Problem::Unknown(reason),
            other => other,
        }
    }
}

/// The system reports a timeout by two different errors.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Returns the time until `end`.
///
/// # Errors
/// If no time is left.
pub fn time_left(end: Instant) -> Result<Duration, Problem> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Problem::Late)
}
