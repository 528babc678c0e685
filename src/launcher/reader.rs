//! Has stored settings read by a process of its own (see `settings`), when they may have changed.

use super::settings;
use crate::pg::bgworker::Handle;
use crate::shared::NEVER;
use pgrx::pg_sys::Oid;

/// Pause between two readings, in microseconds.
const PAUSE: i64 = 50_000;

#[derive(Default)]
pub struct Reader {
    process: Option<Handle>,
    started_at: i64,
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
    /// `place`: the database to read in, if a reading is wanted.
    pub fn step(&mut self, place: Option<Oid>, now: i64) -> Reading {
        if self.process.as_ref().is_some_and(Handle::is_alive) {
            return Reading::Wait(NEVER);
        }
        if self.process.take().is_some() {
            return Reading::Done;
        }
        let Some(place) = place else { return Reading::Wait(NEVER) };
        if self.started_at + PAUSE > now {
            return Reading::Wait(self.started_at + PAUSE);
        }
        self.started_at = now;
        self.process = settings::start_reader(place);
        match self.process {
            Some(_) => Reading::Wait(NEVER),
            None => Reading::NoPlace,
        }
    }
}
