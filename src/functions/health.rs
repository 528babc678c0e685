//! The functions of `sql/87_health.sql`.

use super::shown::timestamp;
use crate::explain;
use crate::explain::parts::sentence_of;
use crate::task_definition::TaskDefinitions;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// `errand.problems_of_workers(text)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn problems_of_workers(
    version: &str,
) -> TableIterator<
    'static,
    (
        name!(problem, String),
        name!(explanation, String),
        name!(until, Option<TimestampWithTimeZone>),
        name!(hint, Option<String>),
    ),
> {
    TableIterator::new(explain::database::problem(version).into_iter().map(|problem| {
        let until = problem.reason.until().and_then(timestamp);
        (problem.reason.word().to_owned(), problem.text.explanation, until, problem.text.hint)
    }))
}

/// `errand.problems_of_definitions()`.
#[pg_extern(sql = false)]
fn problems_of_definitions() -> TableIterator<'static, (name!(explanation, String), name!(hint, String))> {
    let problems = TaskDefinitions::now().problems();
    TableIterator::new(problems.into_iter().map(|(problem, hint)| (sentence_of(&problem), hint.to_owned())))
}

/// `errand.worker_role()`.
#[pg_extern(sql = false)]
fn worker_role() -> String {
    explain::role()
}
