//! Enqueues many tasks at once: the checks once for each task type, and one statement unless there are unique keys.

mod plain;

use crate::enqueue::{self, Request};
use crate::pg::spi::{Arg, Row, Statement};
use crate::pg::{log, session};
use pgrx::pg_sys::BuiltinOid::{
    INT4OID, INTERVALOID, JSONBARRAYOID, JSONBOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZARRAYOID,
};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

/// The names of the arguments, which are also accepted with a leading underscore.
const NAMES: [&str; 9] = [
    "task_type",
    "payload",
    "scheduled_at",
    "unique_key",
    "if_exists",
    "unique_for",
    "debounce_limit",
    "priority",
    "queue_key",
];

static CHECK_OBJECTS: Statement =
    Statement::new(include_str!("../sql/runtime/many_check.sql"), &[JSONBOID, TEXTARRAYOID]);
static TYPES: Statement = Statement::new(include_str!("../sql/runtime/many_types.sql"), &[JSONBOID]);
static INSERT: Statement = Statement::new(include_str!("../sql/runtime/many_insert.sql"), &[JSONBOID]);
static READ: Statement = Statement::new(include_str!("../sql/runtime/many_read.sql"), &[JSONBOID]);
static INSERT_PAYLOADS: Statement = Statement::new(
    include_str!("../sql/runtime/many_insert_payloads.sql"),
    &[TEXTOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, INT4OID, TEXTARRAYOID],
);
static READ_PAYLOADS: Statement = Statement::new(
    include_str!("../sql/runtime/many_read_payloads.sql"),
    &[
        TEXTOID,
        JSONBARRAYOID,
        TIMESTAMPTZARRAYOID,
        TEXTARRAYOID,
        TEXTOID,
        INTERVALOID,
        INTERVALOID,
        INT4OID,
        TEXTARRAYOID,
    ],
);

/// Enqueues a task for each object of an array; returns their ids in order.
pub fn of_objects(tasks: pg_sys::Datum) -> Vec<i64> {
    if let Some(ids) = plain::enqueue(tasks) {
        return ids;
    }
    let tasks = [Some(tasks)];
    let is_plain = check_objects(tasks[0]);
    let owner = enqueue::owner();
    for (task_type, least, greatest) in own(|| TYPES.rows(&tasks, |row| (row.get(1), row.get(2), row.get(3))))
    {
        enqueue::check_type(Option::<String>::as_deref(&task_type));
        [least, greatest].into_iter().flatten().for_each(enqueue::check_priority);
    }
    if is_plain { insert(owner, &INSERT, &tasks) } else { one_by_one(owner, &READ, &tasks) }
}

/// Enqueues a task for each payload; returns their ids in order. The request has arrays of payloads, times and both keys.
pub fn of_payloads(request: &Request) -> Vec<i64> {
    let task_type = request.task_type.and_then(crate::pg::spi::text);
    enqueue::check_type(task_type.as_deref());
    let owner = enqueue::owner();
    let whole = Request { payload: None, scheduled_at: None, unique_key: None, queue_key: None, ..*request };
    if request.unique_key.is_none() {
        enqueue::check_options(&whole);
        let args =
            [request.task_type, request.payload, request.scheduled_at, request.priority, request.queue_key];
        return insert(owner, &INSERT_PAYLOADS, &args);
    }
    let args = [
        request.task_type,
        request.payload,
        request.scheduled_at,
        request.unique_key,
        request.if_exists,
        request.unique_for,
        request.debounce_limit,
        request.priority,
        request.queue_key,
    ];
    one_by_one(owner, &READ_PAYLOADS, &args)
}

/// Runs a statement that reads nothing but its arguments.
fn own<R>(statement: impl FnOnce() -> R) -> R {
    session::with_own_settings(statement)
}

/// Raises an error unless the value is an array of objects whose keys are known. True if each task can be enqueued
/// without regard to others.
fn check_objects(tasks: Arg) -> bool {
    let args = [tasks, NAMES.to_vec().into_datum()];
    let found = own(|| {
        CHECK_OBJECTS.row(&args, |row| {
            (row.get::<String>(1), row.get::<i64>(2), row.get::<String>(3), row.get(4) == Some(true))
        })
    });
    let (kind, place, unknown, is_plain) = found.unwrap_or_default();
    if let Some(kind) = kind {
        let what = place.map_or("the tasks are".to_owned(), |place| format!("task {place} of the array is"));
        refuse(format!("{what} not an object but of type {kind}"), "Pass an array of objects.".into());
    }
    if let (Some(place), Some(name)) = (place, unknown) {
        let shown = log::excerpt(&name, 100);
        refuse(
            format!("unknown key \"{shown}\" in task {place} of the array"),
            format!("Known keys are {}, with or without a leading underscore.", NAMES.join(", ")),
        );
    }
    is_plain
}

fn refuse(message: String, hint: String) -> ! {
    log::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint)
}

fn insert(owner: pg_sys::Oid, statement: &Statement, args: &[Arg]) -> Vec<i64> {
    session::as_definer(owner, || statement.rows_as_is(args, |row| row.get(1).unwrap_or_default()))
}

/// Enqueues tasks one by one, those with a unique key in the order of their keys: then batches with the same keys do not
/// wait for each other in a circle.
fn one_by_one(owner: pg_sys::Oid, read: &Statement, args: &[Arg]) -> Vec<i64> {
    let mut requests: Vec<(usize, Request)> =
        own(|| read.rows(args, request)).into_iter().enumerate().collect();
    let mut ids = vec![0; requests.len()];
    let text = |arg: Arg| arg.and_then(crate::pg::spi::text);
    requests.sort_by_cached_key(|(_, request)| (text(request.task_type), text(request.unique_key)));
    for (place, request) in &requests {
        let task_type = text(request.task_type).unwrap_or_default();
        ids[*place] = enqueue::write(owner, &task_type, request);
    }
    ids
}

/// The row of a statement that reads requests, in the order of [`NAMES`].
fn request(row: &Row) -> Request {
    Request {
        task_type: row.keep(1),
        payload: row.keep(2),
        scheduled_at: row.keep_time(3),
        unique_key: row.keep(4),
        if_exists: row.keep(5),
        unique_for: row.keep_interval(6),
        debounce_limit: row.keep_interval(7),
        priority: row.get::<i32>(8).and_then(IntoDatum::into_datum),
        queue_key: row.keep(9),
    }
}
