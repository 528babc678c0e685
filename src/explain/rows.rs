//! Reads the rows of a task.

use crate::pg::spi::{Row, Statement, timestamp};
use crate::shared::{NEVER, Reason};
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8ARRAYOID, INT8OID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID};
use std::collections::HashMap;

static TASK: Statement = Statement::new(include_str!("../../sql/runtime/explain_task.sql"), &[INT8OID]);
static KEY: Statement = Statement::new(
    include_str!("../../sql/runtime/explain_key.sql"),
    &[INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID],
);
static HAS_KEYS: Statement = Statement::new(
    include_str!("../../sql/runtime/explain_has_keys.sql"),
    &[INT8OID, INT8ARRAYOID, TEXTARRAYOID],
);
static LOCK_WAIT: Statement =
    Statement::new(include_str!("../../sql/runtime/explain_lock_wait.sql"), &[INT4OID]);
static LEASED: Statement =
    Statement::new(include_str!("../../sql/runtime/explain_leased.sql"), &[TEXTARRAYOID]);

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
    pub queue_key: Option<String>,
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
        queue_key: row.get(c"queue_key"),
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

/// The processes for whose locks a process waits; 0 stands for prepared transactions.
pub fn blockers(pid: i32) -> Vec<i32> {
    LOCK_WAIT.rows_as_of_now(&[pid.into_datum()], |row| row.get(1)).into_iter().flatten().collect()
}

/// Tasks that workers outside have leased.
#[derive(Clone, Copy)]
pub struct Leased {
    pub count: u32,
    pub first: Option<i64>,
}

impl Leased {
    pub const NONE: Leased = Leased { count: 0, first: None };
}

/// The leased tasks of types.
pub fn leased(task_types: &[&str]) -> HashMap<String, Leased> {
    if task_types.is_empty() {
        return HashMap::new();
    }
    let read = |row: &Row| {
        let count = row.get::<i64>(c"count").map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX / 2));
        (row.get(c"task_type").unwrap_or_default(), Leased { count, first: row.get(c"first") })
    };
    LEASED.rows_as_of_now(&[task_types.to_vec().into_datum()], read).into_iter().collect()
}

/// What the rows say about the queue key of a task.
#[derive(Clone, Copy)]
pub struct KeyRow {
    /// The pause of the key; the time when it ends, or `NEVER`.
    pub paused: Option<i64>,
    /// The first unfinished task of the key, if it is not this one.
    pub predecessor: Option<i64>,
    /// The number of other tasks of the key that are between the steps of a call or leased, and one of them.
    pub busy: u32,
    pub first_busy: Option<i64>,
}

/// The queue key of a task of this database; `None` if it has none.
pub fn key(task: &TaskRow, origin: i64) -> Option<KeyRow> {
    let args = [
        origin.into_datum(),
        task.task_type.as_str().into_datum(),
        task.queue_key.as_deref()?.into_datum(),
        timestamp(task.scheduled_at),
        task.task_id.into_datum(),
    ];
    let read = |row: &Row| {
        let until = || row.get::<TimestampWithTimeZone>(c"paused_until").map_or(NEVER, i64::from);
        KeyRow {
            paused: (row.get(c"is_paused") == Some(true)).then(until),
            predecessor: row.get(c"predecessor"),
            busy: row.get::<i64>(c"busy").map_or(0, |busy| u32::try_from(busy).unwrap_or(u32::MAX / 2)),
            first_busy: row.get(c"first_busy"),
        }
    };
    KEY.rows_as_of_now(&args, read).pop()
}

/// True if a task with a queue key may start, other than these tasks and those of these types.
pub fn has_keys(origin: i64, but_tasks: &[i64], but_types: &[String]) -> bool {
    let args = [origin.into_datum(), but_tasks.to_vec().into_datum(), but_types.to_vec().into_datum()];
    HAS_KEYS.rows_as_of_now(&args, |row| row.get(1)).pop().flatten() == Some(true)
}
