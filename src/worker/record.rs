//! Record: the only writer of what becomes of tasks.

use super::Worker;
use super::process::End;
use super::table;
use super::task::{Brief, Task};
use crate::config::LogLevel;
use crate::error::Failure;
use crate::pg::spi::{Arg, Statement};
use crate::pg::table::Lock;
use crate::pg::{backend, jsonb, log, session, transaction};
use crate::provider::Prepared;
use pgrx::datum::Uuid;
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
static CALL_END: Statement = Statement::new(include_str!("../../sql/runtime/call_end.sql"), &[INT8OID]);

/// Ends a task, in the transaction of its handlers, and cleans the session. The commit need not
/// wait for the disk: effects and end are lost or kept together.
pub fn finish(worker: &Worker, task: &Task, end: &End) {
    if !end.failures.is_empty() {
        let brief = task.brief();
        session::as_owner(worker.owner, || {
            end.failures.iter().for_each(|failure| append_error(&brief, failure));
        });
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
            (table::HELD_UNTIL, None),
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
    if !changed || !call_ended {
        session::as_owner(worker.owner, || {
            if !changed {
                write_end(&task.brief(), status, end.outcome.as_deref());
            }
            if !call_ended {
                CALL_END.run(&[task.id.into_datum()]);
            }
        });
    }
    session::discard_leftovers();
    transaction::commit_asynchronously();
}

/// Stores the request of a call, in the transaction of the handler that built it. It is sent when it is
/// durable, see `calls::settle`.
pub fn store_call(worker: &Worker, task: &Task, prepared: &Prepared) {
    let request = serde_json::to_value(&prepared.request).unwrap_or(Value::Null);
    let request = Some(storable(&request));
    let (owner, provider) = (worker.slot.owner.into_datum(), prepared.service.name.as_str().into_datum());
    let inserted = worker.call_rows.insert(&[
        task.id.into_datum(),
        owner,
        provider,
        Uuid::from_bytes(*prepared.key.as_bytes()).into_datum(),
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
            (table::HELD_UNTIL, None),
        ])
    });
    session::as_owner(worker.owner, || {
        if !inserted {
            let key = prepared.key.to_string().into_datum();
            CALL_STORE.run(&[task.id.into_datum(), owner, provider, key, request]);
        }
        if !marked {
            CALL_BEGIN.run(&[task.id.into_datum(), timestamp(task.started_at), task.uncounted.into_datum()]);
        }
    });
    session::discard_leftovers();
    transaction::commit_asynchronously();
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
    session::as_owner(worker.owner, || {
        CALL_JOIN.rows(&args, |row| JoinedCall {
            task_id: row.get(1).unwrap_or_default(),
            batch: row.get(2),
            key: row.get(3).unwrap_or_default(),
        })
    })
}

/// What came of a call, as its row takes it.
pub struct Answer {
    pub task_id: i64,
    /// The answer, or why there is none.
    pub result: Result<pg_sys::Datum, pg_sys::Datum>,
}

impl Answer {
    /// Raises if no jsonb can hold it.
    pub fn new(task_id: i64, result: &Result<Value, String>) -> Answer {
        let result = match result {
            Ok(answer) => Ok(storable(answer)),
            Err(message) => Err(storable(&json!({ "message": message }))),
        };
        Answer { task_id, result }
    }
}

/// Stores what came of calls, before any handler sees it.
pub fn answers(worker: &Worker, answers: &[Answer]) {
    let tasks: Vec<i64> = answers.iter().map(|answer| answer.task_id).collect();
    let (kept, failures): (Vec<Arg>, Vec<Arg>) =
        answers.iter().map(|answer| (answer.result.ok(), answer.result.err())).unzip();
    session::as_owner(worker.owner, || {
        CALL_ANSWER.run(&[
            tasks.into_datum(),
            worker.slot.owner.into_datum(),
            Some(jsonb::array(&kept)),
            Some(jsonb::array(&failures)),
        ]);
    });
}

/// Gives a task back after a serialization failure or deadlock, to be run again a little later.
pub fn repeat(worker: &Worker, brief: &Brief) {
    let not_before = backend::now() + super::repeat_pause(brief.attempt as u32).as_micros() as i64;
    super::wake::note_due(not_before);
    session::as_owner(worker.owner, || {
        REPEAT.run(&[
            brief.id.into_datum(),
            timestamp(brief.started_at),
            timestamp(not_before),
            brief.uncounted.into_datum(),
        ]);
    });
    session::discard_leftovers();
}

/// Ends a task as cancelled.
pub fn cancel(worker: &Worker, brief: &Brief) {
    session::as_owner(worker.owner, || {
        write_end(brief, "cancelled", None);
        CALL_END.run(&[brief.id.into_datum()]);
    });
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
    let took = (backend::now() - brief.started_at) / 1000;
    let named = format!(
        "task_id={} task_type={} handler={:?} attempt={} duration_ms={took}",
        brief.id,
        brief.task_type,
        log::excerpt(&brief.handler, MAX_LOGGED_NAME),
        brief.attempt
    );
    for failure in &end.failures {
        let error = &failure.error;
        let message = log::excerpt(&error.message, 1000);
        log::event(
            LogLevel::Warning,
            format!("error {named} sqlstate={} message={message:?}", error.sqlstate),
        );
    }
    let outcome =
        end.outcome.as_deref().map(|o| format!(" outcome={:?}", log::excerpt(o, 1000))).unwrap_or_default();
    let how = if end.succeeded { "succeeded" } else { "failed" };
    log::event(level, format!("task {how} {named}{outcome}"));
}

fn write_end(brief: &Brief, status: &str, outcome: Option<&str>) {
    FINISH.run(&[
        brief.id.into_datum(),
        status.into_datum(),
        outcome.and_then(IntoDatum::into_datum),
        timestamp(brief.started_at),
        brief.uncounted.into_datum(),
    ]);
}

fn append_error(brief: &Brief, failure: &Failure) {
    let error = &failure.error;
    let text = |value: Option<&str>| value.and_then(IntoDatum::into_datum);
    APPEND_ERROR.run(&[
        brief.id.into_datum(),
        error.message.as_str().into_datum(),
        brief.task_type.as_str().into_datum(),
        text(failure.handler.as_deref()),
        brief.attempt.into_datum(),
        error.sqlstate.as_str().into_datum(),
        text(error.detail.as_deref()),
        text(error.hint.as_deref()),
        text(error.context.as_deref()),
    ]);
}

/// A timestamptz argument from microseconds since 2000-01-01.
fn timestamp(microseconds: i64) -> Arg {
    Some(pg_sys::Datum::from(microseconds))
}

/// JSON text of a value for a jsonb column: without U+0000, which jsonb cannot hold.
pub fn storable(value: &Value) -> pg_sys::Datum {
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
    use serde_json::json;

    #[test]
    fn nul_is_replaced_everywhere() {
        let value = json!({ "a\u{0}": ["x\u{0}y", { "b": "\u{0}" }], "n": 1 });
        let expected = json!({ "a\u{fffd}": ["x\u{fffd}y", { "b": "\u{fffd}" }], "n": 1 });
        assert_eq!(without_nul(value), expected);
    }
}
