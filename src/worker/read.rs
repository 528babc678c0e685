//! Read: fills the head of the queue, from which workers claim. A batch at a time, from where the last
//! one ended; now and then from the start of the table, for what nobody announced.

use super::Worker;
use crate::config;
use crate::error::PgError;
use crate::inject;
use crate::pg::spi::{Arg, Row, Statement};
use crate::pg::{activity, backend, session, transaction};
use crate::shared::{Batch, Lane, Position, Ready, Sweep};
use crate::task_definition::TaskDefinitions;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT4OID, INT8OID, TEXTARRAYOID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};

static READ: Statement = Statement::new(
    include_str!("../../sql/runtime/read.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID, INT8OID, INT4OID, TIMESTAMPTZOID],
);
static READ_HELD: Statement = Statement::new(
    include_str!("../../sql/runtime/read_deferred.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, INT4OID],
);

/// Sweeps take at most this part of a worker's time, whatever `pg_errand.poll_interval` is: beside an old
/// snapshot they pass over all that was finished since.
const SWEEP_SHARE: i64 = 50;

/// Reads on in a lane whose reader this worker is, in the current transaction.
pub fn fill(worker: &Worker, lane: Lane, after: Position) {
    worker.tasks.lock_for_writing();
    let (tasks, all_due_at) = read(worker, lane, after);
    inject::point("read");
    worker.slot.publish(&Batch { lane, tasks: &tasks, all_due_at }, worker.definition_changes);
}

/// What is ready after a place; and, if that is all, the time as of which it was read.
fn read(worker: &Worker, lane: Lane, after: Position) -> (Vec<Ready>, Option<i64>) {
    let now = backend::now();
    let args: [Arg; 7] = [
        worker.origin.into_datum(),
        TaskDefinitions::known().types_for(lane).into_datum(),
        (lane != Lane::LOCAL).into_datum(),
        Some(pg_sys::Datum::from(after.scheduled_at)),
        after.task_id.into_datum(),
        (lane.window() as i32).into_datum(),
        Some(pg_sys::Datum::from(now)),
    ];
    let tasks = session::as_owner(worker.owner, || READ.rows(&args, ready));
    let is_all = tasks.len() < lane.window();
    (tasks, is_all.then_some(now))
}

fn read_held(worker: &Worker, lane: Lane) -> Vec<Ready> {
    let args: [Arg; 4] = [
        worker.origin.into_datum(),
        TaskDefinitions::known().types_for(lane).into_datum(),
        (lane != Lane::LOCAL).into_datum(),
        (lane.window() as i32).into_datum(),
    ];
    session::as_owner(worker.owner, || READ_HELD.rows(&args, ready))
}

fn ready(row: &Row) -> Ready {
    let place = Position {
        scheduled_at: row.get::<TimestampWithTimeZone>(1).map_or(i64::MIN, i64::from),
        task_id: row.get(2).unwrap_or_default(),
    };
    Ready { place, address: row.address(3) }
}

/// Looks for tasks that are ready and were not announced: at each `pg_errand.poll_interval`, when the
/// time has come for one that was held back, or when somebody asked for it.
pub fn sweep_if_due(worker: &mut Worker) -> Result<(), PgError> {
    let now = backend::now();
    let Some(wanted) = worker.slot.begin_sweep(now, config::poll_interval()) else { return Ok(()) };
    activity::running(format_args!("looking for tasks"));
    let swept = transaction::commit_after(|| {
        for lane in TaskDefinitions::known().lanes().iter() {
            let held = read_held(worker, lane);
            if held.len() == lane.window() && wanted == Sweep::Held {
                worker.slot.ask_for_sweep();
            }
            worker.slot.add(&Batch { lane, tasks: &held, all_due_at: Some(now) }, worker.definition_changes);
            if wanted == Sweep::All {
                let (tasks, all_due_at) = read(worker, lane, Position::START);
                worker.slot.sweep(&Batch { lane, tasks: &tasks, all_due_at }, worker.definition_changes);
            }
        }
    });
    if wanted == Sweep::All {
        // What falls due may not have been announced, either.
        worker.slot.change_database(|database| database.due_unknown = true);
        worker.slot.pause_sweeps(now.saturating_add((backend::now() - now).saturating_mul(SWEEP_SHARE)));
    }
    if swept.is_err() {
        worker.slot.ask_for_sweep();
    }
    swept
}
