//! Functions of `sql/48_provider.sql`.

use crate::grantee::Grantee;
use crate::pg::entry::{Call, sql_function};
use crate::pg::jsonb_field::View;
use crate::pg::{backend, log, spi, time};
use crate::task_definition;
use crate::worker::wake;
use pg_errand_calls::limits;
use pg_errand_calls::provider::{Provider, check};
use pg_errand_calls::task_type;
use pgrx::prelude::*;

/// `errand.grantee_in(cstring)`.
#[pg_extern(sql = false)]
fn grantee_in(name: &std::ffi::CStr) -> i32 {
    Grantee::read(&name.to_string_lossy()).to_bits()
}

/// `errand.grantee_out(queues.grantee)`.
#[pg_extern(sql = false)]
fn grantee_out(grantee: i32) -> std::ffi::CString {
    std::ffi::CString::new(Grantee::from_bits(grantee).name()).unwrap_or_default()
}

/// `errand.check_provider(jsonb)`.
fn check_provider(call: &Call) -> pg_sys::Datum {
    let row = call.argument(0).unwrap_or(pg_sys::Datum::null());
    let name = || {
        let name = View::of(row).get("name").and_then(|name| name.string(task_definition::MAX_SHOWN_NAME));
        name.unwrap_or_default()
    };
    match task_definition::fields(row) {
        Err(reason) => log::refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("provider \"{}\": {reason}", name()),
            "Keep large values, and numbers of many digits, out of the columns of queues.provider.".into(),
        ),
        Ok(fields) => {
            // Only a warning is raised, since a dump of an older version may contain such a row.
            let breaker_cooldown = fields["breaker_cooldown"].as_str();
            if breaker_cooldown.is_some_and(|time| time::is_longer(time, limits::MAX_COOLDOWN)) {
                log::warn(
                    format!("provider \"{}\": breaker_cooldown counts as 1 hour", name()),
                    "No circuit breaker stays open for longer.".into(),
                );
            }
            if let Err(reason) = check::check(fields) {
                refuse_unless_restoring(
                    format!("provider \"{}\": {reason}", name()),
                    "See docs/providers.md for what the columns of queues.provider may hold.".into(),
                );
            }
        }
    }
    pg_sys::Datum::null()
}
sql_function!(check_provider);

/// Refuses a row, but only warns while a dump is restored or changes are replicated: an older version may have accepted the
/// row, and an error would lose all rows of the table or end the subscription. Such a row affects no others.
fn refuse_unless_restoring(message: String, hint: String) {
    if backend::is_restoring() || backend::replicates() {
        log::warn(message, hint);
    } else {
        log::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
    }
}

/// `errand.check_serves(text, jsonb)`.
fn check_serves(call: &Call) -> pg_sys::Datum {
    let [task_type, row] = [0, 1].map(|n| call.argument(n).unwrap_or(pg_sys::Datum::null()));
    let task_type = spi::text(task_type).unwrap_or_default();
    // Whether the row itself is valid is checked when it is written.
    if let Ok(provider) = task_definition::fields(row).and_then(Provider::of_unread_row)
        && let Err(reason) = task_type::check(&task_type, &provider)
            .and_then(|()| task_type::check_template(&task_type, &provider))
    {
        refuse_unless_restoring(
            format!(
                "tasks of type \"{task_type}\" cannot be sent to provider \"{}\": {reason}",
                provider.name
            ),
            "Name a provider of an interface for such tasks, or insert a task type of your own.".into(),
        );
    }
    pg_sys::Datum::null()
}
sql_function!(check_serves);

/// `errand.task_definitions_after_change()`: lets all processes read both tables again.
fn task_definitions_after_change(_call: &Call) -> pg_sys::Datum {
    task_definition::announce_change();
    wake::note_definitions();
    pg_sys::Datum::null()
}
sql_function!(task_definitions_after_change);
