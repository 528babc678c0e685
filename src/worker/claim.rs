//! Claim: takes the next ready task by locking its row. The lock is the claim: it dies with the
//! worker, and the task is ready again at once.

use super::calls::CallResult;
use super::task::Task;
use super::{Worker, read, record, table};
use crate::config::MAX_PAYLOAD_SIZE;
use crate::inject;
use crate::outside;
use crate::pg::jsonb_field::{TooLong, View};
use crate::pg::jsonb_size::is_longer;
use crate::pg::spi::{Arg, Row, Statement, text};
use crate::pg::table::{self as locked, Lock, Seen};
use crate::pg::{backend, jsonb, session};
use crate::shared::{Next, Ready};
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8ARRAYOID, INT8OID};
use pgrx::{IntoDatum, pg_sys};

static CLAIM: Statement = Statement::new(include_str!("../../sql/runtime/claim.sql"), &[INT8OID, INT8OID]);
static CLAIM_AGAIN: Statement = Statement::new(include_str!("../../sql/runtime/claim_again.sql"), &[INT8OID]);
static CALL_RESUME: Statement =
    Statement::new(include_str!("../../sql/runtime/call_resume.sql"), &[INT8OID, INT8OID]);
static ORPHANS: Statement =
    Statement::new(include_str!("../../sql/runtime/call_orphans.sql"), &[INT8ARRAYOID, INT8OID, INT8OID]);
static LAST_OWNER: Statement = Statement::new(include_str!("../../sql/runtime/last_owner.sql"), &[]);
static IS_OPEN: Statement =
    Statement::new(include_str!("../../sql/runtime/call_is_open.sql"), &[INT8OID, INT8OID]);
static CALL_RECLAIM: Statement = Statement::new(
    include_str!("../../sql/runtime/call_reclaim.sql"),
    &[INT8OID, INT8ARRAYOID, INT8OID, INT4OID, INT8OID],
);

/// Bytes of a handler's name at most. Blanks around it are allowed, any number of them.
const MAX_NAME: usize = 4 * 1024 * 1024;
/// Bytes of a stored failure's message at most.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;
/// Bytes of a stored request at most, as text: with its escapes it is longer than what is sent.
const MAX_REQUEST_TEXT: usize = 512 * 1024 * 1024;

/// What came of looking for a task.
pub enum Claimed {
    Task(Box<Task>),
    Nothing,
    /// Another worker is just reading what comes next.
    NotYet,
}

/// Claims the next ready task, in the current transaction. If there is more than this worker can
/// run at once, another one is woken.
pub fn next(worker: &mut Worker) -> Claimed {
    inject::point("looking");
    loop {
        match worker.slot.take(worker.sources(), worker.definition_changes) {
            Next::Read(lane, after) => read::fill(worker, lane, after),
            Next::Wait => return Claimed::NotYet,
            Next::Nothing => return Claimed::Nothing,
            Next::Task(lane, ready) => {
                if !worker.avoided.holds(lane, ready.place)
                    && let Some(task) = one(worker, ready)
                {
                    return Claimed::Task(Box::new(task));
                }
            }
        }
    }
}

/// Claims a task; `None` if it is not ready (any more), or somebody else was faster.
fn one(worker: &Worker, ready: Ready) -> Option<Task> {
    let task_id = ready.place.task_id;
    match worker.tasks.lock(task_id, ready.address, |row| is_ready(row, worker.origin)) {
        Lock::Locked(row) => {
            if row.get(table::LEASED).is_some_and(|leased| leased.value() != 0) {
                outside::tell_of_ended_lease(task_id);
            }
            return Some(task_of_row(row));
        }
        Lock::Not => return None,
        Lock::ByStatement => {}
    }
    let args: [Arg; 2] = [task_id.into_datum(), worker.origin.into_datum()];
    let claimed = to_write(worker, || {
        CLAIM.row(&args, |row| {
            let task = Task { is_given_up: row.get(5) == Some(true), ..task_of(row, 1) };
            (task, row.get(6) == Some(true))
        })
    });
    claimed.map(|(task, was_leased)| {
        if was_leased {
            outside::tell_of_ended_lease(task_id);
        }
        task
    })
}

/// The condition of claim.sql.
fn is_ready(row: &Seen, origin: i64) -> bool {
    let time = |column| row.get(column).map(|datum| datum.value() as i64);
    let now = backend::now();
    time(table::ORIGIN) == Some(origin)
        && time(table::FINISHED_AT).is_none()
        && row.get(table::CALLING).is_some_and(|datum| datum.value() == 0)
        && time(table::SCHEDULED_AT).is_some_and(|time| time <= now)
        && time(table::NOT_BEFORE).is_none_or(|time| time <= now)
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
    /// Why there is none.
    pub failure: Option<String>,
}

/// Locks the task of a call of this worker that has been answered; `None` if it has ended. `result`: the
/// stored answer, if it is at hand.
pub fn answered(worker: &Worker, task_id: i64, result: Option<&CallResult>) -> Option<Stored> {
    if let Some(result) = result {
        match worker.tasks.lock(task_id, None, is_calling) {
            Lock::Locked(row) => return Some(stored(row, result)),
            Lock::Not => return None,
            Lock::ByStatement => {}
        }
    }
    to_write(worker, || {
        let args: [Arg; 2] = [task_id.into_datum(), worker.slot.owner.into_datum()];
        CALL_RESUME.row(&args, |row| Stored {
            task: task_of(row, 0),
            answer: row.keep(5),
            failure: row.keep(6).map(|failure| message_in(&View::of(failure))),
        })
    })
}

