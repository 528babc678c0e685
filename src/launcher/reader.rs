//! Has stored settings read by a process of its own (see `settings`), when they may have changed.

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
    started_at: i64,
    /// Readings since the last time that none was wanted.
    in_a_row: u32,
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
    /// `places`: the databases to read in, if a reading is wanted; one after the other, should it be
    /// of no use in the first.
    pub fn step(&mut self, places: &[Oid], now: i64) -> Reading {
        if self.process.as_ref().is_some_and(Handle::is_alive) {
            return Reading::Wait(NEVER);
        }
        if self.process.take().is_some() {
            return Reading::Done;
        }
        if places.is_empty() {
            self.in_a_row = 0;
            return Reading::Wait(NEVER);
        }
        let pause = (PAUSE << self.in_a_row.min(20)).min(LONGEST_PAUSE);
        if self.started_at + pause > now {
            return Reading::Wait(self.started_at + pause);
        }
        self.started_at = now;
        self.process = settings::start_reader(places[self.in_a_row as usize % places.len()]);
        self.in_a_row = self.in_a_row.saturating_add(1);
        match self.process {
            Some(_) => Reading::Wait(NEVER),
            None => Reading::NoPlace,
        }
    }
}
