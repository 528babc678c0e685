//! Functions of `sql/20_task.sql` and `sql/45_removal.sql`.

use crate::enqueue;
use crate::pg::entry::{Call, sql_function};
use crate::pg::{backend, catalog, shmem};
use crate::shared::{Position, ToId};
use crate::task_definition::TaskDefinitions;
use crate::worker::wake;
use crate::{home, payload, queue_key, removal, replica};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// `errand.task_before_write()`: checks a row of `queues.task`, and lets the commit wake a worker.
fn task_before_write(call: &Call) -> pg_sys::Datum {
    let row = call.new_row();
    let has_ended = row.get::<TimestampWithTimeZone>(c"finished_at").is_some();
    if has_ended && row.earlier::<i64>(c"origin").is_some() && catalog::has_rights_of_owner() {
        // The record of a task is changed, such as its payload when it is redacted.
        return row.into_datum();
    }
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
    task_id.into_iter().for_each(payload::check_id);
    row.get(c"unique_key").into_iter().for_each(enqueue::check_key);
    let queue_key: Option<&str> = row.get(c"queue_key");
    queue_key.into_iter().for_each(enqueue::check_queue_key);
    let priority: Option<i16> = row.get(c"priority");
    let payload = row.new_jsonb(c"payload");
    payload.into_iter().for_each(payload::check_size);
    if let Some(earlier) = row.earlier::<String>(c"queue_key") {
        // The task that stands behind the changed one may be the first now.
        let task_type: Option<String> = row.earlier(c"task_type");
        let (lane, entry) =
            queue_key::entry_now(&definitions, task_type.as_deref().unwrap_or_default(), &earlier);
        wake::note_key(lane, entry);
    }
    if !is_ours {
        replica::note_task(task_id.unwrap_or_default());
        wake::note_unadopted();
    } else {
        payload.into_iter().for_each(payload::warn_of_keys);
        let scheduled_at = row.get::<TimestampWithTimeZone>(c"scheduled_at").map_or(i64::MIN, i64::from);
        let priority = priority.unwrap_or_default();
        if let Some((task_type, queue_key)) = task_type.zip(queue_key.filter(|key| !key.is_empty())) {
            let key = queue_key::key_of(task_type, queue_key);
            let (lane, entry) = queue_key::entry(&definitions, task_type, key, scheduled_at, priority);
            wake::note_key(lane, entry);
        } else {
            wake::note_task(
                definitions.lane_of_type(task_type.unwrap_or_default()),
                Position { priority, scheduled_at, task_id: task_id.unwrap_or_default() },
            );
        }
    }
    // A plain task has neither a priority nor a queue key, which takes no space.
    let row = if priority == Some(0) { row.with_null::<i16>(c"priority") } else { row };
    let row = if queue_key == Some("") { row.with_null::<String>(c"queue_key") } else { row };
    row.into_datum()
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
