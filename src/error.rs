//! Errors and failures, as they are recorded.

/// The length in bytes to which the texts of errors are truncated, since a handler may raise a message of any length.
const MAX_TEXT: usize = 64 * 1024;
/// Texts that exceed the limit by no more than this are not truncated, so that a truncated text is not truncated again
/// when the names of the step and the handler are prepended.
const MARGIN: usize = 4 * 1024;

/// A text from PostgreSQL, which may be in another encoding. If it is too long, it is truncated and its full length
/// appended.
pub fn kept(text: &[u8]) -> String {
    let Some(start) = text.get(..MAX_TEXT).filter(|_| is_long(text)) else {
        return String::from_utf8_lossy(text).into_owned();
    };
    // The truncation may split a character, which is left out.
    let start = String::from_utf8_lossy(start);
    format!("{}... (truncated, {} bytes in all)", start.trim_end_matches('\u{fffd}'), text.len())
}

/// [`kept`] for a string that is UTF-8 already.
pub fn kept_text(text: String) -> String {
    if is_long(text.as_bytes()) { kept(text.as_bytes()) } else { text }
}

fn is_long(text: &[u8]) -> bool {
    text.len() > MAX_TEXT + MARGIN
}

/// A PostgreSQL error, caught.
#[derive(Clone, Debug, Default)]
pub struct PgError {
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<Box<str>>,
    pub hint: Option<Box<str>>,
    /// The CONTEXT, such as the PL/pgSQL call stack.
    pub context: Option<Box<str>>,
    /// The OID of the role that was the current user when the error was raised; 0 if it is not known.
    pub raised_as: u32,
}

impl PgError {
    /// An error of the extension itself.
    pub fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        PgError { sqlstate: sqlstate.to_owned(), message: kept_text(message.into()), ..Default::default() }
    }

    /// The error, prefixed with the name of the task whose end could not be written.
    pub fn of_task(self, task_id: impl std::fmt::Display) -> Self {
        PgError {
            message: format!("the end of task {task_id} could not be written: {}", self.message),
            ..self
        }
    }

    /// True if the error may be temporary: a lack of resources, an unavailable lock, an operator's intervention or a
    /// system error (classes 53, 55, 57, 58).
    pub fn is_passing(&self) -> bool {
        ["53", "55", "57", "58"].iter().any(|class| self.sqlstate.starts_with(class))
    }

    /// True if a row was not written as intended, see [`crate::unwritten`].
    pub fn is_unwritten(&self) -> bool {
        self.sqlstate == "27000"
    }

    /// True for a serialization failure or a deadlock, after which a retry of the whole transaction may succeed
    /// (PostgreSQL documentation, "Serialization Failure Handling").
    pub fn is_transient(&self) -> bool {
        matches!(self.sqlstate.as_str(), "40001" | "40P01")
    }

    /// True if the queue's own tables or functions do not exist.
    pub fn is_missing_object(&self) -> bool {
        matches!(self.sqlstate.as_str(), "42P01" | "3F000" | "42883" | "42703")
    }
}

/// A failure of a task, one row of `queues.error`.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// The handler's name, as in the payload.
    pub handler: Option<Box<str>>,
    /// The error, whose message names the task type, the handler and the reason. The error handler receives it.
    pub error: PgError,
}

impl Failure {
    /// A failure of a step, which `what` names ("email before_handler app.build").
    pub fn new(sqlstate: &str, what: &str, reason: &str) -> Self {
        Failure { handler: None, error: PgError::new(sqlstate, format!("{what}: {reason}")) }
    }

    /// A failure of the step `what` with a caught error.
    pub fn caught(what: &str, error: PgError) -> Self {
        let message = kept_text(format!("{what}: {}", error.message));
        Failure { handler: None, error: PgError { message, ..error } }
    }

    /// The failure with a hint, if there is one.
    pub fn with_hint<'a>(self, hint: impl Into<Option<&'a str>>) -> Self {
        Failure { error: PgError { hint: hint.into().map(Into::into), ..self.error }, ..self }
    }

    pub fn of_handler(self, handler: &str) -> Self {
        Failure { handler: Some(kept(handler.as_bytes()).into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_texts_the_start_is_kept_and_their_length_is_told() {
        for text in [String::new(), "é".repeat(MAX_TEXT / 2)] {
            assert_eq!(kept(text.as_bytes()), text);
            assert_eq!(kept_text(text.clone()), text);
        }
        let long = format!("a{}", "é".repeat(MAX_TEXT));
        let cut = kept_text(long.clone());
        assert!(cut.ends_with(&format!("é... (truncated, {} bytes in all)", long.len())), "{}", &cut[..9]);
        assert!(cut.len() < MAX_TEXT + 100 && long.starts_with(&cut[..MAX_TEXT - 1]));
        assert_eq!(kept_text(cut.clone()), cut);
    }
}
