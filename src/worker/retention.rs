//! Retention: removes finished tasks and old errors in small portions in the order of the primary key, so that no index
//! on the end time has to be maintained.

use super::tables::Tables;
use crate::config;
use crate::error::PgError;
use crate::pg::spi::{Arg, Statement, timestamp};
use crate::pg::{activity, backend, log, transaction};
use crate::shared::{Aging, NEVER, Settled};
use crate::slot::MySlot;
use crate::walk::{Portion, Walk};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{FLOAT8OID, INT4OID, INT8OID, TIMESTAMPTZOID};
use std::time::{Duration, Instant};

static TASKS: Walk = Walk {
    remove: Statement::new(
        include_str!("../../sql/runtime/retain_tasks.sql"),
        &[INT8OID, INT4OID, TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID],
    ),
    next: Statement::new(include_str!("../../sql/runtime/next_task.sql"), &[INT8OID]),
    what: "task",
    on_behalf_of: "pg_errand.retention",
};
static ERRORS: Walk = Walk {
    remove: Statement::new(
        include_str!("../../sql/runtime/retain_errors.sql"),
        &[INT8OID, INT4OID, TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID],
    ),
    next: Statement::new(include_str!("../../sql/runtime/next_error.sql"), &[INT8OID]),
    what: "error",
    on_behalf_of: "pg_errand.retention",
};
static LIMITS: Statement =
    Statement::new(include_str!("../../sql/runtime/retention_limits.sql"), &[FLOAT8OID]);

/// The number of rows that one transaction visits.
const MAX_ROWS: i32 = 1_000;
/// The same of a busy worker, which has its next task wait for it.
const BUSY_ROWS: i32 = 250;
/// A busy worker spends one part of its time on retention, and this many on its tasks.
const BUSY_SHARE: u32 = 3;
/// The shortest time between two portions of a busy worker.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Rows are passed over if none of them can be removed for this time, in microseconds, and at least this many were kept.
const SETTLED_FOR: i64 = 10 * 60 * 1_000_000;
const SETTLED_ROWS: i64 = 10_000;
/// The longest time for which rows are passed over: users may change them.
const SETTLED_AT_MOST: i64 = 3_600 * 1_000_000;
/// The shortest time between two searches, in microseconds.
const SHORTEST_PAUSE: i64 = 1_000_000;

/// How long rows are kept.
#[derive(Clone, Copy)]
struct Limits {
    /// `pg_errand.retention` in seconds; `None`: for ever.
    default: Option<f64>,
    /// The shortest time for which any row is kept, in seconds.
    shortest: f64,
    digest: i64,
}

/// A search over a table.
#[derive(Clone, Copy)]
struct Search {
    rows: Aging,
    walk: &'static Walk,
    /// Where it continues; `None`: it is over.
    after: Option<i64>,
    /// The first rows, as long as none can be removed soon.
    settled: Settled,
    are_settling: bool,
    /// The number of rows that were kept.
    kept: i64,
    /// When the first of them may be removed.
    next_at: i64,
}

/// A pass over a database.
#[derive(Clone, Copy)]
struct Pass {
    limits: Limits,
    searches: [Search; 2],
}

/// The retention of a worker.
#[derive(Default)]
pub struct Retention {
    pass: Option<Pass>,
    /// A busy worker removes no portion before.
    not_before: Option<Instant>,
    /// When the next rows become old, as far as this worker knows.
    due_at: Option<i64>,
    /// How long rows are kept, once it has been read; `Some(None)`: for ever.
    limits: Option<Option<Limits>>,
    /// Tasks may have ended since the last search began.
    has_worked: bool,
}

impl Retention {
    /// Does [`Retention::step`] in a worker that has other work, one portion at a time with pauses between.
    pub fn step_aside(&mut self, slot: MySlot, tables: &Tables) -> Result<(), PgError> {
        self.has_worked = true;
        if self.not_before.is_none_or(|time| time <= Instant::now()) {
            let began = Instant::now();
            let has_more = self.search(slot, tables, BUSY_ROWS)?;
            let pause = if has_more { began.elapsed() * BUSY_SHARE } else { Duration::from_secs(1) };
            self.not_before = Some(Instant::now() + pause.max(BUSY_PAUSE));
        }
        Ok(())
    }

    /// Removes a portion if a pass is due or has begun; true if there is more to remove.
    pub fn step(&mut self, slot: MySlot, tables: &Tables) -> Result<bool, PgError> {
        self.search(slot, tables, MAX_ROWS)
    }

    /// How long a worker without work may wait until rows become old.
    pub fn pause(&self) -> Option<Duration> {
        let pause = self.due_at?.saturating_sub(backend::now());
        Some(Duration::from_micros(pause.max(0) as u64))
    }

    /// Lets the limits be read again.
    pub fn forget_limits(&mut self) {
        self.limits = None;
    }

    /// Notes when tasks become old that have ended since the last search: this worker is about to wait or to exit.
    pub fn note_ended(&mut self, slot: MySlot, tables: &Tables) -> Result<(), PgError> {
        if !self.has_worked {
            return Ok(());
        }
        let limits = match self.limits {
            Some(limits) => limits,
            None => self.read_limits(tables)?,
        };
        self.has_worked = false;
        let Some(limits) = limits else { return Ok(()) };
        let now = backend::now();
        let due_at = now.saturating_add(with_delay(micros(limits.shortest)));
        if self.due_at.is_none_or(|known| known <= now || known > due_at) {
            self.due_at = Some(due_at);
            slot.change_database(|database| database.retained.note_due(due_at));
        }
        Ok(())
    }

