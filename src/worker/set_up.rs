//! Set-up: finds out whether a worker has anything to do in its database, and which objects it works with.

use super::tables::Tables;
use super::{columns, unadopted};
use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::spi::{Row, Statement};
use crate::pg::{backend, ident, log, session, transaction};
use crate::shared::Database;
use crate::slot::MySlot;
use pgrx::pg_sys;

/// The version of the extension that this library supports.
const VERSION: &str = env!("CARGO_PKG_VERSION");

static EXTENSION: Statement = Statement::new(include_str!("../../sql/runtime/extension.sql"), &[]);

/// The objects that a worker works with.
pub struct Found {
    pub tables: Tables,
    /// The role of the worker.
    pub role: String,
}

/// The result row of extension.sql.
struct Extension {
    owner: pg_sys::Oid,
    version: String,
    /// The tables `queues.task`, `queues.call` and `errand.home`.
    tasks: pg_sys::Oid,
    calls: pg_sys::Oid,
    home: pg_sys::Oid,
    /// Whether the role has all privileges that handlers need to enqueue.
    has_grants: bool,
    /// The schema of `run_function`, quoted.
    functions_schema: String,
    /// The schemas of `queues.task` and of `errand.home`, quoted.
    queues_schema: String,
    errand_schema: String,
}

/// Finds the objects that a worker works with in its database; `None` if a worker has nothing to do there.
///
/// # Errors
/// If the catalogs cannot be read.
pub fn set_up(slot: MySlot) -> Result<Option<Found>, PgError> {
    // The workers' role need not be able to read the catalogs.
    let look = || session::as_owner(backend::SYSTEM, || EXTENSION.row(&[], extension));
    let (role, found) = transaction::commit_after(|| (backend::user_name(), look()))?;
    let Some(found) = found else {
        slot.change_database(Database::note_no_extension);
        return Ok(None);
    };
    slot.change_database(|database| database.has_extension = true);
    if found.version != VERSION {
        report_version(slot, &found.version);
        return Ok(None);
    }
    if [found.tasks, found.calls].contains(&pg_sys::Oid::INVALID) {
        report_schema(slot, "queues", &found.queues_schema);
        return Ok(None);
    }
    if found.home == pg_sys::Oid::INVALID {
        report_schema(slot, "errand", &found.errand_schema);
        return Ok(None);
    }
    report_rights(slot, &role, &found);
    let Some(origin) = unadopted::make_home(slot, found.owner)? else { return Ok(None) };
    let tables = Tables {
        owner: found.owner,
        tasks: columns::tasks(found.tasks, found.owner),
        calls: columns::calls(found.calls, found.owner),
        origin,
        worker: slot.owner,
    };
    Ok(Some(Found { tables, role }))
}

fn extension(row: &Row) -> Extension {
    Extension {
        owner: row.get(c"extowner").unwrap_or(pg_sys::Oid::INVALID),
        version: row.get(c"extversion").unwrap_or_default(),
        tasks: row.get(c"tasks").unwrap_or(pg_sys::Oid::INVALID),
        calls: row.get(c"calls").unwrap_or(pg_sys::Oid::INVALID),
        home: row.get(c"home").unwrap_or(pg_sys::Oid::INVALID),
        has_grants: row.get(c"has_grants").unwrap_or_default(),
        functions_schema: row.get(c"functions_schema").unwrap_or_default(),
        queues_schema: row.get(c"queues_schema").unwrap_or_default(),
        errand_schema: row.get(c"errand_schema").unwrap_or_default(),
    }
}

/// Logs once that the library does not match the version of the extension's tables.
fn report_version(slot: MySlot, version: &str) {
    report_that_tasks_wait(
        slot,
        format!(
            "the extension in this database has version {version}, the library {VERSION}; its tasks wait"
        ),
        "Run ALTER EXTENSION pg_errand UPDATE, or restart the server if the library was replaced.".into(),
    );
}

/// Logs once that a schema of the extension has been renamed, or lacks tables.
fn report_schema(slot: MySlot, name: &str, found: &str) {
    report_that_tasks_wait(
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

fn report_that_tasks_wait(slot: MySlot, message: String, hint: String) {
    if slot.is_news(|database| &mut database.reported_version, true) {
        log::event_with_hint(LogLevel::Error, message, hint);
    }
}

/// Logs once which privileges for enqueueing the role lacks.
fn report_rights(slot: MySlot, role: &str, found: &Extension) {
    slot.change_database(|database| database.reported_version = false);
    let is_news = slot.is_news(|database| &mut database.reported_rights, !found.has_grants);
    if found.has_grants || !is_news {
        return;
    }
    let (quoted, schema) = (ident::quote(role), &found.functions_schema);
    log::event_with_hint(
        LogLevel::Warning,
        format!("role {quoted} has not all rights that handlers may need to enqueue"),
        format!(
            "Run: GRANT USAGE ON SCHEMA queues, {schema} TO {quoted}; \
             GRANT EXECUTE ON FUNCTION queues.enqueue, \
             {schema}.run_function(text, jsonb) TO {quoted};"
        ),
    );
}
