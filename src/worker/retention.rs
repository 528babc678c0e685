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
    Statement::new(include_str!("../../sql/runtime/retain_errors.sql"), &[TIMESTAMPTZOID, INT4OID]);

/// Rows looked at in one transaction.
const BATCH: i32 = 1_000;
/// Time between two passes over a database, in microseconds.
const INTERVAL: i64 = 60 * 1_000_000;

/// A pass over the tasks that is under way.
#[derive(Default)]
pub struct Pass {
    after: Option<i64>,
}

/// Does a batch if a pass is due or under way; true if there is more to do at once.
pub fn step(worker: &mut Worker) -> Result<bool, PgError> {
    let keep = config::RETENTION.duration();
    if keep.is_zero() {
        worker.retention.after = None;
        return Ok(false);
    }
    let now = backend::now();
    if worker.retention.after.is_none() {
        let due = worker.slot.change_database(|database| {
            let due = database.retained_at + INTERVAL <= now;
            if due {
                database.retained_at = now;
            }
            due
        });
        if due != Some(true) {
            return Ok(false);
        }
    }
    activity::running("removing finished tasks (pg_errand.retention)");
    let before = now.saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
    worker.retention.after = batch(worker.owner, worker.retention.after.unwrap_or(i64::MIN), before)?;
    Ok(worker.retention.after.is_some())
}

/// Removes what is old among the next tasks; where to go on, if it makes sense.
fn batch(owner: pg_sys::Oid, after: i64, before: i64) -> Result<Option<i64>, PgError> {
    transaction::commit_after(|| {
        let before = Some(pg_sys::Datum::from(before));
        session::as_owner(owner, || {
            let errors = RETAIN_ERRORS.run(&[before, BATCH.into_datum()]);
            let args = [after.into_datum(), before, BATCH.into_datum()];
            let seen = RETAIN_TASKS.row(&args, |row| (row.get::<i64>(1), row.get::<bool>(2)));
            match seen {
                Some((Some(last), Some(true))) => Some(last),
                _ => (errors == BATCH as u64).then_some(i64::MAX),
            }
        })
    })
}
