//! Purge: a person has old finished tasks removed.

use crate::enqueue;
use crate::pg::spi::{Arg, Statement};
use crate::pg::{log, time};
use crate::steering;
use crate::walk::Walk;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8OID, INTERVALOID, TEXTOID};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};
use std::cell::RefCell;

static TASKS: Walk = Walk {
    remove: Statement::new(
        include_str!("../sql/runtime/purge_tasks.sql"),
        &[INT8OID, INT4OID, INTERVALOID, TEXTOID],
    ),
    next: Statement::new(include_str!("../sql/runtime/next_task.sql"), &[INT8OID]),
    what: "task",
    on_behalf_of: "queues.purge",
};

/// The number of rows that one statement visits.
const MAX_ROWS: i64 = 1_000;

const STATUSES: [&str; 3] = ["succeeded", "failed", "cancelled"];

/// Where a call has stopped.
#[derive(PartialEq, Eq)]
struct Stop {
    status: Option<String>,
    after: i64,
}

thread_local! {
    /// Where the last call of this session has stopped. The next one continues there, so that repeated calls do not read the
    /// tasks that are kept again and again.
    static STOP: RefCell<Stop> = const { RefCell::new(Stop { status: None, after: i64::MIN }) };
}

/// Removes finished tasks that ended at least `older_than` ago; returns their number.
pub fn purge(older_than: Arg, status: Option<&str>, limit: Option<i32>) -> i64 {
    let (older_than, limit) = check(older_than, status, limit);
    let owner = enqueue::owner();
    let further = [Some(older_than), status.and_then(IntoDatum::into_datum)];
    let start = STOP.with_borrow(|stop| if stop.status.as_deref() == status { stop.after } else { i64::MIN });
    let (mut removed, mut after) = walk(owner, start, limit, &further);
    if removed == 0 && start != i64::MIN {
        // Tasks before that place may have become old enough.
        (removed, after) = walk(owner, i64::MIN, limit, &further);
    }
    STOP.set(Stop { status: status.map(str::to_owned), after });
    steering::log("purge", &arguments(older_than, status, limit), removed);
    removed
}

/// Removes up to `limit` tasks; returns their number and where to continue.
fn walk(owner: pg_sys::Oid, start: i64, limit: i64, further: &[Arg]) -> (i64, i64) {
    let (mut removed, mut after) = (0, start);
    while removed < limit {
        pgrx::check_for_interrupts!();
        let rows = MAX_ROWS.min(limit - removed) as i32;
        let portion = TASKS.portion(owner, after, rows, further).unwrap_or_else(|error| log::raise(&error));
        removed += portion.removed;
        match portion.rest() {
            Some(last) => after = last,
            None => return (removed, i64::MIN),
        }
    }
    (removed, after)
}

/// Raises an error if an argument is not allowed.
fn check(older_than: Arg, status: Option<&str>, limit: Option<i32>) -> (pg_sys::Datum, i64) {
    let Some(older_than) = older_than else {
        invalid("_older_than is null".into(), "Use '0' for tasks of any age.");
    };
    if time::is_negative(older_than) {
        invalid("_older_than is negative".into(), "Use '0' for tasks of any age.");
    }
    if let Some(status) = status.filter(|status| !STATUSES.contains(status)) {
        invalid(
            format!("tasks do not end as \"{}\"", log::excerpt(status, 100)),
            "Allowed values of _status are succeeded, failed and cancelled; null stands for all.",
        );
    }
    match limit.filter(|limit| *limit > 0) {
        Some(limit) => (older_than, i64::from(limit)),
        None => invalid(
            "_limit has to be 1 or more".into(),
            "Leave _limit out for its default, and repeat the call until it returns 0.",
        ),
    }
}

fn invalid(message: String, hint: &str) -> ! {
    log::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint.into())
}

/// The arguments as they are logged.
fn arguments(older_than: pg_sys::Datum, status: Option<&str>, limit: i64) -> String {
    let status = status.map(|status| format!(", _status => '{status}'")).unwrap_or_default();
    format!("_older_than => '{}'{status}, _limit => {limit}", time::interval_text(older_than))
}
