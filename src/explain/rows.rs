//! Reads the rows of a task.

use crate::pg::spi::{Row, Statement};
use crate::shared::Reason;
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{INT2OID, INT8ARRAYOID, INT8OID, TIMESTAMPTZOID};

static TASK: Statement = Statement::new(include_str!("../../sql/runtime/explain_task.sql"), &[INT8OID]);
static AHEAD: Statement = Statement::new(
    include_str!("../../sql/runtime/explain_ahead.sql"),
    &[INT8OID, TIMESTAMPTZOID, INT8OID, INT2OID, INT8ARRAYOID, INT8OID],
);

/// The row of a task, with that of its call. Times are in microseconds since 2000-01-01.
pub struct TaskRow {
    pub task_id: i64,
    pub task_type: String,
    pub scheduled_at: i64,
    pub not_before: Option<i64>,
    pub is_leased: bool,
    pub is_calling: bool,
    pub finished_at: Option<i64>,
    pub final_status: Option<String>,
    pub origin: i64,
    pub priority: i16,
    /// The unfinished task that this one follows.
    pub predecessor: Option<i64>,
    pub is_uncommitted: bool,
    pub locked_by: Option<i32>,
    /// The worker of the call.
    pub owner: Option<i64>,
    /// The provider of the call.
    pub provider: Option<String>,
    pub has_response: bool,
    /// The version of the extension.
    pub version: Option<String>,
}

impl TaskRow {
    /// The status that `queues.task_status` shows.
    pub fn status(&self, reason: Reason, now: i64) -> &str {
        match &self.final_status {
            Some(status) if self.finished_at.is_some() => status,
            _ if reason.is_running() => "running",
            _ if self.scheduled_at > now => "scheduled",
            _ => "ready",
        }
    }
}

/// The row of a task as of now, even if the snapshot of the transaction is older.
pub fn task(task_id: i64) -> Option<TaskRow> {
    let time = |row: &Row, name| row.get::<TimestampWithTimeZone>(name).map(i64::from);
    let read = |row: &Row| TaskRow {
        task_id,
        task_type: row.get(c"task_type").unwrap_or_default(),
        scheduled_at: time(row, c"scheduled_at").unwrap_or_default(),
        not_before: time(row, c"not_before"),
        is_leased: row.get(c"leased").unwrap_or_default(),
        is_calling: row.get(c"calling").unwrap_or_default(),
        finished_at: time(row, c"finished_at"),
        final_status: row.get(c"final_status"),
        origin: row.get(c"origin").unwrap_or_default(),
        priority: row.get(c"priority").unwrap_or_default(),
        predecessor: row.get(c"predecessor"),
        is_uncommitted: row.get(c"is_uncommitted").unwrap_or_default(),
        locked_by: row.get(c"locked_by"),
        owner: row.get(c"owner"),
        provider: row.get(c"provider"),
        has_response: row.get(c"has_response").unwrap_or_default(),
        version: row.get(c"version"),
    };
    TASK.rows_as_of_now(&[task_id.into_datum()], read).pop()
}

/// The number of ready tasks before this one, at most `limit`, without those of `running`.
pub fn ahead(task: &TaskRow, origin: i64, running: Vec<i64>, limit: i64) -> i64 {
    let scheduled_at = pgrx::pg_sys::Datum::from(task.scheduled_at);
    let args = [
        origin.into_datum(),
        Some(scheduled_at),
        task.task_id.into_datum(),
        task.priority.into_datum(),
        running.into_datum(),
        limit.into_datum(),
    ];
    AHEAD.rows_as_of_now(&args, |row| row.get::<i64>(1)).pop().flatten().unwrap_or_default()
}
