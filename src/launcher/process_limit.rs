//! The limit on background workers (`max_worker_processes`), which pg_errand shares with others.

use super::problems::{About, Problems};
use crate::shared::NEVER;
use std::time::Duration;

/// The pause after the limit was reached, in microseconds.
const PAUSE: i64 = 200_000;
/// The pause between two messages about the limit.
const SILENCE: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct ProcessLimit {
    /// No process is started until then.
    retry_at: i64,
    /// When the limit was reached; `None` if a process could be started since.
    reached_at: Option<i64>,
}

impl ProcessLimit {
    /// A process could be started.
    pub fn note_start(&mut self) {
        self.reached_at = None;
    }

    /// No process could be started. The problem is reported if it is met for the second time in a row, since processes
    /// that are just ending count, too.
    pub fn note_failure(&mut self, problems: &mut Problems, now: i64) {
        self.retry_at = now + PAUSE;
        if *self.reached_at.get_or_insert(now) != now {
            problems.report_again_after(
                SILENCE,
                About::ProcessLimit,
                "no background worker slot is free, so tasks wait",
                "Raise max_worker_processes (this needs a restart of the server); it is shared with parallel queries and replication.",
            );
        }
    }

    /// The clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.retry_at = self.retry_at.min(now);
        self.reached_at = self.reached_at.map(|at| at.min(now));
    }

    pub fn is_reached(&self, now: i64) -> bool {
        now < self.retry_at
    }

    /// When to try to start a process again.
    pub fn next_try(&self, now: i64) -> i64 {
        if self.is_reached(now) { self.retry_at } else { NEVER }
    }
}
