//! Functions of `sql/85_views.sql` and `sql/87_questions.sql`.

use super::shown::timestamp;
use crate::failures::{self, Group};
use crate::pg::entry::{Call, sql_function};
use crate::pg::implied;
use crate::waiting;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use std::collections::BTreeSet;

/// `errand.narrows(…)`: always true. Its support function replaces it by what the conditions of the query imply.
#[pg_extern(name = "narrows", sql = false)]
fn narrows(
    _finished_at: Option<TimestampWithTimeZone>,
    _final_status: Option<&str>,
    _finished: Option<bool>,
    _unfinished: Option<bool>,
    _running: Option<bool>,
) -> bool {
    true
}

/// `errand.narrows_support(internal)`.
fn narrows_support(call: &Call) -> pg_sys::Datum {
    implied::simplify(call)
}
sql_function!(narrows_support);

/// `errand.message_shape(text)`.
#[pg_extern(sql = false)]
fn message_shape(message: &str) -> String {
    pg_errand_calls::message_shape::of(message)
}

/// `errand.failure_shapes(timestamptz)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn failure_shapes(
    since: TimestampWithTimeZone,
) -> TableIterator<
    'static,
    (
        name!(shape, String),
        name!(failures, i64),
        name!(first_at, Option<TimestampWithTimeZone>),
        name!(last_at, Option<TimestampWithTimeZone>),
        name!(task_types, Option<Vec<String>>),
        name!(sqlstates, Option<Vec<String>>),
        name!(last_id, i64),
    ),
> {
    let list = |texts: BTreeSet<String>| (!texts.is_empty()).then(|| texts.into_iter().collect());
    TableIterator::new(failures::since(since.into()).into_iter().map(move |(shape, group)| {
        let Group { failures, first_at, last_at, last_id, task_types, sqlstates } = group;
        (shape, failures, timestamp(first_at), timestamp(last_at), list(task_types), list(sqlstates), last_id)
    }))
}

/// `errand.count_waiting()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn count_waiting() -> TableIterator<
    'static,
    (
        name!(task_type, String),
        name!(class, String),
        name!(tasks, i64),
        name!(oldest, Option<TimestampWithTimeZone>),
        name!(until, Option<TimestampWithTimeZone>),
        name!(task_id, i64),
        name!(other_task_id, i64),
    ),
> {
    TableIterator::new(waiting::count().into_iter().map(move |(task_type, group)| {
        let class = group.class.as_str().to_owned();
        let (oldest, task_id) = group.oldest;
        (
            task_type,
            class,
            group.tasks,
            timestamp(oldest),
            group.until.and_then(timestamp),
            task_id,
            group.other,
        )
    }))
}
