//! Stores calls, the batches that they go out in, their responses and their ends.

use super::super::result::CallResult;
use super::super::storable::{to_jsonb, to_stored_jsonb};
use crate::pg::spi::{Arg, Statement, timestamp};
use crate::pg::table::Lock;
use crate::pg::{backend, jsonb, session};
use crate::shared::TaskId;
use crate::unwritten::{self, Command, Means};
use crate::worker::columns;
use crate::worker::tables::Tables;
use pg_errand_calls::prepared::Prepared;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT8ARRAYOID, INT8OID, JSONBARRAYOID, JSONBOID, TEXTOID};
use pgrx::{IntoDatum, pg_sys};
use serde_json::Value;

static CALL_STORE: Statement = Statement::new(
    include_str!("../../../../sql/runtime/call_store.sql"),
    &[INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID],
);
static CALL_IS_STORED: Statement = Statement::new(
    include_str!("../../../../sql/runtime/call_is_stored.sql"),
    &[INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID],
);
static CALL_ANSWER: Statement = Statement::new(
    include_str!("../../../../sql/runtime/call_answer.sql"),
    &[INT8ARRAYOID, INT8OID, JSONBARRAYOID, JSONBARRAYOID],
);
static CALL_JOIN: Statement =
    Statement::new(include_str!("../../../../sql/runtime/call_join.sql"), &[INT8ARRAYOID, INT8OID, BOOLOID]);
static CALLS_LEFT: Statement =
    Statement::new(include_str!("../../../../sql/runtime/calls_left.sql"), &[INT8ARRAYOID, INT8OID]);
static CALL_HAS_REQUEST: Statement =
    Statement::new(include_str!("../../../../sql/runtime/call_has_request.sql"), &[INT8OID]);
static CALL_EXISTS: Statement =
    Statement::new(include_str!("../../../../sql/runtime/call_exists.sql"), &[INT8OID]);
static CALL_REMOVE: Statement =
    Statement::new(include_str!("../../../../sql/runtime/call_remove.sql"), &[INT8OID]);
static CALL_END: Statement = Statement::new(include_str!("../../../../sql/runtime/call_end.sql"), &[INT8OID]);

/// The row of a call that is about to be made.
pub struct NewCall {
    task_id: TaskId,
    provider: Arg,
    key: Arg,
    request: Arg,
}

impl NewCall {
    pub fn new(task_id: TaskId, prepared: &Prepared) -> NewCall {
        let request = serde_json::to_value(&prepared.request).unwrap_or(Value::Null);
        NewCall {
            task_id,
            provider: prepared.provider.name.as_str().into_datum(),
            key: prepared.key.text.as_str().into_datum(),
            request: Some(to_jsonb(&request)),
        }
    }

    /// Inserts the row without a statement; false if that is not possible.
    pub fn insert_directly(&self, tables: &Tables) -> bool {
        tables.calls.insert(&[
            (columns::CALL_TASK_ID, self.task_id.get().into_datum()),
            (columns::CALL_OWNER, tables.worker.get().into_datum()),
            (columns::CALL_PROVIDER, self.provider),
            (columns::CALL_KEY, self.key),
            (columns::CALL_REQUEST, self.request),
            (columns::CALL_REQUESTED_AT, timestamp(backend::now())),
        ])
    }

    /// Inserts the row by a statement. Raises an error if the row was not written.
    pub fn insert(&self, tables: &Tables) {
        let call: [Arg; 5] = [
            self.task_id.get().into_datum(),
            tables.worker.get().into_datum(),
            self.provider,
            self.key,
            self.request,
        ];
        unwritten::write(
            tables.calls.oid,
            Command::Insert,
            Means::Ordinary,
            || tables.as_owner(|| CALL_STORE.run(&call)),
            || {
                tables.as_owner(|| CALL_IS_STORED.row(&call, |row| row.get::<bool>(1))).flatten()
                    == Some(true)
            },
        );
    }
}

/// Removes the row of an earlier call of a task that is about to make a call. Such a row exists if a user has reset the
/// task, or has removed a task with the same number while triggers were disabled.
pub fn remove_earlier(tables: &Tables, task_id: TaskId) {
    let call: [Arg; 1] = [task_id.get().into_datum()];
    let is_there = match tables.calls.lock(task_id.get(), None, |_| true) {
        Lock::Not => false,
        Lock::Locked(_) => true,
        // The row is looked up first, since a removal without triggers discards all plans.
        Lock::ByStatement => {
            tables.as_owner(|| CALL_EXISTS.row(&call, |row| row.get::<bool>(1))).flatten() == Some(true)
        }
    };
    if is_there {
        unwritten::by_any_means(|| tables.as_owner(|| CALL_REMOVE.run(&call)));
    }
}

