//! Record: the only module that writes the results of tasks.

use super::calls::rows;
use super::columns;
use super::ending::{Ending, Status};
use super::repetition::repeat_pause;
use super::tables::Tables;
use super::wake;
use crate::error::Failure;
use crate::pg::spi::{Arg, Statement};
use crate::pg::{backend, session, transaction};
use crate::shared::TaskId;
use crate::task::{Brief, Task};
use crate::unwritten::{self, Command, Means};
use pg_errand_calls::prepared::Prepared;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};

static FINISH: Statement = Statement::new(
    include_str!("../../sql/runtime/finish.sql"),
    &[INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID],
);
static APPEND_ERROR: Statement = Statement::new(
    include_str!("../../sql/runtime/append_error.sql"),
    &[INT8OID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID],
);
static REPEAT: Statement = Statement::new(
    include_str!("../../sql/runtime/repeat.sql"),
    &[INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID],
);
static CALL_BEGIN: Statement =
    Statement::new(include_str!("../../sql/runtime/call_begin.sql"), &[INT8OID, TIMESTAMPTZOID, INT4OID]);
static TASK_STATE: Statement = Statement::new(include_str!("../../sql/runtime/task_state.sql"), &[INT8OID]);
static HAS_UNIQUE_KEY: Statement =
    Statement::new(include_str!("../../sql/runtime/has_unique_key.sql"), &[INT8OID]);

