//! A task that a worker has claimed.

use crate::error::{Failure, PgError, kept_text};
use crate::pg::table::Row;
use crate::shared::{KeyPlace, TaskId};
use pgrx::pg_sys;

/// A claimed task; `payload` lives as long as the transaction that claimed it.
pub struct Task {
    pub id: TaskId,
    pub task_type: String,
    pub payload: pg_sys::Datum,
    /// The number of runs that the row counts.
    pub attempts: i32,
    /// The number of runs that the row does not count yet, including this one; 0 after a provider call.
    pub uncounted: i32,
    pub db_function: Option<String>,
    pub before_handler: Option<String>,
    pub success_handler: Option<String>,
    pub error_handler: Option<String>,
    /// The trace context that its requests carry on.
    pub traceparent: Option<String>,
    /// The key for its call, if it is the retry of a task whose call may have been carried out.
    pub idempotency_key: Option<String>,
    /// The reason why the task cannot be passed to a handler, such as a payload that is too large.
    pub problem: Option<String>,
    /// When this run started, in microseconds since 2000-01-01.
    pub started_at: i64,
    /// When it could start at the earliest.
    pub ready_at: i64,
    /// The start of the last attempt that the row counts.
    pub dequeued_at: Option<i64>,
    /// Its handler was invoked, but neither its end nor its failure could be written.
    pub is_given_up: bool,
    /// Its place among the tasks of its queue key, if it was claimed as the next one of them.
    pub in_key: Option<InKey>,
    /// Its row, if it was locked without a statement.
    pub row: Option<Row>,
}

impl Task {
    /// The number of this run.
    pub fn attempt(&self) -> i32 {
        self.attempts.saturating_add(self.uncounted)
    }

    /// The handler that log lines name.
    pub fn main_handler(&self) -> &str {
        self.db_function.as_deref().or(self.before_handler.as_deref()).unwrap_or("")
    }

    /// The failure of the task's call, or of the settings that the call needs. It names the provider, as `reason` does,
    /// and no handler.
    pub fn failure_of_call(&self, sqlstate: &str, reason: &str) -> Failure {
        let named = format!("{}: ", self.task_type);
        // A provider may have the same name as its task type.
        let message = if reason.starts_with(&named) { reason.to_owned() } else { format!("{named}{reason}") };
        let built = |name: &str| kept_text(format!("The request was built by {name}."));
        let detail = self.before_handler.as_deref().map(|name| built(name).into());
        Failure { handler: None, error: PgError { detail, ..PgError::new(sqlstate, message) } }
    }

    /// The part of the task that outlives its transaction.
    pub fn brief(&self) -> Brief {
        Brief {
            id: self.id,
            task_type: self.task_type.clone(),
            handler: self.main_handler().to_owned(),
            traceparent: self.traceparent.clone(),
            attempt: self.attempt(),
            uncounted: self.uncounted,
            started_at: self.started_at,
            ready_at: self.ready_at,
            is_given_up: self.is_given_up,
            in_key: self.in_key,
        }
    }
}

/// What was known of the tasks of a queue key when the next one of them was claimed.
#[derive(Clone, Copy)]
pub struct InKey {
    /// The priority of another one that was due.
    pub follower: Option<i16>,
    /// The place of the task, if it was the first one and none may run beside it.
    pub first: Option<KeyPlace>,
}

/// A task without its payload.
#[derive(Clone)]
pub struct Brief {
    pub id: TaskId,
    pub task_type: String,
    pub handler: String,
    /// The trace context of its payload, for log lines.
    pub traceparent: Option<String>,
    pub attempt: i32,
    /// The number of runs that the row does not count yet.
    pub uncounted: i32,
    pub started_at: i64,
    /// When it could start at the earliest.
    pub ready_at: i64,
    pub is_given_up: bool,
    /// Its place among the tasks of its queue key, if it was claimed as the next one of them.
    pub in_key: Option<InKey>,
}

impl Brief {
    /// The name of the task in error messages: its type and its main handler.
    pub fn name(&self) -> String {
        match self.task_type.as_str() {
            "" => "call".to_owned(),
            task_type => format!("{task_type} {}", self.handler).trim_end().to_owned(),
        }
    }

    /// The task of a call, of which only the number is known. Its run is counted.
    pub fn of_call(id: TaskId) -> Brief {
        Brief {
            id,
            task_type: String::new(),
            handler: String::new(),
            traceparent: None,
            attempt: 0,
            uncounted: 0,
            started_at: 0,
            ready_at: 0,
            is_given_up: false,
            in_key: None,
        }
    }
}
