//! Faults that are nobody's task: said, but not with every repetition.

use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::log;
use std::time::{Duration, Instant};

/// A fault of the same kind is said again after this time.
const SILENCE: Duration = Duration::from_secs(10);

/// The last fault that was said.
#[derive(Default)]
pub struct Faults(Option<(String, Instant)>);

impl Faults {
    /// Says what has gone wrong, unless a fault with the same SQLSTATE was said lately.
    pub fn say(&mut self, what: &str, error: &PgError) {
        if self.is_news(&error.sqlstate) {
            log::event(LogLevel::Error, format!("{what}: sqlstate={} {}", error.sqlstate, error.message));
        }
    }

    fn is_news(&mut self, sqlstate: &str) -> bool {
        let known = self.0.as_ref().is_some_and(|(last, at)| last == sqlstate && at.elapsed() < SILENCE);
        if !known {
            self.0 = Some((sqlstate.to_owned(), Instant::now()));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fault_is_said_once_in_a_while() {
        let mut faults = Faults::default();
        assert!(faults.is_news("53100"));
        assert!(!faults.is_news("53100"));
        assert!(faults.is_news("42P01"));
        assert!(faults.is_news("53100"));
    }
}
