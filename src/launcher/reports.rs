//! Problems that the launcher logs, each once while it lasts.

use crate::config::LogLevel;
use crate::pg::log;
use crate::problems::Problems;
use crate::shared::NEVER;
use pgrx::pg_sys::Oid;
use std::collections::HashMap;

/// The time that a problem of a database has to last before it is logged, in microseconds. A process may see a new
/// extension a moment before it sees the extension's role.
const DELAY: i64 = 500_000;

/// What a problem is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The number of databases that can be served.
    DatabaseCount,
    /// `pg_errand.databases`.
    List,
    /// An error in the launcher itself.
    Launcher,
    Database(Oid),
}

#[derive(Default)]
pub struct Reports {
    logged: Problems<About>,
    /// Since when a problem has lasted, in microseconds, whether or not it was logged.
    lasting_since: HashMap<About, i64>,
}

impl Reports {
    /// Logs a problem unless it is the last one that was logged about the same subject.
    pub fn report(&mut self, about: About, message: &str, hint: &str) {
        if self.logged.is_new(about, message) {
            log::event_with_hint(LogLevel::Error, message.to_owned(), hint.to_owned());
        }
    }

    /// Reports a problem once it has lasted for a moment.
    pub fn report_if_it_lasts(&mut self, about: About, message: &str, hint: &str, now: i64) {
        let since = *self.lasting_since.entry(about).or_insert(now);
        if since + DELAY <= now {
            self.report(about, message, hint);
        }
    }

    /// Notes that there is no problem about this any more.
    pub fn resolve(&mut self, about: About) {
        self.lasting_since.remove(&about);
        self.logged.withdraw(&about);
    }

    /// Adjusts stored times after the clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.lasting_since.values_mut().for_each(|since| *since = now.min(*since));
    }

    /// When a problem will have lasted long enough to be reported.
    pub fn next(&self, now: i64) -> i64 {
        let due = self.lasting_since.values().map(|since| since + DELAY);
        due.filter(|due| *due > now).min().unwrap_or(NEVER)
    }
}
