//! Problems that the launcher logs, each once while it lasts.

use crate::problem_log::ProblemLog;
use crate::shared::NEVER;
use pgrx::pg_sys::Oid;
use std::collections::HashMap;
use std::time::Duration;

/// The time that a problem of a database has to last before it is logged, in microseconds. A process may see a new
/// extension a moment before it sees the extension's role.
const DELAY: i64 = 500_000;

/// What a problem is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The number of databases that can be served.
    DatabaseCount,
    /// `max_worker_processes`.
    ProcessLimit,
    /// `pg_errand.databases`.
    List,
    /// An error in the launcher itself.
    Launcher,
    Database(Oid),
}

#[derive(Default)]
pub struct Problems {
    log: ProblemLog<About>,
    /// Since when a problem has lasted, in microseconds, whether or not it was logged.
    lasting_since: HashMap<About, i64>,
}

impl Problems {
    pub fn report(&mut self, about: About, message: &str, hint: &str) {
        self.log.report(about, message, hint);
    }

    /// Reports a problem again if it lasts longer than `silence`.
    pub fn report_again_after(&mut self, silence: Duration, about: About, message: &str, hint: &str) {
        self.log.report_again_after(silence, about, message, hint);
    }

    /// Reports a problem once it has lasted for a moment.
    pub fn report_if_it_lasts(&mut self, about: About, message: &str, hint: &str, now: i64) {
        let since = *self.lasting_since.entry(about).or_insert(now);
        if since + DELAY <= now {
            self.report(about, message, hint);
        }
    }

    /// There is no problem about this any more.
    pub fn resolve(&mut self, about: About) {
        self.lasting_since.remove(&about);
        self.log.resolve(&about);
    }

    /// The clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.lasting_since.values_mut().for_each(|since| *since = now.min(*since));
    }

    /// When a problem will have lasted long enough to be reported.
    pub fn next(&self, now: i64) -> i64 {
        let due = self.lasting_since.values().map(|since| since + DELAY);
        due.filter(|due| *due > now).min().unwrap_or(NEVER)
    }
}
