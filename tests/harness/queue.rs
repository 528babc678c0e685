//! Functions for the extension's tables and views.

use postgres::error::SqlState;
use postgres::{Client, Row};
use serde_json::Value;

use super::wait::eventually;

/// A row of `queues.error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The row's key.
    pub error_id: i64,
    /// The task that the error belongs to; null if the task was removed.
    pub task_id: Option<i64>,
    /// The error message.
    pub error_message: String,
}

/// A row of `queues.worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// The worker's process id.
    pub pid: i32,
    /// The worker's number, as in `application_name`.
    pub worker_number: i32,
    /// `idle` or `busy`.
    pub state: String,
    /// The task that the worker runs.
    pub task_id: Option<i64>,
    /// The type of that task.
    pub task_type: Option<String>,
    /// The handler that the worker has invoked.
    pub handler: Option<String>,
    /// The number of the worker's calls in flight.
    pub in_flight: i64,
}

/// Creates the extension.
///
/// # Panics
/// The server refuses. So does every function here.
#[track_caller]
pub fn install(client: &mut Client) {
    client.batch_execute("create extension pg_errand").unwrap();
}

/// Enqueues a task that is due now; returns its id.
#[track_caller]
pub fn enqueue(client: &mut Client, task_type: &str, payload: Value) -> i64 {
    client.query_one("select queues.enqueue($1, $2)", &[&task_type, &payload]).unwrap().get(0)
}

/// Returns the status of a task.
#[track_caller]
pub fn status(client: &mut Client, task_id: i64) -> String {
    client.query_one("select status from queues.task_status where task_id = $1", &[&task_id]).unwrap().get(0)
}

/// Waits until a task has this status. If it does not get it, the message of the panic has the last status and error.
#[track_caller]
pub fn wait_status(client: &mut Client, task_id: i64, expected: &str) {
    let sql = "select status, last_error from queues.task_status where task_id = $1";
    eventually(&format!("task {task_id} is {expected}"), || {
        let row = match client.query_one(sql, &[&task_id]) {
            // A task that tries to drop the tables locks them in another order than the view does.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                return Err(("unknown".into(), None));
            }
            found => found.unwrap(),
        };
        let (status, last_error): (String, Option<String>) = (row.get(0), row.get(1));
        if status == expected { Ok(()) } else { Err((status, last_error)) }
    });
}

/// Returns the errors of a task, oldest first.
#[track_caller]
pub fn errors(client: &mut Client, task_id: i64) -> Vec<ErrorRow> {
    let sql =
        "select error_id, task_id, error_message from queues.error where task_id = $1 order by error_id";
    let rows = client.query(sql, &[&task_id]).unwrap();
    rows.iter().map(error_row).collect()
}

/// Returns the live workers of the client's database, by number.
#[track_caller]
pub fn workers(client: &mut Client) -> Vec<WorkerRow> {
    let sql = "select pid, worker_number::int, state, task_id, task_type, handler, in_flight::bigint \
               from queues.worker order by worker_number";
    client.query(sql, &[]).unwrap().iter().map(worker_row).collect()
}

fn error_row(row: &Row) -> ErrorRow {
    ErrorRow { error_id: row.get(0), task_id: row.get(1), error_message: row.get(2) }
}

fn worker_row(row: &Row) -> WorkerRow {
    WorkerRow {
        pid: row.get(0),
        worker_number: row.get(1),
        state: row.get(2),
        task_id: row.get(3),
        task_type: row.get(4),
        handler: row.get(5),
        in_flight: row.get(6),
    }
}
