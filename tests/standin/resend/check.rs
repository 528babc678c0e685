//! The checks of a request, in the order Resend makes them: edge, path, key, headers, body.

use serde_json::Value;

use super::fields;
use crate::{Answer, Options, Request};

/// Longest idempotency key, in characters.
const MAX_KEY: usize = 256;

const BATCH: &str = "/emails/batch";

/// What requests are checked against.
pub(crate) struct Checks {
    keys: Vec<String>,
    refuse_example_domains: bool,
}

impl Checks {
    pub(crate) fn new(options: &Options) -> Self {
        Self { keys: options.keys.clone(), refuse_example_domains: options.refuse_example_domains }
    }

    /// The mail, or the array of mails, in an acceptable request.
    ///
    /// # Errors
    /// The response that refuses the request.
    pub(crate) fn check<'a>(&self, request: &'a Request) -> Result<&'a Value, Answer> {
        user_agent(request)?;
        path_and_method(request)?;
        self.api_key(request)?;
        idempotency_key(request)?;
        content_type(request)?;
        let body = request.json().ok_or_else(|| invalid(400, "The request body is not valid JSON."))?;
        match request.target.as_str() {
            BATCH => fields::mails(body)?.iter().try_for_each(|mail| {
                fields::check_batched(mail)?;
                self.mail(mail)
            })?,
            _ => self.mail(body)?,
        }
        Ok(body)
    }

    fn mail(&self, mail: &Value) -> Result<(), Answer> {
        fields::check(mail)?;
        if self.refuse_example_domains { fields::check_domains(mail) } else { Ok(()) }
    }

    fn api_key(&self, request: &Request) -> Result<(), Answer> {
        let key = single(request, "Authorization")?.and_then(|value| value.strip_prefix("Bearer "));
        match key {
            None => Err(Answer::error(401, "missing_api_key", "The Authorization header holds no API key.")),
            Some(key) if self.keys.iter().any(|known| known == key) => Ok(()),
            Some(_) => Err(Answer::error(403, "invalid_api_key", "API key is invalid.")),
        }
    }
}

/// A refusal of the request's content.
pub(crate) fn invalid(status: u16, message: &str) -> Answer {
    Answer::error(status, "validation_error", message)
}

/// The edge in front of Resend turns clients without a name away, and not in JSON.
fn user_agent(request: &Request) -> Result<(), Answer> {
    match request.header("User-Agent") {
        Some(name) if !name.trim().is_empty() => Ok(()),
        _ => Err(Answer::new(403, "text/plain; charset=UTF-8", "error code: 1010")),
    }
}

fn path_and_method(request: &Request) -> Result<(), Answer> {
    if !["/emails", BATCH].contains(&request.target.as_str()) {
        return Err(Answer::error(404, "not_found", "There is no such endpoint."));
    }
    if request.method != "POST" {
        return Err(Answer::error(405, "method_not_allowed", "This path does not have that method."));
    }
    Ok(())
}

fn idempotency_key(request: &Request) -> Result<(), Answer> {
    match single(request, "Idempotency-Key")? {
        Some(key) if !(1..=MAX_KEY).contains(&key.chars().count()) => {
            Err(Answer::error(400, "invalid_idempotency_key", "An idempotency key has 1 to 256 characters."))
        }
        _ => Ok(()),
    }
}

fn content_type(request: &Request) -> Result<(), Answer> {
    let written = single(request, "Content-Type")?.unwrap_or_default().to_ascii_lowercase();
    let (media_type, parameters) = written.split_once(';').unwrap_or((&written, ""));
    let utf8 = matches!(parameters.trim(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    if media_type.trim() == "application/json" && utf8 {
        return Ok(());
    }
    Err(invalid(400, "Content-Type has to be application/json."))
}

/// A header that must not be given twice.
fn single<'a>(request: &'a Request, name: &'a str) -> Result<Option<&'a str>, Answer> {
    let mut values = request.headers_named(name);
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(invalid(400, &format!("The header {name} is given twice."))),
    }
}
