//! Record: the only module that writes the results of tasks.

use super::calls::rows;
use super::columns;
use super::counting;
use super::ending::{Ending, Status};
use super::repetition::repeat_pause;
use super::tables::Tables;
use super::wake;
use crate::error::Failure;
use crate::pg::spi::{Arg, Row, Statement, text, timestamp};
use crate::pg::{backend, session, transaction};
use crate::shared::TaskId;
use crate::task::{Brief, Task};
use crate::task_definition::TaskDefinitions;
use crate::unwritten::{self, Command, Means};
use pg_errand_calls::prepared::Prepared;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID};
use std::cell::Cell;

static FINISH: Statement = Statement::new(
    include_str!("../../sql/runtime/finish.sql"),
    &[INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID],
);
static REDACT: Statement = Statement::new(include_str!("../../sql/runtime/redact.sql"), &[INT8OID]);
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
static KEYS: Statement = Statement::new(include_str!("../../sql/runtime/keys_of_task.sql"), &[INT8OID]);

/// Ends a task in the transaction of its handlers, and cleans the session. The commit does not wait for a flush, since
/// the effects and the end are lost or kept together. Raises an error if the end was not written.
pub fn finish(tables: &Tables, task: &Task, ending: &Ending, means: Means) {
    if !ending.failures.is_empty() {
        let brief = task.brief();
        ending.failures.iter().for_each(|failure| append_error(tables, &brief, failure));
    }
    // The row of a task that does not succeed gets an entry in an index, and one that is redacted is changed again.
    let succeeds = ending.status == Status::Succeeded;
    let is_redacted = succeeds && redacts(task);
    let now = backend::now();
    let changed = task.row.as_ref().filter(|_| succeeds && !is_redacted).is_some_and(|row| {
        row.update(&[
            (
                columns::DEQUEUED_AT,
                if task.uncounted > 0 { timestamp(task.started_at) } else { row.get(columns::DEQUEUED_AT) },
            ),
            (columns::ATTEMPTS, task.attempt().into_datum()),
            (columns::LEASED, false.into_datum()),
            (columns::NOT_BEFORE, None),
            (columns::CALLING, false.into_datum()),
            (columns::FINISHED_AT, timestamp(now)),
            (columns::FINAL_STATUS, ending.status.as_str().into_datum()),
            (columns::OUTCOME, ending.outcome.as_deref().and_then(IntoDatum::into_datum)),
        ])
    });
    // A run that is not counted yet has made no call.
    let call_ended = task.uncounted > 0 || rows::end_directly(tables, task.id);
    if changed && task.uncounted == 0 {
        // The slot shows the key of a first step only.
        announce_key_of(task);
    }
    if changed || write_end(tables, &task.brief(), ending.status, ending.outcome.as_deref(), means) {
        counting::ended(task, ending.status, now);
    }
    if !call_ended {
        rows::end(tables, task.id);
    }
    if is_redacted {
        tables.as_owner(|| REDACT.run(&[task.id.get().into_datum()]));
    }
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// True if the payload of the task is redacted when it succeeds.
fn redacts(task: &Task) -> bool {
    let definitions = TaskDefinitions::known();
    definitions.find(&task.task_type).is_some_and(|definition| definition.redacts_payload)
}

/// Stores the request of a call, in the transaction of the handler that built it. The request is sent after the flush.
pub fn begin_call(tables: &Tables, task: &Task, prepared: &Prepared) {
    rows::remove_earlier(tables, task.id);
    let call = rows::NewCall::new(task.id, prepared);
    let inserted = call.insert_directly(tables);
    // The row of a task with a queue key stays in an index.
    let row = task.row.as_ref().filter(|row| row.get(columns::QUEUE_KEY).is_none());
    let marked = row.is_some_and(|row| {
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
    counting::call_began(task);
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// Gives a task back after a serialization failure or deadlock, to be run again after a short pause.
pub fn repeat(tables: &Tables, brief: &Brief) {
    let not_before = backend::now() + repeat_pause(brief.attempt as u32).as_micros() as i64;
    wake::note_due(not_before);
    announce_followers(tables, brief.id, not_before);
    let run = [
        brief.id.get().into_datum(),
        timestamp(brief.started_at),
        timestamp(not_before),
        brief.uncounted.into_datum(),
    ];
    // The row counts the run, unless another process has taken the task meanwhile.
    let is_counted = |state: &State| state.calling || state.attempts >= brief.attempt;
    if change_task(tables, brief.id, Means::Any, || REPEAT.run(&run), is_counted) {
        counting::repeated(brief);
    }
    session::discard_leftovers();
}

/// Ends a task as cancelled.
pub fn cancel(tables: &Tables, brief: &Brief) {
    if write_end(tables, brief, Status::Cancelled, None, Means::Any) {
        counting::cancelled(brief, backend::now());
    }
    rows::end(tables, brief.id);
    session::discard_leftovers();
}

/// Records in `queues.error`, once, that the end of a task could not be written. claim.sql reads that row.
pub fn give_up(tables: &Tables, brief: &Brief, failure: &Failure) {
    append_error(tables, brief, failure);
    session::discard_leftovers();
}

/// Ends a task by a statement; false if it had ended.
fn write_end(tables: &Tables, brief: &Brief, status: Status, outcome: Option<&str>, means: Means) -> bool {
    let end = [
        brief.id.get().into_datum(),
        status.as_str().into_datum(),
        outcome.and_then(IntoDatum::into_datum),
        timestamp(brief.started_at),
        brief.uncounted.into_datum(),
    ];
    let has_changed = change_task(tables, brief.id, means, || FINISH.run(&end), |_| false);
    announce_followers(tables, brief.id, backend::now());
    has_changed
}

/// Lets the commit announce that tasks may start at `time` which follow this one: of its unique key, or of its queue key.
fn announce_followers(tables: &Tables, task_id: TaskId, time: i64) {
    let args = [task_id.get().into_datum()];
    let keys = |row: &Row| {
        let text = |column: &std::ffi::CStr| row.get::<String>(column);
        let queue_keys = [text(c"queue_key"), text(c"next_queue_key")];
        (row.get(c"has_unique_key") == Some(true), text(c"task_type").unwrap_or_default(), queue_keys)
    };
    let Some((has_unique_key, task_type, queue_keys)) = tables.as_owner(|| KEYS.row(&args, keys)) else {
        return;
    };
    if has_unique_key {
        wake::note_due(time);
    }
    for queue_key in queue_keys.into_iter().flatten() {
        wake::note_key_at(&task_type, &queue_key, time);
    }
}

fn announce_key_of(task: &Task) {
    let queue_key = task.row.as_ref().and_then(|row| row.get(columns::QUEUE_KEY)).and_then(text);
    if let Some(queue_key) = queue_key {
        wake::note_key_at(&task.task_type, &queue_key, backend::now());
    }
}

/// The state of a task that has not ended.
struct State {
    calling: bool,
    attempts: i32,
}

/// Changes a task's row; false if there was nothing to change. Raises an error if the task has not ended and `is_changed`
/// does not find the change.
fn change_task(
    tables: &Tables,
    task_id: TaskId,
    means: Means,
    change: impl Fn() -> u64,
    is_changed: impl Fn(&State) -> bool,
) -> bool {
    let has_changed = Cell::new(false);
    let change = || has_changed.set(change() > 0 || has_changed.get());
    unwritten::write(
        tables.tasks.oid,
        Command::Update,
        means,
        || tables.as_owner(change),
        || {
            // Deferred triggers could still change the row at the commit.
            transaction::fire_deferred_triggers();
            state_unless_ended(tables, task_id).is_none_or(|state| is_changed(&state))
        },
    );
    has_changed.get()
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
    if unwritten::by_any_means(|| tables.as_owner(|| APPEND_ERROR.run(&args))) {
        counting::failed(brief);
    }
}
