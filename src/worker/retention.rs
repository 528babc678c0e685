//! Retention: removes finished tasks and old errors in small portions in the order of the primary key, so that no index
//! on the end time has to be maintained.

use super::tables::Tables;
use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::pg::spi::Statement;
use crate::pg::{activity, backend, log, session, transaction, trigger};
use crate::slot::MySlot;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};
use std::time::{Duration, Instant};

/// A scan of a table, in the order of the primary key, that removes old rows.
struct Walk {
    remove: Statement,
    /// Finds the next row, to skip a row that cannot be removed.
    next: Statement,
    what: &'static str,
}

static TASKS: Walk = Walk {
    remove: Statement::new(
        include_str!("../../sql/runtime/retain_tasks.sql"),
        &[INT8OID, TIMESTAMPTZOID, INT4OID],
    ),
    next: Statement::new(include_str!("../../sql/runtime/next_task.sql"), &[INT8OID]),
    what: "task",
};
static ERRORS: Walk = Walk {
    remove: Statement::new(
        include_str!("../../sql/runtime/retain_errors.sql"),
        &[INT8OID, TIMESTAMPTZOID, INT4OID],
    ),
    next: Statement::new(include_str!("../../sql/runtime/next_error.sql"), &[INT8OID]),
    what: "error",
};

/// The number of rows that one transaction processes.
const MAX_ROWS: i32 = 1_000;
/// The time between two portions of a busy worker.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// The time between two passes over a database, in microseconds.
const INTERVAL: i64 = 60 * 1_000_000;

/// A pass over a database: where each scan continues.
#[derive(Clone, Copy, Default)]
pub struct Retention {
    tasks: Option<i64>,
    errors: Option<i64>,
    /// When a busy worker removed its last portion.
    at: Option<Instant>,
}

impl Retention {
    /// Does [`Retention::step`] in a worker that has other work, one portion at a time with pauses between.
    pub fn step_aside(&mut self, slot: MySlot, tables: &Tables) -> Result<(), PgError> {
        if self.at.is_none_or(|at| at.elapsed() >= BUSY_PAUSE) {
            self.step(slot, tables)?;
            self.at = Some(Instant::now());
        }
        Ok(())
    }

    /// Removes a portion if a pass is due or has begun; true if there is more to remove.
    pub fn step(&mut self, slot: MySlot, tables: &Tables) -> Result<bool, PgError> {
        let keep = config::RETENTION.duration();
        if keep.is_zero() {
            *self = Retention::default();
            return Ok(false);
        }
        let now = backend::now();
        if self.is_over() {
            if !is_due(slot, now) {
                return Ok(false);
            }
            *self = Retention { tasks: Some(i64::MIN), errors: Some(i64::MIN), at: None };
        }
        activity::running(format_args!("removing finished tasks (pg_errand.retention)"));
        let before = now.saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
        let owner = tables.owner;
        // Each table has a transaction of its own, so that a command that drops both tables waits for only one at a
        // time.
        let next = |walk, after: Option<i64>| match after {
            Some(after) => transaction::commit_after(|| portion(owner, walk, after, before)),
            None => Ok(None),
        };
        self.errors = next(&ERRORS, self.errors)?;
        self.tasks = next(&TASKS, self.tasks)?;
        Ok(!self.is_over())
    }

    const fn is_over(&self) -> bool {
        self.tasks.is_none() && self.errors.is_none()
    }
}

/// True for one worker of the database, each time the interval has passed.
fn is_due(slot: MySlot, now: i64) -> bool {
    let due = slot.change_database(|database| {
        let due = database.retained_at + INTERVAL <= now;
        if due {
            database.retained_at = now;
        }
        due
    });
    due == Some(true)
}

/// Removes the old rows among the next ones; returns where to continue, if there are more. If one of them cannot be
/// removed, for instance because of a user's foreign key, the rows are removed one by one and that one is kept.
fn portion(owner: pg_sys::Oid, walk: &Walk, after: i64, before: i64) -> Option<i64> {
    match transaction::savepoint(|| remove(owner, walk, after, before, MAX_ROWS)) {
        Ok(next) => next,
        Err(_) => (0..MAX_ROWS).try_fold(after, |after, _| one(owner, walk, after, before)),
    }
}

fn one(owner: pg_sys::Oid, walk: &Walk, after: i64, before: i64) -> Option<i64> {
    transaction::savepoint(|| remove(owner, walk, after, before, 1)).unwrap_or_else(|error| {
        let next = || walk.next.row(&[after.into_datum()], |row| row.get::<i64>(1));
        let stuck = session::as_owner(owner, next).flatten();
        log::event(
            LogLevel::Warning,
            format!("{} {stuck:?} cannot be removed (pg_errand.retention): {}", walk.what, error.message),
        );
        stuck
    })
}

/// Removes the old rows among the next `limit` ones. Triggers and foreign keys of users' tables act with the rights of
/// the worker's role.
fn remove(owner: pg_sys::Oid, walk: &Walk, after: i64, before: i64, limit: i32) -> Option<i64> {
    let args = [after.into_datum(), Some(pg_sys::Datum::from(before)), limit.into_datum()];
    let statement = || {
        walk.remove.row_leaving_triggers(&args, |row| (row.get::<i64>(c"last"), row.get::<bool>(c"has_more")))
    };
    let (last, more) = trigger::fire_afterwards(|| session::as_owner(owner, statement))?;
    last.filter(|_| more == Some(true))
}
