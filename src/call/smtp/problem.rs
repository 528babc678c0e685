//! Why a mail was not accepted.

use crate::provider::Reply;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::response::Code;
use std::error::Error as _;
use std::io::{self, ErrorKind};

#[derive(Debug)]
pub enum Problem {
    /// The server said no.
    Refused(Reply),
    /// It did not answer in time; it has not got the mail.
    Late,
    /// It has not got the mail.
    Failed(String),
    /// It may have got the mail.
    Unknown(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        refusal(&error).unwrap_or_else(|| match is_late(&error) {
            true => Problem::Late,
            false => Problem::Failed(error.to_string()),
        })
    }
}

impl Problem {
    /// What went wrong after the mail's content had begun to be sent.
    pub fn of_last_step(error: &Error) -> Self {
        refusal(error).unwrap_or_else(|| match is_late(error) {
            true => Problem::Unknown("no answer in time".into()),
            false => Problem::Unknown(error.to_string()),
        })
    }
}

pub fn reply(code: Code, text: String) -> Reply {
    Reply {
        status: code.to_string().parse().unwrap_or_default(),
        body: text.into_bytes(),
        ..Reply::default()
    }
}

fn refusal(error: &Error) -> Option<Problem> {
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    error.status().map(|code| Problem::Refused(reply(code, text)))
}

/// The system calls it by two names.
fn is_late(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}
