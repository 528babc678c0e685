//! Errors in the worker's own statements, which concern no task. They are logged once, not with each repetition.

use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::log;
use crate::problems::Problems;
use std::time::Duration;

/// The time after which an error with the same SQLSTATE is logged again.
const SILENCE: Duration = Duration::from_secs(10);

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
            log::event(LogLevel::Error, format!("{what}: sqlstate={} {}", error.sqlstate, error.message));
        }
    }
}
