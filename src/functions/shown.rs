//! What functions behind views have in common.

use crate::pg::{catalog, log};
use pgrx::PgSqlErrorCode;
use pgrx::datum::TimestampWithTimeZone;
use std::ffi::CString;

/// Raises an error unless the current user may read one of these views of schema `queues`. `what`: what they show.
pub fn require_select(views: &[&str], what: &str) {
    let may_select = |view: &&str| {
        let name = CString::new(*view).unwrap_or_default();
        catalog::may_select(c"queues", &name)
    };
    if !views.iter().any(may_select) {
        let names: Vec<String> = views.iter().map(|view| format!("queues.{view}")).collect();
        let names = match names.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            names => names.concat(),
        };
        log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for {what}"),
            format!("Ask for GRANT SELECT ON {names}."),
        );
    }
}

/// A time in microseconds since 2000-01-01; `None` if it is out of range.
pub fn timestamp(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros).ok()
}
