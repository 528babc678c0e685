//! A mail that is ready to be sent.

use super::dialogue::Dialogue;
use super::problem::Problem;
use crate::mail::lines;
use crate::request::SmtpRequest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

pub struct Outgoing {
    from: String,
    pub to: Vec<String>,
    pub message: Vec<u8>,
}

impl Outgoing {
    /// Decodes a stored mail. It may have been built by an older version, so it is checked again.
    pub fn of(request: &SmtpRequest, max_size: u64) -> Result<Self, String> {
        let message =
            BASE64_STANDARD.decode(&request.message).map_err(|_| "the message is not valid base64")?;
        let size = message.len() as u64;
        if size > max_size {
            return Err(format!(
                "the mail has {size} bytes; pg_errand.http_max_request_size allows {max_size}"
            ));
        }
        lines::check_lines(&message)?;
        request.to.iter().chain([&request.from]).try_for_each(|address| lines::check_address(address))?;
        Ok(Outgoing { from: request.from.clone(), to: request.to.clone(), message })
    }

    pub fn announce(&self, connection: &mut Dialogue) -> Result<(), Problem> {
        let parameters = self.parameters(connection)?;
        connection.command(&format!("MAIL FROM:<{}>{parameters}", self.from)).map(drop)
    }

    /// Returns the parameters that announce what the mail contains (RFC 6152, RFC 6531).
    fn parameters(&self, connection: &Dialogue) -> Result<String, Problem> {
        let mut parameters = String::new();
        // Texts and attachments are encoded as ASCII. Only addresses may contain other characters, also in headers.
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
