//! Record: the only writer of what becomes of tasks.

use super::Worker;
use super::calls::CallResult;
use super::process::End;
use super::table;
use super::task::{Brief, Task};
use crate::config::{LogLevel, MAX_PAYLOAD_SIZE};
use crate::error::Failure;
use crate::interface::Prepared;
use crate::pg::spi::{Arg, Statement};
use crate::pg::table::Lock;
use crate::pg::{backend, jsonb, jsonb_size, log, session, transaction};
use crate::unwritten::{self, Command, Means};
use pgrx::pg_sys::BuiltinOid::{
    BOOLOID, INT4OID, INT8ARRAYOID, INT8OID, JSONBARRAYOID, JSONBOID, TEXTOID, TIMESTAMPTZOID,
};
use pgrx::{IntoDatum, pg_sys};
use serde_json::{Value, json};

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
static CALL_STORE: Statement = Statement::new(
    include_str!("../../sql/runtime/call_store.sql"),
    &[INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID],
);
static CALL_BEGIN: Statement =
    Statement::new(include_str!("../../sql/runtime/call_begin.sql"), &[INT8OID, TIMESTAMPTZOID, INT4OID]);
static CALL_ANSWER: Statement = Statement::new(
    include_str!("../../sql/runtime/call_answer.sql"),
    &[INT8ARRAYOID, INT8OID, JSONBARRAYOID, JSONBARRAYOID],
);
static CALL_JOIN: Statement =
    Statement::new(include_str!("../../sql/runtime/call_join.sql"), &[INT8ARRAYOID, INT8OID, BOOLOID]);
static CALL_IS_STORED: Statement = Statement::new(
    include_str!("../../sql/runtime/call_is_stored.sql"),
    &[INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID],
);
static CALLS_LEFT: Statement =
    Statement::new(include_str!("../../sql/runtime/calls_left.sql"), &[INT8ARRAYOID, INT8OID]);
static TASK_STATE: Statement = Statement::new(include_str!("../../sql/runtime/task_state.sql"), &[INT8OID]);
static CALL_HAS_REQUEST: Statement =
    Statement::new(include_str!("../../sql/runtime/call_has_request.sql"), &[INT8OID]);
static CALL_EXISTS: Statement = Statement::new(include_str!("../../sql/runtime/call_exists.sql"), &[INT8OID]);
static CALL_REMOVE: Statement = Statement::new(include_str!("../../sql/runtime/call_remove.sql"), &[INT8OID]);
static CALL_END: Statement = Statement::new(include_str!("../../sql/runtime/call_end.sql"), &[INT8OID]);

