//! What is wrong is said once, until it is something else: not at every look.

use crate::config::LogLevel;
use crate::pg::log;
use crate::problems::Problems;
use crate::shared::NEVER;
use pgrx::pg_sys::Oid;
use std::collections::HashMap;

/// What keeps workers away is said when it has lasted so long, in microseconds: a process may see a
/// new extension a moment before its role.
const DELAY: i64 = 500_000;

/// What a complaint is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The room that the server has for processes and databases.
    Room,
    /// `pg_errand.databases`.
    List,
    /// An error in the launcher itself.
    Itself,
    Database(Oid),
}

#[derive(Default)]
pub struct Complaints {
    said: Problems<About>,
    lasting_since: HashMap<About, i64>,
}

impl Complaints {
    pub fn say(&mut self, about: About, message: &str, hint: &str) {
        if self.said.is_new(about, message) {
            log::event_with_hint(LogLevel::Error, message.to_owned(), hint.to_owned());
        }
    }

    pub fn say_if_it_lasts(&mut self, about: About, message: &str, hint: &str, now: i64) {
        let since = *self.lasting_since.entry(about).or_insert(now);
        if since + DELAY <= now {
            self.say(about, message, hint);
        }
    }

    /// It is in order again.
    pub fn withdraw(&mut self, about: About) {
        self.lasting_since.remove(&about);
        self.said.withdraw(&about);
    }

    /// The clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.lasting_since.values_mut().for_each(|since| *since = now.min(*since));
    }

    /// When something will have lasted long enough.
    pub fn next(&self, now: i64) -> i64 {
        let due = self.lasting_since.values().map(|since| since + DELAY);
        due.filter(|due| *due > now).min().unwrap_or(NEVER)
    }
}