    fn read_limits(&mut self, tables: &Tables) -> Result<Option<Limits>, PgError> {
        let limits = transaction::commit_after(|| tables.as_owner(limits))?;
        self.limits = Some(limits);
        Ok(limits)
    }

    fn search(&mut self, slot: MySlot, tables: &Tables, rows: i32) -> Result<bool, PgError> {
        let now = backend::now();
        if self.pass.is_none() {
            if slot.change_database(|database| database.retained.begin(now)) != Some(true) {
                if self.due_at.is_some_and(|due_at| due_at <= now) {
                    // Another worker has begun the search that was due, perhaps before a task of this one had ended.
                    (self.due_at, self.has_worked) = (None, true);
                }
                return Ok(false);
            }
            self.begin(slot, tables, now)?;
        }
        let Some(pass) = &mut self.pass else { return Ok(false) };
        activity::running(format_args!("removing finished tasks (pg_errand.retention)"));
        // Each table has a transaction of its own, so that a command that drops both tables waits for only one at a
        // time.
        for search in &mut pass.searches {
            search.step(tables, &pass.limits, rows, now)?;
        }
        if pass.searches.iter().any(|search| search.after.is_some()) {
            return Ok(true);
        }
        let due_at = pass.end(slot, now);
        self.due_at = (due_at != NEVER).then_some(due_at);
        self.pass = None;
        Ok(false)
    }

    fn begin(&mut self, slot: MySlot, tables: &Tables, now: i64) -> Result<(), PgError> {
        (self.due_at, self.has_worked) = (None, false);
        let limits = self.read_limits(tables)?;
        if limits.is_none() {
            slot.change_database(|database| database.retained.end(NEVER));
        }
        self.pass = limits.map(|limits| {
            let settled =
                |rows| slot.change_database(|database| database.retained.settled(rows, limits.digest, now));
            let search = |rows, walk| Search::new(rows, walk, settled(rows).unwrap_or(Settled::NOTHING));
            Pass { limits, searches: [search(Aging::Errors, &ERRORS), search(Aging::Tasks, &TASKS)] }
        });
        Ok(())
    }
}

impl Search {
    fn new(rows: Aging, walk: &'static Walk, settled: Settled) -> Search {
        // Rows that were passed over are known to be many.
        let kept = if settled == Settled::NOTHING { 0 } else { SETTLED_ROWS };
        Search {
            rows,
            walk,
            after: Some(settled.to),
            settled,
            are_settling: true,
            kept,
            next_at: settled.until,
        }
    }

    fn step(&mut self, tables: &Tables, limits: &Limits, rows: i32, now: i64) -> Result<(), PgError> {
        let Some(after) = self.after else { return Ok(()) };
        let args: [Arg; 3] =
            [timestamp(now), limits.default.and_then(IntoDatum::into_datum), limits.shortest.into_datum()];
        let portion = transaction::commit_after(|| {
            let portion = self.walk.portion(tables.owner, after, rows, &args);
            portion.unwrap_or_else(|error| log::raise(&error))
        })?;
        self.note(portion, rows, limits, now);
        Ok(())
    }

    fn note(&mut self, portion: Portion, rows: i32, limits: &Limits, now: i64) {
        let next_at = portion.next_at.unwrap_or(NEVER);
        self.next_at = self.next_at.min(next_at);
        if !portion.has_more && portion.visited >= i64::from(rows) {
            // Others were not visited, since they are young.
            self.next_at = self.next_at.min(now.saturating_add(with_delay(micros(limits.shortest))));
        }
        self.are_settling &= next_at >= now + SETTLED_FOR;
        if self.are_settling
            && let Some(to) = portion.rest()
        {
            let until = self.settled.until.min(next_at).min(now + SETTLED_AT_MOST);
            self.settled = Settled { to, until };
            self.kept += portion.visited - portion.removed;
        }
        self.after = portion.rest();
    }
}

impl Pass {
    /// Tells the other processes what was found; returns when rows become old, as far as is known.
    fn end(&self, slot: MySlot, now: i64) -> i64 {
        let due_at = self.searches.iter().map(|search| search.next_at).min().unwrap_or(NEVER);
        let due_at = due_at.max(now + SHORTEST_PAUSE);
        slot.change_database(|database| {
            for search in &self.searches {
                let settled = if search.kept >= SETTLED_ROWS { search.settled } else { Settled::NOTHING };
                database.retained.settle(search.rows, settled, self.limits.digest);
            }
            database.retained.end(due_at);
        });
        due_at
    }
}

/// How long rows are kept; `None` if all are kept for ever.
fn limits() -> Option<Limits> {
    let keep = config::RETENTION.duration();
    let default = (!keep.is_zero()).then_some(keep.as_secs_f64());
    LIMITS
        .row(&[default.and_then(IntoDatum::into_datum)], |row| {
            let shortest = row.get::<f64>(c"shortest")?;
            Some(Limits { default, shortest, digest: row.get(c"digest").unwrap_or_default() })
        })
        .flatten()
}

fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

/// Rows are removed somewhat later than they may be, many together: see sql/runtime/retain_tasks.sql.
fn with_delay(kept: i64) -> i64 {
    kept.saturating_add((kept / 32).min(SETTLED_AT_MOST))
}
