//! Makes the ends of tasks durable, many by one wait for the disk (`pg_errand.flush_interval`).

use crate::config;
use crate::pg::transaction;
use std::time::Instant;

#[derive(Default)]
pub struct Flush {
    /// When the first task ended whose end is not known to be durable.
    since: Option<Instant>,
}

impl Flush {
    /// A task has ended.
    pub fn note_end(&mut self) {
        if self.since.is_none() && config::FLUSH_INTERVAL.get() > 0 {
            self.since = Some(Instant::now());
        }
    }

    /// Between two tasks. `idle`: there is nothing else to do.
    pub fn step(&mut self, idle: bool) {
        let Some(since) = self.since else { return };
        if idle || since.elapsed() >= config::FLUSH_INTERVAL.duration() {
            self.since = None;
            transaction::wait_until_durable();
        }
    }
}
