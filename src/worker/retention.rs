//! Removes finished tasks and old errors, in small batches and along the primary key: no index on
//! the time of the end has to be kept up with every completion.

use super::Worker;
use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::pg::spi::Statement;
use crate::pg::{activity, backend, log, session, transaction, trigger};
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};
use std::time::{Duration, Instant};

/// A table whose old rows are removed along its primary key.
struct Walk {
    remove: Statement,
    /// The next row after one, for steps over rows that cannot be removed.
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

/// Rows looked at in one transaction.
const BATCH: i32 = 1_000;
/// Under load, a batch is done so often.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Time between two passes over a database, in microseconds.
const INTERVAL: i64 = 60 * 1_000_000;

/// A pass over a database that is under way: where each walk goes on.
#[derive(Clone, Copy, Default)]
pub struct Pass {
    tasks: Option<i64>,
    errors: Option<i64>,
    /// When the last batch was done.
    at: Option<Instant>,
}

impl Pass {
    const START: Pass = Pass { tasks: Some(i64::MIN), errors: Some(i64::MIN), at: None };

    fn is_over(self) -> bool {
        self.tasks.is_none() && self.errors.is_none()
    }
}

/// [`step`] for a worker that has other things to do: a batch now and then.
pub fn step_aside(worker: &mut Worker) -> Result<(), PgError> {
    if worker.retention.at.is_none_or(|at| at.elapsed() >= BUSY_PAUSE) {
        step(worker)?;
        worker.retention.at = Some(Instant::now());
    }
    Ok(())
}

/// Does a batch if a pass is due or under way; true if there is more to do at once.
pub fn step(worker: &mut Worker) -> Result<bool, PgError> {
    let keep = config::RETENTION.duration();
    if keep.is_zero() {
        worker.retention = Pass::default();
        return Ok(false);
    }
    let now = backend::now();
    if worker.retention.is_over() {
        if !is_due(worker, now) {
            return Ok(false);
        }
        worker.retention = Pass::START;
    }
    activity::running(format_args!("removing finished tasks (pg_errand.retention)"));
    let before = now.saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
    let pass = worker.retention;
    let owner = worker.owner;
    // A transaction for each: whoever drops both tables waits for one of them at a time.
    let next = |walk, after: Option<i64>| match after {
        Some(after) => transaction::commit_after(|| batch(owner, walk, after, before)),
        None => Ok(None),
    };
    let errors = next(&ERRORS, pass.errors)?;
    let tasks = next(&TASKS, pass.tasks)?;
    worker.retention = Pass { errors, tasks, at: pass.at };
    Ok(!worker.retention.is_over())
}

/// True for one worker of the database, each time the interval has passed.
fn is_due(worker: &Worker, now: i64) -> bool {
    let due = worker.slot.change_database(|database| {
        let due = database.retained_at + INTERVAL <= now;
        if due {
            database.retained_at = now;
        }
        due
    });
    due == Some(true)
}

/// Removes what is old among the next rows; where to go on, if it makes sense. If one of them cannot
/// be removed (a foreign key of the user's), they are taken one by one, and that one is left.
fn batch(owner: pg_sys::Oid, walk: &Walk, after: i64, before: i64) -> Option<i64> {
    match transaction::savepoint(|| remove(owner, walk, after, before, BATCH)) {
        Ok(next) => next,
        Err(_) => (0..BATCH).try_fold(after, |after, _| one(owner, walk, after, before)),
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

/// Removes what is old among the next `limit` rows. What users' tables do about it is done with the
/// rights of the worker's role.
fn remove(owner: pg_sys::Oid, walk: &Walk, after: i64, before: i64, limit: i32) -> Option<i64> {
    let args = [after.into_datum(), Some(pg_sys::Datum::from(before)), limit.into_datum()];
    let statement = || walk.remove.row_leaving_triggers(&args, |row| (row.get::<i64>(1), row.get::<bool>(2)));
    let (last, more) = trigger::fire_afterwards(|| session::as_owner(owner, statement))?;
    last.filter(|_| more == Some(true))
}