/// The condition of call_resume.sql.
fn is_calling(row: &Seen) -> bool {
    row.get(table::FINISHED_AT).is_none() && row.get(table::CALLING).is_some_and(|datum| datum.value() != 0)
}

fn stored(row: locked::Row, result: &CallResult) -> Stored {
    let task = Task { uncounted: 0, ..task_of_row(row) };
    match result {
        Ok(answer) => Stored { task, answer: Some(record::storable(answer)), failure: None },
        Err(failure) => Stored { task, answer: None, failure: Some(failure.message.clone()) },
    }
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
    pub key: String,
    /// JSON text of the stored request, or why there is none.
    pub request: Result<String, String>,
    pub answered: bool,
    /// Seconds since it was stored.
    pub age: f64,
    /// If it went out together with others: the first of those tasks, and how many they were.
    pub batch: Option<i64>,
    pub batch_size: usize,
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
    let reclaim = || {
        CALL_RECLAIM.rows(&args, |row| Orphan {
            task_id: row.get(1).unwrap_or_default(),
            provider: row.get(2).unwrap_or_default(),
            key: row.get(3).unwrap_or_default(),
            request: row.keep(4).ok_or_else(|| "there is none".to_owned()).and_then(|request| {
                let too_long = |_| format!("it has more than {MAX_REQUEST_TEXT} bytes as text");
                jsonb::to_text(request, MAX_REQUEST_TEXT).map_err(too_long)
            }),
            answered: row.get(5).unwrap_or_default(),
            age: row.get(6).unwrap_or_default(),
            batch: row.get(7),
            batch_size: row.get::<i32>(8).unwrap_or(1) as usize,
        })
    };
    to_write(worker, || {
        worker.call_rows.lock_for_writing();
        worker.keep_books(reclaim)
    })
}

/// Whether there are calls whose workers are gone.
pub fn has_orphans(worker: &Worker) -> bool {
    let (live, bound) = worker.slot.live_owners();
    let args: [Arg; 3] = [live.into_datum(), bound.into_datum(), worker.origin.into_datum()];
    session::as_owner(worker.owner, || ORPHANS.row(&args, |row| row.get(1)).flatten()) == Some(true)
}

/// Runs a statement that locks rows of `queues.task`, to be changed later in this transaction.
fn to_write<R>(worker: &Worker, statement: impl FnOnce() -> R) -> R {
    worker.tasks.lock_for_writing();
    session::as_owner(worker.owner, statement)
}

/// `message` of a stored failure.
fn message_in(failure: &View) -> String {
    failure
        .get("message")
        .and_then(|message| message.text(MAX_MESSAGE).ok().flatten())
        .unwrap_or_else(|| "the call was not answered".into())
}

/// A task without what its payload says.
fn plain(id: i64, task_type: String, payload: pg_sys::Datum, attempts: i32) -> Task {
    Task {
        id,
        task_type,
        payload,
        attempts,
        db_function: None,
        before_handler: None,
        success_handler: None,
        error_handler: None,
        problem: None,
        started_at: backend::now(),
        uncounted: 0,
        is_given_up: false,
        row: None,
    }
}

/// Reads the handlers' names in a task's payload, and finds out what is wrong with it.
fn with_payload(mut task: Task) -> Task {
    let limit = MAX_PAYLOAD_SIZE.get() as usize;
    if is_longer(task.payload, limit) {
        task.problem = Some(format!(
            "the payload has more than {limit} bytes as text; pg_errand.max_payload_size allows no more"
        ));
    }
    let payload = View::of(task.payload);
    let names = [
        ("db_function", &mut task.db_function),
        ("before_handler", &mut task.before_handler),
        ("success_handler", &mut task.success_handler),
        ("error_handler", &mut task.error_handler),
    ];
    for (field, name) in names {
        match payload.get(field).map_or(Ok(None), |field| field.text(MAX_NAME)) {
            Ok(found) => *name = found.filter(|name| !name.is_empty()),
            Err(TooLong) => {
                task.problem = Some(format!(
                    "{field} has more than {MAX_NAME} bytes; it has to be the name of a function"
                ));
            }
        }
    }
    task
}

fn task_of(row: &Row, uncounted: i32) -> Task {
    let payload = row.keep(3).unwrap_or(pg_sys::Datum::null());
    let task = plain(
        row.get(1).unwrap_or_default(),
        row.get(2).unwrap_or_default(),
        payload,
        row.get(4).unwrap_or_default(),
    );
    with_payload(Task { uncounted, ..task })
}

fn task_of_row(row: locked::Row) -> Task {
    let payload = row.get(table::PAYLOAD).map_or(pg_sys::Datum::null(), jsonb::unpacked);
    let task = plain(
        row.get(table::TASK_ID).map_or(0, |datum| datum.value() as i64),
        row.get(table::TASK_TYPE).and_then(text).unwrap_or_default(),
        payload,
        row.get(table::ATTEMPTS).map_or(0, |datum| datum.value() as i32),
    );
    with_payload(Task { uncounted: 1, row: Some(row), ..task })
}
