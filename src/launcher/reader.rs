//! Has stored settings read by a process of its own (see `settings`), when they may have changed, or
//! when nobody else can tell whether a database has the extension.

use super::settings;
use crate::pg::bgworker::Handle;
use crate::shared::NEVER;
use pgrx::pg_sys::Oid;

/// Pause between two readings, in microseconds: doubled after each that was of no use, up to a minute.
const PAUSE: i64 = 50_000;
const LONGEST_PAUSE: i64 = 60_000_000;

#[derive(Default)]
pub struct Reader {
    process: Option<Handle>,
    for_settings: Wish,
    for_extension: Wish,
}

/// What has become of a reading.
pub enum Reading {
    /// None is needed, or one is under way; look again at that time.
    Wait(i64),
    /// One is over.
    Done,
    /// The server had no place for the process.
    NoPlace,
}

impl Reader {
    /// `changed`: the databases to read in if settings may have changed, whichever it is; `unseen`:
    /// those that have to be looked at themselves.
    pub fn step(&mut self, changed: &[Oid], unseen: &[Oid], now: i64) -> Reading {
        if self.process.as_ref().is_some_and(Handle::is_alive) {
            return Reading::Wait(NEVER);
        }
        if self.process.take().is_some() {
            return Reading::Done;
        }
        let due = [self.for_settings.next(changed), self.for_extension.next(unseen)];
        let (wish, places) = if due[0] <= now {
            (&mut self.for_settings, changed)
        } else if due[1] <= now {
            (&mut self.for_extension, unseen)
        } else {
            return Reading::Wait(due[0].min(due[1]));
        };
        self.process = settings::start_reader(wish.place(places));
        match self.process {
            Some(_) => {
                wish.count(now);
                Reading::Wait(NEVER)
            }
            None => Reading::NoPlace,
        }
    }

    /// The clock was set back to `now`.
    pub fn set_back(&mut self, now: i64) {
        self.for_settings.set_back(now);
        self.for_extension.set_back(now);
    }
}

/// Readings for one reason: in one database after the other, should it be of no use in the first.
#[derive(Default)]
struct Wish {
    last_at: i64,
    /// Readings since the last time that none was wanted.
    in_a_row: u32,
}

impl Wish {
    /// When the next one may start.
    fn next(&mut self, places: &[Oid]) -> i64 {
        if places.is_empty() {
            self.in_a_row = 0;
            return NEVER;
        }
        self.last_at + (PAUSE << self.in_a_row.min(20)).min(LONGEST_PAUSE)
    }

    /// Where it is to read.
    fn place(&self, places: &[Oid]) -> Oid {
        places[self.in_a_row as usize % places.len()]
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
        let mut wish = Wish::default();
        wish.count(3_600_000_000);
        wish.set_back(5);
        assert!(wish.next(&[Oid::from_u32(1)]) <= 5 + 2 * PAUSE);
    }

    #[test]
    fn useless_readings_come_less_and_less_often_and_in_turn() {
        let places = [Oid::from_u32(1), Oid::from_u32(2)];
        let mut wish = Wish::default();
        let mut seen = Vec::new();
        let mut now = 0;
        for _ in 0..3 {
            now = wish.next(&places).max(now);
            seen.push((wish.place(&places), now));
            wish.count(now);
        }
        assert_eq!(seen[0].0, seen[2].0);
        assert!(seen[2].1 - seen[1].1 > seen[1].1 - seen[0].1, "{seen:?}");
        assert_eq!(wish.next(&[]), NEVER);
        assert_eq!(wish.next(&places), now + PAUSE);
    }
}
