//! Claim: takes the next ready task by locking its row. The lock is the claim: it dies with the
//! worker, and the task is ready again at once.

use super::Worker;
use super::task::Task;
use crate::pg::spi::{Arg, Row, Statement};
use crate::pg::{backend, session};
use crate::processor;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT4OID, INT8ARRAYOID, INT8OID, TEXTARRAYOID};
use pgrx::{IntoDatum, pg_sys};

static CLAIM: Statement = Statement::new(
    include_str!("../../sql/runtime/claim.sql"),
    &[TEXTARRAYOID, INT8ARRAYOID, BOOLOID, INT8OID],
);
static CLAIM_AGAIN: Statement = Statement::new(include_str!("../../sql/runtime/claim_again.sql"), &[INT8OID]);
static CALL_RESUME: Statement =
    Statement::new(include_str!("../../sql/runtime/call_resume.sql"), &[INT8OID, INT8OID]);
static LAST_OWNER: Statement = Statement::new(include_str!("../../sql/runtime/last_owner.sql"), &[]);
static IS_OPEN: Statement =
    Statement::new(include_str!("../../sql/runtime/call_is_open.sql"), &[INT8OID, INT8OID]);
static CALL_RECLAIM: Statement = Statement::new(
    include_str!("../../sql/runtime/call_reclaim.sql"),
    &[INT8OID, INT8ARRAYOID, INT8OID, INT4OID, INT8OID],
);

/// Claims the next ready task, in the current transaction. If there is more than this worker can
/// run at once, another one is woken.
pub fn next(worker: &Worker) -> Option<Task> {
    let look_ahead = worker.slot.others_could_help();
    let args: [Arg; 4] = [
        excluded_types(worker).into_datum(),
        worker.avoided.now().into_datum(),
        look_ahead.into_datum(),
        worker.origin.into_datum(),
    ];
    let found = to_write(worker, || CLAIM.row(&args, |row| (task_of(row, 1), row.get::<bool>(9))));
    let (task, more) = found?;
    if more == Some(true) {
        worker.slot.wake_another();
    }
    Some(task)
}

/// Claims a certain task again, after its transaction was rolled back; `None` if somebody else was
/// faster or it has ended.
pub fn again(worker: &Worker, task_id: i64) -> Option<Task> {
    to_write(worker, || CLAIM_AGAIN.row(&[task_id.into_datum()], |row| task_of(row, 1)))
}

/// What came of a call, as it is stored.
pub struct Stored {
    pub task: Task,
    pub answer: Arg,
    /// JSON text of `queues.call.failure`.
    pub failure: Option<String>,
}

/// Locks the task of a call of this worker that has been answered; `None` if it has ended.
pub fn answered(worker: &Worker, task_id: i64) -> Option<Stored> {
    to_write(worker, || {
        let args: [Arg; 2] = [task_id.into_datum(), worker.slot.owner.into_datum()];
        CALL_RESUME.row(&args, |row| Stored {
            task: task_of(row, 0),
            answer: row.keep(9),
            failure: row.keep(10).map(crate::pg::jsonb::to_text),
        })
    })
}

/// True if the task of a call of this worker has not ended: somebody else holds its row.
pub fn is_open(worker: &Worker, task_id: i64) -> bool {
    let args: [Arg; 2] = [task_id.into_datum(), worker.slot.owner.into_datum()];
    let open = session::as_owner(worker.owner, || IS_OPEN.row(&args, |row| row.get::<bool>(1)));
    open.flatten() == Some(true)
}

/// A call whose worker is gone.
pub struct Orphan {
    pub task_id: i64,
    pub provider: String,
    /// JSON text of the stored request.
    pub request: String,
    pub answered: bool,
    /// Seconds since it was stored.
    pub age: f64,
}

/// The latest owner of an open call.
pub fn last_owner(worker: &Worker) -> Option<i64> {
    session::as_owner(worker.owner, || LAST_OWNER.row(&[], |row| row.get(1)).flatten())
}

/// Takes over up to `limit` calls whose workers are gone.
pub fn orphans(worker: &Worker, limit: usize) -> Vec<Orphan> {
    let (live, bound) = worker.slot.live_owners();
    let args: [Arg; 5] = [
        worker.slot.owner.into_datum(),
        live.into_datum(),
        bound.into_datum(),
        (limit as i32).into_datum(),
        worker.origin.into_datum(),
    ];
    to_write(worker, || {
        CALL_RECLAIM.rows(&args, |row| Orphan {
            task_id: row.get(1).unwrap_or_default(),
            provider: row.get(2).unwrap_or_default(),
            request: row.keep(4).map(crate::pg::jsonb::to_text).unwrap_or_default(),
            answered: row.get(5).unwrap_or_default(),
            age: row.get(6).unwrap_or_default(),
        })
    })
}

/// Runs a statement that locks rows of `queues.task`, to be changed later in this transaction.
fn to_write<R>(worker: &Worker, statement: impl FnOnce() -> R) -> R {
    session::lock_for_writing(worker.tasks);
    session::as_owner(worker.owner, statement)
}

/// While all places for calls are taken, tasks that need one are left alone.
fn excluded_types(worker: &Worker) -> Vec<&'static str> {
    if worker.has_room_for_calls() {
        return Vec::new();
    }
    processor::ALL.iter().filter(|p| p.calls()).map(|p| p.task_type()).collect()
}

/// A handler's name; an empty one is none.
fn name(row: &Row, column: i32) -> Option<String> {
    row.get(column).filter(|name: &String| !name.is_empty())
}

fn task_of(row: &Row, uncounted: i32) -> Task {
    Task {
        id: row.get(1).unwrap_or_default(),
        task_type: row.get(2).unwrap_or_default(),
        payload: row.keep(3).unwrap_or(pg_sys::Datum::null()),
        attempts: row.get(4).unwrap_or_default(),
        db_function: name(row, 5),
        before_handler: name(row, 6),
        success_handler: name(row, 7),
        error_handler: name(row, 8),
        started_at: backend::now(),
        uncounted,
    }
}
