//! Rows of the extension's tables that were not written although no statement failed, because a user's trigger or rule
//! has suppressed or reverted the change.

use crate::pg::spi::Statement;
use crate::pg::{catalog, log, session};
use pgrx::pg_sys::BuiltinOid::{INT4OID, OIDOID, TEXTOID};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};
use std::ffi::CStr;

static CULPRITS: Statement =
    Statement::new(include_str!("../sql/runtime/culprits.sql"), &[OIDOID, INT4OID, TEXTOID]);

/// The command that writes a row.
#[derive(Clone, Copy)]
pub enum Command {
    Insert,
    Update,
}

impl Command {
    /// The command in `pg_trigger.tgtype` and `pg_rewrite.ev_type` (catalog/pg_trigger.h, nodes/nodes.h).
    fn in_catalogs(self) -> (i32, &'static str) {
        match self {
            Command::Insert => (4, "3"),
            Command::Update => (16, "2"),
        }
    }
}

/// How a row is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// By a statement, with users' triggers and rules.
    Ordinary,
    /// By a statement, which is repeated with `session_replication_role = replica` if it did not write the row.
    Any,
}

/// Writes a row, and raises an error if `is_written` returns false afterwards.
pub fn write<R>(
    table: pg_sys::Oid,
    command: Command,
    means: Means,
    write: impl Fn() -> R,
    is_written: impl Fn() -> bool,
) {
    write();
    if is_written() {
        return;
    }
    if means == Means::Any {
        session::without_triggers(&write);
        if is_written() {
            return;
        }
    }
    refuse(table, command)
}

/// Runs a statement that changes a row, and repeats it without triggers and rules if needed; false if it changed none.
pub fn by_any_means(write: impl Fn() -> u64) -> bool {
    write() > 0 || session::without_triggers(&write) > 0
}

/// Raises an error that names what has suppressed a new row of `queues.task`.
pub fn refuse_task() -> ! {
    refuse_insert(c"task")
}

/// Raises an error that names what has suppressed a new row of `queues.stats_history`.
pub fn refuse_history() -> ! {
    refuse_insert(c"stats_history")
}

fn refuse_insert(table: &CStr) -> ! {
    let found = catalog::relation(c"queues", table);
    refuse(found.unwrap_or_else(|| log::refuse_missing(table)), Command::Insert)
}

/// Raises an error that names the triggers and rules that may have prevented the change.
pub fn refuse(table: pg_sys::Oid, command: Command) -> ! {
    let (trigger, rule) = command.in_catalogs();
    let args = [table.into_datum(), trigger.into_datum(), rule.into_datum()];
    let found = CULPRITS.row(&args, |row| (row.get::<String>(1), row.get::<String>(2)));
    let (table, culprits) = found.unwrap_or_default();
    let culprits = culprits.unwrap_or_else(|| "something".to_owned());
    log::refuse(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        format!(
            "the row of table \"{}\" was not written: {culprits} prevented it",
            table.unwrap_or_default()
        ),
        "Drop what prevented it, or have it let through what the extension writes.".into(),
    )
}
