//! Errors in the worker's own statements, which concern no task. They are logged once, not with each repetition.

use super::task_log::MAX_LOGGED_TEXT;
use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::log;
use crate::problems::Problems;
use std::time::Duration;

/// The time after which an error with the same SQLSTATE is logged again.
const SILENCE: Duration = Duration::from_secs(10);
/// What to do about an error that says nothing about it.
const HINT: &str =
    "The worker tries again, and no task is lost. If this goes on: select * from queues.health;";

/// The last error that was logged.
pub struct Faults(Problems<()>);

impl Default for Faults {
    fn default() -> Self {
        Faults(Problems::repeated_after(SILENCE))
    }
}

impl Faults {
    /// Logs an error, unless one with the same SQLSTATE was logged recently.
    pub fn log(&mut self, what: &str, error: &PgError) {
        if self.0.is_new((), &error.sqlstate) {
            log::event_with_hint(
                LogLevel::Error,
                format!("{what}: sqlstate={} {}", error.sqlstate, error.message),
                log::excerpt(error.hint.as_deref().unwrap_or(HINT), MAX_LOGGED_TEXT).to_owned(),
            );
        }
    }
}
