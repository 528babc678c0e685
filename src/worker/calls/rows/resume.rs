//! Locks the tasks of answered calls for their last step.

use super::super::result::CallResult;
use super::super::storable;
use crate::pg::jsonb_field::View;
use crate::pg::spi::{Arg, Statement};
use crate::pg::table::{Lock, Row, Seen};
use crate::shared::TaskId;
use crate::task::Task;
use crate::worker::ending::Status;
use crate::worker::tables::Tables;
use crate::worker::{columns, task_row};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;

static CALL_RESUME: Statement =
    Statement::new(include_str!("../../../../sql/runtime/call_resume.sql"), &[INT8OID, INT8OID]);
static IS_OPEN: Statement =
    Statement::new(include_str!("../../../../sql/runtime/call_is_open.sql"), &[INT8OID, INT8OID]);

/// Size limit of a stored failure's message, in bytes.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// The result of a call, as stored in its row.
pub struct StoredCall {
    pub task: Task,
    pub response: Arg,
    /// The reason why the call has failed.
    pub failure: Option<String>,
}

impl StoredCall {
    /// The status that the task ends with.
    pub fn status(&self) -> Status {
        if self.failure.is_none() { Status::Succeeded } else { Status::Failed }
    }
}

/// Locks the task of an answered call of this worker; `None` if the task has ended or is locked by another session.
/// `result`: the stored result, if it is in memory.
pub fn lock_answered(tables: &Tables, task_id: TaskId, result: Option<&CallResult>) -> Option<StoredCall> {
    if let Some(result) = result {
        match tables.tasks.lock(task_id.get(), None, is_calling) {
            Lock::Locked(row) => return Some(stored(row, result)),
            Lock::Not => return None,
            Lock::ByStatement => {}
        }
    }
    let args: [Arg; 2] = [task_id.get().into_datum(), tables.worker.get().into_datum()];
    tables.locking_tasks(|| {
        CALL_RESUME.row(&args, |row| StoredCall {
            task: task_row::of_result(row, 0),
            response: row.keep(c"response"),
            failure: row.keep(c"failure").map(|failure| message_in(&View::of(failure))),
        })
    })
}

/// The condition of call_resume.sql.
fn is_calling(row: &Seen) -> bool {
    row.get(columns::FINISHED_AT).is_none()
        && row.get(columns::CALLING).is_some_and(|datum| datum.value() != 0)
}

fn stored(row: Row, result: &CallResult) -> StoredCall {
    let task = Task { uncounted: 0, ..task_row::of_locked(row) };
    match result {
        Ok(response) => {
            StoredCall { task, response: Some(storable::to_stored_jsonb(response)), failure: None }
        }
        Err(failure) => StoredCall { task, response: None, failure: Some(failure.message.clone()) },
    }
}

/// Extracts `message` from a stored failure.
fn message_in(failure: &View) -> String {
    failure
        .get("message")
        .and_then(|message| message.text(MAX_MESSAGE).ok().flatten())
        .unwrap_or_else(|| "the call was not answered".into())
}

/// True if the task of a call of this worker has not ended. Its row is then locked by another session.
pub fn is_open(tables: &Tables, task_id: TaskId) -> bool {
    let args: [Arg; 2] = [task_id.get().into_datum(), tables.worker.get().into_datum()];
    tables.as_owner(|| IS_OPEN.row(&args, |row| row.get::<bool>(1))).flatten() == Some(true)
}
