//! Functions of `sql/20_task.sql` and `sql/45_removal.sql`.

use crate::enqueue;
use crate::pg::entry::{Call, sql_function};
use crate::pg::{backend, log, shmem};
use crate::shared::{Lane, Position, ToId};
use crate::task_definition::TaskDefinitions;
use crate::worker::wake;
use crate::{home, removal, replica};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// `errand.task_before_write()`: checks a row of `queues.task`, and lets the commit wake a worker.
fn task_before_write(call: &Call) -> pg_sys::Datum {
    let row = call.new_row();
    let task_type: Option<&str> = row.get(c"task_type");
    let definitions = TaskDefinitions::now();
    let is_ours = row.get::<i64>(c"origin").is_none_or(|origin| Some(origin) == home::origin());
    let task_definition = task_type.and_then(|name| definitions.find(name));
    let moves = match row.earlier::<i64>(c"origin") {
        Some(earlier) => row.get(c"origin") != Some(earlier),
        None => !is_ours,
    };
    if moves {
        enqueue::check_move();
    } else if is_ours || !enqueue::may_move() {
        // A task of another database may be inserted before its task type: it waits until it is adopted.
        enqueue::check(&definitions, task_type, task_definition);
    }
    let task_id: Option<i64> = row.get(c"task_id");
    // In shared memory, 0 means that there is no task.
    if task_id == Some(0) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "a task cannot have the id 0".into(),
            "Leave task_id out to have the next id assigned.".into(),
        );
    }
    row.get(c"unique_key").into_iter().for_each(enqueue::check_key);
    let priority: Option<i16> = row.get(c"priority");
    let payload = row.new_jsonb(c"payload");
    payload.into_iter().for_each(enqueue::check_size);
    if !is_ours {
        replica::note_task(task_id.unwrap_or_default());
        wake::note_unadopted();
    } else {
        payload.into_iter().for_each(enqueue::warn_of_keys);
        let scheduled_at = row.get::<TimestampWithTimeZone>(c"scheduled_at").map_or(i64::MIN, i64::from);
        wake::note_task(
            task_definition.map_or(Lane::LOCAL, |definition| definitions.lane_of(definition)),
            Position {
                priority: priority.unwrap_or_default(),
                scheduled_at,
                task_id: task_id.unwrap_or_default(),
            },
        );
    }
    // A plain task has no priority, which takes no space.
    if priority == Some(0) { row.with_null::<i16>(c"priority") } else { row.unchanged() }
}
sql_function!(task_before_write);

/// `errand.task_after_delete()`.
fn task_after_delete(call: &Call) -> pg_sys::Datum {
    removal::after_delete(&call.after_delete());
    pg_sys::Datum::null()
}
sql_function!(task_after_delete);

/// `errand.task_after_truncate()`.
fn task_after_truncate(call: &Call) -> pg_sys::Datum {
    removal::after_truncate(&call.after_truncate());
    forget_runs();
    pg_sys::Datum::null()
}
sql_function!(task_after_truncate);

/// `errand.forget_runs()`: discards the counts of attempts that ended with their worker.
fn forget_runs() {
    if shmem::available() {
        let database = backend::database();
        shmem::write_journal(|_, journal| journal.forget_all(database.id()));
    }
}

/// `errand.announce(timestamptz)`.
#[pg_extern(sql = false)]
fn announce(due_at: TimestampWithTimeZone) {
    wake::note_due(i64::from(due_at));
}
