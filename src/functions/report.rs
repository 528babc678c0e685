//! Functions of `sql/87_report_facts.sql` and `sql/87_report_page.sql`.

use crate::config;
use crate::pg::entry::{Call, sql_function};
use crate::pg::{jsonb, log, shmem};
use pgrx::prelude::*;

/// The size of the facts as text, beyond which they are not read. Those that SQL gathers have less than a megabyte.
const MAX_FACTS: usize = 64 * 1024 * 1024;

/// `errand.library_state()`.
#[pg_extern(sql = false)]
fn library_state() -> TableIterator<
    'static,
    (name!(version, &'static str), name!(is_preloaded, bool), name!(secrets_set, Vec<&'static str>)),
> {
    TableIterator::once((env!("CARGO_PKG_VERSION"), shmem::available(), config::secrets_set()))
}

/// `errand.report_page(jsonb)`.
fn report_page(call: &Call) -> pg_sys::Datum {
    let facts = call.argument(0).unwrap_or(pg_sys::Datum::null());
    let facts = jsonb::to_text(facts, MAX_FACTS).ok();
    match facts.and_then(|facts| serde_json::from_str(&facts).ok()) {
        Some(facts) => pg_errand_report::page(&facts).into_datum().unwrap_or(pg_sys::Datum::null()),
        None => log::refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "the facts of a report are too large".into(),
            "Make a report of a shorter span.".into(),
        ),
    }
}
sql_function!(report_page);
