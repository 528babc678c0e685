//! Why a mail was not accepted.

use crate::response::{RECIPIENT, Response};
use crate::tls;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub enum Problem {
    /// The server said no.
    Refused(Response),
    /// It did not answer in time; it has not got the mail.
    Late,
    /// It has not got the mail.
    Failed(String),
    /// It may have got the mail.
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
    /// What went wrong after the mail's content had begun to be sent.
    pub fn of_last_step(error: &io::Error) -> Self {
        match is_late(error) {
            true => Problem::Unknown("no answer in time".into()),
            false => Problem::Unknown(error.to_string()),
        }
    }

    /// The same, of a command that concerned one recipient.
    pub fn of_recipient(self, recipient: &str) -> Self {
        match self {
            Problem::Refused(mut response) => {
                response.headers.push((RECIPIENT.into(), recipient.into()));
                Problem::Refused(response)
            }
            other => other,
        }
    }

    /// The same, when the mail's content had begun to be sent.
    pub fn in_last_step(self) -> Self {
        match self {
            Problem::Failed(reason) => Problem::Unknown(reason),
            other => other,
        }
    }
}

/// The system calls it by two names.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The time until `end`.
///
/// # Errors
/// There is none left.
pub fn time_left(end: Instant) -> Result<Duration, Problem> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Problem::Late)
}