/// Ends a task, in the transaction of its handlers, and cleans the session. The commit need not
/// wait for the disk: effects and end are lost or kept together. Raises if the end was not written.
pub fn finish(worker: &Worker, task: &Task, end: &End, means: Means) {
    if !end.failures.is_empty() {
        let brief = task.brief();
        end.failures.iter().for_each(|failure| append_error(worker, &brief, failure));
    }
    let status = if end.succeeded { "succeeded" } else { "failed" };
    let changed = task.row.as_ref().is_some_and(|row| {
        row.update(&[
            (
                table::DEQUEUED_AT,
                if task.uncounted > 0 { timestamp(task.started_at) } else { row.get(table::DEQUEUED_AT) },
            ),
            (table::ATTEMPTS, task.attempt().into_datum()),
            (table::LEASED, false.into_datum()),
            (table::NOT_BEFORE, None),
            (table::CALLING, false.into_datum()),
            (table::FINISHED_AT, timestamp(backend::now())),
            (table::FINAL_STATUS, status.into_datum()),
            (table::OUTCOME, end.outcome.as_deref().and_then(IntoDatum::into_datum)),
        ])
    });
    // A call's start was its run's.
    let call_ended = task.uncounted > 0
        || matches!(worker.call_rows.lock(task.id, None, |_| true),
            Lock::Locked(row) if row.update(&[(table::CALL_REQUEST, None)]));
    if !changed {
        write_end(worker, &task.brief(), status, end.outcome.as_deref(), means);
    }
    if !call_ended {
        end_call(worker, task.id);
    }
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// Stores the request of a call, in the transaction of the handler that built it. It is sent when it is
/// durable, see `calls::settle`.
pub fn store_call(worker: &Worker, task: &Task, prepared: &Prepared) {
    let request = serde_json::to_value(&prepared.request).unwrap_or(Value::Null);
    let request = Some(to_jsonb(&request));
    remove_earlier_call(worker, task.id);
    let (owner, provider) = (worker.slot.owner.into_datum(), prepared.provider.name.as_str().into_datum());
    let inserted = worker.call_rows.insert(&[
        task.id.into_datum(),
        owner,
        provider,
        prepared.key.text.as_str().into_datum(),
        request,
        timestamp(backend::now()),
        None,
        None,
        None,
        None,
        None,
    ]);
    let marked = task.row.as_ref().is_some_and(|row| {
        row.update(&[
            (table::CALLING, true.into_datum()),
            (table::ATTEMPTS, task.attempt().into_datum()),
            (table::DEQUEUED_AT, timestamp(task.started_at)),
            (table::LEASED, false.into_datum()),
            (table::NOT_BEFORE, None),
        ])
    });
    if !inserted {
        let key = prepared.key.text.as_str().into_datum();
        let call = [task.id.into_datum(), owner, provider, key, request];
        unwritten::write(
            worker.call_rows.oid,
            Command::Insert,
            Means::Ordinary,
            || session::as_owner(worker.owner, || CALL_STORE.run(&call)),
            || {
                let stored =
                    session::as_owner(worker.owner, || CALL_IS_STORED.row(&call, |row| row.get::<bool>(1)));
                stored.flatten() == Some(true)
            },
        );
    }
    if !marked {
        let run = [task.id.into_datum(), timestamp(task.started_at), task.uncounted.into_datum()];
        change_task(worker, task.id, Means::Ordinary, || CALL_BEGIN.run(&run), |state| state.calling);
    }
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// The number of a task that is not between the steps of a call may have a row of an earlier call: somebody has had the
/// task run again, or removed one of the same number without the triggers.
fn remove_earlier_call(worker: &Worker, task_id: i64) {
    let call: [Arg; 1] = [task_id.into_datum()];
    let is_there = match worker.call_rows.lock(task_id, None, |_| true) {
        Lock::Not => false,
        Lock::Locked(_) => true,
        // Usually there is none; then nothing may be done by other means, which throw away all plans.
        Lock::ByStatement => {
            session::as_owner(worker.owner, || CALL_EXISTS.row(&call, |row| row.get::<bool>(1))).flatten()
                == Some(true)
        }
    };
    if is_there {
        unwritten::by_any_means(|| session::as_owner(worker.owner, || CALL_REMOVE.run(&call)));
    }
}

/// A stored call, and with which others it goes out.
pub struct JoinedCall {
    pub task_id: i64,
    /// The first task of those.
    pub batch: Option<i64>,
    pub key: String,
}

/// Stores that these calls go out in one request, or each on its own; those that are still there.
pub fn join_calls(worker: &Worker, tasks: &[i64], together: bool) -> Vec<JoinedCall> {
    let args: [Arg; 3] = [tasks.to_vec().into_datum(), worker.slot.owner.into_datum(), together.into_datum()];
    let join = || {
        session::as_owner(worker.owner, || {
            CALL_JOIN.rows(&args, |row| JoinedCall {
                task_id: row.get(1).unwrap_or_default(),
                batch: row.get(2),
                key: row.get(3).unwrap_or_default(),
            })
        })
    };
    worker.call_rows.lock_for_writing();
    let joined = worker.keep_books(join);
    // Calls that are missing may have ended; if more are open, the statement was suppressed.
    if joined.len() < tasks.len() && (joined.len() as i64) < calls_left(worker, tasks).open {
        unwritten::refuse(worker.call_rows.oid, Command::Update);
    }
    joined
}

/// Calls of this worker whose tasks have not ended.
struct Left {
    open: i64,
    unanswered: i64,
}

fn calls_left(worker: &Worker, tasks: &[i64]) -> Left {
    let args: [Arg; 2] = [tasks.to_vec().into_datum(), worker.slot.owner.into_datum()];
    let left = session::as_owner(worker.owner, || {
        CALLS_LEFT.row(&args, |row| (row.get(1).unwrap_or_default(), row.get(2).unwrap_or_default()))
    });
    let (open, unanswered) = left.unwrap_or_default();
    Left { open, unanswered }
}

/// What came of a call, as its row takes it.
pub struct Answer {
    pub task_id: i64,
    /// The answer, or why there is none.
    pub result: Result<pg_sys::Datum, pg_sys::Datum>,
}

impl Answer {
    /// Raises if no jsonb can hold it.
    pub fn new(task_id: i64, result: &CallResult) -> Answer {
        let result = match result {
            Ok(answer) => Ok(storable(answer)),
            Err(failure) => {
                let response = failure.response.as_ref().map_or_else(|| jsonb::from_text("{}"), storable);
                Err(jsonb::object([
                    ("message", to_jsonb(&failure.message.as_str().into())),
                    ("response", response),
                ]))
            }
        };
        Answer { task_id, result }
    }
}

/// Stores what came of calls, before any handler sees it.
pub fn answers(worker: &Worker, answers: &[Answer]) {
    let tasks: Vec<i64> = answers.iter().map(|answer| answer.task_id).collect();
    let (kept, failures): (Vec<Arg>, Vec<Arg>) =
        answers.iter().map(|answer| (answer.result.ok(), answer.result.err())).unzip();
    let args: [Arg; 4] = [
        tasks.clone().into_datum(),
        worker.slot.owner.into_datum(),
        Some(jsonb::array(&kept)),
        Some(jsonb::array(&failures)),
    ];
    unwritten::write(
        worker.call_rows.oid,
        Command::Update,
        Means::Any,
        || session::as_owner(worker.owner, || CALL_ANSWER.run(&args)),
        || worker.call_rows.is_plain() || calls_left(worker, &tasks).unanswered == 0,
    );
}

/// Gives a task back after a serialization failure or deadlock, to be run again a little later.
pub fn repeat(worker: &Worker, brief: &Brief) {
    let not_before = backend::now() + super::repeat_pause(brief.attempt as u32).as_micros() as i64;
    super::wake::note_due(not_before);
    let run = [
        brief.id.into_datum(),
        timestamp(brief.started_at),
        timestamp(not_before),
        brief.uncounted.into_datum(),
    ];
    // The row counts the run, or another process has taken the task meanwhile.
    let is_counted = |state: &State| state.calling || state.attempts >= brief.attempt;
    change_task(worker, brief.id, Means::Any, || REPEAT.run(&run), is_counted);
    session::discard_leftovers();
}

/// Ends a task as cancelled.
pub fn cancel(worker: &Worker, brief: &Brief) {
    write_end(worker, brief, "cancelled", None, Means::Any);
    end_call(worker, brief.id);
    session::discard_leftovers();
}

/// How much of a handler's name the log shows, in bytes.
pub const MAX_LOGGED_NAME: usize = 300;

/// Writes the log lines of a task that has ended; after the commit.
pub fn log_end(brief: &Brief, end: &End) {
    // A success is nothing to tell of, unless its handler had something to say.
    let level = match end {
        End { succeeded: false, .. } => LogLevel::Warning,
        End { outcome: Some(_), .. } => LogLevel::Info,
        _ => LogLevel::Debug,
    };
    if end.failures.is_empty() && !log::is_wanted(level) {
        return;
    }
    end.failures.iter().for_each(|failure| log_failure(brief, failure));
    let named = named(brief);
    let outcome =
        end.outcome.as_deref().map(|o| format!(" outcome={:?}", log::excerpt(o, 1000))).unwrap_or_default();
    let how = if end.succeeded { "succeeded" } else { "failed" };
    log::event(level, format!("task {how} {named}{outcome}"));
}

/// Records in `queues.error`, once, that the end of a task could not be written. claim.sql reads that row.
pub fn give_up(worker: &Worker, brief: &Brief, failure: &Failure) {
    append_error(worker, brief, failure);
    session::discard_leftovers();
}

/// Writes the log line of an error.
pub fn log_failure(brief: &Brief, failure: &Failure) {
    let (named, error) = (named(brief), &failure.error);
    let message = log::excerpt(&error.message, 1000);
    log::event(LogLevel::Warning, format!("error {named} sqlstate={} message={message:?}", error.sqlstate));
}

/// What log lines say of a task.
fn named(brief: &Brief) -> String {
    let took = (backend::now() - brief.started_at) / 1000;
    format!(
        "task_id={} task_type={} handler={:?} attempt={} duration_ms={took}",
        brief.id,
        brief.task_type,
        log::excerpt(&brief.handler, MAX_LOGGED_NAME),
        brief.attempt
    )
}

fn write_end(worker: &Worker, brief: &Brief, status: &str, outcome: Option<&str>, means: Means) {
    let end = [
        brief.id.into_datum(),
        status.into_datum(),
        outcome.and_then(IntoDatum::into_datum),
        timestamp(brief.started_at),
        brief.uncounted.into_datum(),
    ];
    change_task(worker, brief.id, means, || FINISH.run(&end), |_| false);
}

/// The state of a task that has not ended.
struct State {
    calling: bool,
    attempts: i32,
}

/// Changes a task's row. Raises an error if the task has not ended and `is_changed` does not find the change.
fn change_task(
    worker: &Worker,
    task_id: i64,
    means: Means,
    change: impl Fn() -> u64,
    is_changed: impl Fn(&State) -> bool,
) {
    unwritten::write(
        worker.tasks.oid,
        Command::Update,
        means,
        || session::as_owner(worker.owner, &change),
        || {
            // Deferred triggers could still change the row at the commit.
            transaction::fire_deferred_triggers();
            state_unless_ended(worker, task_id).is_none_or(|state| is_changed(&state))
        },
    );
}

/// `None`: it has ended, or is gone.
fn state_unless_ended(worker: &Worker, task_id: i64) -> Option<State> {
    let state = session::as_owner(worker.owner, || {
        TASK_STATE.row(&[task_id.into_datum()], |row| {
            let state =
                State { calling: row.get(2).unwrap_or_default(), attempts: row.get(3).unwrap_or_default() };
            (row.get::<bool>(1) == Some(false)).then_some(state)
        })
    });
    state.flatten()
}

/// Removes the request of a call whose task ends. If that is not possible, the request stays until the task is
/// removed; it is not sent again.
fn end_call(worker: &Worker, task_id: i64) {
    let call: [Arg; 1] = [task_id.into_datum()];
    let end = || session::as_owner(worker.owner, || CALL_END.run(&call));
    // A task without a call has no row to change.
    let has_request = || {
        let found = session::as_owner(worker.owner, || CALL_HAS_REQUEST.row(&call, |row| row.get::<bool>(1)));
        found.flatten() == Some(true)
    };
    if end() == 0 && has_request() {
        session::without_triggers(end);
    }
}

/// Records an error, if need be without users' triggers. If one that is enabled ALWAYS suppresses the row, the error is
/// in the log only.
fn append_error(worker: &Worker, brief: &Brief, failure: &Failure) {
    let error = &failure.error;
    let text = |value: Option<&str>| value.and_then(IntoDatum::into_datum);
    let args = [
        brief.id.into_datum(),
        error.message.as_str().into_datum(),
        brief.task_type.as_str().into_datum(),
        text(failure.handler.as_deref()),
        brief.attempt.into_datum(),
        error.sqlstate.as_str().into_datum(),
        text(error.detail.as_deref()),
        text(error.hint.as_deref()),
        text(error.context.as_deref()),
    ];
    unwritten::by_any_means(|| session::as_owner(worker.owner, || APPEND_ERROR.run(&args)));
}

/// A timestamptz argument from microseconds since 2000-01-01.
fn timestamp(microseconds: i64) -> Arg {
    Some(pg_sys::Datum::from(microseconds))
}

/// A value for a jsonb column, as [`to_jsonb`] makes it. If its text would be too long, since jsonb writes numbers with
/// all digits, it is kept as [`keep_as_text`] makes it.
pub fn storable(value: &Value) -> pg_sys::Datum {
    let limit = MAX_PAYLOAD_SIZE.get() as usize;
    let jsonb = to_jsonb(value);
    if !jsonb_size::is_longer(jsonb, limit) {
        return jsonb;
    }
    let mut with_text = value.clone();
    keep_as_text(&mut with_text, &format!("it would have more than {limit} bytes as jsonb"));
    let jsonb = to_jsonb(&with_text);
    if jsonb_size::is_longer(jsonb, limit) { to_jsonb(&value.to_string().into()) } else { jsonb }
}

/// Replaces the body of a response by a string of JSON, with a warning that says why. What has no headers is a body as
/// a whole, even if it has a field of that name.
pub fn keep_as_text(response: &mut Value, warning: &str) {
    let is_whole = ["headers", "body"].iter().all(|name| response.get(name).is_some());
    if !is_whole {
        *response = json!({ "body": response.take() });
    }
    response["body"] = response["body"].to_string().into();
    response["warning"] = warning.into();
}

/// A value as jsonb: without U+0000, which jsonb cannot hold.
fn to_jsonb(value: &Value) -> pg_sys::Datum {
    let text = value.to_string();
    if text.contains("\\u0000") {
        return jsonb::from_text(&without_nul(value.clone()).to_string());
    }
    jsonb::from_text(&text)
}

fn without_nul(value: Value) -> Value {
    let clean = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nul).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (clean(key), without_nul(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_kept_as_a_text_with_a_warning() {
        for (response, kept) in [
            (
                json!({ "status": 200, "headers": { "x": "1" }, "body": { "n": 1 } }),
                json!({ "status": 200, "headers": { "x": "1" }, "body": r#"{"n":1}"#, "warning": "too large" }),
            ),
            // As Twilio's, and Resend's.
            (
                json!({ "sid": "SM1", "body": "hello" }),
                json!({ "body": r#"{"sid":"SM1","body":"hello"}"#, "warning": "too large" }),
            ),
            (json!({ "id": "x" }), json!({ "body": r#"{"id":"x"}"#, "warning": "too large" })),
            (json!([1]), json!({ "body": "[1]", "warning": "too large" })),
        ] {
            let mut response = response;
            keep_as_text(&mut response, "too large");
            assert_eq!(response, kept);
        }
    }

    #[test]
    fn nul_is_replaced_everywhere() {
        let value = json!({ "a\u{0}": ["x\u{0}y", { "b": "\u{0}" }], "n": 1 });
        let expected = json!({ "a\u{fffd}": ["x\u{fffd}y", { "b": "\u{fffd}" }], "n": 1 });
        assert_eq!(without_nul(value), expected);
    }
}
