//! Claim: locks the row of the next ready task. The lock ends with the transaction, so a task whose worker dies is
//! ready again immediately.

use super::deferred::Deferred;
use super::tables::Tables;
use super::{claim_key, claim_row, columns, read, read_keys, task_row};
use crate::inject;
use crate::pg::key_lock;
use crate::pg::spi::Statement;
use crate::pg::table::{Lock, Seen};
use crate::shared::{Candidate, Lane, Next, Position, Sources, TaskId};
use crate::slot::{MySlot, Taken};
use crate::task::Task;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;
use std::cell::Cell;

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
            Next::ReadKeys(lane, after) => {
                read_keys::fill(slot, tables, definition_changes, lane, after);
            }
            Next::Wait => return Claimed::NotYet,
            Next::Nothing => return Claimed::Nothing,
            Next::Key(lane, entry) => {
                if let Some(task) = claim_key::next(slot, tables, lane, entry, deferred) {
                    return Claimed::Task(Box::new(task));
                }
            }
            Next::Task(lane, candidate) => {
                let place = Taken::Task(lane, candidate.position);
                if !deferred.holds(TaskId::new(candidate.position.task_id), place)
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
        let is_ready = row.get(columns::QUEUE_KEY).is_none() && claim_row::is_ready(row, tables.origin);
        is_unique.set(row.get(columns::UNIQUE_KEY).is_some());
        if is_ready {
            priority.set(row.get(columns::PRIORITY).map_or(0, |datum| datum.value() as i16));
        }
        is_ready && !is_unique.get() && priority.get() == position.priority
    };
    match tables.tasks.lock(task_id.get(), candidate.address, is_wanted) {
        Lock::Locked(row) => return Some(claim_row::locked(row, task_id)),
        Lock::Not if priority.get() != position.priority => {
            // Its priority has been changed. A reader may have left it out at its new position because a slot showed it.
            slot.hand_back(Taken::Task(lane, Position { priority: priority.get(), ..position }));
            return None;
        }
        Lock::Not if !is_unique.get() => return None,
        Lock::Not | Lock::ByStatement => {}
    }
    claim_row::by_statement(tables, task_id, false)
}

/// Claims a task again after its transaction was rolled back; `None` if another worker has claimed it or it has ended.
pub fn again(tables: &Tables, task_id: TaskId) -> Option<Task> {
    if !key_lock::begin_run(task_id.get()) {
        return None;
    }
    tables.locking_tasks(|| CLAIM_AGAIN.row(&[task_id.get().into_datum()], task_row::of_claim))
}
