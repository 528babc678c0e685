//! Set-up: whether there is anything to do for a worker in its database, and with what.

use super::slot::MySlot;
use super::{Worker, avoid, calls, copied, faults, retention, table};
use crate::config::LogLevel;
use crate::error::PgError;
use crate::handler::Handlers;
use crate::pg::spi::{Row, Statement};
use crate::pg::{backend, ident, log, session, transaction};
use crate::shared::{Database, LaneSet};
use pgrx::pg_sys;
use std::time::Instant;

/// The version whose tables this library works with.
const VERSION: &str = env!("CARGO_PKG_VERSION");

static EXTENSION: Statement = Statement::new(include_str!("../../sql/runtime/extension.sql"), &[]);

/// What a worker finds in its database.
struct Found {
    owner: pg_sys::Oid,
    version: String,
    /// The tables `queues.task`, `queues.call` and `errand.home`.
    tasks: pg_sys::Oid,
    calls: pg_sys::Oid,
    home: pg_sys::Oid,
    /// Whether the role may do all that handlers need to enqueue.
    has_grants: bool,
    /// The schema of `run_function`, quoted.
    functions_schema: String,
    /// The schemas of `queues.task` and of `errand.home`, quoted.
    queues_schema: String,
    errand_schema: String,
}

/// The worker; `None` if there is nothing for one to do here.
///
/// # Errors
/// When the catalogs cannot be read.
pub fn set_up(slot: MySlot) -> Result<Option<Worker>, PgError> {
    // The role of the workers need not be able to read the catalogs.
    let look = || session::as_owner(backend::SYSTEM, || EXTENSION.row(&[], found));
    let (role, found) = transaction::commit_after(|| (backend::user_name(), look()))?;
    let Some(found) = found else {
        slot.change_database(Database::note_no_extension);
        return Ok(None);
    };
    slot.change_database(|database| database.has_extension = true);
    if found.version != VERSION {
        tell_of_version(slot, &found.version);
        return Ok(None);
    }
    if [found.tasks, found.calls].contains(&pg_sys::Oid::INVALID) {
        tell_of_schema(slot, "queues", &found.queues_schema);
        return Ok(None);
    }
    if found.home == pg_sys::Oid::INVALID {
        tell_of_schema(slot, "errand", &found.errand_schema);
        return Ok(None);
    }
    tell_of_rights(slot, &role, &found);
    let Some(origin) = copied::settle(slot, found.owner)? else { return Ok(None) };
    Ok(Some(Worker {
        origin,
        slot,
        owner: found.owner,
        tasks: table::tasks(found.tasks, found.owner),
        call_rows: table::calls(found.calls, found.owner),
        handlers: Handlers::new(found.owner, role),
        calls: calls::Calls::new().map_err(|error| PgError::new("58000", error.to_string()))?,
        avoided: avoid::Avoided::default(),
        faults: faults::Faults::default(),
        retention: retention::Pass::default(),
        looked_for_orphans: false,
        definition_changes: 0,
        lanes: LaneSet::LOCAL,
        waiting: LaneSet::NONE,
        signals: None,
        started: Instant::now(),
        idle_since: Instant::now(),
        reported_at: Instant::now(),
        unreported: false,
        unsure_since: None,
    }))
}

fn found(row: &Row) -> Found {
    Found {
        owner: row.get(1).unwrap_or(pg_sys::Oid::INVALID),
        version: row.get(2).unwrap_or_default(),
        tasks: row.get(3).unwrap_or(pg_sys::Oid::INVALID),
        calls: row.get(4).unwrap_or(pg_sys::Oid::INVALID),
        home: row.get(5).unwrap_or(pg_sys::Oid::INVALID),
        has_grants: row.get(6).unwrap_or_default(),
        functions_schema: row.get(7).unwrap_or_default(),
        queues_schema: row.get(8).unwrap_or_default(),
        errand_schema: row.get(9).unwrap_or_default(),
    }
}

/// Says once that the library is not the one for the extension's tables.
fn tell_of_version(slot: MySlot, version: &str) {
    tell_that_tasks_wait(
        slot,
        format!(
            "the extension in this database has version {version}, the library {VERSION}; its tasks wait"
        ),
        "Run ALTER EXTENSION pg_errand UPDATE, or restart the server if the library was replaced.".into(),
    );
}

/// Logs once that a schema of the extension has been renamed, or lacks tables.
fn tell_of_schema(slot: MySlot, name: &str, found: &str) {
    tell_that_tasks_wait(
        slot,
        format!("the schema \"{name}\" of the extension has another name or lacks tables; its tasks wait"),
        match found {
            renamed if !renamed.is_empty() && renamed != name => {
                format!("Run: ALTER SCHEMA {renamed} RENAME TO {name};")
            }
            _ => "Run DROP EXTENSION pg_errand and CREATE EXTENSION pg_errand.".into(),
        },
    );
}

fn tell_that_tasks_wait(slot: MySlot, message: String, hint: String) {
    let told = slot.change_database(|database| std::mem::replace(&mut database.told_of_version, true));
    if told != Some(true) {
        log::event_with_hint(LogLevel::Error, message, hint);
    }
}

/// Says once what the role lacks to enqueue.
fn tell_of_rights(slot: MySlot, role: &str, found: &Found) {
    let told = slot.change_database(|database| {
        database.told_of_version = false;
        std::mem::replace(&mut database.told_of_rights, !found.has_grants)
    });
    if found.has_grants || told == Some(true) {
        return;
    }
    let (quoted, schema) = (ident::quote(role), &found.functions_schema);
    log::event_with_hint(
        LogLevel::Warning,
        format!("role {quoted} has not all rights that handlers may need to enqueue"),
        format!(
            "Run: GRANT USAGE ON SCHEMA queues, {schema} TO {quoted}; \
             GRANT EXECUTE ON FUNCTION queues.enqueue(text, jsonb, timestamptz), \
             {schema}.run_function(text, jsonb) TO {quoted};"
        ),
    );
}
