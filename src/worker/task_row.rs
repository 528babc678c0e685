//! Builds a task from a locked row of `queues.task`.

use super::columns;
use crate::config::MAX_PAYLOAD_SIZE;
use crate::pg::jsonb_field::{TooLong, View};
use crate::pg::jsonb_size::is_longer;
use crate::pg::spi::{self, text};
use crate::pg::{backend, jsonb, table};
use crate::shared::TaskId;
use crate::task::Task;
use pg_errand_calls::traceparent;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// Size limit of a handler's name, in bytes. A name may be surrounded by any number of spaces.
const MAX_NAME: usize = 4 * 1024 * 1024;

/// The task in a result row with task_id, task_type, payload, attempts, ready_at and dequeued_at. `uncounted`: runs that the row does not
/// count yet.
pub fn of_result(row: &spi::Row, uncounted: i32) -> Task {
    let payload = row.keep(c"payload").unwrap_or(pg_sys::Datum::null());
    let task = plain(
        TaskId::new(row.get(c"task_id").unwrap_or_default()),
        row.get(c"task_type").unwrap_or_default(),
        payload,
        row.get(c"attempts").unwrap_or_default(),
    );
    let time = |column| row.get::<TimestampWithTimeZone>(column).map(i64::from);
    let ready_at = time(c"ready_at").unwrap_or_default();
    with_handlers(Task { uncounted, ready_at, dequeued_at: time(c"dequeued_at"), ..task })
}

/// The task in a result row of a statement that claims it, as [`of_result`].
pub fn of_claim(row: &spi::Row) -> Task {
    Task { idempotency_key: row.get(c"idempotency_key"), ..of_result(row, 1) }
}

/// The task in a row that was locked without a statement.
pub fn of_locked(row: table::Row) -> Task {
    let payload = row.get(columns::PAYLOAD).map_or(pg_sys::Datum::null(), jsonb::unpacked);
    let task = plain(
        TaskId::new(row.get(columns::TASK_ID).map_or(0, |datum| datum.value() as i64)),
        row.get(columns::TASK_TYPE).and_then(text).unwrap_or_default(),
        payload,
        row.get(columns::ATTEMPTS).map_or(0, |datum| datum.value() as i32),
    );
    let idempotency_key = row.get(columns::IDEMPOTENCY_KEY).and_then(text);
    let time = |column| row.get(column).map(|datum| datum.value() as i64);
    let ready_at = time(columns::ENQUEUED_AT).max(time(columns::SCHEDULED_AT)).unwrap_or_default();
    let dequeued_at = time(columns::DEQUEUED_AT);
    let task = Task { uncounted: 1, ready_at, dequeued_at, row: Some(row), ..task };
    with_handlers(Task { idempotency_key, ..task })
}

/// A task whose payload has not been examined.
fn plain(id: TaskId, task_type: String, payload: pg_sys::Datum, attempts: i32) -> Task {
    Task {
        id,
        task_type,
        payload,
        attempts,
        db_function: None,
        before_handler: None,
        success_handler: None,
        error_handler: None,
        traceparent: None,
        idempotency_key: None,
        problem: None,
        started_at: backend::now(),
        ready_at: 0,
        dequeued_at: None,
        uncounted: 0,
        is_given_up: false,
        in_key: None,
        row: None,
    }
}

/// Reads the handlers' names from a task's payload, and checks the payload.
fn with_handlers(mut task: Task) -> Task {
    let limit = MAX_PAYLOAD_SIZE.get() as usize;
    if is_longer(task.payload, limit) {
        task.problem = Some(format!(
            "the payload has more than {limit} bytes as text; pg_errand.max_payload_size allows no more"
        ));
    }
    let payload = View::of(task.payload);
    let names = [
        ("db_function", &mut task.db_function),
        ("before_handler", &mut task.before_handler),
        ("success_handler", &mut task.success_handler),
        ("error_handler", &mut task.error_handler),
    ];
    for (field, name) in names {
        match payload.get(field).map_or(Ok(None), |field| field.text(MAX_NAME)) {
            Ok(found) => *name = found.filter(|name| !name.is_empty()),
            Err(TooLong) => {
                task.problem = Some(format!(
                    "{field} has more than {MAX_NAME} bytes; it has to be the name of a function"
                ));
            }
        }
    }
    task.traceparent = traceparent(&payload);
    task
}

/// The trace context of a payload, if it is valid.
fn traceparent(payload: &View) -> Option<String> {
    let text = payload.get(traceparent::FIELD)?.text(traceparent::MAX_LENGTH).ok()??;
    traceparent::is_valid(&text).then_some(text)
}
