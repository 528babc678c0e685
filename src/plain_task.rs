//! Inserts plain tasks without a statement, in a fraction of its time: tasks without a unique key and with priority 0.
//! The work of the trigger `task_before_insert` is done here.

use crate::home;
use crate::payload;
use crate::pg::shape::{Column, Inserts, Shape, columns};
use crate::pg::spi::{Arg, timestamp};
use crate::pg::table::Table;
use crate::pg::{catalog, command, jsonb, transaction};
use crate::shared::Position;
use crate::task_definition::TaskDefinitions;
use crate::worker::wake;
use pgrx::{IntoDatum, pg_sys};

// All other columns of a plain task are null.
columns! { COLUMNS:
    TASK_ID = "task_id bigint not null identity",
    TASK_TYPE = "task_type text not null",
    PAYLOAD = "payload jsonb not null",
    ENQUEUED_AT = "enqueued_at timestamp with time zone not null default now()",
    SCHEDULED_AT = "scheduled_at timestamp with time zone not null default now()",
    ATTEMPTS = "attempts integer not null default 0",
    LEASED = "leased boolean not null default false",
    CALLING = "calling boolean not null default false",
    ORIGIN = "origin bigint not null default errand.queue_origin()",
}

static TASKS: Shape = Shape::new(
    COLUMNS,
    &[],
    &[],
    Some(Inserts { trigger: Some("errand.task_before_write"), are_false: &[LEASED, CALLING] }),
    &[],
);

/// True if [`insert`] can insert tasks, as far as is known before it is called. `owner`: of `queues.task`.
pub fn may_insert(owner: pg_sys::Oid) -> bool {
    home::origin().is_some() && table(owner).is_some_and(|table| table.may_insert())
}

fn table(owner: pg_sys::Oid) -> Option<Table> {
    // A library such as pgaudit records statements.
    if command::is_access_watched() {
        return None;
    }
    Some(Table { oid: catalog::relation(c"queues", c"task")?, owner, shape: &TASKS })
}

/// Inserts a task of a type that the current user may enqueue, and returns its id; `None` if a statement has to be used.
/// `owner`: of `queues.task`; `scheduled_at`: a time in the future, or null for now.
pub fn insert(owner: pg_sys::Oid, task_type: &str, payload: Arg, scheduled_at: Arg) -> Option<i64> {
    let (table, origin) = (table(owner)?, home::origin()?);
    let now = transaction::started_at();
    let payload = payload.unwrap_or_else(|| jsonb::from_text("{}"));
    let scheduled_at = scheduled_at.map_or(now, |due| due.value() as i64);
    let task_id = table.insert_next(|task_id| {
        payload::check_id(task_id);
        payload::check_size(payload);
        payload::warn_of_keys(payload);
        [
            (TASK_ID, task_id.into_datum()),
            (TASK_TYPE, task_type.into_datum()),
            (PAYLOAD, Some(payload)),
            (ENQUEUED_AT, timestamp(now)),
            (SCHEDULED_AT, timestamp(scheduled_at)),
            (ATTEMPTS, 0_i32.into_datum()),
            (LEASED, false.into_datum()),
            (CALLING, false.into_datum()),
            (ORIGIN, origin.into_datum()),
        ]
    })?;
    let definitions = TaskDefinitions::known();
    wake::note_task(definitions.lane_of_type(task_type), Position { priority: 0, scheduled_at, task_id });
    Some(task_id)
}
