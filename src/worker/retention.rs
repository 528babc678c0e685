//! Removes finished tasks and old errors, in small batches and along the primary key: no index on
//! the time of the end has to be kept up with every completion.

use super::Worker;
use crate::config;
use crate::error::PgError;
use crate::pg::spi::Statement;
use crate::pg::{activity, backend, session, transaction};
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};

static RETAIN_TASKS: Statement =
    Statement::new(include_str!("../../sql/runtime/retain_tasks.sql"), &[INT8OID, TIMESTAMPTZOID, INT4OID]);
static RETAIN_ERRORS: Statement =
    Statement::new(include_str!("../../sql/runtime/retain_errors.sql"), &[INT8OID, TIMESTAMPTZOID, INT4OID]);

/// Rows looked at in one transaction.
const BATCH: i32 = 1_000;
/// Time between two passes over a database, in microseconds.
const INTERVAL: i64 = 60 * 1_000_000;

/// A pass over a database that is under way: where each walk goes on.
#[derive(Clone, Copy, Default)]
pub struct Pass {
    tasks: Option<i64>,
    errors: Option<i64>,
}

impl Pass {
    const START: Pass = Pass { tasks: Some(i64::MIN), errors: Some(i64::MIN) };

    fn is_over(self) -> bool {
        self.tasks.is_none() && self.errors.is_none()
    }
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
    activity::running("removing finished tasks (pg_errand.retention)");
    let before = now.saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
    let pass = worker.retention;
    worker.retention = transaction::commit_after(|| {
        session::as_owner(worker.owner, || Pass {
            errors: pass.errors.and_then(|after| batch(&RETAIN_ERRORS, after, before)),
            tasks: pass.tasks.and_then(|after| batch(&RETAIN_TASKS, after, before)),
        })
    })?;
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

/// Removes what is old among the next rows; where to go on, if it makes sense.
fn batch(statement: &Statement, after: i64, before: i64) -> Option<i64> {
    let args = [after.into_datum(), Some(pg_sys::Datum::from(before)), BATCH.into_datum()];
    let (last, more) = statement.row(&args, |row| (row.get::<i64>(1), row.get::<bool>(2)))?;
    last.filter(|_| more == Some(true))
}
