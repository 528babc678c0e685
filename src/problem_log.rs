//! Problems that last are logged once, not each time they are met.

use crate::config::LogLevel;
use crate::pg::log;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The problems that this process has logged, by what they are about.
pub struct ProblemLog<K>(HashMap<K, Logged>);

struct Logged {
    problem: String,
    at: Instant,
}

impl<K> Default for ProblemLog<K> {
    fn default() -> Self {
        ProblemLog(HashMap::new())
    }
}

impl<K: Eq + Hash> ProblemLog<K> {
    /// Logs a problem, unless it is the last one that was logged about the same subject.
    pub fn report(&mut self, about: K, message: &str, hint: &str) {
        self.report_again_after(Duration::MAX, about, message, hint);
    }

    /// [`ProblemLog::report`], and again if the problem lasts longer than `silence`.
    pub fn report_again_after(&mut self, silence: Duration, about: K, message: &str, hint: &str) {
        if self.is_news(silence, about, message) {
            log::event_with_hint(LogLevel::Error, message.to_owned(), hint.to_owned());
        }
    }

    /// True if a problem has to be logged, which the caller does. `problem` identifies it among those about the same
    /// subject; the message may say more.
    pub fn is_news(&mut self, silence: Duration, about: K, problem: &str) -> bool {
        let last = self.0.get(&about);
        let is_known = last.is_some_and(|last| last.problem == problem && last.at.elapsed() < silence);
        if !is_known {
            self.0.insert(about, Logged { problem: problem.to_owned(), at: Instant::now() });
        }
        !is_known
    }

    /// There is no problem about this subject any more; the next one is logged, whatever it is.
    pub fn resolve(&mut self, about: &K) {
        self.0.remove(about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_once_until_it_changes_or_is_resolved() {
        let mut problems = ProblemLog::default();
        let mut is_news = |about, problem| problems.is_news(Duration::MAX, about, problem);
        assert!(is_news(1, "a"));
        assert!(!is_news(1, "a"));
        assert!(is_news(2, "a"));
        assert!(is_news(1, "b"));
        assert!(is_news(1, "a"));
        problems.resolve(&1);
        assert!(problems.is_news(Duration::MAX, 1, "a"));
        assert!(!problems.is_news(Duration::MAX, 2, "a"));
    }

    #[test]
    fn a_problem_that_lasts_is_news_again_after_a_silence() {
        let mut problems = ProblemLog::default();
        assert!(problems.is_news(Duration::ZERO, (), "a"));
        assert!(problems.is_news(Duration::ZERO, (), "a"));
    }
}
