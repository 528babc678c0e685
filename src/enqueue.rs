//! Enqueueing tasks, and the checks that it needs.

use crate::built_in;
use crate::pg::spi::{self, Arg, Statement};
use crate::pg::{backend, catalog, ident, log, session, time, transaction};
use crate::plain_task;
use crate::task_definition::{MAX_SHOWN_NAME, MEND, TaskDefinition, TaskDefinitions};
use crate::unique::{IfExists, UniqueTask};
use crate::unwritten;
use pgrx::pg_sys::BuiltinOid::{INT2OID, JSONBOID, TEXTOID, TIMESTAMPTZOID};
use pgrx::{PgSqlErrorCode, pg_sys};
use std::rc::Rc;

static ENQUEUE: Statement =
    Statement::new(include_str!("../sql/runtime/enqueue.sql"), &[TEXTOID, JSONBOID, TIMESTAMPTZOID]);
static ENQUEUE_WITH_OPTIONS: Statement = Statement::new(
    include_str!("../sql/runtime/enqueue_with_options.sql"),
    &[TEXTOID, JSONBOID, TIMESTAMPTZOID, INT2OID, TEXTOID],
);

/// The longest unique key and the longest queue key, in bytes.
const MAX_KEY: usize = 512;

/// The arguments of `queues.enqueue`.
#[derive(Clone, Copy, Default)]
pub struct Request {
    pub task_type: Arg,
    pub payload: Arg,
    pub scheduled_at: Arg,
    pub unique_key: Arg,
    pub if_exists: Arg,
    pub unique_for: Arg,
    pub debounce_limit: Arg,
    pub priority: Arg,
    pub queue_key: Arg,
}

/// Enqueues a task for the current user and returns its id.
pub fn enqueue(request: &Request) -> i64 {
    let task_type = request.task_type.and_then(spi::text);
    check_type(task_type.as_deref());
    write(owner(), task_type.as_deref().unwrap_or_default(), request)
}

/// Raises an error unless the current user may enqueue tasks of this type.
pub fn check_type(task_type: Option<&str>) {
    let definitions = TaskDefinitions::now();
    check(&definitions, task_type, task_type.and_then(|name| definitions.find(name)));
}

/// The owner of `queues.task`, whose privileges are used to write it.
pub fn owner() -> pg_sys::Oid {
    catalog::owner_of(c"queues", c"task").unwrap_or_else(|| log::refuse_missing(c"task"))
}

/// Enqueues a task whose type was checked.
pub fn write(owner: pg_sys::Oid, task_type: &str, request: &Request) -> i64 {
    let scheduled_at = request.scheduled_at.filter(|due| is_later(*due));
    let (if_exists, key, priority) = check_options(request);
    if let Some(key) = key {
        let task = UniqueTask {
            owner,
            task_type,
            key: &key,
            payload: request.payload,
            scheduled_at,
            priority,
            if_exists,
            unique_for: request.unique_for,
            queue_key: request.queue_key,
            debounce_limit: request.debounce_limit,
        };
        return task.enqueue();
    }
    if priority.is_none()
        && request.queue_key.is_none()
        && let Some(id) = plain_task::insert(owner, task_type, request.payload, scheduled_at)
    {
        return id;
    }
    let args = [request.task_type, request.payload, scheduled_at, priority, request.queue_key];
    // The plain statement also works with the tables of an older version, which waits for its upgrade.
    let (statement, args) = match (priority, request.queue_key) {
        (None, None) => (&ENQUEUE, &args[..3]),
        _ => (&ENQUEUE_WITH_OPTIONS, &args[..]),
    };
    session::as_definer(owner, || {
        statement.row_as_is(args, |row| row.get(1)).flatten().unwrap_or_else(|| unwritten::refuse_task())
    })
}

/// What happens if the key exists, the key, and the priority as it is stored. Raises an error if an argument is not
/// allowed.
pub fn check_options(request: &Request) -> (IfExists, Option<String>, Arg) {
    let priority = request.priority.and_then(priority);
    let if_exists = request.if_exists.map_or(IfExists::Keep, if_exists);
    let key = request.unique_key.and_then(spi::text).filter(|key| !key.is_empty());
    check_intervals(request, key.is_some(), if_exists);
    key.as_deref().into_iter().for_each(check_key);
    (if_exists, key, priority)
}

fn invalid(message: String, hint: &str) -> ! {
    log::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint.into())
}

/// The priority as it is stored; 0 is stored as null. Raises an error if it is out of range.
fn priority(given: pg_sys::Datum) -> Arg {
    let given = given.value() as i32;
    check_priority(given);
    (given != 0).then(|| pg_sys::Datum::from(given as i16))
}

/// Raises an error if a priority is out of range.
pub fn check_priority(priority: i32) {
    if i16::try_from(priority).is_err() {
        invalid(
            format!("the priority {priority} is out of range"),
            "A priority is between -32768 and 32767; the default is 0.",
        );
    }
}

fn if_exists(given: pg_sys::Datum) -> IfExists {
    let name = spi::text(given).unwrap_or_default();
    IfExists::named(&name).unwrap_or_else(|| {
        invalid(
            format!("invalid value for _if_exists: \"{}\"", log::excerpt(&name, MAX_SHOWN_NAME)),
            "Allowed values are keep, replace, debounce and error.",
        )
    })
}

/// Raises an error if a unique key cannot be stored.
pub fn check_key(key: &str) {
    if key.is_empty() {
        invalid(
            "a unique key cannot be empty".into(),
            "Leave unique_key null for a task without a unique key.",
        );
    }
    check_length(key, "unique");
}

/// Raises an error if a queue key cannot be stored.
pub fn check_queue_key(key: &str) {
    check_length(key, "queue");
}

fn check_length(key: &str, of: &str) {
    if key.len() > MAX_KEY {
        invalid(
            format!("the {of} key has {} bytes", key.len()),
            &format!(
                "A {of} key has at most {MAX_KEY} bytes. Of a longer one, use a digest, for instance md5()."
            ),
        );
    }
}

fn check_intervals(request: &Request, has_key: bool, if_exists: IfExists) {
    for (name, given) in [("_unique_for", request.unique_for), ("_debounce_limit", request.debounce_limit)] {
        let Some(given) = given else { continue };
        if time::is_negative(given) {
            invalid(format!("{name} is negative"), "It is zero or more, or null.");
        }
        if !has_key {
            invalid(format!("{name} requires a unique key"), "Set _unique_key, or leave it out.");
        }
    }
    if request.debounce_limit.is_some() && if_exists != IfExists::Debounce {
        invalid(
            "_debounce_limit requires _if_exists => 'debounce'".into(),
            "Set _if_exists to debounce, or leave _debounce_limit out.",
        );
    }
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
    if let Err(reason) = definitions.needed_provider(definition) {
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
