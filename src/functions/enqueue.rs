//! The functions of `sql/50_enqueue.sql`.

use crate::enqueue::{self, Request};
use crate::enqueue_many;
use crate::pg::entry::{Call, sql_function};
use pgrx::datum::AnyElement;
use pgrx::prelude::*;

/// `queues.enqueue(…)`. The function of version 0.5.0 has the first three arguments only.
fn enqueue(call: &Call) -> pg_sys::Datum {
    let given = |number| if number < call.arguments() { call.argument(number) } else { None };
    let request = Request {
        task_type: given(0),
        payload: given(1),
        scheduled_at: given(2),
        unique_key: given(3),
        if_exists: given(4),
        unique_for: given(5),
        debounce_limit: given(6),
        priority: given(7),
        queue_key: given(8),
    };
    enqueue::enqueue(&request).into_datum().unwrap_or(pg_sys::Datum::null())
}
sql_function!(enqueue);

/// `queues.enqueue_many(jsonb)`.
#[pg_extern(sql = false)]
fn enqueue_many(tasks: Option<AnyElement>) -> SetOfIterator<'static, i64> {
    let ids = tasks.map_or(Vec::new(), |tasks| enqueue_many::of_objects(tasks.datum()));
    SetOfIterator::new(ids)
}

/// `queues.enqueue_many(text, jsonb[], …)`.
#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn enqueue_payloads(
    task_type: Option<AnyElement>,
    payloads: Option<AnyElement>,
    scheduled_at: Option<AnyElement>,
    unique_keys: Option<AnyElement>,
    if_exists: Option<AnyElement>,
    unique_for: Option<AnyElement>,
    debounce_limit: Option<AnyElement>,
    priority: Option<i32>,
    queue_keys: Option<AnyElement>,
) -> SetOfIterator<'static, i64> {
    let datum = |argument: Option<AnyElement>| argument.map(|value| value.datum());
    let request = Request {
        task_type: datum(task_type),
        payload: datum(payloads),
        scheduled_at: datum(scheduled_at),
        unique_key: datum(unique_keys),
        if_exists: datum(if_exists),
        unique_for: datum(unique_for),
        debounce_limit: datum(debounce_limit),
        priority: priority.and_then(IntoDatum::into_datum),
        queue_key: datum(queue_keys),
    };
    SetOfIterator::new(enqueue_many::of_payloads(&request))
}
