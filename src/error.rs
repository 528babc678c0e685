//! What went wrong, as it is recorded.

/// A PostgreSQL error, caught.
#[derive(Clone, Debug, Default)]
pub struct PgError {
    /// Five characters.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<Box<str>>,
    pub hint: Option<Box<str>>,
    /// The CONTEXT lines: the PL/pgSQL call stack, for instance.
    pub context: Option<Box<str>>,
}

impl PgError {
    /// An error of this crate's own.
    pub fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        PgError { sqlstate: sqlstate.to_owned(), message: message.into(), ..Default::default() }
    }

    /// The same error, naming the task that it came with.
    pub fn of_task(self, task_id: i64) -> Self {
        PgError {
            message: format!("the end of task {task_id} could not be written: {}", self.message),
            ..self
        }
    }

    /// The server could not do it now: lack of resources, a lock not to be had, an operator's
    /// intervention, the system (classes 53, 55, 57, 58).
    pub fn is_passing(&self) -> bool {
        ["53", "55", "57", "58"].iter().any(|class| self.sqlstate.starts_with(class))
    }

    /// A row was not written, or not as it was to be: see [`crate::unwritten`].
    pub fn is_unwritten(&self) -> bool {
        self.sqlstate == "27000"
    }

    /// Serialization failure or deadlock: running the whole transaction again may succeed
    /// (PostgreSQL documentation, "Serialization Failure Handling").
    pub fn is_transient(&self) -> bool {
        matches!(self.sqlstate.as_str(), "40001" | "40P01")
    }

    /// The queue's own tables or functions are not there (any more).
    pub fn is_missing_object(&self) -> bool {
        matches!(self.sqlstate.as_str(), "42P01" | "3F000" | "42883" | "42703")
    }
}

/// A failure of a task, one row of `queues.error`.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// The handler's name as the payload gives it.
    pub handler: Option<String>,
    /// Names the task type, the handler and the reason; what an error handler is told.
    pub error: PgError,
}

impl Failure {
    /// `what` names the step ("email before_handler app.build"), `reason` says what happened.
    pub fn new(sqlstate: &str, what: &str, reason: &str) -> Self {
        Failure { handler: None, error: PgError::new(sqlstate, format!("{what}: {reason}")) }
    }

    /// A caught error in the step `what`.
    pub fn caught(what: &str, error: PgError) -> Self {
        let message = format!("{what}: {}", error.message);
        Failure { handler: None, error: PgError { message, ..error } }
    }

    pub fn of_handler(self, handler: &str) -> Self {
        Failure { handler: Some(handler.to_owned()), ..self }
    }
}
