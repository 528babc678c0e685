//! Lets a separate process read stored settings (see `settings`) when they may have changed, or when no worker can
//! report whether a database has the extension.

use super::settings;
use crate::pg::bgworker::Handle;
use crate::shared::NEVER;
use pgrx::pg_sys::Oid;

/// The pause between two readings in microseconds, doubled after each unsuccessful one, up to [`LONGEST_PAUSE`].
const PAUSE: i64 = 50_000;
const LONGEST_PAUSE: i64 = 60_000_000;

#[derive(Default)]
pub struct Reader {
    process: Option<Handle>,
    for_settings: Request,
    for_extension: Request,
}

/// The result of [`Reader::step`].
pub enum Reading {
    /// No reading is needed, or one is in progress. The time is when to check again.
    Wait(i64),
    /// A reading has ended.
    Done,
    /// The process could not be started, since `max_worker_processes` is reached.
    LimitReached,
}

impl Reader {
    /// Starts a reading if one is needed. If settings may have changed, they can be read in any of the databases
    /// `changed`. The extension has to be searched for in each of the databases `unseen`.
    pub fn step(&mut self, changed: &[Oid], unseen: &[Oid], now: i64) -> Reading {
        if self.process.as_ref().is_some_and(Handle::is_alive) {
            return Reading::Wait(NEVER);
        }
        if self.process.take().is_some() {
            return Reading::Done;
        }
        let due = [self.for_settings.next(changed), self.for_extension.next(unseen)];
        let (request, databases) = if due[0] <= now {
            (&mut self.for_settings, changed)
        } else if due[1] <= now {
            (&mut self.for_extension, unseen)
        } else {
            return Reading::Wait(due[0].min(due[1]));
        };
        self.process = settings::start_reader(request.database(databases));
        match self.process {
            Some(_) => {
                request.count(now);
                Reading::Wait(NEVER)
            }
            None => Reading::LimitReached,
        }
    }

    /// Adjusts stored times after the clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.for_settings.set_back(now);
        self.for_extension.set_back(now);
    }
}

/// Readings for one reason. An unsuccessful reading is repeated in the next database.
#[derive(Default)]
struct Request {
    last_at: i64,
    /// The number of readings since none was needed.
    in_a_row: u32,
}

impl Request {
    /// When the next reading may start.
    fn next(&mut self, databases: &[Oid]) -> i64 {
        if databases.is_empty() {
            self.in_a_row = 0;
            return NEVER;
        }
        self.last_at + (PAUSE << self.in_a_row.min(20)).min(LONGEST_PAUSE)
    }

    /// The database of the next reading.
    fn database(&self, databases: &[Oid]) -> Oid {
        databases[self.in_a_row as usize % databases.len()]
    }

    fn set_back(&mut self, now: i64) {
        self.last_at = self.last_at.min(now);
    }

    fn count(&mut self, now: i64) {
        self.last_at = now;
        self.in_a_row = self.in_a_row.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reading_waits_for_a_clock_that_was_set_back() {
        let mut request = Request::default();
        request.count(3_600_000_000);
        request.set_back(5);
        assert!(request.next(&[Oid::from_u32(1)]) <= 5 + 2 * PAUSE);
    }

    #[test]
    fn useless_readings_come_less_and_less_often_and_in_turn() {
        let databases = [Oid::from_u32(1), Oid::from_u32(2)];
        let mut request = Request::default();
        let mut seen = Vec::new();
        let mut now = 0;
        for _ in 0..3 {
            now = request.next(&databases).max(now);
            seen.push((request.database(&databases), now));
            request.count(now);
        }
        assert_eq!(seen[0].0, seen[2].0);
        assert!(seen[2].1 - seen[1].1 > seen[1].1 - seen[0].1, "{seen:?}");
        assert_eq!(request.next(&[]), NEVER);
        assert_eq!(request.next(&databases), now + PAUSE);
    }
}
