//! What a process of the extension waits for, as `pg_stat_activity` shows it.

use super::majors::since_17;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The number of wait events.
const EVENTS: usize = WaitEvent::Quiesce as usize + 1;

/// The numbers by which PostgreSQL knows the events; 0 for one that this process has not waited for.
static NUMBERS: [AtomicU32; EVENTS] = [const { AtomicU32::new(0) }; _];

/// What a process waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitEvent {
    /// The launcher has nothing to do.
    Launcher,
    /// A worker has nothing to do.
    Idle,
    /// A worker has nothing to do but calls, and waits for responses or until a request may be sent.
    Calls,
    /// Another worker reads the next tasks.
    Read,
    /// A worker pauses after an error of its own.
    Fault,
    /// A command waits until the workers of a database have left, or until it can begin to drain the database.
    Quiesce,
}

impl WaitEvent {
    /// The name that `pg_stat_activity.wait_event` shows from PostgreSQL 17 on.
    fn name(self) -> &'static CStr {
        match self {
            WaitEvent::Launcher => c"PgErrandLauncher",
            WaitEvent::Idle => c"PgErrandIdle",
            WaitEvent::Calls => c"PgErrandCalls",
            WaitEvent::Read => c"PgErrandRead",
            WaitEvent::Fault => c"PgErrandFault",
            WaitEvent::Quiesce => c"PgErrandQuiesce",
        }
    }

    /// The number by which PostgreSQL knows the event.
    pub(super) fn number(self) -> u32 {
        let kept = &NUMBERS[self as usize];
        if kept.load(Relaxed) == 0 {
            kept.store(since_17::wait_event(self.name()), Relaxed);
        }
        kept.load(Relaxed)
    }
}