/// Ends a task in the transaction of its handlers, and cleans the session. The commit does not wait for a flush, since
/// the effects and the end are lost or kept together. Raises an error if the end was not written.
pub fn finish(tables: &Tables, task: &Task, ending: &Ending, means: Means) {
    if !ending.failures.is_empty() {
        let brief = task.brief();
        ending.failures.iter().for_each(|failure| append_error(tables, &brief, failure));
    }
    let changed = task.row.as_ref().is_some_and(|row| {
        row.update(&[
            (
                columns::DEQUEUED_AT,
                if task.uncounted > 0 { timestamp(task.started_at) } else { row.get(columns::DEQUEUED_AT) },
            ),
            (columns::ATTEMPTS, task.attempt().into_datum()),
            (columns::LEASED, false.into_datum()),
            (columns::NOT_BEFORE, None),
            (columns::CALLING, false.into_datum()),
            (columns::FINISHED_AT, timestamp(backend::now())),
            (columns::FINAL_STATUS, ending.status.as_str().into_datum()),
            (columns::OUTCOME, ending.outcome.as_deref().and_then(IntoDatum::into_datum)),
        ])
    });
    // A run that is not counted yet has made no call.
    let call_ended = task.uncounted > 0 || rows::end_directly(tables, task.id);
    if !changed {
        write_end(tables, &task.brief(), ending.status, ending.outcome.as_deref(), means);
    }
    if !call_ended {
        rows::end(tables, task.id);
    }
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// Stores the request of a call, in the transaction of the handler that built it. The request is sent after the flush.
pub fn begin_call(tables: &Tables, task: &Task, prepared: &Prepared) {
    rows::remove_earlier(tables, task.id);
    let call = rows::NewCall::new(task.id, prepared);
    let inserted = call.insert_directly(tables);
    let marked = task.row.as_ref().is_some_and(|row| {
        row.update(&[
            (columns::CALLING, true.into_datum()),
            (columns::ATTEMPTS, task.attempt().into_datum()),
            (columns::DEQUEUED_AT, timestamp(task.started_at)),
            (columns::LEASED, false.into_datum()),
            (columns::NOT_BEFORE, None),
        ])
    });
    if !inserted {
        call.insert(tables);
    }
    if !marked {
        let run = [task.id.get().into_datum(), timestamp(task.started_at), task.uncounted.into_datum()];
        change_task(tables, task.id, Means::Ordinary, || CALL_BEGIN.run(&run), |state| state.calling);
    }
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// Gives a task back after a serialization failure or deadlock, to be run again after a short pause.
pub fn repeat(tables: &Tables, brief: &Brief) {
    let not_before = backend::now() + repeat_pause(brief.attempt as u32).as_micros() as i64;
    wake::note_due(not_before);
    let run = [
        brief.id.get().into_datum(),
        timestamp(brief.started_at),
        timestamp(not_before),
        brief.uncounted.into_datum(),
    ];
    // The row counts the run, unless another process has taken the task meanwhile.
    let is_counted = |state: &State| state.calling || state.attempts >= brief.attempt;
    change_task(tables, brief.id, Means::Any, || REPEAT.run(&run), is_counted);
    session::discard_leftovers();
}

/// Ends a task as cancelled.
pub fn cancel(tables: &Tables, brief: &Brief) {
    write_end(tables, brief, Status::Cancelled, None, Means::Any);
    rows::end(tables, brief.id);
    session::discard_leftovers();
}

/// Records in `queues.error`, once, that the end of a task could not be written. claim.sql reads that row.
pub fn give_up(tables: &Tables, brief: &Brief, failure: &Failure) {
    append_error(tables, brief, failure);
    session::discard_leftovers();
}

fn write_end(tables: &Tables, brief: &Brief, status: Status, outcome: Option<&str>, means: Means) {
    let end = [
        brief.id.get().into_datum(),
        status.as_str().into_datum(),
        outcome.and_then(IntoDatum::into_datum),
        timestamp(brief.started_at),
        brief.uncounted.into_datum(),
    ];
    change_task(tables, brief.id, means, || FINISH.run(&end), |_| false);
    announce_follower(tables, brief.id);
}

/// Lets the commit announce that a task may start which follows this one.
fn announce_follower(tables: &Tables, task_id: TaskId) {
    let args = [task_id.get().into_datum()];
    if tables.as_owner(|| HAS_UNIQUE_KEY.row(&args, |row| row.get(1))).flatten() == Some(true) {
        wake::note_due(backend::now());
    }
}

/// The state of a task that has not ended.
struct State {
    calling: bool,
    attempts: i32,
}

/// Changes a task's row. Raises an error if the task has not ended and `is_changed` does not find the change.
fn change_task(
    tables: &Tables,
    task_id: TaskId,
    means: Means,
    change: impl Fn() -> u64,
    is_changed: impl Fn(&State) -> bool,
) {
    unwritten::write(
        tables.tasks.oid,
        Command::Update,
        means,
        || tables.as_owner(&change),
        || {
            // Deferred triggers could still change the row at the commit.
            transaction::fire_deferred_triggers();
            state_unless_ended(tables, task_id).is_none_or(|state| is_changed(&state))
        },
    );
}

/// The state of a task; `None` if it has ended or does not exist.
fn state_unless_ended(tables: &Tables, task_id: TaskId) -> Option<State> {
    let state = tables.as_owner(|| {
        TASK_STATE.row(&[task_id.get().into_datum()], |row| {
            let state = State {
                calling: row.get(c"calling").unwrap_or_default(),
                attempts: row.get(c"attempts").unwrap_or_default(),
            };
            (row.get::<bool>(c"has_ended") == Some(false)).then_some(state)
        })
    });
    state.flatten()
}

/// Records an error, without users' triggers if necessary. If a trigger that is enabled ALWAYS suppresses the row, the
/// error is only logged.
fn append_error(tables: &Tables, brief: &Brief, failure: &Failure) {
    let error = &failure.error;
    let text = |value: Option<&str>| value.and_then(IntoDatum::into_datum);
    let args: [Arg; 9] = [
        brief.id.get().into_datum(),
        error.message.as_str().into_datum(),
        brief.task_type.as_str().into_datum(),
        text(failure.handler.as_deref()),
        brief.attempt.into_datum(),
        error.sqlstate.as_str().into_datum(),
        text(error.detail.as_deref()),
        text(error.hint.as_deref()),
        text(error.context.as_deref()),
    ];
    unwritten::by_any_means(|| tables.as_owner(|| APPEND_ERROR.run(&args)));
}

/// Converts microseconds since 2000-01-01 to a timestamptz argument.
fn timestamp(microseconds: i64) -> Arg {
    Some(pg_sys::Datum::from(microseconds))
}
