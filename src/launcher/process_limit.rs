//! The limit on background workers (`max_worker_processes`), which pg_errand shares with other extensions.

use crate::config::LogLevel;
use crate::pg::log;
use crate::problems::Problems;
use crate::shared::NEVER;
use std::time::Duration;

/// The pause after the limit was reached, in microseconds.
const PAUSE: i64 = 200_000;
/// The pause between two messages about the limit.
const SILENCE: Duration = Duration::from_secs(600);

pub struct ProcessLimit {
    /// The time before which no process is started.
    retry_at: i64,
    /// When the limit was reached; `None` if a process could be started since.
    reached_at: Option<i64>,
    logged: Problems<()>,
}

impl Default for ProcessLimit {
    fn default() -> Self {
        ProcessLimit { retry_at: 0, reached_at: None, logged: Problems::repeated_after(SILENCE) }
    }
}

impl ProcessLimit {
    /// Notes that a process could be started.
    pub fn note_start(&mut self) {
        self.reached_at = None;
    }

    /// Notes that no process could be started. This is logged if it happens for the second time in a row, since
    /// processes that are just ending count, too.
    pub fn note_failure(&mut self, now: i64) {
        const MESSAGE: &str = "no background worker slot is free, so tasks wait";
        self.retry_at = now + PAUSE;
        if *self.reached_at.get_or_insert(now) != now && self.logged.is_new((), MESSAGE) {
            log::event_with_hint(
                LogLevel::Error,
                MESSAGE.into(),
                "Raise max_worker_processes (this needs a restart of the server); it is shared with parallel queries \
                 and replication."
                    .into(),
            );
        }
    }

    /// Adjusts stored times after the clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.retry_at = self.retry_at.min(now);
        self.reached_at = self.reached_at.map(|at| at.min(now));
    }

    pub fn is_reached(&self, now: i64) -> bool {
        now < self.retry_at
    }

    /// When to try again to start a process.
    pub fn next_try(&self, now: i64) -> i64 {
        if self.is_reached(now) { self.retry_at } else { NEVER }
    }
}
