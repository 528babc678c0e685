//! Claim: locks the row of the next ready task. The lock ends with the transaction, so a task whose worker dies is
//! ready again immediately.

use super::deferred::Deferred;
use super::tables::Tables;
use super::{columns, read, task_row};
use crate::inject;
use crate::outside;
use crate::pg::spi::{Arg, Statement};
use crate::pg::table::{Lock, Seen};
use crate::pg::{backend, key_lock};
use crate::shared::{Candidate, Lane, Next, Position, Sources, TaskId};
use crate::slot::MySlot;
use crate::task::Task;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;
use std::cell::Cell;

static CLAIM: Statement = Statement::new(include_str!("../../sql/runtime/claim.sql"), &[INT8OID, INT8OID]);
static CLAIM_AGAIN: Statement = Statement::new(include_str!("../../sql/runtime/claim_again.sql"), &[INT8OID]);

/// The result of an attempt to claim a task.
pub enum Claimed {
    Task(Box<Task>),
    Nothing,
    /// Another worker is reading the next tasks.
    NotYet,
}

/// Claims the next ready task of `sources` in the current transaction. If more tasks are ready, another worker is
/// woken. `definition_changes` is the state of the task types that this worker has read.
pub fn next(
    slot: MySlot,
    tables: &Tables,
    sources: Sources,
    definition_changes: u64,
    deferred: &mut Deferred,
) -> Claimed {
    inject::point("looking");
    loop {
        match slot.take(sources, definition_changes) {
            Next::Read(lane, class, after) => {
                read::fill(slot, tables, definition_changes, (lane, class), after);
            }
            Next::Wait => return Claimed::NotYet,
            Next::Nothing => return Claimed::Nothing,
            Next::Task(lane, candidate) => {
                if !deferred.holds(lane, candidate.position)
                    && let Some(task) = one(slot, tables, lane, candidate)
                {
                    return Claimed::Task(Box::new(task));
                }
            }
        }
    }
}

/// Claims a task; `None` if it is no longer ready, or another worker has claimed it.
fn one(slot: MySlot, tables: &Tables, lane: Lane, candidate: Candidate) -> Option<Task> {
    let position = candidate.position;
    let task_id = TaskId::new(position.task_id);
    let priority = Cell::new(position.priority);
    let is_unique = Cell::new(false);
    let is_wanted = |row: &Seen| {
        let is_ready = is_ready(row, tables.origin);
        is_unique.set(row.get(columns::UNIQUE_KEY).is_some());
        if is_ready {
            priority.set(row.get(columns::PRIORITY).map_or(0, |datum| datum.value() as i16));
        }
        is_ready && !is_unique.get() && priority.get() == position.priority
    };
    match tables.tasks.lock(task_id.get(), candidate.address, is_wanted) {
        Lock::Locked(row) => {
            if row.get(columns::LEASED).is_some_and(|leased| leased.value() != 0) {
                outside::tell_of_ended_lease(task_id.get());
            }
            return Some(task_row::of_locked(row));
        }
        Lock::Not if priority.get() != position.priority => {
            // Its priority has been changed. A reader may have left it out at its new position because a slot showed it.
            slot.hand_back(lane, Position { priority: priority.get(), ..position });
            return None;
        }
        Lock::Not if !is_unique.get() => return None,
        Lock::Not | Lock::ByStatement => {}
    }
    if !key_lock::begin_run(task_id.get()) {
        return None;
    }
    let args: [Arg; 2] = [task_id.get().into_datum(), tables.origin.into_datum()];
    let claimed = tables.locking_tasks(|| {
        CLAIM.row(&args, |row| {
            let task =
                Task { is_given_up: row.get(c"is_given_up") == Some(true), ..task_row::of_result(row, 1) };
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

/// The condition of claim.sql.
fn is_ready(row: &Seen, origin: i64) -> bool {
    let time = |column| row.get(column).map(|datum| datum.value() as i64);
    let now = backend::now();
    time(columns::ORIGIN) == Some(origin)
        && time(columns::FINISHED_AT).is_none()
        && row.get(columns::CALLING).is_some_and(|datum| datum.value() == 0)
        && time(columns::SCHEDULED_AT).is_some_and(|time| time <= now)
        && time(columns::NOT_BEFORE).is_none_or(|time| time <= now)
}

/// Claims a task again after its transaction was rolled back; `None` if another worker has claimed it or it has ended.
pub fn again(tables: &Tables, task_id: TaskId) -> Option<Task> {
    if !key_lock::begin_run(task_id.get()) {
        return None;
    }
    tables.locking_tasks(|| CLAIM_AGAIN.row(&[task_id.get().into_datum()], |row| task_row::of_result(row, 1)))
}
