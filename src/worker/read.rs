//! Read: fills the windows of the queue's lanes, from which workers claim. Each read continues where the last one
//! ended. A sweep occasionally starts again at the beginning of the table, to find tasks that were not announced.

use super::tables::Tables;
use crate::config;
use crate::error::PgError;
use crate::inject;
use crate::pg::spi::{Arg, Row, Statement};
use crate::pg::{activity, backend, transaction};
use crate::shared::{Candidate, Lane, Position, Queue, Read, Sweep};
use crate::slot::MySlot;
use crate::task_definition::TaskDefinitions;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT4OID, INT8OID, TEXTARRAYOID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};

static READ: Statement = Statement::new(
    include_str!("../../sql/runtime/read.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID, INT8OID, INT4OID, TIMESTAMPTZOID],
);
static READ_DEFERRED: Statement = Statement::new(
    include_str!("../../sql/runtime/read_deferred.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, INT4OID],
);

/// Sweeps use at most this fraction of a worker's time, whatever `pg_errand.poll_interval` is. While an old snapshot is
/// held, a sweep scans the entries of all tasks that have finished since.
const SWEEP_SHARE: i64 = 50;

/// Reads the next tasks of a lane whose reader this worker is, in the current transaction.
pub fn fill(slot: MySlot, tables: &Tables, definition_changes: u64, lane: Lane, after: Position) {
    tables.tasks.lock_for_writing();
    let (tasks, all_due_at) = read(tables, lane, after);
    inject::point("read");
    slot.publish(&Read { lane, tasks: &tasks, all_due_at }, definition_changes);
}

/// The ready tasks after a position. If there are no more, also the time as of which they were read.
fn read(tables: &Tables, lane: Lane, after: Position) -> (Vec<Candidate>, Option<i64>) {
    let now = backend::now();
    let args: [Arg; 7] = [
        tables.origin.into_datum(),
        TaskDefinitions::known().types_for(lane).into_datum(),
        (lane != Lane::LOCAL).into_datum(),
        Some(pg_sys::Datum::from(after.scheduled_at)),
        after.task_id.into_datum(),
        (Queue::window(lane) as i32).into_datum(),
        Some(pg_sys::Datum::from(now)),
    ];
    let tasks = tables.as_owner(|| READ.rows(&args, candidate));
    let is_all = tasks.len() < Queue::window(lane);
    (tasks, is_all.then_some(now))
}

/// The tasks of a lane whose deferral has ended.
fn read_deferred(tables: &Tables, lane: Lane) -> Vec<Candidate> {
    let args: [Arg; 4] = [
        tables.origin.into_datum(),
        TaskDefinitions::known().types_for(lane).into_datum(),
        (lane != Lane::LOCAL).into_datum(),
        (Queue::window(lane) as i32).into_datum(),
    ];
    tables.as_owner(|| READ_DEFERRED.rows(&args, candidate))
}

fn candidate(row: &Row) -> Candidate {
    let position = Position {
        scheduled_at: row.get::<TimestampWithTimeZone>(c"scheduled_at").map_or(i64::MIN, i64::from),
        task_id: row.get(c"task_id").unwrap_or_default(),
    };
    Candidate { position, address: row.address(c"ctid") }
}

/// Sweeps the lanes for ready tasks that were not announced: once per `pg_errand.poll_interval`, when a deferred task
/// falls due, and when another process requests it.
pub fn sweep_if_due(slot: MySlot, tables: &Tables, definition_changes: u64) -> Result<(), PgError> {
    let now = backend::now();
    let Some(wanted) = slot.begin_sweep(now, config::poll_interval()) else { return Ok(()) };
    activity::running(format_args!("looking for tasks"));
    let swept = transaction::commit_after(|| {
        for lane in TaskDefinitions::known().lanes().iter() {
            let deferred = read_deferred(tables, lane);
            if deferred.len() == Queue::window(lane) && wanted == Sweep::Deferred {
                slot.ask_for_sweep();
            }
            slot.add(&Read { lane, tasks: &deferred, all_due_at: Some(now) }, definition_changes);
            if wanted == Sweep::All {
                let (tasks, all_due_at) = read(tables, lane, Position::START);
                slot.sweep(&Read { lane, tasks: &tasks, all_due_at }, definition_changes);
            }
        }
    });
    if wanted == Sweep::All {
        // The time at which a task falls due may not have been announced, either.
        slot.change_database(|database| database.due_unknown = true);
        slot.pause_sweeps(now.saturating_add((backend::now() - now).saturating_mul(SWEEP_SHARE)));
    }
    if swept.is_err() {
        slot.ask_for_sweep();
    }
    swept
}
