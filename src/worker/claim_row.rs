//! Claims the row of a task that is known by its number.

use super::tables::Tables;
use super::{columns, task_row};
use crate::outside;
use crate::pg::spi::{Arg, Statement};
use crate::pg::table::{Row, Seen};
use crate::pg::{backend, key_lock};
use crate::shared::TaskId;
use crate::task::Task;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT8OID};

static CLAIM: Statement =
    Statement::new(include_str!("../../sql/runtime/claim.sql"), &[INT8OID, INT8OID, BOOLOID]);

/// The task of a row that was locked without a statement.
pub fn locked(row: Row, task_id: TaskId) -> Task {
    if row.get(columns::LEASED).is_some_and(|leased| leased.value() != 0) {
        outside::tell_of_ended_lease(task_id.get());
    }
    task_row::of_locked(row)
}

/// Claims a task by a statement. `has_queue_key`: only if it has one, or else only if it has none.
pub fn by_statement(tables: &Tables, task_id: TaskId, has_queue_key: bool) -> Option<Task> {
    if !key_lock::begin_run(task_id.get()) {
        return None;
    }
    let args: [Arg; 3] = [task_id.get().into_datum(), tables.origin.into_datum(), has_queue_key.into_datum()];
    let claimed = tables.locking_tasks(|| {
        CLAIM.row(&args, |row| {
            let task = Task { is_given_up: row.get(c"is_given_up") == Some(true), ..task_row::of_claim(row) };
            (task, row.get(c"leased") == Some(true))
        })
    });
    if claimed.is_none() {
        key_lock::end_run();
    }
    claimed.map(|(task, was_leased)| {
        if was_leased {
            outside::tell_of_ended_lease(task_id.get());
        }
        task
    })
}

/// The condition of claim.sql, without that of a queue key.
pub fn is_ready(row: &Seen, origin: i64) -> bool {
    let time = |column| row.get(column).map(|datum| datum.value() as i64);
    let now = backend::now();
    time(columns::ORIGIN) == Some(origin)
        && time(columns::FINISHED_AT).is_none()
        && row.get(columns::CALLING).is_some_and(|datum| datum.value() == 0)
        && time(columns::SCHEDULED_AT).is_some_and(|time| time <= now)
        && time(columns::NOT_BEFORE).is_none_or(|time| time <= now)
}
