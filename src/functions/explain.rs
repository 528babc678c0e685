//! The function of `sql/86_explain.sql`.

use super::shown::timestamp;
use crate::explain;
use crate::pg::log;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// `queues.explain(bigint)`.
#[pg_extern(name = "explain", sql = false)]
#[allow(clippy::type_complexity)]
fn explain(
    id: i64,
) -> TableIterator<
    'static,
    (
        name!(task_id, i64),
        name!(task_type, String),
        name!(status, String),
        name!(reason, String),
        name!(explanation, String),
        name!(until, Option<TimestampWithTimeZone>),
        name!(blocking_task_id, Option<i64>),
        name!(blocking_pid, Option<i32>),
        name!(hint, Option<String>),
    ),
> {
    let Some(found) = explain::explain(id) else {
        log::refuse(
            PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            format!("there is no task {id}"),
            "The transaction that enqueues it may be open, or the task has ended and was removed after pg_errand.retention."
                .into(),
        );
    };
    let text = found.text;
    TableIterator::once((
        id,
        found.task_type,
        found.status,
        found.reason.word().to_owned(),
        text.explanation,
        found.reason.until().and_then(timestamp),
        text.task_id,
        text.pid,
        text.hint,
    ))
}