/// A stored call, and the batch that it goes out in.
pub struct JoinedCall {
    pub task_id: TaskId,
    /// The first task of the batch.
    pub batch: Option<TaskId>,
    pub key: String,
}

/// Stores that these calls go out in one request, or each in a request of its own. Returns the calls that still exist.
pub fn join(tables: &Tables, tasks: &[TaskId], together: bool) -> Vec<JoinedCall> {
    let args: [Arg; 3] = [numbers(tasks), tables.worker.get().into_datum(), together.into_datum()];
    let joined = tables.changing_owners(|| {
        CALL_JOIN.rows(&args, |row| JoinedCall {
            task_id: TaskId::new(row.get(c"task_id").unwrap_or_default()),
            batch: row.get(c"batch").map(TaskId::new),
            key: row.get(c"idempotency_key").unwrap_or_default(),
        })
    });
    // Calls that are missing may have ended; if more are open, the statement was suppressed.
    if joined.len() < tasks.len() && (joined.len() as i64) < left(tables, tasks).open {
        unwritten::refuse(tables.calls.oid, Command::Update);
    }
    joined
}

/// The numbers of tasks as an argument.
fn numbers(tasks: &[TaskId]) -> Arg {
    tasks.iter().map(|task| task.get()).collect::<Vec<i64>>().into_datum()
}

/// The numbers of calls of this worker whose tasks have not ended.
struct Left {
    open: i64,
    unanswered: i64,
}

fn left(tables: &Tables, tasks: &[TaskId]) -> Left {
    let args: [Arg; 2] = [numbers(tasks), tables.worker.get().into_datum()];
    let left = tables.as_owner(|| {
        CALLS_LEFT.row(&args, |row| {
            (row.get(c"open").unwrap_or_default(), row.get(c"unanswered").unwrap_or_default())
        })
    });
    let (open, unanswered) = left.unwrap_or_default();
    Left { open, unanswered }
}

/// The result of a call in the form in which its row stores it.
pub struct StoredResponse {
    task_id: TaskId,
    /// The response, or the reason why there is none.
    result: Result<pg_sys::Datum, pg_sys::Datum>,
}

impl StoredResponse {
    /// Raises an error if no jsonb can hold the response.
    pub fn new(task_id: TaskId, result: &CallResult) -> StoredResponse {
        let result = match result {
            Ok(response) => Ok(to_stored_jsonb(response)),
            Err(failure) => {
                let response =
                    failure.response.as_ref().map_or_else(|| jsonb::from_text("{}"), to_stored_jsonb);
                Err(jsonb::object([
                    ("message", to_jsonb(&failure.message.as_str().into())),
                    ("response", response),
                ]))
            }
        };
        StoredResponse { task_id, result }
    }
}

/// Stores the results of calls, before any handler is invoked with them.
pub fn store_responses(tables: &Tables, responses: &[StoredResponse]) {
    let tasks: Vec<TaskId> = responses.iter().map(|response| response.task_id).collect();
    let (kept, failures): (Vec<Arg>, Vec<Arg>) =
        responses.iter().map(|response| (response.result.ok(), response.result.err())).unzip();
    let args: [Arg; 4] = [
        numbers(&tasks),
        tables.worker.get().into_datum(),
        Some(jsonb::array(&kept)),
        Some(jsonb::array(&failures)),
    ];
    unwritten::write(
        tables.calls.oid,
        Command::Update,
        Means::Any,
        || tables.as_owner(|| CALL_ANSWER.run(&args)),
        || tables.calls.is_plain() || left(tables, &tasks).unanswered == 0,
    );
}

/// Removes the request of a call whose task ends, without a statement; false if that is not possible.
pub fn end_directly(tables: &Tables, task_id: TaskId) -> bool {
    matches!(tables.calls.lock(task_id.get(), None, |_| true),
        Lock::Locked(row) if row.update(&[(columns::CALL_REQUEST, None)]))
}

/// Removes the request of a call whose task ends. If that is not possible, the request remains until the task is
/// removed; it is not sent again.
pub fn end(tables: &Tables, task_id: TaskId) {
    let call: [Arg; 1] = [task_id.get().into_datum()];
    let end = || tables.as_owner(|| CALL_END.run(&call));
    // A task without a call has no row to change.
    let has_request =
        || tables.as_owner(|| CALL_HAS_REQUEST.row(&call, |row| row.get::<bool>(1))).flatten() == Some(true);
    if end() == 0 && has_request() {
        session::without_triggers(end);
    }
}
