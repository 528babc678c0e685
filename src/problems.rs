//! Problems that are logged once, not each time they are noticed.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The problems that were logged, one for each subject.
pub struct Problems<S> {
    logged: HashMap<S, (String, Instant)>,
    /// The time after which a problem that was logged counts as new again.
    silence: Duration,
}

impl<S> Default for Problems<S> {
    fn default() -> Self {
        Problems::repeated_after(Duration::MAX)
    }
}

impl<S> Problems<S> {
    pub fn repeated_after(silence: Duration) -> Self {
        Problems { logged: HashMap::new(), silence }
    }
}

impl<S: Eq + Hash> Problems<S> {
    /// True if a problem has to be logged, since it is not the one that was logged last about its subject.
    pub fn is_new(&mut self, subject: S, problem: &str) -> bool {
        let is_known = self
            .logged
            .get(&subject)
            .is_some_and(|(last, at)| last == problem && at.elapsed() < self.silence);
        if !is_known {
            self.logged.insert(subject, (problem.to_owned(), Instant::now()));
        }
        !is_known
    }

    /// Notes that the subject has no problem any more.
    pub fn withdraw(&mut self, subject: &S) {
        self.logged.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_problem_is_new_once_in_a_while() {
        let mut problems = Problems::default();
        assert!(problems.is_new("a", "full"));
        assert!(!problems.is_new("a", "full"));
        assert!(problems.is_new("b", "full"));
        assert!(problems.is_new("a", "gone"));
        assert!(problems.is_new("a", "full"));
        problems.withdraw(&"a");
        assert!(problems.is_new("a", "full"));
        let mut impatient = Problems::repeated_after(Duration::ZERO);
        assert!(impatient.is_new((), "full") && impatient.is_new((), "full"));
    }
}
