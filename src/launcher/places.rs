//! Places for processes (`max_worker_processes`), which pg_errand shares with others.

use super::complaints::{About, Complaints};
use crate::shared::NEVER;

/// Pause after there was none, in microseconds.
const PAUSE: i64 = 200_000;
/// That there is none is said at most so often, in microseconds.
const SILENCE: i64 = 600 * 1_000_000;

#[derive(Default)]
pub struct Places {
    /// Until then nothing is started.
    short_until: i64,
    /// Since when there has been none.
    short_since: Option<i64>,
    said_at: Option<i64>,
}

impl Places {
    /// A process could be started.
    pub fn found(&mut self) {
        self.short_since = None;
    }

    /// There was none. Says so if it was the same the last time, since processes that are just ending
    /// take places, too; and unless it was said lately.
    pub fn missing(&mut self, complaints: &mut Complaints, now: i64) {
        self.short_until = now + PAUSE;
        let since = *self.short_since.get_or_insert(now);
        let said_lately = self.said_at.is_some_and(|at| at + SILENCE > now);
        if since == now || said_lately {
            return;
        }
        self.said_at = Some(now);
        complaints.withdraw(About::Room);
        complaints.say(
            About::Room,
            "no background worker slot is free, so tasks wait",
            "Raise max_worker_processes (this needs a restart of the server); it is shared with parallel queries and replication.",
        );
    }

    /// The clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.short_until = self.short_until.min(now);
        self.short_since = self.short_since.map(|since| since.min(now));
        self.said_at = self.said_at.map(|at| at.min(now));
    }

    pub fn are_short(&self, now: i64) -> bool {
        now < self.short_until
    }

    /// When there may be one again.
    pub fn next_try(&self, now: i64) -> i64 {
        if self.are_short(now) { self.short_until } else { NEVER }
    }
}
