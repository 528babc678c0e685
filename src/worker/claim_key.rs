//! Claims the next task of a queue key, which this worker's slot shows. The committed rows decide whose turn it is, see
//! docs/decisions/keys.md.

use super::claim_row;
use super::columns;
use super::deferred::Deferred;
use super::key_heads::{self, Head};
use super::tables::Tables;
use crate::inject;
use crate::pg::spi::{Arg, Statement, text};
use crate::pg::table::{Lock, Seen};
use crate::pg::{backend, key_lock};
use crate::queue_key;
use crate::shared::{Admission, Key, KeyEntry, Lane, TaskId};
use crate::slot::{MySlot, Taken};
use crate::start_limits::KeyLimits;
use crate::task::{InKey, Task};
use crate::task_definition::TaskDefinitions;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT8ARRAYOID, INT8OID};
use std::cell::Cell;
use std::time::Duration;

static KEY_NEXT: Statement = Statement::new(
    include_str!("../../sql/runtime/key_next.sql"),
    &[INT8OID, INT8OID, INT8OID, INT8ARRAYOID],
);

/// The search for the next task of a key.
struct Search<'a> {
    slot: MySlot,
    tables: &'a Tables,
    deferred: &'a mut Deferred,
    lane: Lane,
    entry: KeyEntry,
    limits: KeyLimits,
}

/// Claims the next task of a key; `None` if none may run now. What keeps it from running ends with an announcement of
/// the key, except for a lock of another session, a pause of the first task after an error, and the rate of the key: then this
/// worker hands the key back in time.
pub fn next(
    slot: MySlot,
    tables: &Tables,
    lane: Lane,
    entry: KeyEntry,
    deferred: &mut Deferred,
) -> Option<Task> {
    inject::point("key_shown");
    if !key_lock::is_key_free(entry.key) {
        deferred.hold_key(lane, entry);
        return None;
    }
    // Before the rows are read: a task whose call is stored meanwhile counts twice, and not at all otherwise.
    let others = slot.others_with(entry.key);
    // After the slot has shown the key, and the lock was free.
    let heads = key_heads::read(tables, &entry);
    let head = heads.first().filter(|head| head.is_due && !head.is_paused)?;
    let definitions = TaskDefinitions::known();
    if definitions.pause_of_type(&head.task_type).is_some() {
        return None;
    }
    let limits = queue_key::limits(&definitions, &head.task_type);
    let max_running = limits.max_running;
    let known_lane = definitions.lane_of_type(&head.task_type);
    let is_known = (known_lane, max_running, head.priority) == (lane, entry.max_running, entry.priority);
    if !is_known && !slot.correct_key(known_lane, max_running, head.priority) {
        return None;
    }
    if others + head.busy >= max_running {
        // Otherwise the end of a call or lease announces the key.
        if others > 0 {
            slot.leave_to_other();
        }
        return None;
    }
    let mut search = Search { slot, tables, deferred, lane, entry, limits };
    let task = if max_running > 1 { search.claim_any()? } else { search.claim_first(head)? };
    let second = heads.get(1).filter(|second| second.is_due).map(|second| second.priority);
    let in_key = if max_running > 1 {
        // It is unknown which others wait.
        InKey { follower: second.or(Some(i16::MIN)), first: None }
    } else {
        InKey { follower: second, first: Some(head.place) }
    };
    Some(Task { in_key: Some(in_key), ..task })
}

impl Search<'_> {
    /// Claims the first task of a key whose tasks run one after the other.
    fn claim_first(&mut self, head: &Head) -> Option<Task> {
        if !head.is_free || self.holds(head.id()) || !self.may_start() {
            return None;
        }
        let task = lock(self.tables, head, self.entry.key);
        if task.is_none() {
            self.deferred.hold_key(self.lane, self.entry);
        }
        task
    }

    /// Claims the first task of a key that no other worker runs or defers.
    fn claim_any(&mut self) -> Option<Task> {
        if !self.may_start() {
            return None;
        }
        let next = self.lock_next();
        let task = next.and_then(|id| claim_row::by_statement(self.tables, id, true));
        if next.is_some() && task.is_none() {
            self.deferred.hold_key(self.lane, self.entry);
        }
        task
    }

    fn holds(&mut self, id: TaskId) -> bool {
        self.deferred.holds(id, Taken::Key(self.lane, self.entry))
    }

    fn lock_next(&mut self) -> Option<TaskId> {
        let [origin, task_type, queue_key] = args(self.tables, self.entry.key);
        let held: Vec<i64> = self.deferred.held().map(TaskId::get).collect();
        let next = self.tables.locking_tasks(|| {
            KEY_NEXT.row(&[origin, task_type, queue_key, held.into_datum()], |row| row.get(1))
        });
        next.flatten().map(TaskId::new)
    }

    /// Whether the rate of the key lets a task start, which then counts. It is given back when the slot stops showing the key
    /// without a task.
    fn may_start(&mut self) -> bool {
        let KeyLimits { interval, .. } = self.limits;
        if interval == 0 {
            return true;
        }
        match self.slot.start_key(interval) {
            Admission::Wait(until) => {
                let pause = until.saturating_sub(backend::now()).max(0) as u64;
                self.deferred.hold_key_for(self.lane, self.entry, Duration::from_micros(pause));
                false
            }
            Admission::Admitted | Admission::Full => true,
        }
    }
}

fn lock(tables: &Tables, head: &Head, key: Key) -> Option<Task> {
    let has_unique_key = Cell::new(false);
    let is_wanted = |row: &Seen| {
        has_unique_key.set(row.get(columns::UNIQUE_KEY).is_some());
        !has_unique_key.get() && has_key(row, key) && claim_row::is_ready(row, tables.origin)
    };
    match tables.tasks.lock(head.id().get(), head.address, is_wanted) {
        Lock::Locked(row) => Some(claim_row::locked(row, head.id())),
        Lock::Not if !has_unique_key.get() => None,
        Lock::Not | Lock::ByStatement => claim_row::by_statement(tables, head.id(), true),
    }
}

/// True if the row still has the key by which it was found.
fn has_key(row: &Seen, key: Key) -> bool {
    let text_of = |column| row.get(column).and_then(text);
    text_of(columns::TASK_TYPE)
        .zip(text_of(columns::QUEUE_KEY))
        .is_some_and(|(task_type, queue_key)| queue_key::key_of(&task_type, &queue_key) == key)
}

fn args(tables: &Tables, key: Key) -> [Arg; 3] {
    key_heads::prefix(tables, key).map(|part| part.into_datum())
}
