//! What is known of the retention of a database's finished tasks and errors.

use crate::numbers::NEVER;

/// A table whose rows are removed some time after their end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Aging {
    Tasks,
    Errors,
}

/// The first rows of a table, of which none can be removed before a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Settled {
    /// The last one of these rows.
    pub to: i64,
    pub until: i64,
}

impl Settled {
    /// No row.
    pub const NOTHING: Settled = Settled { to: i64::MIN, until: NEVER };
}

/// The searches for rows that may be removed. Like all of shared memory, this is a hint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Retained {
    /// When the last search began.
    searched_at: i64,
    /// When there may be rows to remove, as far as is known.
    due_at: i64,
    /// A search has begun and is not over.
    under_way: bool,
    /// By [`Aging`].
    settled: [Settled; 2],
    /// A digest of how long rows are kept, as of which `settled` holds.
    limits: i64,
}

impl Retained {
    /// The interval at which workers search, in microseconds, even if no row is known to become old.
    pub const INTERVAL: i64 = 60_000_000;

    pub(crate) const UNKNOWN: Retained = Retained {
        searched_at: 0,
        due_at: NEVER,
        under_way: false,
        settled: [Settled::NOTHING; 2],
        limits: 0,
    };

    /// Begins a search if one is due; true for one worker of the database.
    pub fn begin(&mut self, now: i64) -> bool {
        let is_due = self.searched_at + Self::INTERVAL <= now || self.due_at <= now;
        if is_due {
            self.searched_at = now;
            self.due_at = NEVER;
            self.under_way = true;
        }
        is_due
    }

    /// Notes that a search is over, and when there may be rows to remove.
    pub fn end(&mut self, due_at: i64) {
        self.under_way = false;
        self.note_due(due_at);
    }

    /// Lets another worker begin the search that is under way, since a worker has ended.
    pub(crate) fn abandon(&mut self, now: i64) {
        if self.under_way {
            (self.under_way, self.due_at) = (false, now);
        }
    }

    /// The rows over which a search may pass. `limits`: a digest of how long rows are kept.
    pub fn settled(&self, rows: Aging, limits: i64, now: i64) -> Settled {
        let settled = self.settled[rows as usize];
        if self.limits == limits && settled.until > now { settled } else { Settled::NOTHING }
    }

    /// Notes over which rows the next searches may pass.
    pub fn settle(&mut self, rows: Aging, settled: Settled, limits: i64) {
        if self.limits != limits {
            self.settled = [Settled::NOTHING; 2];
            self.limits = limits;
        }
        self.settled[rows as usize] = settled;
    }

    /// Notes that there may be rows to remove at this time.
    pub fn note_due(&mut self, at: i64) {
        self.due_at = self.due_at.min(at);
    }

    pub fn due_at(&self) -> i64 {
        self.due_at
    }

    /// True if a worker has to be started to search. It is started once.
    pub(crate) fn take_due(&mut self, now: i64) -> bool {
        let is_due = self.due_at <= now;
        if is_due {
            (self.searched_at, self.due_at) = (0, NEVER);
        }
        is_due
    }

    /// Puts an overdue search off, since a worker of the database begins it.
    pub(crate) fn leave_to_workers(&mut self, now: i64) {
        if self.due_at <= now {
            (self.searched_at, self.due_at) = (0, now + Self::INTERVAL);
        }
    }

    pub(crate) fn set_clock_back(&mut self, now: i64) {
        *self = Retained { searched_at: now.min(self.searched_at), ..Retained::UNKNOWN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_searches_at_intervals_and_when_rows_become_old() {
        let mut retained = Retained::UNKNOWN;
        let now = Retained::INTERVAL * 2;
        assert!(retained.begin(now) && !retained.begin(now));
        retained.end(NEVER);
        assert!(retained.begin(now + Retained::INTERVAL));
        retained.note_due(now + Retained::INTERVAL + 9);
        retained.note_due(now + Retained::INTERVAL + 5);
        assert!(!retained.begin(now + Retained::INTERVAL + 4));
        assert!(retained.begin(now + Retained::INTERVAL + 5));
        assert!(!retained.begin(now + Retained::INTERVAL + 9));
    }

    #[test]
    fn a_worker_is_started_once_for_rows_that_become_old_and_searches() {
        let mut retained = Retained::UNKNOWN;
        let now = Retained::INTERVAL * 2;
        assert!(retained.begin(now) && !retained.take_due(now));
        retained.note_due(now + 1);
        assert!(retained.take_due(now + 1) && !retained.take_due(now + 1));
        assert!(retained.begin(now + 1));
        retained.note_due(now + 2);
        retained.leave_to_workers(now + 2);
        assert!(!retained.take_due(now + 3) && retained.begin(now + 3));
    }

    #[test]
    fn a_search_whose_worker_has_ended_is_begun_again() {
        let mut retained = Retained::UNKNOWN;
        let now = Retained::INTERVAL * 2;
        assert!(retained.begin(now) && !retained.begin(now + 1));
        retained.abandon(now + 2);
        assert!(retained.begin(now + 2));
        retained.end(NEVER);
        retained.abandon(now + 3);
        assert!(!retained.begin(now + 3) && retained.due_at() == NEVER);
    }

    #[test]
    fn rows_are_settled_until_a_time_and_under_the_same_limits() {
        let mut retained = Retained::UNKNOWN;
        let settled = Settled { to: 7, until: 100 };
        retained.settle(Aging::Tasks, settled, 1);
        assert_eq!(retained.settled(Aging::Tasks, 1, 99), settled);
        assert_eq!(retained.settled(Aging::Errors, 1, 99), Settled::NOTHING);
        assert_eq!(retained.settled(Aging::Tasks, 2, 99), Settled::NOTHING);
        assert_eq!(retained.settled(Aging::Tasks, 1, 100), Settled::NOTHING);
        retained.settle(Aging::Errors, Settled { to: 3, until: 50 }, 2);
        assert_eq!(retained.settled(Aging::Tasks, 1, 99), Settled::NOTHING);
        assert_eq!(retained.settled(Aging::Tasks, 2, 99), Settled::NOTHING);
    }
}
