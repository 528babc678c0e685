//! Enqueueing tasks, and the checks that it needs.

use crate::built_in;
use crate::config::MAX_PAYLOAD_SIZE;
use crate::pg::jsonb_field::each_key;
use crate::pg::jsonb_size::is_longer;
use crate::pg::spi::{self, Arg, Statement};
use crate::pg::{backend, catalog, ident, log, session, transaction};
use crate::task_definition::{MAX_SHOWN_NAME, MEND, TaskDefinition, TaskDefinitions};
use crate::unwritten::{self, Command};
use pg_errand_calls::nearest::nearest;
use pgrx::pg_sys::BuiltinOid::{JSONBOID, TEXTOID, TIMESTAMPTZOID};
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ops::RangeInclusive;
use std::rc::Rc;

static ENQUEUE: Statement =
    Statement::new(include_str!("../sql/runtime/enqueue.sql"), &[TEXTOID, JSONBOID, TIMESTAMPTZOID]);

/// Enqueues a task for the current user and returns its id. `args`: task type, payload, scheduled time.
pub fn enqueue(args: &[Arg; 3]) -> i64 {
    let task_type = args[0].and_then(spi::text);
    let definitions = TaskDefinitions::now();
    check(&definitions, task_type.as_deref(), task_type.as_deref().and_then(|name| definitions.find(name)));
    let Some(owner) = catalog::owner_of(c"queues", c"task") else { pgrx::error!("queues.task is missing") };
    let args = [args[0], args[1], args[2].filter(|due| is_later(*due))];
    session::as_definer(owner, || {
        ENQUEUE.row_as_is(&args, |row| row.get(1)).flatten().unwrap_or_else(refuse_row)
    })
}

fn refuse_row() -> i64 {
    let Some(table) = catalog::relation(c"queues", c"task") else { pgrx::error!("queues.task is missing") };
    unwritten::refuse(table, Command::Insert)
}

/// True for a time in the future. A time in the past, including `-infinity`, counts as now: otherwise a task could overtake
/// tasks of other roles that were enqueued earlier.
fn is_later(due: pg_sys::Datum) -> bool {
    due.value() as i64 > transaction::started_at()
}

/// Raises an error unless the current user may enqueue tasks of this type.
pub fn check(
    definitions: &TaskDefinitions,
    task_type: Option<&str>,
    definition: Option<&Rc<TaskDefinition>>,
) {
    let Some(definition) = definition else { refuse_type(definitions, task_type) };
    if !definition.may_be_enqueued() {
        // The name is quoted as an identifier, within a literal.
        let user = ident::quote(&backend::current_user_name()).replace('\'', "''");
        log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to enqueue tasks of type \"{}\"", definition.task_type),
            format!("To allow it, run: SELECT queues.grant_enqueue('{}', '{user}');", definition.task_type),
        );
    }
    if let Err(reason) = definitions.check_provider_of(definition) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("task type \"{}\" cannot be enqueued: {reason}", definition.task_type),
            match built_in::TASK_TYPES.contains(&definition.task_type.as_str()) {
                true => format!("{MEND} {}", built_in::REMEDY),
                false => MEND.into(),
            },
        );
    }
}

/// Raises an error if a payload is larger than the setting allows. Its size is that of its text in a dump.
pub fn check_size(payload: pg_sys::Datum) {
    let limit = MAX_PAYLOAD_SIZE.get();
    if is_longer(payload, limit as usize) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("the payload has more than {limit} bytes as text"),
            "Enqueue less, for instance the key of a row that holds it, or raise pg_errand.max_payload_size."
                .into(),
        );
    }
}

/// The keys of a payload that name handlers.
const HANDLERS: [&str; 4] = ["db_function", "before_handler", "success_handler", "error_handler"];
/// The lengths of keys that differ from one of these by up to two letters.
const LENGTHS: RangeInclusive<usize> = 9..=17;

/// Warns of keys that nearly are the name of a handler: workers ignore other keys, so a misspelt handler would silently
/// never be invoked.
pub fn warn_of_keys(payload: pg_sys::Datum) {
    let mut found = Vec::new();
    each_key(payload, LENGTHS, |key| {
        if let Ok(key) = str::from_utf8(key)
            && let Some(name) = nearly(key)
        {
            found.push((key.to_owned(), name));
        }
    });
    for (key, name) in found {
        log::warn(
            format!("key \"{key}\" of the payload names no handler"),
            format!("Perhaps you meant \"{name}\"."),
        );
    }
}

/// The name of the handler of which `key` is probably a misspelling.
fn nearly(key: &str) -> Option<&'static str> {
    if HANDLERS.contains(&key) { None } else { nearest(key, HANDLERS) }
}

/// True if the current user may set the origin of tasks, which skips the checks: the owner of the tables, and
/// replication.
pub fn may_move() -> bool {
    catalog::has_rights_of_owner() || backend::replicates()
}

/// Raises an error unless [`may_move`].
pub fn check_move() {
    if !may_move() {
        log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to set the origin of a task".into(),
            "Leave the column origin out; tasks of another database are brought by the owner of queues.task."
                .into(),
        );
    }
}

fn refuse_type(definitions: &TaskDefinitions, task_type: Option<&str>) -> ! {
    if !definitions.are_read() {
        log::refuse(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            "table \"queues.task_definition\" does not exist".into(),
            "If the schema \"queues\" of the extension has been renamed, rename it back.".into(),
        );
    }
    let message = match task_type {
        Some(name) => format!("unknown task type \"{}\"", log::excerpt(name, MAX_SHOWN_NAME)),
        None => "a task needs a task type".to_owned(),
    };
    let is_built_in = task_type.is_some_and(|name| built_in::TASK_TYPES.contains(&name));
    let hint = match is_built_in {
        true => built_in::REMEDY.to_owned(),
        false => format!("Known task types: {}.", definitions.names()),
    };
    log::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nearly_the_name_of_a_handler_is_taken_for_one() {
        for (key, name) in [
            ("sucess_handler", "success_handler"),
            ("succes_handler", "success_handler"),
            ("on_success_handler", ""),
            ("successHandler", "success_handler"),
            ("error-handler", "error_handler"),
            ("errorhandler", "error_handler"),
            ("ErrorHandler", "error_handler"),
            ("before_handlre", "before_handler"),
            ("dbfunction", "db_function"),
            ("DB_FUNCTION", "db_function"),
            ("db_funciton", "db_function"),
            ("db_function", ""),
            ("success_handler", ""),
            ("my_function", ""),
            ("handler", ""),
            ("function", ""),
            ("message_id", ""),
            ("description", ""),
            ("error_message", ""),
            ("", ""),
        ] {
            assert_eq!(nearly(key).unwrap_or_default(), name, "{key}");
        }
    }
}
